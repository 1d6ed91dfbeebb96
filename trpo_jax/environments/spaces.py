"""What an action or an observation may be; plain Python, no device arrays."""

import dataclasses
import math


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
