"""The policy with the largest advantage within a KL of another, state by state.

It is the rational tilt q(a) = μ p(a) / (ν − A(a)) that `algorithm_1` derives, in two
variables that stay exact where ν is huge: the gap g(a) = maxₐ A − A(a) and the tilt
s = 1 / (ν − maxₐ A), so that q ∝ p / (1 + s g).

Shapes: `S` states, `A` actions.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

_HALVINGS = 56  # of an interval of logarithms: to the last digits of float64
LOG_RANGE = 80.0  # ±, of logarithms of multipliers; e^80 is still a float32


def gap_of(values: jax.Array) -> jax.Array:
    """Return g `[S, A]` of advantages."""
    return jnp.max(values, axis=1, keepdims=True) - values


def tilted(policy: jax.Array, gap: jax.Array, tilt: jax.Array) -> jax.Array:
    """Return q `[S, A]` of tilts `[S]`; positive probabilities stay positive."""
    new = policy / (1 + tilt[:, None] * gap)
    new = new / jnp.sum(new, axis=1, keepdims=True)
    return jnp.maximum(new, jnp.finfo(new.dtype).tiny)


def multiplier(policy: jax.Array, gap: jax.Array, tilt: jax.Array) -> jax.Array:
    """Return μ `[S]`, the advantage gained per nat; it falls as the tilt grows."""
    return 1 / (tilt * jnp.sum(policy / (1 + tilt[:, None] * gap), axis=1))


def tilt_of_kl(
    policy: jax.Array, gap: jax.Array, max_kl: float | jax.Array
) -> jax.Array:
    """Return the largest tilt `[S]` within a KL."""

    def within(log_tilt: jax.Array) -> jax.Array:
        x = jnp.exp(log_tilt)[:, None] * gap
        # Σ p log(p / q), in terms that lose nothing where q is close to p.
        normalizer = jnp.log1p(-jnp.sum(policy * (x / (1 + x)), axis=1))
        return jnp.sum(policy * jnp.log1p(x), axis=1) + normalizer <= max_kl

    lowest = jnp.full(len(policy), -LOG_RANGE, policy.dtype)
    return jnp.exp(bisect(within, lowest, LOG_RANGE))


def tilt_of_multiplier(
    policy: jax.Array, gap: jax.Array, log_multiplier: jax.Array
) -> jax.Array:
    """Return the tilt `[S]` at which μ is the same in every state."""

    def worth_more(log_tilt: jax.Array) -> jax.Array:
        worth = multiplier(policy, gap, jnp.exp(log_tilt))
        return jnp.log(worth) > log_multiplier

    lowest = jnp.full(len(policy), -LOG_RANGE, policy.dtype)
    return jnp.exp(bisect(worth_more, lowest, LOG_RANGE))


def bisect(
    holds: Callable[[jax.Array], jax.Array],
    low: jax.Array,
    high: float,
    halvings: int = _HALVINGS,
) -> jax.Array:
    """Return where a predicate that holds below and fails above stops holding.

    `holds` maps numbers like `low` to bools of that shape. The result is like `low`:
    numbers at which the predicate holds, or `low` itself.
    """

    def halve(_: int, interval: tuple) -> Any:
        low, high = interval
        middle = (low + high) / 2
        below = holds(middle)
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    interval = low, jnp.full_like(low, high)
    return jax.lax.fori_loop(0, halvings, halve, interval)[0]
