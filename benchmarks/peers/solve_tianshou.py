"""Train until solved with Tianshou: `solve_tianshou.py ENVIRONMENT SEED GOAL STARTED`.

For environments with discrete actions. The values are those of Tianshou's MuJoCo
benchmark (examples/mujoco/mujoco_trpo.py), since it publishes none for classic control.
After every update 100 greedy episodes are played while the clocks stand still. Prints
one line of JSON, as `solve_sb3.py` does.
"""

import json
import sys
import time

import gymnasium
import numpy as np
import torch
from greedy_episodes import greedy_return
from tianshou.algorithm import TRPO
from tianshou.algorithm.modelfree.reinforce import DiscreteActorPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Collector, VectorReplayBuffer
from tianshou.env import DummyVectorEnv, VectorEnvNormObs
from tianshou.utils.net.common import Net
from tianshou.utils.net.discrete import DiscreteActor, DiscreteCritic
from tianshou.utils.torch_utils import policy_within_training_step

NUM_ENVS, STEPS, BATCH = 16, 100_000, 1024


def network(space):
    """Return two layers of 64."""
    return Net(state_shape=space.shape, hidden_sizes=(64, 64), activation=torch.nn.Tanh)


def greedy_of(policy, statistics):
    """Return the greedy policy, as a function."""

    def act(observation):
        with torch.no_grad():
            logits, _ = policy.actor(statistics.norm(observation).astype(np.float32))
        return logits.argmax(-1).numpy()

    return act


def main(name, seed, goal, started):
    """Train and print."""
    np.random.seed(seed)  # noqa: NPY002, which Tianshou draws from
    torch.manual_seed(seed)
    one = gymnasium.make(name)
    environments = VectorEnvNormObs(
        DummyVectorEnv([lambda: gymnasium.make(name)] * NUM_ENVS)
    )
    environments.seed(seed)
    actor = DiscreteActor(
        preprocess_net=network(one.observation_space),
        action_shape=one.action_space.n,
        softmax_output=False,
    )
    critic = DiscreteCritic(preprocess_net=network(one.observation_space))
    policy = DiscreteActorPolicy(
        actor=actor,
        action_space=one.action_space,
        observation_space=one.observation_space,
    )
    algorithm = TRPO(
        policy=policy, critic=critic, optim=AdamOptimizerFactory(lr=1e-3), gamma=0.99,
        gae_lambda=0.95, max_kl=0.01, backtrack_coeff=0.8, max_backtracks=10,
        optim_critic_iters=20, advantage_normalization=True, return_scaling=True,
    )  # fmt: skip
    buffer = VectorReplayBuffer(4096, NUM_ENVS)
    collector = Collector(algorithm, environments, buffer)
    collector.reset()
    began, paused, steps = time.time(), 0.0, 0
    while steps < STEPS:
        with policy_within_training_step(policy):
            steps += collector.collect(n_step=BATCH).n_collected_steps
            algorithm.update(buffer=buffer, batch_size=None, repeat=1)
        collector.reset_buffer(keep_statistics=True)
        now = time.time()
        greedy = greedy_return(name, greedy_of(policy, environments.get_obs_rms()))
        if greedy >= goal:
            solved = {
                "steps": int(steps),
                "train_seconds": round(now - began - paused, 3),
                "wall_seconds": round(now - started - paused, 3),
                "greedy": float(greedy),
            }
            print(json.dumps(solved))
            return
        paused += time.time() - now
    print(json.dumps({"steps": None, "train_seconds": None, "wall_seconds": None}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *map(float, sys.argv[3:]))
