"""Training on the host: the critic is fitted while the new policy already acts."""

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np

from trpo_jax.algorithm.state import TrainState
from trpo_jax.config import Config
from trpo_jax.environments.host import HostEnvironment
from trpo_jax.host.actor import Actor
from trpo_jax.host.rollout import collect_on_host, env_slices
from trpo_jax.host.vine import VineActor, collect_vine_on_host

PyTree = Any


class Compiled(NamedTuple):
    """The compiled functions of a run on the host.

    Attributes:
        begin: seed and first observations `[B, ...]` → state.
        act: the policy, see `Actor`.
        update_policy: state, rollout and, for a vine, its `Proposals` and action values
            → state with new policy and normaliser, and what `update_critic` takes.
        update_critic: state, the second result of `update_policy`, and the rollout →
            new values of the state's critic, and one row of `Metrics`.
        vine: what a vine calls, or None on a single path.
        state: a state of shapes and dtypes.
    """

    begin: Callable[..., TrainState]
    act: Actor
    update_policy: Callable[..., tuple[TrainState, PyTree]]
    update_critic: Callable[..., tuple[dict[str, PyTree], jax.Array]]
    vine: VineActor | None
    state: TrainState


def train_on_host(
    state: TrainState,
    environments: Sequence[HostEnvironment],
    compiled: Compiled,
    executor: ThreadPoolExecutor,
    *,
    iterations: int,
    config: Config,
) -> tuple[TrainState, np.ndarray]:
    """Train one agent for some iterations; return its state and a log of `Metrics`.

    The log is `[iterations, M]`. The environments must be in the state in which
    `state.observation` was seen. The executor has one thread, which fits the critic;
    JAX on CPU runs the requests of one thread strictly in turn.
    """
    log = []
    fitting: Future | None = None

    def with_critic(state: TrainState) -> TrainState:
        """Wait for the critic's fit, if one is under way."""
        if fitting is None:
            return state
        critic, metrics = fitting.result()
        log.append(metrics)
        return state.replace(**critic)

    for _ in range(iterations):
        branches: Sequence[Any] = ()
        if compiled.vine is None:
            state, rollout = collect_on_host(
                state, environments, compiled.act, **config.rollout_options
            )
            state = with_critic(state)
        else:  # the critic is needed for the values of branches
            state, rollout, *branches = collect_vine_on_host(
                with_critic(state), environments, compiled.act, compiled.vine, config
            )
        state, critic_task = compiled.update_policy(state, rollout, *branches)
        fitting = executor.submit(
            _wait_for, compiled.update_critic, state, critic_task, rollout
        )
        state = state.replace(iteration=state.iteration + 1)
    return with_critic(state), np.asarray(log)


def _wait_for(function: Callable[..., Any], *args: Any) -> Any:
    return jax.block_until_ready(function(*args))


def save_states(simulators: list[list[HostEnvironment]]) -> list[bytes] | None:
    """Return every environment's state in order, or None if one cannot be saved."""
    states: list[bytes] = []
    for each in itertools.chain(*simulators):
        saved = each.save_state() if hasattr(each, "save_state") else None
        if saved is None:
            return None
        states += saved
    return states


def load_states(simulators: list[list[HostEnvironment]], states: list[bytes]) -> None:
    """Restore every environment to its state from `save_states`.

    A ValueError is raised when there are not as many states as environments, or they
    belong to other environments.
    """
    every: list[Any] = list(itertools.chain(*simulators))
    environments = sum(each.num_envs for each in every)
    if len(states) != environments:
        raise ValueError(f"{len(states)} states for {environments} environments")
    try:
        each: Any
        for each, envs in env_slices(every):
            each.load_state(states[envs])
    except Exception as error:  # raised by simulators of the user's own
        raise ValueError(str(error)) from error
