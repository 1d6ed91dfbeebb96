"""Discounted returns, for estimators that need no advantages."""

import jax
import jax.numpy as jnp

from trpo_jax.algorithm.advantages import advantages


def rewards_to_go(
    reward: jax.Array,
    next_value: jax.Array,
    terminated: jax.Array,
    truncated: jax.Array,
    *,
    discount: float | jax.Array,
) -> jax.Array:
    """Return the discounted sum of rewards from each step to the end of its episode.

    Where the data stop before the episode does (a truncation, or the last row),
    `next_value` stands for the rest; pass zeros for the plain sum.

    Args:
        reward: `[T, ...]` reward of each transition.
        next_value: `[T, ...]` V of the observation the transition led to.
        terminated: `[T, ...]` bool, the next state is absorbing: its value is 0.
        truncated: `[T, ...]` bool, the episode was cut off here.
        discount: γ in [0, 1].

    Returns:
        `[T, ...]` in units of reward.

    Raises:
        ValueError: when shapes differ.

    Example:
        >>> end = jnp.array([False, False, True])
        >>> rewards_to_go(jnp.ones(3), jnp.zeros(3), end, ~end & False,
        ...               discount=0.5).tolist()
        [1.75, 1.5, 1.0]
    """
    last = jnp.zeros_like(truncated).at[-1].set(True)
    total, _ = advantages(
        reward,
        jnp.zeros_like(reward),
        jnp.where(truncated | last, next_value, 0),
        terminated,
        truncated,
        discount=discount,
        gae_lambda=1.0,
    )
    return total
