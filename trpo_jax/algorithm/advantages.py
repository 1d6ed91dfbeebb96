"""Advantage estimation on trajectories that may end, be cut off, or go on.

Shapes: `T` time steps lead, `...` are any further axes (parallel environments); every
function works on `[T]`, on `[T, B]` and under `vmap`.
"""

from typing import Any

import chex
import jax
import jax.numpy as jnp

from trpo_jax.solver.precision import as_floats
from trpo_jax.solver.rows import largest, shares, total


def advantages(
    reward: jax.Array,
    value: jax.Array,
    next_value: jax.Array,
    terminated: jax.Array,
    truncated: jax.Array,
    *,
    discount: float | jax.Array,
    gae_lambda: float | jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Estimate advantages by generalised advantage estimation.

    δₜ = rₜ + γ (1 − terminatedₜ) V(sₜ₊₁) − V(sₜ)
    Âₜ = δₜ + γλ (1 − terminatedₜ)(1 − truncatedₜ) Âₜ₊₁   (Schulman et al. 2016, eq. 16)

    λ = 0 is the temporal-difference error, λ = 1 the reward-to-go minus the baseline. A
    truncated step still bootstraps from `next_value`, which must be the value of the
    *final* observation of its episode, not of the reset observation that follows. When
    both flags are set, termination wins.

    Args:
        reward: `[T, ...]` reward of each transition, also as integers or booleans.
        value: `[T, ...]` V of the observation acted on.
        next_value: `[T, ...]` V of the observation the transition led to.
        terminated: `[T, ...]` bool, the next state is absorbing: its value is 0.
        truncated: `[T, ...]` bool, the episode was cut off here.
        discount: γ in [0, 1], one number or `[T, ...]`.
        gae_lambda: λ in [0, 1], one number or `[T, ...]`.

    Returns:
        Advantages and value targets Âₜ + V(sₜ), both `[T, ...]` in units of reward.

    Raises:
        ValueError: when shapes differ; nothing is broadcast.

    Example:
        >>> no, yes = jnp.array([False, False]), jnp.array([False, True])
        >>> a, target = advantages(jnp.ones(2), jnp.zeros(2), jnp.zeros(2), yes, no,
        ...                        discount=0.5, gae_lambda=1.0)
        >>> a.tolist()
        [1.5, 1.0]
    """
    chex.assert_equal_shape(
        [reward, value, next_value, terminated, truncated],
        custom_message="reward, value, next_value and both flags must have one shape",
        exception_type=ValueError,
    )
    reward, value, next_value = as_floats(reward, value, next_value)
    kind = reward.dtype
    discount, gae_lambda = jnp.asarray(discount, kind), jnp.asarray(gae_lambda, kind)
    delta = reward + discount * jnp.where(terminated, 0, next_value) - value
    decay = jnp.where(terminated | truncated, 0, discount * gae_lambda)

    def backward(following: jax.Array, step: Any) -> tuple[jax.Array, jax.Array]:
        delta, decay = step
        advantage = delta + decay * following
        return advantage, advantage

    end = jnp.zeros(delta.shape[1:], kind)
    _, advantage = jax.lax.scan(backward, end, (delta, decay), reverse=True, unroll=8)
    return advantage, advantage + value


def standardize(x: jax.Array, weight: jax.Array | None = None) -> jax.Array:
    """Shift and scale to mean 0 and standard deviation 1 over all elements.

    When all elements are equal up to rounding, the result is zero everywhere: not 0/0,
    and not amplified rounding errors.

    Args:
        x: an array of any shape.
        weight: like `x`, ≥ 0; elements of weight 0 do not count and come out as 0.

    Returns:
        An array like `x`, without a unit.

    Example:
        >>> standardize(jnp.array([2.0, 4.0])).tolist()
        [-1.0, 1.0]
        >>> standardize(jnp.full(3, 0.1)).tolist()
        [0.0, 0.0, 0.0]
    """
    x, weight = as_floats(x, jnp.ones_like(x) if weight is None else weight)
    x = jnp.where(weight > 0, x, 0)
    scale = largest(jnp.abs(x))
    x = x / jnp.where(scale == 0, 1, scale)  # so that no square over- or underflows
    share = shares(weight)
    centred = jnp.where(weight > 0, x - total(share * x), 0)
    variance = total(share * centred**2)
    flat = variance <= (32 * jnp.finfo(x.dtype).eps) ** 2  # false for NaN
    deviation = jnp.sqrt(jnp.where(flat, 1, variance))
    return jnp.where(flat, 0, centred / deviation)
