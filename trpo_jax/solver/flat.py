"""Parameters as one vector: a handful of operations, whatever the number of arrays.

XLA for CPUs (jaxlib 0.10.1) puts arrays together at 10 ns a number where the result has
2¹⁶ numbers or more, which is longer than a minibatch takes that they are gradients of.
Large vectors are therefore written piece by piece over another one, and nothing is
differentiated through the way back, whose transpose would put arrays together again.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

PyTree = Any

_LARGE = 2**16


def as_vector(tree: PyTree) -> tuple[PyTree, Callable[[PyTree], PyTree]]:
    """Return a pytree as one vector if it is small, and the way back.

    A large one comes back as it is, so that what takes it can be differentiated.

    Args:
        tree: of arrays.

    Example:
        >>> as_vector({"w": jnp.zeros((2, 3))})[0].shape
        (6,)
    """
    if sum(leaf.size for leaf in jax.tree.leaves(tree)) < _LARGE:
        return ravel_pytree(tree)
    return tree, lambda same: same


def overwritten(vector: jax.Array, tree: PyTree) -> jax.Array:
    """Return a pytree's numbers as one vector.

    Args:
        vector: any of that size and type.
        tree: of arrays.

    Example:
        >>> tree = {"b": jnp.ones(2), "w": jnp.zeros((1, 2))}
        >>> overwritten(jnp.zeros(4), tree).tolist()
        [1.0, 1.0, 0.0, 0.0]
    """
    if vector.size < _LARGE:
        return ravel_pytree(tree)[0]
    at = 0
    for leaf in jax.tree.leaves(tree):
        piece = jnp.ravel(leaf).astype(vector.dtype)
        vector = jax.lax.dynamic_update_slice(vector, piece, (at,))
        at += piece.size
    return vector


def all_finite(tree: PyTree) -> jax.Array:
    """Return whether every number in a pytree is finite, a bool scalar."""
    leaves = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]
    return jnp.all(jnp.stack(leaves))
