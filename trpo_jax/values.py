"""What the critic says of a rollout.

Shapes: `T` time steps, `B` environments, `N` = T·B rows.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from trpo_jax.config import Config
from trpo_jax.networks import Agent
from trpo_jax.normalization import normalize_observation, scale_reward
from trpo_jax.rollout import Rollout
from trpo_jax.rows import finite_rows, only_valid
from trpo_jax.state import TrainState

PyTree = Any

_PASSES = 16  # that all rows would take


def valued(
    state: TrainState, rollout: Rollout, agent: Agent, config: Config
) -> tuple[Rollout, jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]:
    """Return what estimators of advantages take, whatever rows of weight 0 hold.

    Args: as of `estimate_advantages`.

    Returns:
        The rollout with zeros in rows of weight 0, at which episodes end; and, all
        `[T, B]`: scaled rewards, values acted on and led to, and both flags. Where an
        episode has terminated, the value led to says nothing.

    Raises:
        ValueError: when the critic's values do not have the shape of the rewards.
    """
    valid = rollout.weight > 0
    rollout = rollout.replace(
        reward=jnp.where(valid, rollout.reward, 0),
        log_prob=jnp.where(valid, rollout.log_prob, 0),
        action=only_valid(valid, rollout.action),
        observation=only_valid(valid, rollout.observation),
        next_observation=only_valid(valid, rollout.next_observation),
        terminated=rollout.terminated | ~valid,
    )

    def value(observation: PyTree) -> jax.Array:
        observation = normalize_observation(state.normalizer, observation)
        return agent.critic.apply(state.critic_params, observation)

    here = value(rollout.observation)
    if here.shape != rollout.reward.shape:
        raise ValueError(
            "the critic must return one value a row: got shape "
            f"{here.shape} for rewards of {rollout.reward.shape}"
        )
    here = jnp.where(valid, here, 0)
    ended = rollout.terminated | rollout.truncated
    terminated = rollout.terminated if config.bootstrap_truncated else ended
    # The next row's value will do, unless what was led to is broken, as it must show.
    acted_on_next = jnp.zeros_like(valid).at[:-1].set(valid[1:]) & ~ended
    acted_on_next &= finite_rows(rollout.next_observation, valid.ndim)
    return (
        rollout,
        scale_reward(state.normalizer, rollout.reward),
        here,
        fill(
            jnp.roll(here, -1, axis=0),
            ~terminated & ~acted_on_next,
            value,
            rollout.next_observation,
        ),
        terminated,
        rollout.truncated,
    )


def fill(
    values: jax.Array,
    wanted: jax.Array,
    value: Callable[[PyTree], jax.Array],
    observation: PyTree,
) -> jax.Array:
    """Put in the values of the few rows that are wanted.

    Where an episode goes on, an observation led to is the next one acted on, and has
    its value already. The others are looked for and valued, a sixteenth of all rows at
    a time: as a rule once, for the last step of each environment.

    Args:
        values: `[T, B]`.
        wanted: `[T, B]` bool.
        value: observations `[n, ...]` → `[n]`.
        observation: pytree of `[T, B, ...]`.

    Returns:
        `[T, B]`, those not wanted as they were.

    Example:
        >>> fill(jnp.zeros((1, 3)), jnp.array([[True, False, True]]),
        ...      lambda x: 2 * x, jnp.array([[1.0, 2.0, 3.0]])).tolist()
        [[2.0, 0.0, 6.0]]
    """
    shape = values.shape
    size = max(shape[1], -(-values.size // _PASSES))
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), observation)

    def some(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        values, wanted = carry
        (rows,) = jnp.nonzero(wanted, size=size, fill_value=wanted.size)
        found = value(jax.tree.map(lambda x: x.at[rows].get(mode="clip"), flat))
        return (
            values.at[rows].set(found, mode="drop"),
            wanted.at[rows].set(False, mode="drop"),
        )

    start = values.reshape(-1), wanted.reshape(-1)
    filled, _ = jax.lax.while_loop(lambda carry: jnp.any(carry[1]), some, start)
    return filled.reshape(shape)
