"""Statistics that ignore rows of weight 0, whatever those rows hold."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

PyTree = Any


def mean_over(weight: jax.Array) -> Callable[[jax.Array], jax.Array]:
    """Return the function x ↦ Σ w x / Σ w, which ignores x where w is 0, even NaN.

    The weights w ≥ 0 may have any shape, which x must share. Σ w is summed once, here,
    for loops that take many means.

    Example:
        >>> float(mean_over(jnp.array([1.0, 3.0]))(jnp.array([2.0, 4.0])))
        3.5
    """
    total = jnp.sum(weight)
    return lambda x: jnp.sum(jnp.where(weight > 0, weight * x, 0)) / total


def where_rows(mask: jax.Array, new: PyTree, old: PyTree) -> PyTree:
    """Return the rows of `new` where a bool mask holds, and those of `old` elsewhere.

    Both are pytrees of arrays whose leading axes are those of the mask.
    """

    def choose(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(
            jax.lax.expand_dims(mask, range(mask.ndim, new.ndim)), new, old
        )

    return jax.tree.map(choose, new, old)


def only_valid(valid: jax.Array, rows: PyTree) -> PyTree:
    """Replace the rows that are not valid by zeros, whatever they held.

    The axes of the bool array `valid` are the leading axes of every array in `rows`.

    Example:
        >>> only_valid(jnp.array([True, False]), jnp.array([1.0, jnp.nan])).tolist()
        [1.0, 0.0]
    """
    return where_rows(valid, rows, jax.tree.map(jnp.zeros_like, rows))


def explained_variance(
    value: jax.Array, target: jax.Array, weight: jax.Array | None = None
) -> jax.Array:
    """Return 1 − Var[target − value] / Var[target].

    1 is a perfect critic, 0 is as good as a constant, negative is worse. Constant
    targets have no variance to explain: the result is then 0.

    Args:
        value: an array of any shape.
        target: like `value`.
        weight: like `value`, ≥ 0; all elements count the same without it.

    Returns:
        A scalar, without a unit.

    Example:
        >>> float(explained_variance(jnp.array([1.0, 2.0]), jnp.array([1.0, 2.0])))
        1.0
    """
    weight = jnp.ones_like(target) if weight is None else weight.astype(target.dtype)
    share = weight / jnp.sum(weight)

    def variance(x: jax.Array) -> jax.Array:
        x = jnp.where(share > 0, x, 0)
        centred = jnp.where(share > 0, x - jnp.sum(share * x), 0)
        return jnp.sum(share * centred**2)

    total = variance(target)
    varied = total > 0
    unexplained = variance(target - value) / jnp.where(varied, total, 1)
    return jnp.where(varied, 1 - unexplained, 0)
