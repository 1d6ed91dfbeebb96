"""The vine procedure (Schulman et al. 2015, §5.2): branches from states on the way.

Trunk trajectories are followed under the policy, a rollout set of states is picked from
them, and in each of those several actions are tried, each with a short rollout of its
own: a branch.

Shapes: `M` snapshots of each of `B` environments make N = M·B states; `K` actions are
tried in each; R = N·K branches of `H` steps.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from trpo_jax.agent.networks import Agent
from trpo_jax.agent.normalization import normalize_observation, scale_reward
from trpo_jax.algorithm.batch import VineBatch
from trpo_jax.algorithm.rollout import Rollout, Snapshots, collect_with_snapshots
from trpo_jax.algorithm.state import TrainState
from trpo_jax.algorithm.update import estimate_advantages
from trpo_jax.config import Config
from trpo_jax.environments.base import Environment, shaped
from trpo_jax.environments.spaces import Discrete, Space

PyTree = Any


def collect_vine(
    state: TrainState, environment: Environment, agent: Agent, config: Config
) -> tuple[TrainState, Rollout, VineBatch]:
    """Follow trunks, branch from states along them, and estimate the branches' worth.

    Every branch is a step with the action tried and `vine_steps − 1` steps of the
    policy, or fewer where the episode ends: nothing is reset within one. All branches
    run side by side. With common random numbers those of one state see the same noise,
    in policy and simulator, so that their differences are those of the actions. The
    critic learns from the trunks, as on a single path.

    Args:
        state: as from `init` or an earlier iteration.
        environment: a single environment; its state is the snapshot.
        agent: policy and critic.
        config: its `vine_…` values, and those of `collect`.

    Returns:
        The state with the trunks moved on, the trunks' `Rollout`, and a `VineBatch`
        `[M, B]` for `update`, after which `absorb_statistics` lets the normaliser take
        in the trunks; action values in units of the scaled reward.

    Raises:
        ValueError: for uniform proposals of actions that are not discrete.

    Example:
        >>> from trpo_jax import init, make_environment, mlp_agent
        >>> environment = make_environment("CartPole-v1")
        >>> agent = mlp_agent(environment.observation_space, environment.action_space)
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
    policy = agent.policy.apply(
        state.policy_params,
        normalize_observation(state.normalizer, snapshots.observation),
    )
    action, log_prob, every = propose_actions(
        action_key, policy, environment.action_space, config
    )
    branches = follow_branches(
        branch_key, state, environment, agent, snapshots, action, config
    )
    batch = VineBatch(
        observation=snapshots.observation,
        action=action,
        action_value=branch_values(state, agent, branches, config),
        proposal_log_prob=log_prob,
        weight=jnp.ones(log_prob.shape[:2]),
        lesson=estimate_advantages(state, rollout, agent, config),
        every_action=every,
    )
    return trunk_state, rollout, batch


def tries_every_action(action_space: Space, config: Config) -> bool:
    """Return whether there are no more actions than a vine tries in a state."""
    return isinstance(action_space, Discrete) and action_space.n <= config.vine_actions


def propose_actions(
    key: jax.Array, policy: Any, action_space: Space, config: Config
) -> tuple[PyTree, jax.Array, bool]:
    """Choose the actions to be tried in each state.

    Args:
        key: consumed.
        policy: distribution of `[M, B]` states.
        action_space: of one action.
        config: `vine_actions` and `vine_proposal`.

    Returns:
        Actions `[M, B, K, ...]`, their log-probabilities under the proposal
        `[M, B, K]`, and whether they are all that there are.

    Raises:
        ValueError: for uniform proposals of actions that are not discrete.
    """
    rows = jax.eval_shape(policy.entropy).shape
    if tries_every_action(action_space, config):
        action = jnp.broadcast_to(jnp.arange(action_space.n), (*rows, action_space.n))
        return action, jnp.zeros(action.shape), True
    shape = (*rows, config.vine_actions)
    if config.vine_proposal == "uniform":
        if not isinstance(action_space, Discrete):
            raise ValueError(
                "vine_proposal must be 'policy' for continuous actions; got 'uniform'"
            )
        action = jax.random.randint(key, shape, 0, action_space.n)
        return action, jnp.full(shape, -jnp.log(float(action_space.n))), False
    axis = len(rows)
    keys = jax.random.split(key, config.vine_actions)
    action = jax.vmap(policy.sample, out_axes=axis)(keys)
    log_prob = jax.vmap(policy.log_prob, in_axes=axis, out_axes=axis)(action)
    return action, log_prob, False


