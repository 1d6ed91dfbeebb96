"""Reading an observation that somebody else's code made, for a policy to act on."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from trpo_jax.environments.host import Parts, convert_observations
from trpo_jax.environments.spaces import Discrete, Space


class ObservationReader:
    """Turns observations into arrays that a policy takes, or refuses them.

    The observations are those of a simulator, described by `describe_observations`: an
    array, a list, a number, or a dictionary of those, with any leading axes. Instead of
    a dictionary, the vector that a policy makes of it is accepted as well. Numbers get
    the type of the space, unless that would change an integer; entries of a dictionary
    that the space does not have are ignored.

    >>> reader = ObservationReader(Discrete(3))
    >>> reader([0, 2])
    array([0, 2], dtype=int32)
    """

    def __init__(self, parts: Parts) -> None:
        self.space, self._convert = convert_observations("observation", parts)
        self._parts = parts

    def __call__(self, observation: Any) -> np.ndarray:
        """Return an array `[..., *space.shape]`; refuse with a `ValueError`."""
        if not isinstance(self._parts, dict):
            return read_array("observation", self.space, observation)
        if not isinstance(observation, Mapping):
            return read_array("observation", self.space, observation, self._parts)
        rows: list[tuple[str, tuple[int, ...]]] = []
        leaves = _read_parts("observation", self._parts, observation, rows)
        for name, leading in rows:
            if leading != rows[0][1]:
                raise ValueError(
                    f"{name} must have the leading axes of {rows[0][0]}, "
                    f"{list(rows[0][1])}; got {list(leading)}"
                )
        return self._convert(leaves).reshape(*rows[0][1], -1)


def _read_parts(name: str, parts: Any, observation: Any, rows: list) -> Any:
    """Return a dictionary of arrays `[N, ...]`, and note the leading axes of each."""
    if not isinstance(parts, dict):
        array = read_array(name, parts, observation)
        rows.append((name, leading_axes(parts, array)))
        return array.reshape(math.prod(rows[-1][1]), *_shape_of(parts))
    if not isinstance(observation, Mapping):
        raise ValueError(f"{name} must be a {_keys(parts)}; got {_words(observation)}")
    missing = [key for key in parts if key not in observation]
    if missing:
        raise ValueError(
            f"{name} must be a {_keys(parts)}; {missing[0]!r} is missing in "
            f"{_words(observation)}"
        )
    return {
        key: _read_parts(f"{name}[{key!r}]", part, observation[key], rows)
        for key, part in parts.items()
    }


def read_array(
    name: str, space: Space, observation: Any, parts: Any = None
) -> np.ndarray:
    """Return an array `[..., *space.shape]` of the type of a space, or refuse it.

    `parts` is the dictionary of spaces that may be given instead. What is refused is a
    `ValueError` with the name of the observation.
    """
    shape, dtype = _shape_of(space), _type_of(space)
    try:
        array = np.asarray(observation)
    except ValueError:  # a list of lists of different lengths
        array = np.asarray(None)
    size = len(shape)
    fits = array.ndim >= size and array.shape[array.ndim - size :] == shape
    if not fits or (array.dtype != dtype and not _convertible(array.dtype, dtype)):
        kind = "numbers" if dtype.kind == "f" else "integers"
        of = f"an array of {kind}, of shape [{', '.join(map(str, ('...', *shape)))}]"
        if isinstance(space, Discrete):
            of = f"integers from 0 to {space.n - 1}"
        if parts is not None:
            of = f"a {_keys(parts)}, or {of}"
        raise ValueError(f"{name} must be {of}; got {_words(observation)}")
    given = array
    if array.dtype != dtype:
        with np.errstate(over="ignore", invalid="ignore"):
            array = array.astype(dtype)
    if dtype.kind not in "iub":
        if np.isnan(array).any():
            raise ValueError(f"{name} must be numbers; got NaN")
    elif given is not array and (given != array).any():
        wrong = given[given != array].flat[0]
        raise ValueError(f"{name} must be integers of type {dtype}; got {wrong}")
    if isinstance(space, Discrete):
        outside = (array < 0) | (array >= space.n)
        if outside.any():
            raise ValueError(
                f"{name} must be integers from 0 to {space.n - 1}; got "
                f"{array[outside].flat[0]}"
            )
    return array


def leading_axes(space: Space, array: np.ndarray) -> tuple[int, ...]:
    """Return the axes of an array that lead those of its space."""
    return array.shape[: array.ndim - len(_shape_of(space))]


def _shape_of(space: Space) -> tuple[int, ...]:
    return () if isinstance(space, Discrete) else space.shape


def _type_of(space: Space) -> np.dtype:
    return np.dtype("int32" if isinstance(space, Discrete) else space.dtype)


def _convertible(given: np.dtype, wanted: np.dtype) -> bool:
    """Return whether numbers of one type may be given where another is wanted."""
    kinds = "biu" if wanted.kind in "biu" else "biuf"
    return given.kind in kinds or np.can_cast(given, wanted)


def _keys(parts: dict[str, Any]) -> str:
    return f"dictionary with the keys {', '.join(map(repr, parts))}"


def _words(observation: Any) -> str:
    """Return what was given, in a few words."""
    if isinstance(observation, Mapping):
        return f"a dictionary with the keys {', '.join(map(repr, observation))}"
    if not hasattr(observation, "dtype") and not isinstance(observation, list | tuple):
        return repr(observation)[:100]
    try:
        array = np.asarray(observation)
    except ValueError:
        return "lists of different lengths"
    return f"{array.dtype} of shape {list(array.shape)}"
