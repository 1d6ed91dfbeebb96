"""What a network sees of an observation, whatever its space: one vector.

Shapes: `...` are any leading axes, `D` is the length of the vector.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trpo_jax.environments.nested import parts_of
from trpo_jax.environments.spaces import (
    Box,
    Dict,
    Discrete,
    MultiBinary,
    MultiDiscrete,
    Space,
    Tuple,
)

PyTree = Any


def width_of(space: Space) -> int:
    """Return the length D of the vector that `flatten_observation` makes.

    >>> width_of(Tuple((Discrete(3), MultiDiscrete((2, 2)))))
    7
    """
    if isinstance(space, Dict | Tuple):
        return sum(width_of(part) for _, part in parts_of(space))
    if isinstance(space, Discrete):
        return space.n
    return (
        sum(space.nvec) if isinstance(space, MultiDiscrete) else math.prod(space.shape)
    )


def flatten_observation(space: Space, observation: PyTree) -> jax.Array:
    """Return an observation as a vector `[..., D]` of floats.

    Boxes and zeros and ones are flattened, and integers are one-hot. Pictures, see
    `Box.is_image`, are divided by 255. The parts of a dictionary or a tuple follow one
    another in the order of its keys.

    Example:
        >>> space = Dict({"b": Discrete(3, start=1), "a": Box.uniform((2,))})
        >>> observation = {"a": jnp.array([0.5, 0.25]), "b": jnp.int32(2)}
        >>> flatten_observation(space, observation).tolist()
        [0.5, 0.25, 0.0, 1.0, 0.0]
    """
    if isinstance(space, Dict | Tuple):
        parts = [
            flatten_observation(part, observation[key]).astype(jnp.float32)
            for key, part in parts_of(space)
        ]
        return jnp.concatenate(parts, axis=-1)
    if isinstance(space, Discrete):
        from_zero = observation - space.start if space.start else observation
        return jax.nn.one_hot(from_zero, space.n)
    leading = observation.shape[: observation.ndim - len(space.shape)]
    x = observation.reshape(*leading, -1)
    if isinstance(space, MultiDiscrete):
        element, number = _columns(space)
        start = np.asarray(space.start, np.int32)[element]
        wanted = jnp.broadcast_to(number + start, (*leading, len(number)))
        return (x[..., element] == wanted.astype(x.dtype)).astype(jnp.float32)
    x = x.astype(jnp.float32)
    return x / 255 if isinstance(space, Box) and space.is_image else x


def split_vector(space: Space, vector: jax.Array) -> PyTree:
    """Return the observation of which `flatten_observation` makes a vector `[..., D]`.

    The largest of the n numbers of an integer says which one it is. Boxes keep the
    type of the vector.

    Example:
        >>> split_vector(Dict({"x": Discrete(3, start=1)}), jnp.array([0.0, 1.0, 0.0]))
        {'x': Array(2, dtype=int32)}
    """
    if isinstance(space, Dict | Tuple):
        parts = parts_of(space)
        ends = np.cumsum([width_of(part) for _, part in parts])[:-1]
        pieces = jnp.split(vector, ends, axis=-1)
        found = {
            key: split_vector(part, piece)
            for (key, part), piece in zip(parts, pieces, strict=True)
        }
        return found if isinstance(space, Dict) else tuple(found.values())
    if isinstance(space, Discrete):
        return jnp.argmax(vector, axis=-1).astype(jnp.int32) + space.start
    leading = vector.shape[:-1]
    if isinstance(space, MultiDiscrete):
        elements = Tuple(tuple(map(Discrete, space.nvec, space.start)))
        vector = jnp.stack(split_vector(elements, vector), axis=-1)
    elif isinstance(space, MultiBinary):
        vector = (vector > 0.5).astype(space.dtype)
    elif space.is_image:
        vector = vector * 255
    return vector.reshape(*leading, *space.shape)


def _columns(space: MultiDiscrete) -> tuple[np.ndarray, np.ndarray]:
    """Return element and integer, from 0, of each column of the one-hot vector."""
    element = np.repeat(np.arange(len(space.nvec)), space.nvec)
    number = np.concatenate([np.arange(n, dtype=np.int32) for n in space.nvec])
    return element, number
