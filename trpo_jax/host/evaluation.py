"""Evaluating a policy in simulators on the host."""

import contextlib
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from trpo_jax.agent.memory import Memory, first_memory
from trpo_jax.algorithm.evaluation import STEP_LIMIT, Evaluation
from trpo_jax.environments.host import HostEnvironment, MakeHost
from trpo_jax.environments.host_arrays import first_observation
from trpo_jax.environments.nested import Nested, map_nested
from trpo_jax.host.actor import Actor, HostMemory, make_keys
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
    keys = make_keys(key, sum(environment.num_envs for environment in environments))
    return _play(keys, environments, actor, policy_params, normalizer, greedy)


def evaluate_in_turn(
    key: jax.Array,
    make: MakeHost,
    actor: Actor,
    policy_params: PyTree,
    normalizer: PyTree,
    *,
    episodes: int,
    at_once: int,
    seed: int,
    greedy: bool,
) -> Evaluation:
    """Play whole episodes in simulators that are made for them, and closed again.

    At most `at_once` environments are open at any time, and episode i is played with
    the seed `seed + i` and with random numbers of its own, so that the result does not
    depend on how many are. See `evaluate_on_host`.
    """
    keys, results = make_keys(key, episodes), []
    bounds = np.linspace(0, episodes, -(-episodes // at_once) + 1).astype(int).tolist()
    for begin, end in itertools.pairwise(bounds):

        def keys_of_group(t: int, begin: int = begin, end: int = end) -> np.ndarray:
            return keys(t)[begin:end]

        with contextlib.closing(make(end - begin, seed + begin)) as simulator:
            agent = actor, policy_params, normalizer
            results.append(_play(keys_of_group, [simulator], *agent, greedy))
    return jax.tree.map(lambda *x: np.concatenate(x), *results)


def _play(
    keys: Callable[[int], np.ndarray],
    environments: Sequence[HostEnvironment],
    actor: Actor,
    policy_params: PyTree,
    normalizer: PyTree,
    greedy: bool,
) -> Evaluation:
    """Play one whole episode in every environment, with the keys of each time."""
    first = map(first_observation, environments)
    observation = map_nested(lambda *rows: np.concatenate(rows), *first)
    episodes = sum(environment.num_envs for environment in environments)
    zeros: Any = [np.zeros(episodes, kind) for kind in (float, np.int32, bool)]
    result: Any = Evaluation(*zeros)

    memory = HostMemory(actor, Memory(first_memory(actor.agent.policy, episodes)))

    def act(t: int, envs: slice, observation: Nested, first: np.ndarray) -> tuple:
        acting = policy_params, normalizer, keys(t)[envs], np.bool_(greedy)
        return memory.act(envs, (*acting, observation), first)

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
