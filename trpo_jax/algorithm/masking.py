"""Averages and selections that ignore rows of weight 0, whatever those rows hold."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

PyTree = Any


def mean_over(weight: jax.Array) -> Callable[[jax.Array], jax.Array]:
    """Return x ↦ Σ w x / Σ w, a scalar; where w is 0, x may be anything, even NaN.

    Σ w is summed here, once, for a loop that takes many means.

    Example:
        >>> float(mean_over(jnp.array([1.0, 3.0]))(jnp.array([2.0, 4.0])))
        3.5
    """
    total = jnp.sum(weight)
    return lambda x: jnp.sum(jnp.where(weight > 0, weight * x, 0)) / total


def weighted_mean(x: jax.Array, weight: jax.Array) -> jax.Array:
    """Return Σ w x / Σ w, a scalar; what weighs nothing may be anything, even NaN."""
    return mean_over(weight)(x)


def only_valid(valid: jax.Array, rows: PyTree) -> PyTree:
    """Return rows with zeros where they are not valid, whatever they held.

    Args:
        valid: bool, of any shape.
        rows: pytree of arrays whose leading axes are those of `valid`.
    """

    def keep(leaf: jax.Array) -> jax.Array:
        wide = jax.lax.expand_dims(valid, range(valid.ndim, leaf.ndim))
        return jnp.where(wide, leaf, jnp.zeros_like(leaf))

    return jax.tree.map(keep, rows)
