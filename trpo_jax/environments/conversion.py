"""From the spaces and observations of simulators to those of this package."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from trpo_jax.environments.host import copy_exactly
from trpo_jax.environments.nested import Nested, walk
from trpo_jax.environments.spaces import (
    Box,
    Dict,
    Discrete,
    MultiBinary,
    MultiDiscrete,
    Space,
    Tuple,
)


def convert_space(name: str, role: str, space: Any) -> Space:
    """Convert a space of Gymnasium or gymnax; see `Box` on types of 64 bits.

    In a box of actions, a bound of ±3.4e38 or more, the largest number of float32,
    stands for none, as it does in many environments. A space of another kind is a
    `ValueError`, which names the environment and the role of the space, `observation`
    or `action`.

    >>> import gymnasium
    >>> convert_space("mine", "action", gymnasium.spaces.Discrete(3, start=1))
    Discrete(n=3, start=1)
    """
    kind = type(space).__name__
    make: Callable[[], Space]
    if isinstance(space, Space):
        return space
    if kind == "Discrete":
        make = functools.partial(
            Discrete, int(space.n), int(getattr(space, "start", 0))
        )
    elif kind == "Box":
        make = functools.partial(_convert_box, role, space)
    elif kind == "MultiDiscrete":
        start: Any = getattr(space, "start", 0)
        make = functools.partial(MultiDiscrete, space.nvec, start)
    elif kind == "MultiBinary":
        make = functools.partial(MultiBinary, tuple(space.shape))
    elif kind == "Tuple":
        numbered = enumerate(space.spaces)
        parts = [convert_space(f"{name}[{i}]", role, part) for i, part in numbered]
        make = functools.partial(Tuple, tuple(parts))
    elif kind == "Dict":
        entries = {
            key: convert_space(f"{name}[{key!r}]", role, part)
            for key, part in space.spaces.items()
        }
        make = functools.partial(Dict, entries)
    else:
        raise ValueError(
            f"{name}: {role} space {kind} is not supported; it must be a Box, a "
            "Discrete, a MultiDiscrete, a MultiBinary, or a Tuple or a Dict of those"
        )
    try:
        return make()
    except ValueError as error:
        raise ValueError(f"{name}: {role} space {kind}: {error}") from error


def _convert_box(role: str, space: Any) -> Box:
    shape, dtype = tuple(space.shape), np.dtype(space.dtype).name
    low, high = (
        tuple(np.broadcast_to(np.asarray(bound, float), shape).ravel().tolist())
        for bound in (space.low, space.high)
    )
    if role == "action" and np.dtype(dtype).kind == "f":
        low, high = (tuple(map(_or_none, bound)) for bound in (low, high))
    return Box(shape, low, high, dtype)


def _or_none(bound: float) -> float:
    none = abs(bound) >= float(np.finfo(np.float32).max)
    return math.copysign(math.inf, bound) if none else bound


def types_of(space: Any) -> Any:
    """Return the name of the type of a simulator's space, or of each leaf of it.

    >>> import gymnasium
    >>> types_of(gymnasium.spaces.Dict(a=gymnasium.spaces.MultiBinary(2)))
    {'a': 'int8'}
    """
    kind = type(space).__name__
    if kind == "Dict":
        return {key: types_of(part) for key, part in sorted(space.spaces.items())}
    if kind == "Tuple":
        return tuple(map(types_of, space.spaces))
    return np.dtype(space.dtype).name


def convert_observations(
    name: str, space: Any
) -> tuple[Space, Callable[[Any], Nested]]:
    """Convert the observation space of a simulator, see `convert_space`.

    The results are the space, and a function that converts a batch of the simulator's
    observations into new arrays `[B, ...]` of the types of the space, see
    `copy_exactly`: one array, or a dictionary or a tuple of arrays.
    """
    converted = convert_space(name, "observation", space)

    def copy(where: str, leaf: Any, observation: Any) -> np.ndarray:
        return copy_exactly(where, observation, leaf.dtype)

    return converted, lambda observation: walk(copy, converted, observation, name)
