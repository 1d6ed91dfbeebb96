"""Statistics that ignore rows of weight 0, whatever those rows hold."""

from typing import Any

import jax
import jax.numpy as jnp

from trpo_jax.solver.precision import as_floats

PyTree = Any


class RowStatistics:
    """Statistics over the rows whose weight w is above 0, whatever the others hold.

    Σ w is summed once, here, for loops that take many means.

    Args:
        weight: w ≥ 0, of any shape; every x below shares it.

    Example:
        >>> rows = RowStatistics(jnp.array([1.0, 3.0, 0.0]))
        >>> x = jnp.array([2.0, 4.0, jnp.nan])
        >>> float(rows.mean(x)), float(rows.max(x))
        (3.5, 4.0)
    """

    def __init__(self, weight: jax.Array) -> None:
        (self.weight,) = as_floats(weight)
        self.total = jnp.sum(self.weight)

    def mean(self, x: jax.Array) -> jax.Array:
        """Return Σ w x / Σ w."""
        x, weight, total = as_floats(x, self.weight, self.total)
        return jnp.sum(jnp.where(weight > 0, weight * x, 0)) / total

    def max(self, x: jax.Array) -> jax.Array:
        """Return the largest of x, or 0 if that is larger."""
        return jnp.max(jnp.where(self.weight > 0, x, 0))


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
    weight = jnp.ones_like(target) if weight is None else weight
    value, target, weight = as_floats(value, target, weight)
    share = weight / jnp.sum(weight)

    def variance(x: jax.Array) -> jax.Array:
        x = jnp.where(share > 0, x, 0)
        centred = jnp.where(share > 0, x - jnp.sum(share * x), 0)
        return jnp.sum(share * centred**2)

    total = variance(target)
    varied = total > 0
    unexplained = variance(target - value) / jnp.where(varied, total, 1)
    return jnp.where(varied, 1 - unexplained, 0)
