"""Spaces of actions and observations, in plain Python, without device arrays."""

import dataclasses
import functools
import math
from typing import Any

import numpy as np

from trpo_jax.validation import plain


@dataclasses.dataclass(frozen=True)
class Discrete:
    """The integers 0 … n−1.

    Args:
        n: the number of integers.

    Raises:
        ValueError: if n is below 1.

    Example:
        >>> Discrete(2)
        Discrete(n=2)
    """

    n: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "n", plain(self.n))
        if not isinstance(self.n, int) or self.n < 1:
            raise ValueError(f"n must be an integer >= 1; got {self.n!r}")


@dataclasses.dataclass(frozen=True)
class Box:
    """Arrays of numbers with a lower and an upper bound for each element.

    Args:
        shape: the shape of one array.
        low: the lower bounds, a flat tuple; −∞ where there is none.
        high: the upper bounds, a flat tuple; ∞ where there is none.
        dtype: the name of the type of the elements. JAX has no types of 64 bits unless
            asked to: float64 becomes float32, and so do int64 and uint64, which rounds
            whole numbers beyond 2²⁴, unless int32 can hold the bounds.

    Raises:
        ValueError: if the shape is negative, or the bounds do not fit it or each other.

    Example:
        >>> Box((2,), low=(-1.0, 0.0), high=(1.0, math.inf)).bounded
        False
    """

    shape: tuple[int, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    dtype: str = "float32"

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", plain(tuple(self.shape)))
        for name in ("low", "high"):
            bound = getattr(self, name)
            if not isinstance(bound, tuple):
                object.__setattr__(self, name, tuple(np.ravel(bound).tolist()))
        object.__setattr__(self, "dtype", _in_32_bits(self.dtype, self.low, self.high))
        if any(length < 0 for length in self.shape):
            raise ValueError(f"shape must not be negative; got {self.shape!r}")
        size = math.prod(self.shape)
        if not (len(self.low) == len(self.high) == size):
            raise ValueError(
                f"low and high must have one number per element, {size}; got "
                f"{len(self.low)} and {len(self.high)}"
            )
        if any(low > high for low, high in zip(self.low, self.high, strict=True)):
            raise ValueError(
                f"low must be <= high everywhere; got {self.low!r} and {self.high!r}"
            )

    @classmethod
    def uniform(
        cls, shape: tuple[int, ...], low: float = -math.inf, high: float = math.inf
    ) -> "Box":
        """Return a box with the same bounds for every element."""
        size = math.prod(shape)
        return cls(shape, (float(low),) * size, (float(high),) * size)

    @property
    def bounded(self) -> bool:
        """Whether every element has two finite bounds."""
        return all(map(math.isfinite, self.low + self.high))


Space = Discrete | Box


def _in_32_bits(dtype: Any, low: tuple[float, ...], high: tuple[float, ...]) -> str:
    """Return the name of a type of at most 32 bits for numbers within these bounds."""
    name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    if name in ("int64", "uint64"):
        fits = all(x >= -(2**31) for x in low) and all(x < 2**31 for x in high)
        return "int32" if fits else "float32"
    return "float32" if name in ("float64", np.dtype(np.longdouble).name) else name


def convert_space(name: str, role: str, space: Any) -> Space:
    """Convert a space of Gymnasium or gymnax; see `Box` on types of 64 bits.

    A space that is neither a `Box` nor a `Discrete` that starts at 0 is a `ValueError`,
    which names the environment and the role of the space, `observation` or `action`.
    """
    kind = type(space).__name__
    if kind == "Discrete" and int(getattr(space, "start", 0)) == 0:
        return Discrete(int(space.n))
    if kind == "Box":
        shape, dtype = tuple(space.shape), np.dtype(space.dtype).name
        low, high = (
            tuple(np.broadcast_to(np.asarray(bound, float), shape).ravel().tolist())
            for bound in (space.low, space.high)
        )
        return Box(shape, low, high, dtype)
    raise ValueError(
        f"{name}: {role} space {kind} is not supported; it must be a Box or a "
        "Discrete that starts at 0" + ", or a Dict of those" * (role == "observation")
    )


def rescale_action(space: Box, action: Any) -> Any:
    """Clip actions to [−1, 1] and scale them to the bounds of a box.

    The actions `[..., *space.shape]` are an array of numpy or JAX, and so is the
    result. If the box is not bounded, they are returned unchanged.

    >>> rescale_action(Box.uniform((1,), -3.0, 3.0), np.array([[0.5], [2.0]])).tolist()
    [[1.5], [3.0]]
    """
    if not space.bounded:
        return action
    low, size = _low_and_size(space, np.dtype(action.dtype))
    return low + size * (action.clip(-1, 1) + 1) / 2


@functools.lru_cache
def _low_and_size(space: Box, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    low, high = (
        np.reshape(np.asarray(bound, dtype), space.shape)
        for bound in (space.low, space.high)
    )
    return low, high - low
