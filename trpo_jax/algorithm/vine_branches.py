"""Branches of a vine: short rollouts from snapshots, and what they are worth.

Shapes: `M` snapshots of each of `B` environments make N = M·B states; `K` actions are
tried in each; R = N·K branches of `H` steps.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from trpo_jax.agent.acting import act_and_remember, critic_memory_of, predict_value
from trpo_jax.agent.distributions import sample_rows
from trpo_jax.agent.memory import Memory
from trpo_jax.agent.networks import Agent
from trpo_jax.agent.normalization import scale_reward
from trpo_jax.algorithm.masking import where_rows
from trpo_jax.algorithm.state import TrainState
from trpo_jax.algorithm.stepping import env_keys
from trpo_jax.config import Config
from trpo_jax.environments.base import Environment, take_step

PyTree = Any


class Snapshots(struct.PyTreeNode):
    """States of the environment that simulation can return to.

    Attributes:
        env_state: pytree of `[M, B, ...]`.
        observation: pytree of `[M, B, ...]`, of those states; not normalised.
        memory: `Memory` `[M, B, ...]` of policy and critic before that observation.
        time: `[M, B]` int32, the steps of the rollout before those states.
    """

    env_state: PyTree
    observation: PyTree
    memory: Memory = Memory()
    time: jax.Array | None = None


class Branches(struct.PyTreeNode):
    """What happened along branches; nothing after the end of an episode counts.

    Attributes:
        reward: `[H, M, B, K]`, 0 after the end.
        length: `[M, B, K]` int32, steps until the end; H where the episode went on.
        terminated: `[M, B, K]` bool, whether the episode terminated.
        truncated: `[M, B, K]` bool, whether it was truncated.
        observation: pytree of `[M, B, K, ...]`, the last one; not normalised.
        memory: the critic's memory `[M, B, K, ...]` before that observation.
    """

    reward: jax.Array
    length: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    observation: PyTree
    memory: PyTree = ()


def follow_branches(
    key: jax.Array,
    state: TrainState,
    environment: Environment,
    agent: Agent,
    snapshots: Snapshots,
    action: PyTree,
    config: Config,
) -> Branches:
    """Follow one branch for each action `[M, B, K, ...]`, from its state's snapshot.

    After the first step, the policy and the normaliser of `state` act.
    """
    *states, num_actions = jax.tree.leaves(action)[0].shape[:3]
    num_states = states[0] * states[1]
    rows = num_states * num_actions

    def repeat(leaf: jax.Array) -> jax.Array:  # [M, B, ...] -> [N K, ...]
        flat = leaf.reshape(num_states, *leaf.shape[2:])
        return jnp.repeat(flat, num_actions, axis=0)

    env_state, observation, memory = jax.tree.map(
        repeat, (snapshots.env_state, snapshots.observation, snapshots.memory)
    )
    first = jax.tree.map(lambda leaf: leaf.reshape(rows, *leaf.shape[3:]), action)
    shared = config.vine_common_random_numbers
    own = 1 if shared else num_actions
    keys = env_keys(key, state.env_index, (config.vine_steps, 2, states[0], own))
    keys = jnp.repeat(jnp.swapaxes(keys, 3, 4), num_actions // own, axis=4)
    keys = keys.reshape(config.vine_steps, 2, rows)

    def step(carry: Any, now: Any) -> tuple[Any, jax.Array]:
        t, keys = now
        env_state, observation, memory, length, terminated, truncated = carry
        playing = ~(terminated | truncated)
        policy, after_it = act_and_remember(agent, state, observation, memory)
        memory = where_rows(playing, after_it, memory)
        sample = sample_rows(policy, keys[0])
        chosen = jax.tree.map(lambda a, b: jnp.where(t == 0, a, b), first, sample)
        step_all = jax.vmap(functools.partial(take_step, environment))
        after = step_all(keys[1], env_state, chosen)
        observation = where_rows(playing, after.observation, observation)
        carry = (
            after.env_state,
            observation,
            memory,
            length + playing.astype(jnp.int32),
            terminated | (playing & after.terminated),
            truncated | (playing & after.truncated),
        )
        return carry, jnp.where(playing, after.reward, 0)

    never = jnp.zeros(rows, bool)
    nothing = jnp.zeros(rows, jnp.int32), never, never
    start = env_state, observation, memory, *nothing
    carry, reward = jax.lax.scan(step, start, (jnp.arange(config.vine_steps), keys))
    _, observation, memory, length, terminated, truncated = jax.tree.map(
        lambda leaf: leaf.reshape(*states, num_actions, *leaf.shape[1:]), carry
    )
    reward = reward.reshape(-1, *states, num_actions)
    last = critic_memory_of(agent, memory)
    return Branches(reward, length, terminated, truncated, observation, last)


def branch_values(
    state: TrainState, agent: Agent, branches: Branches, config: Config
) -> jax.Array:
    """Estimate the value Q̂ `[M, B, K]` of the first action of each branch.

    Q̂ = Σₜ γᵗ rₜ, in units of the scaled reward, over the L ≤ H steps of the branch.
    With `config.vine_bootstrap`, γᴸ V(s_L) is added unless the episode terminated (or
    was truncated, without `config.bootstrap_truncated`).
    """
    weights = _power(config.discount, jnp.arange(config.vine_steps))
    reward = scale_reward(state.normalizer, branches.reward)
    total = jnp.tensordot(weights, reward, axes=1)
    if not config.vine_bootstrap:
        return total
    value, _ = predict_value(agent, state, branches.observation, branches.memory)
    over = branches.terminated
    if not config.bootstrap_truncated:
        over = over | branches.truncated
    return total + jnp.where(over, 0, _power(config.discount, branches.length) * value)


def _power(base: float | jax.Array, exponent: jax.Array) -> jax.Array:
    """Return base ** exponent in float32, for integer exponents."""
    return jnp.asarray(base, jnp.float32) ** exponent.astype(jnp.float32)
