"""Single-path data collection from simulators on the host.

Shapes: `T` time steps lead, then `B` environments, all simulators side by side.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from trpo_jax.agent.normalization import first_statistics
from trpo_jax.algorithm.rollout import Rollout
from trpo_jax.algorithm.state import TrainState
from trpo_jax.algorithm.stepping import due_truncations
from trpo_jax.environments.host import HostEnvironment, HostStep
from trpo_jax.environments.host_arrays import receive_step
from trpo_jax.environments.nested import Nested, map_nested, rows_of, write_rows
from trpo_jax.host.actor import Actor, HostMemory, act_once, step_keys

PyTree = Any


class HostTransition(NamedTuple):
    """One step of one simulator; observations and actions may be nested.

    Attributes:
        t: the time.
        envs: slice of the environments that this simulator steps.
        observation: `[b, ...]`, acted on.
        action: `[b, ...]`.
        log_prob: `[b]`.
        first: `[b]` bool, whether an episode begins with this step.
        step: what the simulator returned.
    """

    t: int
    envs: slice
    observation: Nested
    action: Nested
    log_prob: np.ndarray
    first: np.ndarray
    step: HostStep


def env_slices(
    environments: Sequence[HostEnvironment],
) -> list[tuple[HostEnvironment, slice]]:
    """Return each simulator with the slice of the environments that it steps."""
    ends = np.cumsum([environment.num_envs for environment in environments]).tolist()
    slices = [slice(a, b) for a, b in zip([0, *ends], ends, strict=False)]
    return list(zip(environments, slices, strict=True))


def step_in_turn(
    environments: Sequence[HostEnvironment],
    act: Callable[[int, slice, Nested, np.ndarray], tuple[PyTree, jax.Array]],
    observation: Nested,
    num_steps: int,
    truncate_now: Callable[[int], np.ndarray | None] = lambda t: None,
) -> Iterator[HostTransition]:
    """Step simulators in turn: while one simulates, the policy acts for the next.

    `act(t, envs, observation, first)` returns actions and log-probabilities for a slice
    of all B environments, whose first observations are `[B, ...]`; `first` says where
    an episode begins, but at time 0. `truncate_now(t)` returns the episodes that step t
    truncates, `[B]` bool, or None. Each simulator takes `num_steps` steps, and each
    step yields a `HostTransition`.
    """
    slices = [envs for _, envs in env_slices(environments)]
    pending: list[tuple[int, int, Any]] = []

    def send(t: int, i: int, observation: Nested, first: np.ndarray) -> None:
        acted, log_prob = act(t, slices[i], observation, first)
        action = map_nested(np.asarray, acted)
        environments[i].send(action)
        sent = observation, action, np.asarray(log_prob), first
        pending.append((t, i, sent))

    for i, envs in enumerate(slices):
        never = np.zeros(environments[i].num_envs, bool)
        send(0, i, rows_of(observation, envs), never)
    while pending:
        t, i, sent = pending.pop(0)
        step = receive_step(environments[i])
        due = truncate_now(t)
        if due is not None and (now := due[slices[i]] & step.valid).any():
            step = _truncate(step, now, environments[i])
        if t + 1 < num_steps:
            send(t + 1, i, step.observation, begins_after(step))
        observation, action, log_prob, first = sent
        yield HostTransition(t, slices[i], observation, action, log_prob, first, step)


def begins_after(step: HostStep) -> np.ndarray:
    """Return where an episode begins after a step, `[b]` bool."""
    return step.terminated | step.truncated | ~step.valid


def _truncate(
    step: HostStep, now: np.ndarray, environment: HostEnvironment
) -> HostStep:
    """Truncate the episodes `now` `[b]` as well, and start new ones."""
    new = now & ~step.terminated & ~step.truncated
    observation = map_nested(np.copy, step.observation)
    if new.any():
        write_rows(observation, new, environment.restart(new))
    return step._replace(observation=observation, truncated=step.truncated | new)


def collect_on_host(
    state: TrainState,
    environments: Sequence[HostEnvironment],
    actor: Actor,
    *,
    num_steps: int,
    stagger_starts: bool = False,
    time_limit: int = 0,
    on_step: Callable[[int, slice, Nested], None] | None = None,
) -> tuple[TrainState, Rollout]:
    """Follow the policy for `num_steps` steps in every environment, as `collect` does.

    The state and the `Rollout` hold NumPy arrays. The environments must be in the state
    in which `state.observation` was seen; `env_state` is empty. Steps that a simulator
    spends on starting an episode get weight 0: they count nowhere.
    `on_step(t, envs, observation)` is called before environments are acted in.
    """
    act_key, next_key = jax.random.split(state.key)
    num_envs = len(state.episode_return)
    keys = np.asarray(step_keys(act_key, 0, num_steps=num_steps, num_envs=num_envs))
    memory = HostMemory(actor, state.memory)

    def act(t: int, envs: slice, observation: Nested, first: np.ndarray) -> tuple:
        if on_step is not None:
            on_step(t, envs, observation)
        params = state.policy_params, state.normalizer, keys[t, envs], np.False_
        return memory.act(envs, (*params, observation), first, state.critic_params)

    rule = functools.partial(
        due_truncations,
        iteration=int(state.iteration),
        num_steps=num_steps,
        stagger_starts=stagger_starts,
        time_limit=time_limit,
        max_episode_steps=environments[0].max_episode_steps,
    )
    buffers = _Buffers(num_steps, num_envs)
    first, observation = (map_nested(np.array, state.observation) for _ in range(2))
    total, length = np.array(state.episode_return), np.array(state.episode_length)
    begins = np.zeros(num_envs, bool)
    for transition in step_in_turn(
        environments, act, first, num_steps, lambda t: rule(t, length)
    ):
        step, envs = transition.step, transition.envs
        replayed = {"first": transition.first} if actor.remembers else {}
        total[envs] += np.where(step.valid, step.reward, 0)
        length[envs] += step.valid
        now = _recorded(transition) | replayed
        now |= {"episode_return": total[envs], "episode_length": length[envs]}
        buffers.write(transition.t, envs, now)
        ended = step.terminated | step.truncated
        total[envs][ended], length[envs][ended] = 0, 0
        begins[envs] = begins_after(step)
        write_rows(observation, envs, step.observation)
    rollout = Rollout(
        **buffers.arrays, memory=state.memory,
        policy_version=np.asarray(state.iteration),  # type: ignore[arg-type]
    )  # fmt: skip
    normalizer = _first_statistics(state.normalizer, *rollout.statistics_inputs)
    return state.replace(
        observation=observation, episode_return=total, episode_length=length,
        key=next_key, normalizer=normalizer, memory=memory.after(begins),
    ), rollout  # fmt: skip


_first_statistics = jax.jit(first_statistics)


def _recorded(transition: HostTransition) -> dict[str, Nested]:
    """Return what a `Rollout` keeps of a step, by name."""
    step = transition.step
    return {
        "observation": transition.observation,
        "action": transition.action,
        "log_prob": transition.log_prob,
        "reward": step.reward,
        "next_observation": step.next_observation,
        "terminated": step.terminated & step.valid,
        "truncated": step.truncated & step.valid,
        "weight": step.valid.astype(np.float32),
    }


class _Buffers:
    """Arrays `[T, B, ...]` by name, made when their first values are written.

    One of them may be a dictionary or a tuple of arrays.
    """

    def __init__(self, num_steps: int, num_envs: int) -> None:
        self._shape = num_steps, num_envs
        self.arrays: dict[str, Any] = {}

    def write(self, t: int, envs: slice, values: dict[str, Nested]) -> None:
        def zeros(rows: np.ndarray) -> np.ndarray:
            return np.zeros((*self._shape, *rows.shape[1:]), rows.dtype)

        for name, value in values.items():
            if name not in self.arrays:
                self.arrays[name] = map_nested(zeros, value)
            if isinstance(value, np.ndarray):
                self.arrays[name][t, envs] = value
            else:
                write_rows(self.arrays[name], (t, envs), value)


def empty_rollout(state: TrainState, actor: Actor, num_steps: int) -> Rollout:
    """Return a rollout of zeros with the shapes of `collect_on_host`, for tracing."""
    action, log_prob = act_once(state, actor)

    def zeros(leaf: jax.Array, dtype: Any = None) -> jax.Array:
        return jnp.zeros((num_steps, *leaf.shape), dtype or leaf.dtype)

    observation = jax.tree.map(zeros, state.observation)
    flag, number = zeros(log_prob, bool), zeros(log_prob, np.float32)
    return Rollout(
        observation=observation,
        action=jax.tree.map(zeros, action),
        log_prob=zeros(log_prob),
        reward=number,
        next_observation=observation,
        terminated=flag,
        truncated=flag,
        weight=number,
        episode_return=zeros(state.episode_return),
        episode_length=zeros(state.episode_length),
        policy_version=state.iteration,
        memory=state.memory,
        first=flag if actor.remembers else None,
    )
