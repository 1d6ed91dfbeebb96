"""Evaluating a policy in simulators on the host."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from trpo_jax.algorithm.evaluation import STEP_LIMIT, Evaluation
from trpo_jax.environments.host import HostEnvironment
from trpo_jax.environments.host_arrays import first_observation
from trpo_jax.host.actor import Actor, make_keys
from trpo_jax.host.rollout import step_in_turn

PyTree = Any


def evaluate_on_host(
    key: jax.Array,
    environments: Sequence[HostEnvironment],
    actor: Actor,
    policy_params: PyTree,
    normalizer: PyTree,
    *,
    greedy: bool,
) -> Evaluation:
    """Play one whole episode in every environment, as `evaluate` does.

    The environments are reset here; the normaliser is that of the training run. With
    `greedy` the mode of the distribution is taken instead of a sample. The `Evaluation`
    holds NumPy arrays, one entry for each environment.
    """
    observation = np.concatenate(list(map(first_observation, environments)))
    episodes = len(observation)
    zeros: Any = [np.zeros(episodes, kind) for kind in (float, np.int32, bool)]
    result: Any = Evaluation(*zeros)
    keys = make_keys(key, episodes)

    def act(t: int, envs: slice, observation: np.ndarray) -> tuple:
        return actor(
            policy_params, normalizer, keys(t)[envs], np.bool_(greedy), observation
        )

    limit = environments[0].max_episode_steps or STEP_LIMIT
    for transition in step_in_turn(environments, act, observation, limit):
        envs, step = transition.envs, transition.step
        playing = ~result.finished[envs]
        result.episode_return[envs] += np.where(playing, step.reward, 0)
        result.episode_length[envs] += playing
        result.finished[envs] |= step.terminated | step.truncated
        if result.finished.all():
            break
    return result
