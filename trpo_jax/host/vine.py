"""The vine procedure on simulators of the host that can return to an earlier moment.

Shapes: as in `vine`; all simulators are side by side, `B` environments together.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from trpo_jax.agent.networks import Agent
from trpo_jax.agent.normalization import normalize_observation
from trpo_jax.algorithm.rollout import Rollout, pick_times
from trpo_jax.algorithm.state import TrainState
from trpo_jax.algorithm.vine import Branches, branch_values, propose_actions
from trpo_jax.config import Config
from trpo_jax.environments.host import HostEnvironment
from trpo_jax.environments.spaces import Space
from trpo_jax.host.rollout import Actor, collect_on_host, keys_of, rows_of

PyTree = Any


class VineActor(NamedTuple):
    """The compiled parts that a vine on the host calls.

    Attributes:
        act: see `make_actor`.
        pick: key → times of the snapshots `[M, B]`.
        propose: key, state and observations `[M, B, ...]` → actions `[M, B, K, ...]`
            and their log-probabilities under the proposal.
        value: state and `Branches` → Q̂ `[M, B, K]`.
    """

    act: Actor
    pick: Callable[[jax.Array], jax.Array]
    propose: Callable[..., tuple[jax.Array, jax.Array]]
    value: Callable[[TrainState, Branches], jax.Array]


def make_vine_actor(
    act: Actor, agent: Agent, action_space: Space, config: Config
) -> VineActor:
    """Return the parts; `jit` compiles what it meets first."""

    def propose(
        key: jax.Array, state: TrainState, observation: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        policy = agent.policy.apply(
            state.policy_params, normalize_observation(state.normalizer, observation)
        )
        return propose_actions(key, policy, action_space, config)[:2]

    def pick(key: jax.Array) -> jax.Array:
        return pick_times(key, config.num_steps, config.vine_states, config.num_envs)

    def value(state: TrainState, branches: Branches) -> jax.Array:
        return branch_values(state, agent, branches, config)

    return VineActor(act, jax.jit(pick), jax.jit(propose), jax.jit(value))


class HostVine(NamedTuple):
    """What a vine on the host has found; see `VineBatch`.

    Attributes:
        observation: `[M, B, ...]`.
        action: `[M, B, K, ...]`.
        action_value: `[M, B, K]`.
        proposal_log_prob: `[M, B, K]`.
    """

    observation: np.ndarray
    action: jax.Array
    action_value: jax.Array
    proposal_log_prob: jax.Array


def collect_vine_on_host(
    state: TrainState,
    environments: Sequence[HostEnvironment],
    actor: VineActor,
    config: Config,
) -> tuple[TrainState, Rollout, HostVine]:
    """Do what `collect_vine` does, with snapshots that the simulators give.

    Args:
        state: as of `collect_on_host`.
        environments: simulators with `can_branch`, where `state.observation` was seen.
        actor: from `make_vine_actor`.
        config: of the run.

    Returns:
        The state moved on, the trunks' `Rollout`, and a `HostVine`.
    """
    keys = jax.random.split(state.key, 4)
    key, pick_key, action_key, branch_key = keys
    times = np.asarray(actor.pick(pick_key))
    count, num_envs = times.shape
    kept = np.empty((count, num_envs), object)
    observation = np.zeros((count, *state.observation.shape), state.observation.dtype)
    owner = [(env, i) for env in environments for i in range(env.num_envs)]

    def keep(t: int, rows: slice, seen: np.ndarray) -> None:
        for m, b in np.argwhere(times[:, rows] == t):
            environment, i = owner[rows.start + b]
            kept[m, rows.start + b] = environment.snapshot(i)
            observation[m, rows.start + b] = seen[b]

    after, rollout = collect_on_host(
        state.replace(key=key),
        environments,
        actor.act,
        num_steps=config.num_steps,
        stagger_starts=config.stagger_starts,
        before=keep,
    )
    where_it_stood = [environment.snapshot(i) for environment, i in owner]
    action, log_prob = actor.propose(action_key, state, observation)
    branches = _follow(
        branch_key, state, environments, actor.act, kept, observation,
        np.asarray(action), config,
    )  # fmt: skip
    for (environment, i), snapshot in zip(owner, where_it_stood, strict=True):
        environment.restore(i, snapshot)
    found = HostVine(observation, action, actor.value(state, branches), log_prob)
    return after, rollout, found


def _follow(
    key: jax.Array,
    state: TrainState,
    environments: Sequence[HostEnvironment],
    act: Actor,
    kept: np.ndarray,
    observation: np.ndarray,
    action: np.ndarray,
    config: Config,
) -> Branches:
    """Follow all branches, as many at once as there are environments."""
    steps, num_actions = config.vine_steps, action.shape[2]
    num_states = kept.size
    branches = num_states * num_actions
    shared = config.common_random_numbers
    keys = np.asarray(
        keys_of(key, 0, num_steps=steps, num_envs=num_states if shared else branches)
    )
    states = kept.ravel()
    seen = observation.reshape(num_states, *observation.shape[2:])
    first = action.reshape(branches, *action.shape[3:])
    owner = [(env, i) for env in environments for i in range(env.num_envs)]
    reward = np.zeros((steps, branches), np.float32)
    length = np.zeros(branches, np.int32)
    terminated = np.zeros(branches, bool)
    truncated = np.zeros(branches, bool)
    last = np.repeat(seen, num_actions, axis=0)
    for start in range(0, branches, len(owner)):
        group = start + np.arange(len(owner))
        for (environment, i), branch in zip(owner, group, strict=True):
            environment.restore(i, states[branch // num_actions])
        here = last[group]
        playing = np.ones(len(owner), bool)
        for t in range(steps):
            chosen = first[group]
            if t:
                drawn = group // num_actions if shared else group
                chosen = np.asarray(
                    act(
                        state.policy_params, state.normalizer, keys[t, drawn],
                        np.False_, here,
                    )[0]
                )  # fmt: skip
            for environment, rows in rows_of(environments):
                environment.send(chosen[rows])
            results = [environment.receive() for environment in environments]
            step = type(results[0])(*map(np.concatenate, zip(*results, strict=True)))
            now = group[playing]
            reward[t, now] = step.reward[playing]
            length[now] = t + 1
            terminated[now] = step.terminated[playing]
            truncated[now] = step.truncated[playing]
            last[now] = step.next_observation[playing]
            here = step.observation
            playing = playing & ~step.terminated & ~step.truncated
            if not playing.any():
                break

    def shaped(x: np.ndarray, lead: int = 0) -> jax.Array:
        shape = (*x.shape[:lead], *kept.shape, num_actions, *x.shape[lead + 1 :])
        return jnp.asarray(x.reshape(shape))

    return Branches(
        reward=shaped(reward, 1),
        length=shaped(length),
        terminated=shaped(terminated),
        truncated=shaped(truncated),
        observation=shaped(last),
    )


def empty_vine(state: TrainState, actor: VineActor, config: Config) -> HostVine:
    """Return the shapes of what `collect_vine_on_host` finds; for tracing."""
    observation = jax.ShapeDtypeStruct(
        (config.vine_states, *state.observation.shape), state.observation.dtype
    )
    action, log_prob = jax.eval_shape(
        actor.propose, jax.random.key(0), state, observation
    )
    return HostVine(observation, action, log_prob, log_prob)
