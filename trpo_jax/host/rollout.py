"""Single-path data collection from simulators on the host.

Shapes: `T` time steps lead, then `B` environments, all simulators side by side.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from trpo_jax.agent.networks import Agent
from trpo_jax.agent.normalization import normalize_observation
from trpo_jax.algorithm.rollout import Rollout, staggered
from trpo_jax.algorithm.state import TrainState
from trpo_jax.environments.host import HostEnvironment, HostStep

PyTree = Any
Actor = Callable[..., tuple[jax.Array, jax.Array]]

_BLOCK = 128  # steps whose keys are made at once


def make_actor(agent: Agent) -> Actor:
    """Return the compiled policy that a host loop calls at every step.

    `actor(policy_params, normalizer, keys, greedy, observation)` gives actions
    `[B, ...]` and their log-probabilities `[B]`; `keys` are a step's from `keys_of`.
    """

    @jax.jit
    def actor(
        policy_params: PyTree,
        normalizer: PyTree,
        keys: jax.Array,
        greedy: jax.Array,
        observation: jax.Array,
    ) -> tuple[jax.Array, jax.Array]:
        policy = agent.policy.apply(
            policy_params, normalize_observation(normalizer, observation)
        )
        # Without it XLA on CPU fuses the last layer into whatever follows and computes
        # it again for each of them, which takes three times as long.
        policy = jax.lax.optimization_barrier(policy)
        sample = jax.vmap(lambda policy, key: policy.sample(key))(
            policy, jax.random.wrap_key_data(keys)
        )
        action = jnp.where(greedy, policy.mode(), sample)
        return action, policy.log_prob(action)

    return actor


@functools.partial(jax.jit, static_argnames=("num_steps", "num_envs"))
def keys_of(
    key: jax.Array, first: int | jax.Array, *, num_steps: int, num_envs: int
) -> jax.Array:
    """Return the keys of some steps, as what `jax.random.key_data` gives, `[T, B, W]`.

    The key of an environment follows from the time and from its index, so that the
    numbers drawn do not depend on how environments are divided among simulators. All
    at once, since each call of the generator takes as long as a small network.

    Args:
        key: not consumed: later steps have other keys.
        first: the time of the first of them.
        num_steps: T.
        num_envs: B.
    """

    def one(t: jax.Array, i: jax.Array) -> jax.Array:
        return jax.random.key_data(jax.random.fold_in(jax.random.fold_in(key, t), i))

    at_one_time = jax.vmap(one, (None, 0))
    times = first + jnp.arange(num_steps)
    return jax.vmap(at_one_time, (0, None))(times, jnp.arange(num_envs))


def make_keys(key: jax.Array, num_envs: int) -> Callable[[int], np.ndarray]:
    """Return a function from the time to that step's keys, made a block at a time."""

    @functools.lru_cache(2)
    def block(number: int) -> np.ndarray:
        first = np.int32(number * _BLOCK)
        return np.asarray(keys_of(key, first, num_steps=_BLOCK, num_envs=num_envs))

    return lambda t: block(t // _BLOCK)[t % _BLOCK]


class Move(NamedTuple):
    """One step of one simulator.

    Attributes:
        t: time.
        rows: slice of the environments that this simulator has.
        observation: `[b, ...]` acted on.
        action: `[b, ...]`.
        log_prob: `[b]`.
        step: where it led.
    """

    t: int
    rows: slice
    observation: np.ndarray
    action: np.ndarray
    log_prob: np.ndarray
    step: HostStep


def rows_of(
    environments: Sequence[HostEnvironment],
) -> list[tuple[HostEnvironment, slice]]:
    """Return each simulator with the slice of the environments that it has."""
    ends = np.cumsum([environment.num_envs for environment in environments]).tolist()
    rows = [slice(a, b) for a, b in zip([0, *ends], ends, strict=False)]
    return list(zip(environments, rows, strict=True))


def drive(
    environments: Sequence[HostEnvironment],
    act: Callable[[int, slice, np.ndarray], tuple[jax.Array, jax.Array]],
    observation: np.ndarray,
    num_steps: int,
    cut: Callable[[int], np.ndarray] | None = None,
) -> Iterator[Move]:
    """Step simulators in turn: while one simulates, the policy thinks about the next.

    Args:
        environments: of b₁, b₂, … environments each, B together.
        act: `act(t, rows, observation)` → actions and log-probabilities of those
            environments.
        observation: `[B, ...]` to act on first.
        num_steps: of each.
        cut: `cut(t)` → `[B]` bool, whose episodes to truncate with step t.

    Yields:
        A `Move` of each simulator, in turn, `num_steps` times.
    """
    rows = [rows for _, rows in rows_of(environments)]
    pending: list[tuple] = []

    def send(t: int, i: int, observation: np.ndarray) -> None:
        action, log_prob = map(np.asarray, act(t, rows[i], observation))
        environments[i].send(action)
        pending.append((t, i, observation, action, log_prob))

    for i in range(len(environments)):
        send(0, i, observation[rows[i]])
    while pending:
        t, i, *acted = pending.pop(0)
        step = environments[i].receive()
        if cut is not None and (now := cut(t)[rows[i]] & step.valid).any():
            step = truncate(step, now, environments[i])
        if t + 1 < num_steps:
            send(t + 1, i, step.observation)
        yield Move(t, rows[i], *acted, step)


def truncate(step: HostStep, now: np.ndarray, environment: HostEnvironment) -> HostStep:
    """Return a step that also truncates the episodes `now` `[B]`, and start others."""
    new = now & ~step.terminated & ~step.truncated
    observation = step.observation.copy()
    if new.any():
        observation[new] = environment.restart(new)
    return step._replace(observation=observation, truncated=step.truncated | new)


def collect_on_host(
    state: TrainState,
    environments: Sequence[HostEnvironment],
    actor: Actor,
    *,
    num_steps: int,
    stagger_starts: bool = False,
    time_limit: int = 0,
    before: Callable[[int, slice, np.ndarray], None] | None = None,
) -> tuple[TrainState, Rollout]:
    """Follow the policy for `num_steps` steps in every environment.

    What `collect` does in a compiled program, for simulators on the host. Steps that a
    simulator spends on starting an episode get weight 0: they count nowhere.

    Args:
        state: its policy and normaliser act; `observation`, `episode_return` and
            `episode_length` are numpy arrays, `env_state` is empty.
        environments: simulators that stand where `state.observation` was seen.
        actor: from `make_actor`.
        num_steps: T.
        stagger_starts: see `staggered`; called once an update.
        time_limit: steps after which an episode is truncated, if not before; 0 leaves
            the environment's own limit.
        before: `before(t, rows, observation)` is called when some environments are
            about to be acted in.

    Returns:
        The state moved on, and a `Rollout` of numpy arrays.
    """
    act_key, next_key = jax.random.split(state.key)
    num_envs = len(state.episode_return)
    keys = np.asarray(keys_of(act_key, 0, num_steps=num_steps, num_envs=num_envs))

    def act(t: int, rows: slice, observation: np.ndarray) -> tuple:
        if before is not None:
            before(t, rows, observation)
        return actor(
            state.policy_params,
            state.normalizer,
            keys[t, rows],
            np.False_,
            observation,
        )

    def cut(t: int) -> np.ndarray:
        now = np.zeros(num_envs, bool)
        if time_limit:
            now |= episode_length + 1 >= time_limit
        if stagger_starts:
            steps = int(state.iteration) * num_steps + t + 1
            limit = time_limit or environments[0].max_episode_steps
            now |= staggered(steps, num_envs, limit)
        return now

    data: dict[str, np.ndarray] = {}

    def record(t: int, rows: slice, **values: np.ndarray) -> None:
        for name, value in values.items():
            if name not in data:
                shape = (num_steps, num_envs, *value.shape[1:])
                data[name] = np.zeros(shape, value.dtype)
            data[name][t, rows] = value

    observation = np.array(state.observation)
    episode_return = np.array(state.episode_return)
    episode_length = np.array(state.episode_length)
    cuts = cut if stagger_starts or time_limit else None
    for move in drive(environments, act, observation.copy(), num_steps, cuts):
        step, rows = move.step, move.rows
        episode_return[rows] += np.where(step.valid, step.reward, 0)
        episode_length[rows] += step.valid
        record(
            move.t,
            rows,
            observation=move.observation,
            action=move.action,
            log_prob=move.log_prob,
            reward=step.reward,
            next_observation=step.next_observation,
            terminated=step.terminated & step.valid,
            truncated=step.truncated & step.valid,
            weight=step.valid.astype(np.float32),
            episode_return=episode_return[rows],
            episode_length=episode_length[rows],
        )
        ended = step.terminated | step.truncated
        episode_return[rows][ended] = 0
        episode_length[rows][ended] = 0
        observation[rows] = step.observation
    state = state.replace(
        observation=observation,
        episode_return=episode_return,
        episode_length=episode_length,
        key=next_key,
    )
    return state, Rollout(**data, policy_version=np.asarray(state.iteration))


def act_once(state: TrainState, actor: Actor) -> tuple[jax.Array, jax.Array]:
    """Return what a policy would do first, as a loop on the host asks for it."""
    num_envs = len(state.observation)
    return actor(
        state.policy_params,
        state.normalizer,
        keys_of(state.key, 0, num_steps=1, num_envs=num_envs)[0],
        np.False_,
        state.observation,
    )


def empty_rollout(state: TrainState, actor: Actor, num_steps: int) -> Rollout:
    """Return a rollout of zeros, as `collect_on_host` shapes it; for tracing."""
    action, log_prob = act_once(state, actor)

    def zeros(leaf: jax.Array, dtype: Any = None) -> jax.Array:
        return jnp.zeros((num_steps, *leaf.shape), dtype or leaf.dtype)

    observation = zeros(state.observation)
    flag, number = zeros(log_prob, bool), zeros(log_prob, np.float32)
    return Rollout(
        observation=observation,
        action=zeros(action),
        log_prob=zeros(log_prob),
        reward=number,
        next_observation=observation,
        terminated=flag,
        truncated=flag,
        weight=number,
        episode_return=zeros(state.episode_return),
        episode_length=zeros(state.episode_length),
        policy_version=state.iteration,
    )
