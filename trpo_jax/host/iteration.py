"""Training on the host: simulators in turn, and the critic beside the next rollout."""

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np

from trpo_jax.algorithm.state import TrainState
from trpo_jax.algorithm.update import Improved, Lesson
from trpo_jax.config import Config
from trpo_jax.environments.host import HostEnvironment
from trpo_jax.host.rollout import Actor, collect_on_host, rows_of
from trpo_jax.host.vine import HostVine, VineActor, collect_vine_on_host

PyTree = Any


class Compiled(NamedTuple):
    """The compiled parts of a run on the host.

    Attributes:
        begin: seed and first observations `[B, ...]` → state.
        act: see `make_actor`.
        improve: state, rollout and, of a vine, its `HostVine` → state, `Lesson`,
            `Improved`.
        fit: state, `Lesson`, `Improved` and rollout → critic parameters, its
            optimiser's state, and one row of `Metrics`.
        vine: what a vine calls, or None on a single path.
        state: shapes of one.
    """

    begin: Callable[..., TrainState]
    act: Actor
    improve: Callable[..., tuple[TrainState, Lesson, Improved]]
    fit: Callable[..., tuple[PyTree, PyTree, jax.Array]]
    vine: VineActor | None
    state: TrainState


def train_on_host(
    state: TrainState,
    environments: Sequence[HostEnvironment],
    compiled: Compiled,
    beside: ThreadPoolExecutor,
    *,
    iterations: int,
    config: Config,
) -> tuple[TrainState, np.ndarray]:
    """Train one agent; its critic is fitted while its new policy already acts.

    Args:
        state: as from `Compiled.begin` or an earlier call.
        environments: simulators that stand where `state.observation` was seen.
        compiled: the parts.
        beside: a thread for the critic: JAX on CPU runs what one thread asks for in
            turn.
        iterations: how many.
        config: of the run.

    Returns:
        The state, and a log `[iterations, M]` of `Metrics`.
    """
    log = []
    fitting: Future | None = None

    def fitted(state: TrainState) -> TrainState:
        if fitting is None:
            return state
        critic_params, optimizer_state, metrics = fitting.result()
        log.append(metrics)
        return state.replace(
            critic_params=critic_params, critic_optimizer_state=optimizer_state
        )

    for _ in range(iterations):
        found: list[HostVine] = []
        if compiled.vine is None:
            state, rollout = collect_on_host(
                state,
                environments,
                compiled.act,
                num_steps=config.num_steps,
                stagger_starts=config.stagger_starts,
                time_limit=config.training_time_limit,
            )
            state = fitted(state)
        else:  # the critic values branches
            state, rollout, *found = collect_vine_on_host(
                fitted(state), environments, compiled.vine, config
            )
        state, *improved = compiled.improve(state, rollout, *found)
        fitting = beside.submit(_wait_for, compiled.fit, state, *improved, rollout)
        state = state.replace(iteration=state.iteration + 1)
    return fitted(state), np.asarray(log)


def _wait_for(function: Callable[..., Any], *args: Any) -> Any:
    return jax.block_until_ready(function(*args))


def later_seed(seed: int, iteration: int) -> int:
    """Return a seed with which no episode begins as one of an earlier start."""
    return int(np.random.SeedSequence([seed, iteration]).generate_state(1)[0]) // 2


def save_states(simulators: list[list[HostEnvironment]]) -> list[bytes] | None:
    """Return the state of every environment, or None if one cannot be had."""
    states: list[bytes] = []
    for each in itertools.chain(*simulators):
        found = each.save_state() if hasattr(each, "save_state") else None
        if found is None:
            return None
        states += found
    return states


def load_states(simulators: list[list[HostEnvironment]], states: list[bytes]) -> None:
    """Put every environment where it was.

    Raises:
        ValueError: when there are more or fewer states than environments, or they are
            those of others.
    """
    every = list(itertools.chain(*simulators))
    environments = sum(each.num_envs for each in every)
    if len(states) != environments:
        raise ValueError(f"{len(states)} states for {environments} environments")
    try:
        for each, rows in rows_of(every):
            each.load_state(states[rows])
    except Exception as error:  # of the user's own simulators
        raise ValueError(str(error)) from error
