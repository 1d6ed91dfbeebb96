"""Pytrees as flat vectors: a handful of operations, however many arrays there are.

XLA on CPU (jaxlib 0.10.1) takes 10 ns a number to concatenate arrays whose result has
2¹⁶ numbers or more, which is longer than it takes to compute a minibatch's gradient. A
large tree is therefore written piece by piece into an existing vector (`ravel_into`),
and nothing is differentiated through the way back, whose transpose would concatenate.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from trpo_jax.solver.precision import widen

PyTree = Any

_LARGE = 2**16  # numbers


def ravel_if_small(tree: PyTree) -> tuple[PyTree, Callable[[PyTree], PyTree]]:
    """Ravel a pytree of fewer than 2¹⁶ numbers; leave a larger one as it is.

    The second result turns the first, or anything like it, back into a pytree.
    Functions of the first can be differentiated at no extra cost, whatever its size.

    Example:
        >>> ravel_if_small({"w": jnp.zeros((2, 3))})[0].shape
        (6,)
    """
    if sum(leaf.size for leaf in jax.tree.leaves(tree)) < _LARGE:
        return ravel(tree)
    return tree, lambda same: same


def ravel(tree: PyTree) -> tuple[jax.Array, Callable[[jax.Array], PyTree]]:
    """Do what `jax.flatten_util.ravel_pytree` does, with a vector of at least float32.

    Example:
        >>> vector, unravel = ravel(jnp.ones(2, jnp.bfloat16))
        >>> str(vector.dtype), str(unravel(vector).dtype)
        ('float32', 'bfloat16')
    """
    vector, unravel = ravel_pytree(tree)
    kind = vector.dtype
    return widen(vector), lambda vector: unravel(vector.astype(kind))


def ravel_into(vector: jax.Array, tree: PyTree) -> jax.Array:
    """Return the numbers of a pytree as one vector, written over an existing one.

    That vector must have the size and dtype of the result; its numbers do not matter.
    The order is that of `jax.flatten_util.ravel_pytree`.

    Example:
        >>> tree = {"b": jnp.ones(2), "w": jnp.zeros((1, 2))}
        >>> ravel_into(jnp.zeros(4), tree).tolist()
        [1.0, 1.0, 0.0, 0.0]
    """
    if vector.size < _LARGE:
        return ravel_pytree(tree)[0].astype(vector.dtype)
    offset = 0
    for leaf in jax.tree.leaves(tree):
        piece = jnp.ravel(leaf).astype(vector.dtype)
        vector = jax.lax.dynamic_update_slice(vector, piece, (offset,))
        offset += piece.size
    return vector


def binary_unit(tree: PyTree) -> jax.Array:
    """Return the power of two next to the largest number of a pytree, in magnitude.

    Dividing by it is exact, and no square of the result over- or underflows. It is 1
    where every number is 0, or one of them is not finite.

    Example:
        >>> float(binary_unit(jnp.array([3e-30, -5.0])))
        8.0
    """
    wide = jax.tree.leaves(widen(tree))
    leaves = [jnp.max(jnp.abs(leaf), initial=0) for leaf in wide]
    largest = jnp.max(jnp.stack(leaves))
    usable = (largest > 0) & jnp.isfinite(largest)
    _, exponent = jnp.frexp(jnp.where(usable, largest, 0.5))
    return jnp.ldexp(jnp.ones_like(largest), exponent)


def all_finite(tree: PyTree) -> jax.Array:
    """Return whether every number in a pytree is finite, as a bool scalar.

    Example:
        >>> bool(all_finite({"a": jnp.zeros(2), "b": jnp.array(jnp.nan)}))
        False
    """
    leaves = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]
    return jnp.all(jnp.stack(leaves))
