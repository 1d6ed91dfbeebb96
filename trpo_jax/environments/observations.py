"""Reading an observation that somebody else's code made, for a policy to act on."""

from typing import Any

import numpy as np

from trpo_jax.environments.nested import Nested, in_words, walk
from trpo_jax.environments.spaces import (
    Dict,
    Discrete,
    MultiBinary,
    MultiDiscrete,
    Space,
    Tuple,
)


class ObservationReader:
    """Turns observations into arrays that a policy takes, or refuses them.

    The observations are those of a simulator, elements of a space: an array, a list, a
    number, or a dictionary or a tuple of those, with any leading axes. Numbers get the
    type of the space, unless that would change an integer; entries of a dictionary that
    the space does not have are ignored.

    >>> reader = ObservationReader(Discrete(3))
    >>> reader([0, 2])
    (array([0, 2], dtype=int32), (2,))
    """

    def __init__(self, space: Space) -> None:
        self.space = space

    def __call__(self, observation: Any) -> tuple[Nested, tuple[int, ...]]:
        """Return arrays `[..., *shape]` and their leading axes, or a `ValueError`."""
        rows: list[tuple[str, tuple[int, ...]]] = []

        def read(name: str, space: Any, observation: Any) -> np.ndarray:
            array = read_array(name, space, observation)
            rows.append((name, leading_axes(space, array)))
            return array

        arrays = walk(read, self.space, observation)
        for name, leading in rows:
            if leading != rows[0][1]:
                raise ValueError(
                    f"{name} must have the leading axes of {rows[0][0]}, "
                    f"{list(rows[0][1])}; got {list(leading)}"
                )
        return arrays, rows[0][1]


def read_array(
    name: str, space: Any, observation: Any, instead_of: Dict | Tuple | None = None
) -> np.ndarray:
    """Return an array `[..., *space.shape]` of the type of a space, or refuse it.

    It may be given instead of a dictionary or a tuple of another space. What is refused
    is a `ValueError` with the name of the observation.
    """
    shape, dtype = space.shape, np.dtype(space.dtype)
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
            of = _integers(space)
        if instead_of is not None:
            of = f"{in_words(instead_of.spaces)}, or {of}"
        raise ValueError(f"{name} must be {of}; got {in_words(observation)}")
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
    if isinstance(space, Discrete | MultiDiscrete | MultiBinary):
        _require_range(name, space, array)
    return array


def _require_range(name: str, space: Any, array: np.ndarray) -> None:
    """Refuse integers that are not elements of a discrete space."""
    first, number = getattr(space, "start", 0), getattr(space, "nvec", 2)
    if isinstance(space, Discrete):
        number = space.n
    elif isinstance(space, MultiDiscrete):
        first, number = (np.reshape(x, space.shape) for x in (first, number))
    outside = (array < first) | (array >= np.add(first, number))
    if outside.any():
        wrong = array[outside].flat[0]
        raise ValueError(f"{name} must be {_integers(space)}; got {wrong}")


def _integers(space: Any) -> str:
    if isinstance(space, Discrete):
        return f"integers from {space.start} to {space.start + space.n - 1}"
    return "zeros and ones" if isinstance(space, MultiBinary) else f"in {space}"


def leading_axes(space: Any, array: Any) -> tuple[int, ...]:
    """Return the axes of an array that lead those of its space."""
    return array.shape[: array.ndim - len(space.shape)]


def _convertible(given: np.dtype, wanted: np.dtype) -> bool:
    """Return whether numbers of one type may be given where another is wanted."""
    kinds = "biu" if wanted.kind in "biu" else "biuf"
    return given.kind in kinds or np.can_cast(given, wanted)
