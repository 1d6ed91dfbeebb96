"""Statistics that ignore rows of weight 0, whatever those rows hold."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from trpo_jax.solver.flat import binary_unit
from trpo_jax.solver.precision import as_floats
from trpo_jax.solver.rows import largest, shares, total

PyTree = Any


class RowStatistics:
    """Statistics over the rows whose weight w is above 0, whatever the others hold.

    Σ w is summed once, here, for loops that take many means. Without any weight every
    statistic is 0.

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
        mass = total(self.weight)
        self.mass = jnp.where(mass > 0, mass, 1)

    def mean(self, x: jax.Array) -> jax.Array:
        """Return Σ w x / Σ w."""
        x, weight, mass = as_floats(x, self.weight, self.mass)
        return total(jnp.where(weight > 0, weight * x, 0)) / mass

    def max(self, x: jax.Array) -> jax.Array:
        """Return the largest of x, or 0 if that is larger."""
        return largest(jnp.where(self.weight > 0, x, 0))


def where_rows(mask: jax.Array, new: PyTree, old: PyTree) -> PyTree:
    """Return the rows of `new` where a bool mask holds, and those of `old` elsewhere.

    Both are pytrees of arrays whose leading axes are those of the mask.
    """

    def choose(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(
            jax.lax.expand_dims(mask, range(mask.ndim, new.ndim)), new, old
        )

    return jax.tree.map(choose, new, old)


def finite_rows(tree: PyTree, shape: tuple[int, ...]) -> jax.Array:
    """Return in which rows every number is finite; the rows have the leading shape.

    Example:
        >>> finite_rows({"a": jnp.array([[1.0, jnp.nan], [2.0, 3.0]])}, (2,)).tolist()
        [False, True]
    """
    return all_in_row(jax.tree.map(jnp.isfinite, tree), shape)


def all_in_row(tree: PyTree, shape: tuple[int, ...]) -> jax.Array:
    """Return in which rows every bool of a pytree is True, see `finite_rows`."""

    def every(leaf: jax.Array) -> jax.Array:
        return jnp.all(leaf, axis=range(len(shape), leaf.ndim))

    leaves = map(every, jax.tree.leaves(tree))
    return functools.reduce(jnp.logical_and, leaves, jnp.ones(shape, bool))


def compute_where(
    mask: jax.Array,
    function: Callable[[PyTree], PyTree],
    inputs: PyTree,
    rows: PyTree,
    *,
    size: int | None = None,
) -> PyTree:
    """Return `rows`, with what the function makes of the inputs where the mask holds.

    The function maps a batch of rows to a batch of rows. It is called for `size` rows
    at a time, a sixteenth of them by default, as often as there are such rows: not at
    all if there are none. The mask is `[N]` bool, and `N` leads in inputs and rows.

    Example:
        >>> mask, x = jnp.array([True, False, True]), jnp.array([1.0, 2.0, 3.0])
        >>> compute_where(mask, lambda x: 2 * x, x, jnp.zeros(3), size=1).tolist()
        [2.0, 0.0, 6.0]
    """
    size = size or -(-mask.size // 16)

    def compute_some(carry: tuple[PyTree, jax.Array]) -> tuple[PyTree, jax.Array]:
        rows, missing = carry
        (index,) = jnp.nonzero(missing, size=size, fill_value=missing.size)
        some = jax.tree.map(lambda x: x.at[index].get(mode="clip"), inputs)
        rows = jax.tree.map(
            lambda x, new: x.at[index].set(new, mode="drop"), rows, function(some)
        )
        return rows, missing.at[index].set(False, mode="drop")

    done, _ = jax.lax.while_loop(
        lambda carry: carry[1].any(), compute_some, (rows, mask)
    )
    return done


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
    target, value = (jnp.where(weight > 0, x, 0) for x in (target, value))
    share, unit = shares(weight), binary_unit(largest(jnp.abs(target)))

    def variance(x: jax.Array) -> jax.Array:
        centred = jnp.where(share > 0, x - total(share * x), 0)
        return total(share * centred**2)

    whole = variance(target / unit)
    rounding = (32 * jnp.finfo(whole.dtype).eps) ** 2
    varied = ~(whole <= rounding)  # NaN stays NaN
    unexplained = variance((target - value) / unit) / jnp.where(varied, whole, 1)
    return jnp.where(varied, 1 - unexplained, 0)
