"""Judging a policy in simulators on the host."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from trpo_jax.algorithm.evaluation import STEP_LIMIT, Evaluation
from trpo_jax.environments.host import HostEnvironment
from trpo_jax.host.rollout import Actor, drive, make_keys

PyTree = Any


def evaluation_seed(seed: int) -> int:
    """Return the seed of the first simulator that judges: none of those of training."""
    return seed * 1_000_003 + 500_009


def evaluate_on_host(
    key: jax.Array,
    environments: Sequence[HostEnvironment],
    actor: Actor,
    policy_params: PyTree,
    normalizer: PyTree,
    *,
    greedy: bool,
) -> Evaluation:
    """Play one whole episode in every environment; see `evaluate`.

    Args:
        key: consumed.
        environments: simulators, reset here.
        actor: from `make_actor`.
        policy_params: of the policy.
        normalizer: of the training run.
        greedy: play the mode of the distribution instead of a sample.

    Returns:
        An `Evaluation` of numpy arrays, one entry an environment.
    """
    observation = np.concatenate([environment.reset() for environment in environments])
    episodes = len(observation)
    result = Evaluation(
        np.zeros(episodes), np.zeros(episodes, np.int32), np.zeros(episodes, bool)
    )

    keys = make_keys(key, episodes)

    def act(t: int, rows: slice, observation: np.ndarray) -> tuple:
        return actor(
            policy_params, normalizer, keys(t)[rows], np.bool_(greedy), observation
        )

    limit = environments[0].max_episode_steps or STEP_LIMIT
    for move in drive(environments, act, observation, limit):
        step = move.step
        playing = ~result.finished[move.rows]
        result.episode_return[move.rows] += np.where(playing, step.reward, 0)
        result.episode_length[move.rows] += playing
        result.finished[move.rows] |= step.terminated | step.truncated
        if result.finished.all():
            break
    return result
