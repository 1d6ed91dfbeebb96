"""A simulator that keeps its arrays for itself, against one that makes new ones."""

import os
import subprocess
import sys
import textwrap

import jax
import numpy as np
import pytest
from helpers import assert_identical, softmax_agent

from trpo_jax.algorithm.initialization import first_state
from trpo_jax.algorithm.off_policy import estimate_off_policy_advantages
from trpo_jax.algorithm.trpo import update
from trpo_jax.config import Config
from trpo_jax.environments.host import HostStep
from trpo_jax.environments.spaces import Box, Discrete
from trpo_jax.host.actor import Actor
from trpo_jax.host.evaluation import evaluate_on_host
from trpo_jax.host.rollout import collect_on_host
from trpo_jax.runs.api import train

AGENT = softmax_agent()
ACTOR = Actor(AGENT)
CONFIG = Config(num_envs=2, num_steps=7, critic_epochs=1, critic_minibatch_size=7)


class Plain:
    """Environment i counts to 3 + i. Observation: (i, time). Reward: time / 2.

    The first reward of an episode is thus a whole number and the second is not.
    """

    name, max_episode_steps = "counting", None
    observation_space, action_space = Box.uniform((2,)), Discrete(2)

    def __init__(self, num_envs, seed=0):
        self.num_envs = num_envs
        self.time = np.zeros(num_envs)

    def _observe(self):
        return np.stack([np.arange(self.num_envs), self.time], 1).astype(np.float32)

    def reset(self):
        self.time[:] = 0
        return self._observe()

    def restart(self, mask):
        self.time[mask] = 0
        return self._observe()[mask]

    def send(self, action):
        reward = (self.time / 2).astype(np.float32)
        self.time += 1
        final, ended = self._observe(), self.time >= 3 + np.arange(self.num_envs)
        self.time[ended] = 0
        never = np.zeros(self.num_envs, bool)
        self.step = HostStep(self._observe(), final, reward, ended, never, ~never)

    def receive(self):
        return self.step

    def close(self):
        pass


class Reusing(Plain):
    """Writes every step into the arrays that it has already given away."""

    arrays = None

    def reset(self):
        observation = super().reset()
        if self.arrays is None:
            self.send(np.zeros(self.num_envs, int))
            self.arrays = HostStep(*map(np.copy, self.step))
        super().reset()
        self.arrays.observation[:] = observation
        return self.arrays.observation

    def send(self, action):
        for array in self.arrays or ():
            array[:] = 77  # as a simulator might that works in the background
        super().send(action)

    def receive(self):
        for array, new in zip(self.arrays, self.step):
            array[:] = new
        return self.arrays


class Listing(Plain):
    """Returns lists, whole numbers where it can, and one flag for all."""

    def reset(self):
        return super().reset().astype(int).tolist()

    def receive(self):
        step = self.step
        reward = [int(x) if x == int(x) else float(x) for x in step.reward]
        return HostStep(
            step.observation.tolist(),
            tuple(map(tuple, step.next_observation.astype(np.int64))),
            reward,
            step.terminated.astype(int).tolist(),
            truncated=False,
            valid=1,
        )


OTHERS = pytest.mark.parametrize("kind", [Reusing, Listing])


def begin(environment):
    keys = list(jax.random.split(jax.random.key(0), 3))
    observation = np.array(environment.reset(), np.float32)
    space = environment.observation_space
    return first_state(keys, (), observation, space, AGENT, CONFIG)


@OTHERS
@pytest.mark.parametrize("time_limit", [0, 2])
def test_a_rollout_is_what_happened(kind, time_limit):
    rollouts = []
    for each in (Plain, kind):
        environments = [each(2)]
        state = begin(environments[0])
        for _ in range(2):
            state, rollout = collect_on_host(
                state, environments, ACTOR, num_steps=7, time_limit=time_limit
            )
        rollouts.append((state, rollout))
    assert_identical(*rollouts)
    rollout = rollouts[0][1]
    np.testing.assert_array_equal(rollout.reward, rollout.observation[..., 1] / 2)
    time = rollout.observation[..., 1] + 1
    np.testing.assert_array_equal(rollout.next_observation[..., 1], time)


@OTHERS
def test_an_evaluation_counts_what_happened(kind):
    environment = kind(3)
    state = begin(environment)
    agent = ACTOR, state.policy_params, state.normalizer
    result = evaluate_on_host(jax.random.key(0), [environment], *agent, greedy=True)
    assert result.episode_length.tolist() == [3, 4, 5]
    assert result.episode_return.tolist() == [1.5, 3.0, 5.0]


@OTHERS
def test_training_is_bit_for_bit_the_same(kind):
    options = {"num_envs": 2, "num_steps": 8, "evaluation_episodes": 2}
    results = [
        train(each, agent=AGENT, total_steps=48, progress=False, **options)
        for each in (Plain, kind)
    ]
    assert_identical(results[0].state, results[1].state)
    assert_identical(results[0].metrics, results[1].metrics)
    assert results[0].evaluation["greedy"] == results[1].evaluation["greedy"]


@pytest.mark.parametrize("kind", [bool, np.int32, np.float16, np.float64])
def test_a_rollout_of_other_types_is_learnt_from_as_the_same_floats(kind):
    """Somebody may fill the arrays of a rollout by hand."""
    environment = Plain(2)
    state, rollout = collect_on_host(
        begin(environment), [environment], ACTOR, num_steps=7
    )
    whole = (rollout.reward > 0.5).astype(np.float32)
    with jax.numpy_dtype_promotion("standard"):
        updates, batches = zip(
            *(
                (
                    jax.jit(lambda s, r: update(s, r, AGENT, CONFIG))(state, each),
                    estimate_off_policy_advantages(state, each, AGENT, CONFIG),
                )
                for each in (
                    rollout.replace(reward=whole),
                    rollout.replace(reward=whole.astype(kind)),
                )
            )
        )
    assert_identical(*updates)
    assert_identical(*batches)


def test_runs_in_double_precision_can_be_resumed(tmp_path):
    """The flag is set for the whole process by those who need it."""
    code = """
        import trpo_jax
        for name in ("probe:continuous", "gymnasium:Pendulum-v1"):
            options = {"num_envs": 2, "num_steps": 8, "evaluation_episodes": 1}
            options |= {"hidden_sizes": (4,), "output_dir": name, "progress": False}
            trpo_jax.train(name, total_steps=32, **options)
            result = trpo_jax.resume(name, total_steps=64, progress=False)
            print(result.metrics.kl.shape, (result.metrics.status == 0).all())
    """
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=os.environ | {"JAX_ENABLE_X64": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split("\n") == ["(1, 4) True"] * 2 + [""]
