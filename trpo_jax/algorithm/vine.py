"""The vine procedure (Schulman et al. 2015, §5.2): branches from states on the way.

Trunk trajectories follow the policy, a rollout set of states is picked from them, and
in each of those several actions are tried, each with a short rollout: a branch.

Shapes: `M` snapshots of each of `B` environments make N = M·B states; `K` actions are
tried in each; R = N·K branches of `H` steps.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trpo_jax.agent.acting import act
from trpo_jax.agent.networks import Agent
from trpo_jax.algorithm.estimation import estimate_advantages
from trpo_jax.algorithm.masking import where_rows
from trpo_jax.algorithm.rollout import Rollout, follow_policy
from trpo_jax.algorithm.state import TrainState
from trpo_jax.algorithm.stepping import env_keys
from trpo_jax.algorithm.vine_batch import VineBatch
from trpo_jax.algorithm.vine_branches import Snapshots, branch_values, follow_branches
from trpo_jax.config import Config
from trpo_jax.environments.base import Environment
from trpo_jax.environments.spaces import Discrete, Space
from trpo_jax.validation import COUNT, check

PyTree = Any


def collect_vine(
    state: TrainState, environment: Environment, agent: Agent, config: Config
) -> tuple[TrainState, Rollout, VineBatch]:
    """Follow trunks, branch from states along them, and estimate the action values.

    A branch is one step with the action tried and `vine_steps − 1` steps of the policy,
    or fewer where the episode ends: nothing is reset within one. All branches run side
    by side. With common random numbers those of one state see the same noise, in policy
    and simulator, so that they differ by their actions alone. The critic learns from
    the trunks, as on a single path.

    Args:
        state: from `init` or an earlier iteration.
        environment: a single environment; its state is the snapshot.
        agent: policy and critic.
        config: its `vine_` values, and those of `collect`.

    Returns:
        The state with the trunks moved on, the trunks' `Rollout`, and a `VineBatch`
        `[M, B]` for `update_from_batch`; action values are in units of the scaled
        reward. `update_statistics` then updates the normaliser with the rollout.

    Raises:
        ValueError: for uniform proposals of actions that are not discrete.

    Example:
        >>> from trpo_jax import init, make_environment, default_agent
        >>> environment = make_environment("CartPole-v1")
        >>> spaces = environment.observation_space, environment.action_space
        >>> agent = default_agent(*spaces)
        >>> config = Config(num_envs=8, sampling="vine", vine_states=4)
        >>> def run(key):
        ...     state = init(key, environment, agent, config)
        ...     return collect_vine(state, environment, agent, config)
        >>> _, _, batch = jax.eval_shape(run, jax.random.key(0))
        >>> batch.action_value.shape, batch.every_action  # both actions of 4 × 8 states
        ((4, 8, 2), True)
    """
    key, pick_key, action_key, branch_key = jax.random.split(state.key, 4)
    trunk_state, rollout, snapshots = collect_with_snapshots(
        pick_key,
        state.replace(key=key),
        environment,
        agent,
        num_steps=config.num_steps,
        num_snapshots=config.vine_states,
        stagger_starts=config.stagger_starts,
    )
    state = state.replace(normalizer=trunk_state.normalizer)
    policy, _ = act(
        agent,
        state.policy_params,
        state.normalizer,
        snapshots.observation,
        snapshots.memory.policy,
    )
    action, log_prob = propose_actions(
        action_key, state.env_index, policy, environment.action_space, config
    )
    tried = possible_actions(policy, action, environment.action_space, config)
    branches = follow_branches(
        branch_key, state, environment, agent, snapshots, tried, config
    )
    batch = vine_batch(
        state,
        rollout,
        (snapshots.observation, snapshots.time, action, log_prob),
        branch_values(state, agent, branches, config),
        environment.action_space,
        agent,
        config,
    )
    return trunk_state, rollout, batch


def vine_batch(
    state: TrainState,
    rollout: Rollout,
    proposals: tuple[PyTree, jax.Array | None, PyTree, jax.Array],
    action_value: jax.Array,
    action_space: Space,
    agent: Agent,
    config: Config,
) -> VineBatch:
    """Put together what `update_from_batch` learns from.

    The proposals are observations `[M, B, ...]`, their times in the rollout `[M, B]`,
    actions `[M, B, K, ...]`, and their log-probabilities `[M, B, K]` under the
    proposal; the action values Q̂ are `[M, B, K]`; a state with one that is not finite
    gets weight 0. The critic learns from the rollout `[T, B]` of the trunks.
    """
    observation, time, action, log_prob = proposals
    return VineBatch(
        observation=observation,
        action=action,
        action_value=action_value,
        proposal_log_prob=log_prob,
        weight=jnp.isfinite(action_value).all(2).astype(jnp.float32),
        critic_batch=estimate_advantages(state, rollout, agent, config),
        every_action=tries_every_action(action_space, config),
        time=time if agent.remembers else None,
    )


def collect_with_snapshots(
    key: jax.Array,
    state: TrainState,
    environment: Environment,
    agent: Agent,
    *,
    num_steps: int,
    num_snapshots: int,
    stagger_starts: bool = False,
) -> tuple[TrainState, Rollout, Snapshots]:
    """Do what `collect` does, and keep some of the states that were acted in.

    The key chooses when (`pick_times`), `num_snapshots` times in each environment.
    """
    times = pick_times(key, state.env_index, num_steps, num_snapshots)

    def keep(kept: Snapshots, t: jax.Array, current: TrainState) -> Snapshots:
        stretch = t * num_snapshots // num_steps
        before = jax.tree.map(lambda leaf: leaf[stretch], kept)
        time = jnp.full_like(current.env_index, t)
        now = Snapshots(current.env_state, current.observation, current.memory, time)
        after = where_rows(times[stretch] == t, now, before)
        return jax.tree.map(lambda x, row: x.at[stretch].set(row), kept, after)

    nothing_yet = jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf, (num_snapshots, *leaf.shape)),
        Snapshots(state.env_state, state.observation, state.memory, state.env_index),
    )
    return follow_policy(
        state,
        environment,
        agent,
        num_steps=num_steps,
        stagger_starts=stagger_starts,
        on_step=keep,
        carry=nothing_yet,
    )


def pick_times(
    key: jax.Array, env_index: jax.Array, num_steps: int, num_snapshots: int
) -> jax.Array:
    """Draw the steps `[M, B]` whose states are kept, one in each stretch of time.

    Time is cut into as many stretches as there are snapshots, and every environment
    keeps one state from each, at a random time of its own. More snapshots than steps
    raise a ValueError.

    Example:
        >>> times = pick_times(jax.random.key(0), jnp.arange(3), 10, 2)
        >>> times.shape, bool((times[0] < 5).all() and (times[1] >= 5).all())
        ((2, 3), True)
    """
    check("num_snapshots", num_snapshots, COUNT)
    if num_snapshots > num_steps:
        raise ValueError(
            f"num_snapshots must be <= num_steps; got {num_snapshots} > {num_steps}"
        )
    bounds = -(-np.arange(num_snapshots + 1) * num_steps // num_snapshots)
    first, length = bounds[:-1, None].astype(np.int32), np.diff(bounds)[:, None]
    uniform = functools.partial(jax.random.uniform, dtype=jnp.float32)
    where = _at_each(uniform, env_keys(key, env_index, (num_snapshots,)))
    offset = (where * length.astype(np.float32)).astype(jnp.int32)
    return jnp.asarray(first) + jnp.minimum(offset, length.astype(np.int32) - 1)


def tries_every_action(action_space: Space, config: Config) -> bool:
    """Return whether a vine tries all actions: at most `vine_actions` discrete ones."""
    return isinstance(action_space, Discrete) and action_space.n <= config.vine_actions


def propose_actions(
    key: jax.Array,
    env_index: jax.Array,
    policy: Any,
    action_space: Space,
    config: Config,
) -> tuple[PyTree, jax.Array]:
    """Return actions `[M, B, K, ...]` to try, and their log-probabilities `[M, B, K]`.

    The log-probabilities are those under the proposal, and zeros where all actions are
    tried. A uniform proposal draws those actions that the policy may take; for actions
    that are not discrete it raises a ValueError.
    """
    states = jax.eval_shape(policy.entropy).shape
    if isinstance(action_space, Discrete) and tries_every_action(action_space, config):
        number = action_space.n
        action = jnp.broadcast_to(jnp.arange(number), (*states, number))
        return action, jnp.zeros(action.shape, jnp.float32)
    keys = env_keys(key, env_index, (states[0], config.vine_actions))
    keys = jnp.swapaxes(keys, 1, 2)  # [M, K, B] -> [M, B, K]
    if config.vine_proposal == "uniform":
        if not isinstance(action_space, Discrete):
            raise ValueError(
                "vine_proposal must be 'policy' for continuous actions; got 'uniform'"
            )
        return _draw_evenly(keys, policy, action_space.n)
    of_state = jax.vmap(lambda row, keys: jax.vmap(row.sample)(keys))
    action = jax.vmap(of_state)(policy, keys)
    return action, _log_probs(policy, action)


def possible_actions(
    policy: Any, action: PyTree, action_space: Space, config: Config
) -> PyTree:
    """Return the actions to simulate: where one is forbidden, the policy's mode.

    A vine that tries all actions `[M, B, K]` must not harm the simulator with those to
    which the policy gives probability 0. What they lead to has no weight in eq. 15.
    """
    if not tries_every_action(action_space, config):
        return action  # none of those drawn is forbidden
    legal = jnp.isfinite(_log_probs(policy, action))
    return jnp.where(legal, action, policy.mode()[..., None])


def _draw_evenly(
    keys: jax.Array, policy: Any, number: int
) -> tuple[jax.Array, jax.Array]:
    """Draw actions `[M, B, K]` evenly from those that the policy may take in a state.

    The log-probabilities, −log of how many they are, are returned as well.
    """
    states = keys.shape[:2]
    every = jnp.broadcast_to(jnp.arange(number), (*states, number))
    legal = jnp.isfinite(_log_probs(policy, every))
    count = jnp.broadcast_to(jnp.sum(legal, axis=2, keepdims=True), keys.shape)
    draw = jax.vmap(lambda key, count: jax.random.randint(key, (), 0, count))
    which = draw(keys.reshape(-1), count.reshape(-1)).reshape(keys.shape)
    # The first action up to which there are more legal ones than `which`.
    so_far = jnp.cumsum(legal, axis=2)[:, :, None]
    action = jnp.argmax(so_far > which[..., None], axis=-1).astype(jnp.int32)
    log_prob = jnp.asarray(-np.log(np.arange(1, number + 1)))
    return action, log_prob[count - 1]


def _log_probs(policy: Any, action: PyTree) -> jax.Array:
    """Return the log-probabilities `[M, B, K]` of actions `[M, B, K, ...]`."""
    return jax.vmap(policy.log_prob, in_axes=2, out_axes=2)(action)


def _at_each(draw: Callable[[jax.Array], jax.Array], keys: jax.Array) -> jax.Array:
    """Return what is drawn with each of the keys, in their shape."""
    return jax.vmap(draw)(keys.reshape(-1)).reshape(keys.shape)