@struct.dataclass
class Branches:
    """What happened along branches; nothing after the end of an episode counts.

    Attributes:
        reward: `[H, M, B, K]`, 0 after the end.
        length: `[M, B, K]` int32, steps until the end, H where there was none.
        terminated: `[M, B, K]` bool, the episode ended, for good.
        truncated: `[M, B, K]` bool, it was cut off.
        observation: pytree of `[M, B, K, ...]`, the last; not normalised.
    """

    reward: jax.Array
    length: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    observation: PyTree


def follow_branches(
    key: jax.Array,
    state: TrainState,
    environment: Environment,
    agent: Agent,
    snapshots: Snapshots,
    action: PyTree,
    config: Config,
) -> Branches:
    """Follow one rollout for each action, from its state.

    Args:
        key: consumed.
        state: its policy and normaliser act.
        environment: a single environment.
        agent: its policy acts.
        snapshots: `[M, B, ...]`.
        action: pytree of `[M, B, K, ...]`, the first of each branch.
        config: of the run.
    """
    *states, num_actions = jax.tree.leaves(action)[0].shape[:3]
    num_states = states[0] * states[1]
    rows = num_states * num_actions

    def spread(leaf: jax.Array) -> jax.Array:  # [M, B, ...] -> [N K, ...]
        flat = leaf.reshape(num_states, *leaf.shape[2:])
        return jnp.repeat(flat, num_actions, axis=0)

    env_state, observation = jax.tree.map(
        spread, (snapshots.env_state, snapshots.observation)
    )
    first = jax.tree.map(lambda leaf: leaf.reshape(rows, *leaf.shape[3:]), action)
    if config.common_random_numbers:
        keys = jax.random.split(key, (config.vine_steps, num_states, 2))
        keys = jnp.repeat(keys, num_actions, axis=1)
    else:
        keys = jax.random.split(key, (config.vine_steps, rows, 2))

    def step(carry: tuple, now: tuple) -> tuple[tuple, jax.Array]:
        t, keys = now
        env_state, observation, length, terminated, truncated = carry
        playing = ~(terminated | truncated)
        policy = agent.policy.apply(
            state.policy_params, normalize_observation(state.normalizer, observation)
        )
        sample = jax.vmap(lambda policy, key: policy.sample(key))(policy, keys[:, 0])
        chosen = jax.tree.map(lambda a, b: jnp.where(t == 0, a, b), first, sample)
        after = jax.vmap(environment.step)(
            keys[:, 1],
            env_state,
            jax.vmap(lambda action: shaped(environment, action))(chosen),
        )
        observation = jax.tree.map(
            lambda new, old: jnp.where(
                jax.lax.expand_dims(playing, range(1, new.ndim)), new, old
            ),
            after.observation,
            observation,
        )
        carry = (
            after.env_state,
            observation,
            length + playing.astype(jnp.int32),
            terminated | (playing & after.terminated),
            truncated | (playing & after.truncated),
        )
        return carry, jnp.where(playing, after.reward, 0)

    never = jnp.zeros(rows, bool)
    start = env_state, observation, jnp.zeros(rows, jnp.int32), never, never
    carry, reward = jax.lax.scan(step, start, (jnp.arange(config.vine_steps), keys))
    _, observation, length, terminated, truncated = jax.tree.map(
        lambda leaf: leaf.reshape(*states, num_actions, *leaf.shape[1:]), carry
    )
    reward = reward.reshape(-1, *states, num_actions)
    return Branches(reward, length, terminated, truncated, observation)


def branch_values(
    state: TrainState, agent: Agent, branches: Branches, config: Config
) -> jax.Array:
    """Return Q̂ `[M, B, K]` of the first action of each branch, in scaled reward.

    Q̂ = Σₜ γᵗ rₜ, t < H, and γᴴ V(s_H) where the branch was left, if
    `config.vine_bootstrap`; γᵗ V where a time limit cut it off before.

    Args:
        state: its critic and normaliser are used.
        agent: its critic gives the values.
        branches: `[M, B, K]` of them.
        config: of the run.
    """
    weights = _power(config.discount, jnp.arange(config.vine_steps))
    reward = scale_reward(state.normalizer, branches.reward)
    total = jnp.tensordot(weights, reward, axes=1)
    if not config.vine_bootstrap:
        return total
    value = agent.critic.apply(
        state.critic_params,
        normalize_observation(state.normalizer, branches.observation),
    )
    over = branches.terminated
    if not config.bootstrap_truncated:
        over = over | branches.truncated
    return total + jnp.where(over, 0, _power(config.discount, branches.length) * value)


def _power(base: float | jax.Array, exponent: jax.Array) -> jax.Array:
    """Return base ** exponent in floats, for exponents of integers."""
    exponent = exponent.astype(jnp.result_type(float))
    return jnp.asarray(base, exponent.dtype) ** exponent
