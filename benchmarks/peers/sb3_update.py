"""Time updates of sb3-contrib on random transitions: `sb3_update.py ROWS STARTED`.

Prints one line of JSON: the median seconds of five calls of `train`.
"""

import json
import statistics
import sys
import time

import gymnasium
import numpy as np
import torch
from sb3_contrib import TRPO
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import DummyVecEnv


class Nothing(gymnasium.Env):
    """An environment that only has spaces."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (17,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (6,), np.float32)

    def reset(self, *, seed=None, options=None):
        """Return zeros."""
        return np.zeros(17, np.float32), {}


def main(rows):
    """Fill a buffer, train, and print."""
    model = TRPO(
        "MlpPolicy", DummyVecEnv([Nothing]), n_steps=rows, batch_size=128,
        cg_max_steps=15, cg_damping=0.1, n_critic_updates=10, seed=0, device="cpu",
    )  # fmt: skip
    model.set_logger(configure(None, []))
    model._setup_learn(10**9)
    generator = np.random.default_rng(0)
    buffer = model.rollout_buffer
    buffer.reset()
    for _ in range(rows):
        observation = generator.normal(size=(1, 17)).astype(np.float32)
        with torch.no_grad():
            action, value, log_prob = model.policy(torch.as_tensor(observation))
        buffer.add(
            observation, action.numpy(), generator.normal(size=1), np.zeros(1), value,
            log_prob,
        )  # fmt: skip
    buffer.compute_returns_and_advantage(value, np.zeros(1))
    taken = []
    for _ in range(6):
        start = time.perf_counter()
        model.train()
        taken.append(time.perf_counter() - start)
    print(json.dumps({"seconds": statistics.median(taken[1:])}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
