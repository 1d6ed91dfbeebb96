"""What an action or an observation may be; plain Python, no device arrays."""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Discrete:
    """One of the integers 0 … n−1."""

    n: int


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
