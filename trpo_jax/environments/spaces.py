"""What an action or an observation may be; plain Python, no device arrays."""

import dataclasses
import functools
import math
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Discrete:
    """One of the integers 0 … n−1."""

    n: int

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n must be an integer >= 1; got {self.n!r}")


@dataclasses.dataclass(frozen=True)
class Box:
    """Real numbers of a given shape between bounds, one pair an element.

    Args:
        shape: of one observation or action.
        low: flat tuple of lower bounds, −∞ where there is none.
        high: flat tuple of upper bounds.
        dtype: name of the element type.
    """

    shape: tuple[int, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if any(length < 0 for length in self.shape):
            raise ValueError(f"shape must not be negative; got {self.shape!r}")
        size = math.prod(self.shape)
        if not (len(self.low) == len(self.high) == size):
            raise ValueError(
                f"low and high must have one number an element, {size}; got "
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
        """Return a box whose elements all share the same bounds."""
        size = math.prod(shape)
        return cls(shape, (float(low),) * size, (float(high),) * size)

    @property
    def bounded(self) -> bool:
        """Whether every element has two finite bounds."""
        return all(map(math.isfinite, self.low + self.high))


Space = Discrete | Box


def rescale_action(space: Box, action: Any) -> Any:
    """Map [−1, 1] onto a bounded box and clip; leave an unbounded one alone.

    Args:
        space: of one action.
        action: `[..., *space.shape]`, an array of numpy or JAX.

    Returns:
        Like `action`, in units of the environment.

    Example:
        >>> rescale_action(Box.uniform((1,), -3.0, 3.0), np.array([[0.5], [2.0]]))
        array([[1.5],
               [3. ]])
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
