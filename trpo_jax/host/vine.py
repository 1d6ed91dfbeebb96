"""The vine procedure on simulators on the host that can return to a snapshot.

Shapes: as in `algorithm.vine`; all simulators together have `B` environments.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from trpo_jax.agent.acting import act
from trpo_jax.agent.networks import Agent
from trpo_jax.algorithm.rollout import Rollout
from trpo_jax.algorithm.state import TrainState
from trpo_jax.algorithm.vine import pick_times, possible_actions, propose_actions
from trpo_jax.algorithm.vine_branches import Branches, branch_values
from trpo_jax.config import Config
from trpo_jax.environments.host import HostEnvironment, HostStep
from trpo_jax.environments.host_arrays import receive_step
from trpo_jax.environments.nested import Nested, map_nested, rows_of, write_rows
from trpo_jax.environments.spaces import Space
from trpo_jax.host.actor import Actor, step_keys
from trpo_jax.host.rollout import collect_on_host, env_slices

PyTree = Any
Proposals = tuple[PyTree, np.ndarray, PyTree, jax.Array]
"""Observations `[M, B, ...]`, times `[M, B]`, actions `[M, B, K, ...]`, and
log-probabilities `[M, B, K]`, as `vine_batch` takes them."""


class VineActor(NamedTuple):
    """The compiled functions that a vine on the host calls.

    Attributes:
        pick: key and numbers of the environments → times of the snapshots `[M, B]`.
        propose: key, state and observations `[M, B, ...]` → actions `[M, B, K, ...]`,
            their log-probabilities under the proposal `[M, B, K]`, and the actions to
            simulate, see `possible_actions`.
        value: state and `Branches` → Q̂ `[M, B, K]`.
    """

    pick: Callable[[jax.Array, jax.Array], jax.Array]
    propose: Callable[..., tuple[PyTree, jax.Array, PyTree]]
    value: Callable[[TrainState, Branches], jax.Array]


def make_vine_actor(agent: Agent, action_space: Space, config: Config) -> VineActor:
    """Return the functions that a vine calls; each is compiled when first called.

    An agent with a memory is a `ValueError`.
    """
    if agent.remembers:
        raise ValueError(
            "sampling vine on simulators of the host is for agents without a memory; "
            "choose sampling single_path or network mlp"
        )

    def propose(
        key: jax.Array, state: TrainState, observation: PyTree
    ) -> tuple[PyTree, jax.Array, PyTree]:
        policy = act(agent, state.policy_params, state.normalizer, observation)
        given = policy, action_space, config
        action, log_prob = propose_actions(key, state.env_index, *given)
        return action, log_prob, possible_actions(policy, action, *given[1:])

    def pick(key: jax.Array, env_index: jax.Array) -> jax.Array:
        return pick_times(key, env_index, config.num_steps, config.vine_states)

    def value(state: TrainState, branches: Branches) -> jax.Array:
        return branch_values(state, agent, branches, config)

    return VineActor(jax.jit(pick), jax.jit(propose), jax.jit(value))


def collect_vine_on_host(
    state: TrainState,
    environments: Sequence[HostEnvironment],
    actor: Actor,
    vine: VineActor,
    config: Config,
) -> tuple[TrainState, Rollout, Proposals, jax.Array]:
    """Do what `collect_vine` does, with snapshots of simulators that have `can_branch`.

    They must be in the state in which `state.observation` was seen. Instead of a batch,
    the `Proposals` and the action values Q̂ `[M, B, K]` are returned.
    """
    key, pick_key, action_key, branch_key = jax.random.split(state.key, 4)
    times = np.asarray(vine.pick(pick_key, state.env_index))
    snapshots = np.empty(times.shape, object)
    observation = map_nested(
        lambda leaf: np.zeros((len(times), *leaf.shape), leaf.dtype), state.observation
    )
    places = _places(environments)

    def take_snapshots(t: int, envs: slice, seen: Nested) -> None:
        for m, b in np.argwhere(times[:, envs] == t):
            environment, i = places[envs.start + b]
            snapshots[m, envs.start + b] = environment.snapshot(i)
            write_rows(observation, (m, envs.start + b), rows_of(seen, b))

    after, rollout = collect_on_host(
        state.replace(key=key),
        environments,
        actor,
        num_steps=config.num_steps,
        stagger_starts=config.stagger_starts,
        on_step=take_snapshots,
    )
    state = state.replace(normalizer=after.normalizer)
    trunk_ends = [environment.snapshot(i) for environment, i in places]
    action, log_prob, tried = vine.propose(action_key, state, observation)
    branches = _follow_branches(
        branch_key, state, environments, actor, snapshots, observation,
        map_nested(np.asarray, tried), config,
    )  # fmt: skip
    for (environment, i), snapshot in zip(places, trunk_ends, strict=True):
        environment.restore(i, snapshot)
    proposals = observation, times, action, log_prob
    return after, rollout, proposals, vine.value(state, branches)


def _places(environments: Sequence[HostEnvironment]) -> list[tuple[Any, int]]:
    """Return the simulator of each environment, and its number there."""
    return [(each, i) for each in environments for i in range(each.num_envs)]


def _follow_branches(
    key: jax.Array,
    state: TrainState,
    environments: Sequence[HostEnvironment],
    act: Actor,
    snapshots: np.ndarray,
    observation: Nested,
    action: Nested,
    config: Config,
) -> Branches:
    """Follow all branches, as many at once as there are environments."""
    steps, num_actions = config.vine_steps, jax.tree.leaves(action)[0].shape[2]
    branches = snapshots.size * num_actions
    shared = config.vine_common_random_numbers
    drawn = snapshots.size if shared else branches
    keys = np.asarray(step_keys(key, 0, num_steps=steps, num_envs=drawn))

    def repeated(leaf: np.ndarray) -> np.ndarray:  # [M, B, ...] -> [N K, ...]
        flat = leaf.reshape(snapshots.size, *leaf.shape[2:])
        return np.repeat(flat, num_actions, axis=0)

    arrays: Any = (
        np.zeros((steps, branches), np.float32),
        np.zeros(branches, np.int32),
        *np.zeros((2, branches), bool),
        map_nested(repeated, observation),
    )
    result = Branches(*arrays)
    first = map_nested(lambda leaf: leaf.reshape(branches, *leaf.shape[3:]), action)
    states = snapshots.ravel()
    places = _places(environments)
    for begin in range(0, branches, len(places)):
        group = begin + np.arange(len(places))
        for (environment, i), branch in zip(places, group, strict=True):
            environment.restore(i, states[branch // num_actions])
        group_keys = keys[:, group // num_actions if shared else group]
        actions = rows_of(first, group)
        _follow_group(state, environments, act, group, actions, group_keys, result)

    def shaped(x: Any, lead: int = 0) -> jax.Array:
        shape = (*x.shape[:lead], *snapshots.shape, num_actions, *x.shape[lead + 1 :])
        return jnp.asarray(x.reshape(shape))

    return Branches(
        reward=shaped(result.reward, 1),
        length=shaped(result.length),
        terminated=shaped(result.terminated),
        truncated=shaped(result.truncated),
        observation=map_nested(shaped, result.observation),
    )


def _follow_group(
    state: TrainState,
    environments: Sequence[HostEnvironment],
    act: Actor,
    group: np.ndarray,
    first: Nested,
    keys: np.ndarray,
    result: Any,
) -> None:
    """Follow one branch in each environment, and write what happens into the result."""
    params, normalizer = state.policy_params, state.normalizer
    observation = rows_of(result.observation, group)
    playing = np.ones(len(group), bool)
    for t in range(len(keys)):
        action = first
        if t:
            acted = act(params, normalizer, keys[t], np.False_, observation)
            action = map_nested(np.asarray, acted[0])
        for environment, envs in env_slices(environments):
            environment.send(rows_of(action, envs))
        results = map(receive_step, environments)
        step = HostStep(*map_nested(lambda *rows: np.concatenate(rows), *results))
        now = group[playing]
        result.reward[t, now] = step.reward[playing]
        result.length[now] = t + 1
        result.terminated[now] = step.terminated[playing]
        result.truncated[now] = step.truncated[playing]
        write_rows(result.observation, now, rows_of(step.next_observation, playing))
        observation = step.observation
        playing = playing & ~step.terminated & ~step.truncated
        if not playing.any():
            break


def empty_vine(state: TrainState, actor: VineActor, config: Config) -> tuple[Any, Any]:
    """Return `Proposals` and action values as `jax.ShapeDtypeStruct`, for tracing."""
    observation = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            (config.vine_states, *leaf.shape), leaf.dtype
        ),
        state.observation,
    )
    action, log_prob, _ = jax.eval_shape(
        actor.propose, jax.random.key(0), state, observation
    )
    times = jax.ShapeDtypeStruct(log_prob.shape[:2], np.int32)
    return (observation, times, action, log_prob), log_prob
