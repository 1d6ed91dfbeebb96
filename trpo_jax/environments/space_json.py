"""Spaces as JSON, and back: numbers and names, checked before anything is made."""

import math
from typing import Any

import numpy as np

from trpo_jax.environments.spaces import (
    Box,
    Dict,
    Discrete,
    Leaf,
    MultiBinary,
    MultiDiscrete,
    Space,
    Tuple,
)

LARGEST_SPACE = 2**24  # numbers in one observation or action that a file may describe


def space_as_json(space: Space | None) -> Any:
    """Return a space as JSON can hold it; None stands for one of the user's own.

    >>> space_as_json(Tuple((Discrete(2), MultiBinary(3))))
    {'tuple': [{'n': 2}, {'binary': [3]}]}
    """
    content: Any = None
    match space:
        case Discrete(n, start):
            content = {"n": n} | ({"start": start} if start else {})
        case MultiDiscrete(nvec, start, shape):
            lists = map(list, (nvec, start, shape))
            content = dict(zip(("nvec", "start", "shape"), lists, strict=True))
        case MultiBinary(shape):
            content = {"binary": list(shape)}
        case Tuple(parts):
            content = {"tuple": list(map(space_as_json, parts))}
        case Dict(entries):
            content = {"dict": {key: space_as_json(x) for key, x in entries.items()}}
        case Box(shape, low, high, dtype):
            content = {
                "shape": list(map(int, shape)),
                "low": _bound_as_json(low),
                "high": _bound_as_json(high),
                "dtype": np.dtype(dtype).name,
            }
    return content


def space_from_json(content: Any) -> Space | None:
    """Return the space that `space_as_json` wrote; refuse any other content.

    What is refused is a `ValueError` or a `TypeError`.
    """
    return None if content is None else _space_from(content)


def type_from_json(content: Any) -> Any:
    """Return names of types of numbers, in dictionaries and tuples, or refuse them."""
    if isinstance(content, dict):
        return {key: type_from_json(part) for key, part in content.items()}
    if isinstance(content, list):
        return tuple(map(type_from_json, content))
    if not isinstance(content, str):
        raise ValueError(f"a type must be a text; got {content!r}")
    require_numbers(content)
    return content


def require_numbers(dtype: str) -> np.dtype:
    """Return a type of numbers; any other one is a `ValueError` or a `TypeError`."""
    kind = np.dtype(dtype)
    if kind.kind not in "biuf" and kind.name != "bfloat16":
        raise ValueError(f"a type must be one of numbers; got {dtype!r}")
    return kind


def _space_from(content: Any) -> Space:
    space: Space | None
    match content:
        case {"parts": _}:
            raise ValueError(
                "its policy saw a dictionary as one vector, as in earlier versions of "
                "trpo_jax: train it again"
            )
        case {"tuple": list(parts)}:
            space = Tuple(tuple(map(_space_from, parts)))
        case {"dict": dict(parts)}:
            space = Dict({key: _space_from(part) for key, part in parts.items()})
        case _:
            space = _leaf_from(content)
    if space is None:
        raise ValueError(f"a space is not described: {str(content)[:100]}")
    return space


def _leaf_from(content: Any) -> Leaf | None:
    """Return a space that is not nested, or None if none is described."""
    space: Leaf | None = None
    match content:
        case {"n": int(n), "start": int(start)} if 1 <= n <= LARGEST_SPACE:
            space = Discrete(n, start)
        case {"n": int(n)} if 1 <= n <= LARGEST_SPACE:
            space = Discrete(n)
        case {"nvec": list(nvec), "start": list(start), "shape": list(shape)}:
            if _whole(nvec) and sum(nvec) <= LARGEST_SPACE and _whole(shape):
                space = MultiDiscrete(tuple(nvec), tuple(start), tuple(shape))
        case {"binary": list(shape)} if _size(shape) <= LARGEST_SPACE:
            space = MultiBinary(tuple(shape))
        case {"shape": list(shape), "low": low, "high": high, "dtype": str(dtype)}:
            size = _size(shape)
            if size <= LARGEST_SPACE:
                low, high = _bound(low, size, -math.inf), _bound(high, size, math.inf)
                space = Box(tuple(shape), low, high, require_numbers(dtype).name)
    return space


def _whole(numbers: list) -> bool:
    return all(type(number) is int and number >= 0 for number in numbers)


def _size(shape: list) -> int:
    return math.prod(shape) if _whole(shape) else LARGEST_SPACE + 1


def _bound_as_json(bound: tuple[float, ...]) -> Any:
    """Return one number if all are equal; None stands for a bound that is not there."""
    finite = [float(x) if math.isfinite(x) else None for x in bound]
    return finite[0] if len(set(finite)) == 1 else finite


def _bound(bound: Any, size: int, absent: float) -> tuple[float, ...]:
    numbers = bound if isinstance(bound, list) else [bound] * size
    result = tuple(absent if x is None else float(x) for x in numbers)
    if any(map(math.isnan, result)):
        raise ValueError("a bound must be a number; got NaN")
    return result
