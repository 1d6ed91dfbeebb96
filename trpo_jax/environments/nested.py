"""Dictionaries and tuples, of spaces and of arrays, without JAX.

An array alone is handled at the cost of one call, which `jax.tree.map` is not: a loop
over simulators steps tens of thousands of times a second.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from trpo_jax.environments.spaces import Dict, Leaf, Space, Tuple

Nested = Any
"""An array, or a dictionary or a tuple of those, nested or not."""


def parts_of(space: Dict | Tuple) -> list[tuple[Any, Space]]:
    """Return the keys or indices of a nested space, each with its space, in order.

    >>> from trpo_jax.environments.spaces import Discrete
    >>> parts_of(Tuple((Discrete(2), Discrete(3))))
    [(0, Discrete(n=2)), (1, Discrete(n=3))]
    """
    if isinstance(space, Dict):
        return list(space.spaces.items())
    return list(enumerate(space.spaces))


def leaves_of(space: Space) -> list[Leaf]:
    """Return the leaves of a space in order."""
    if isinstance(space, Dict | Tuple):
        return [leaf for _, part in parts_of(space) for leaf in leaves_of(part)]
    return [space]


def space_tree(space: Any) -> Any:
    """Return the leaves of a space in the structure of its elements, a pytree.

    >>> from trpo_jax.environments.spaces import Discrete
    >>> space_tree(Dict({"a": Discrete(2), "b": Tuple((Discrete(3),))}))
    {'a': Discrete(n=2), 'b': (Discrete(n=3),)}
    """
    if isinstance(space, Dict):
        return {key: space_tree(part) for key, part in space.spaces.items()}
    if isinstance(space, Tuple):
        return tuple(map(space_tree, space.spaces))
    return space


def map_nested(function: Callable[..., Any], tree: Nested, *others: Nested) -> Nested:
    """Apply a function to every array, and to those in its place in other trees.

    >>> map_nested(lambda x, y: x + y, {"a": 1, "b": (2,)}, {"a": 3, "b": (4,)})
    {'a': 4, 'b': (6,)}
    """
    if isinstance(tree, dict):
        return {
            key: map_nested(function, part, *(other[key] for other in others))
            for key, part in tree.items()
        }
    if isinstance(tree, tuple):
        return tuple(
            map_nested(function, *parts) for parts in zip(tree, *others, strict=True)
        )
    return function(tree, *others)


def rows_of(tree: Nested, index: Any) -> Nested:
    """Return the same rows of every array.

    >>> rows_of({"a": np.arange(3)}, slice(1, 3))
    {'a': array([1, 2])}
    """
    return map_nested(lambda array: array[index], tree)


def write_rows(into: Nested, index: Any, rows: Nested) -> None:
    """Write rows into every array, at the same places."""
    if isinstance(into, dict):
        for key, part in into.items():
            write_rows(part, index, rows[key])
    elif isinstance(into, tuple):
        for part, own in zip(into, rows, strict=True):
            write_rows(part, index, own)
    else:
        into[index] = rows


def walk(
    function: Callable[[str, Any, Any], Any],
    space: Any,
    value: Any,
    name: str = "observation",
) -> Nested:
    """Apply `function(name, space, value)` to every leaf of a space and what is there.

    Entries of a dictionary that the space does not have are ignored; a list is taken as
    a tuple. Anything else without the structure of the space is a `ValueError`.

    >>> from trpo_jax.environments.spaces import Discrete
    >>> pair = Tuple((Discrete(2), Discrete(3)))
    >>> walk(lambda name, space, value: (name, space.n * value), pair, [5, 6], "x")
    (('x[0]', 10), ('x[1]', 18))
    """
    if isinstance(space, Dict):
        expected = f"{name} must be {in_words(space.spaces)}"
        if not isinstance(value, Mapping):
            raise ValueError(f"{expected}; got {in_words(value)}")
        missing = [key for key in space.spaces if key not in value]
        if missing:
            raise ValueError(
                f"{expected}; {missing[0]!r} is missing in {in_words(value)}"
            )
        return {
            key: walk(function, part, value[key], f"{name}[{key!r}]")
            for key, part in space.spaces.items()
        }
    if isinstance(space, Tuple):
        parts = space.spaces
        if not isinstance(value, tuple | list) or len(value) != len(parts):
            raise ValueError(
                f"{name} must be {in_words(space.spaces)}; got {in_words(value)}"
            )
        return tuple(
            walk(function, part, entry, f"{name}[{i}]")
            for i, (part, entry) in enumerate(zip(parts, value, strict=True))
        )
    return function(name, space, value)


def in_words(value: Any) -> str:
    """Return what was given instead of an observation, in a few words."""
    if isinstance(value, Mapping):
        return f"a dictionary with the keys {', '.join(map(repr, value))}"
    if isinstance(value, tuple):
        return f"a tuple of length {len(value)}"
    if not hasattr(value, "dtype") and not isinstance(value, list):
        return repr(value)[:100]
    try:
        array = np.asarray(value)
    except ValueError:
        return "lists of different lengths"
    return f"{array.dtype} of shape {list(array.shape)}"
