"""Sums, maxima and existence over rows, wherever the rows are.

Outside `jax.shard_map` these are the functions of `jax.numpy`. Inside, where every
device has rows of its own, they also reduce over the mesh axes along which the array
differs from device to device, which its type tells. No caller names an axis.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp


def total(x: jax.Array, axis: int | Sequence[int] | None = None) -> jax.Array:
    """Return the sum over the rows, which are on these axes (all of them with None).

    Example:
        >>> float(total(jnp.array([1.0, 2.0])))
        3.0
    """
    return _over_devices(jax.lax.psum, jnp.sum(x, axis))


def largest(x: jax.Array, axis: int | Sequence[int] | None = None) -> jax.Array:
    """Return the maximum over the rows, see `total`."""
    return _over_devices(jax.lax.pmax, jnp.max(x, axis))


def anywhere(x: jax.Array) -> jax.Array:
    """Return whether a bool array is True in any row, as a bool scalar."""
    return largest(x.astype(jnp.int32)) > 0


def shares(weight: jax.Array) -> jax.Array:
    """Return w / Σ w, each row's share of the weight, or 0 where no row has any.

    Example:
        >>> shares(jnp.array([1.0, 3.0])).tolist(), shares(jnp.zeros(2)).tolist()
        ([0.25, 0.75], [0.0, 0.0])
    """
    mass = total(weight)
    return weight / jnp.where(mass > 0, mass, 1)


def _over_devices(reduce: Any, x: jax.Array) -> jax.Array:
    """Reduce over the mesh axes along which an array differs from device to device."""
    kind: Any = jax.typeof(x)
    axes = tuple(sorted(kind.manual_axis_type.varying))
    return reduce(x, axes) if axes else x
