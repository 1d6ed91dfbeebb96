"""Spaces as JSON, and back: numbers and names, checked before anything is made."""

import math
from typing import Any

import numpy as np

from trpo_jax.environments.spaces import (
    Box,
    Dict,
    Discrete,
    MultiBinary,
    MultiDiscrete,
    Space,
    Tuple,
)

LARGEST_SPACE = 2**24  # numbers in one observation or action that a file may describe


def space_as_json(space: Space | None) -> Any:  # noqa: PLR0911
    """Return a space as JSON can hold it; None stands for one of the user's own.

    >>> space_as_json(Tuple((Discrete(2), MultiBinary(3))))
    {'tuple': [{'n': 2}, {'binary': [3]}]}
    """
    match space:
        case None:
            return None
        case Discrete(n, start):
            return {"n": n} | ({"start": start} if start else {})
        case MultiDiscrete(nvec, start, shape):
            lists = map(list, (nvec, start, shape))
            return dict(zip(("nvec", "start", "shape"), lists, strict=True))
        case MultiBinary(shape):
            return {"binary": list(shape)}
        case Tuple(parts):
            return {"tuple": list(map(space_as_json, parts))}
        case Dict(entries):
            return {"dict": {key: space_as_json(x) for key, x in entries.items()}}
        case Box(shape, low, high, dtype):
            low, high = map(_bound_as_json, (low, high))
            return {
                "shape": list(map(int, shape)), "low": low, "high": high,
                "dtype": np.dtype(dtype).name,
            }  # fmt: skip


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


def _space_from(content: Any) -> Space:  # noqa: PLR0911
    match content:
        case {"parts": _}:
            raise ValueError(
                "its policy saw a dictionary as one vector, as in earlier versions of "
                "trpo_jax: train it again"
            )
        case {"n": int(n), "start": int(start)} if 1 <= n <= LARGEST_SPACE:
            return Discrete(n, start)
        case {"n": int(n)} if 1 <= n <= LARGEST_SPACE:
            return Discrete(n)
        case {"nvec": list(nvec), "start": list(start), "shape": list(shape)}:
            if _whole(nvec) and sum(nvec) <= LARGEST_SPACE and _whole(shape):
                return MultiDiscrete(tuple(nvec), tuple(start), tuple(shape))
        case {"binary": list(shape)} if _size(shape) <= LARGEST_SPACE:
            return MultiBinary(tuple(shape))
        case {"tuple": list(parts)}:
            return Tuple(tuple(map(_space_from, parts)))
        case {"dict": dict(parts)}:
            return Dict({key: _space_from(part) for key, part in parts.items()})
        case {"shape": list(shape), "low": low, "high": high, "dtype": str(dtype)}:
            size = _size(shape)
            if size <= LARGEST_SPACE:
                low, high = _bound(low, size, -math.inf), _bound(high, size, math.inf)
                return Box(tuple(shape), low, high, require_numbers(dtype).name)
    raise ValueError(f"a space is not described: {str(content)[:100]}")


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
