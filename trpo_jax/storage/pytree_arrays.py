"""Pytrees as arrays with names, which a file of numbers can hold."""

from typing import Any

import jax
import numpy as np

PyTree = Any

_PLAIN = frozenset(
    ["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"]
)  # types that files know; arrays of other types are stored as unsigned integers
_RESERVED = "__metadata__"
_KEY_KINDS = ("threefry2x32", "rbg", "unsafe_rbg")


def name_of(key_path: tuple) -> str:
    """Return the name of a leaf: the keys of its path, joined by slashes.

    >>> [name_of(path) for path, _ in jax.tree.leaves_with_path({"a": [1, 2]})]
    ['a/0', 'a/1']
    """
    return jax.tree_util.keystr(key_path, simple=True, separator="/")


def named(tree: PyTree) -> dict[str, Any]:
    """Return the leaves of a tree of arrays, typed keys, or their shapes, by name.

    Raise `ValueError` for a repeated name, or one that the file format reserves.
    """
    pairs = [
        (name_of(path), leaf if hasattr(leaf, "dtype") else np.asarray(leaf))
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]
    leaves = dict(pairs)
    if len(leaves) != len(pairs):
        raise ValueError("two leaves of the tree have the same name")
    if _RESERVED in leaves:
        raise ValueError(f"no leaf of the tree may have the name {_RESERVED}")
    return leaves


def entry_of(leaf: Any) -> dict[str, Any]:
    """Return the type and the shape of a leaf, as JSON can hold them."""
    return {"dtype": str(leaf.dtype), "shape": list(leaf.shape)}


def numbers_of(leaf: Any) -> np.ndarray:
    """Return a leaf, bit for bit, or the data of typed keys, as a file can hold it."""
    array = np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf, order="C")
    return array.view(_plain(array.dtype))


def stored(leaf: Any) -> jax.ShapeDtypeStruct:
    """Return the shape and the type of what `numbers_of` returns for a leaf."""
    if _is_key(leaf):
        leaf = jax.eval_shape(jax.random.key_data, leaf)
    return jax.ShapeDtypeStruct(leaf.shape, _plain(np.dtype(leaf.dtype)))


def rebuilt(template: PyTree, arrays: dict[str, np.ndarray]) -> PyTree:
    """Return a tree like the template from the arrays of `numbers_of` by name."""
    leaves = [
        _wrapped(arrays[name], leaf.dtype)
        if _is_key(leaf)
        else arrays[name].view(leaf.dtype)
        for name, leaf in named(template).items()
    ]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(kind: np.dtype) -> np.dtype:
    if kind.kind not in "biufV":  # V: types that numpy does not know, such as bfloat16
        raise ValueError(f"a leaf of type {kind} is neither of numbers nor of keys")
    return kind if kind.str[1:] in _PLAIN else np.dtype(f"u{kind.itemsize}")


def _wrapped(numbers: np.ndarray, kind: Any) -> jax.Array:
    """Return typed keys from their data."""
    for name in _KEY_KINDS:
        key = jax.eval_shape(lambda name=name: jax.random.key(0, impl=name))
        if key.dtype == kind:
            return jax.random.wrap_key_data(jax.numpy.asarray(numbers), impl=name)
    raise ValueError(f"keys of the kind {kind} are not known")
