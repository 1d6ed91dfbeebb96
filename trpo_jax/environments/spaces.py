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

    In a box of actions, a bound of ±3.4e38 or more, the largest number of float32,
    stands for none, as it does in many environments. A space that is neither a `Box`
    nor a `Discrete` that starts at 0 is a `ValueError`, which names the environment and
    the role of the space, `observation` or `action`.
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
        if role == "action" and np.dtype(dtype).kind == "f":
            low, high = (tuple(map(_or_none, bound)) for bound in (low, high))
        return Box(shape, low, high, dtype)
    raise ValueError(
        f"{name}: {role} space {kind} is not supported; it must be a Box or a "
        "Discrete that starts at 0" + ", or a Dict of those" * (role == "observation")
    )


def _or_none(bound: float) -> float:
    none = abs(bound) >= float(np.finfo(np.float32).max)
    return math.copysign(math.inf, bound) if none else bound


def rescale_action(space: Box, action: Any, dtype: Any = None) -> Any:
    """Turn the numbers of a policy into those that a box holds.

    Where an element has two bounds, the policy counts in units of the bounds: −1 is the
    lower one, 1 is the upper one, and what lies beyond is clipped. Where it has one
    bound or none, the policy counts in the units of the environment, and is clipped at
    the bound that there is. Integers are rounded to the nearest.

    The actions `[..., *space.shape]` are a floating-point array of numpy or JAX, and so
    is the result, whose type is that of the box unless `dtype` names another one.

    >>> rescale_action(Box.uniform((1,), -3.0, 3.0), np.array([[0.5], [2.0]])).tolist()
    [[1.5], [3.0]]
    >>> rescale_action(Box.uniform((1,), 0.0), np.array([-0.5])).tolist()
    [0.0]
    """
    dtype = np.dtype(space.dtype if dtype is None else dtype)
    leading = action.ndim - len(space.shape)
    scaling = _scaling(space, dtype, np.dtype(action.dtype), leading)
    least, most, centre, half, low, high = scaling
    action = centre + half * action.clip(least, most)
    if dtype.kind in "biu":
        action = action.round()
    return action.clip(low, high).astype(dtype)


@functools.lru_cache
def _scaling(
    space: Box, dtype: np.dtype, computed: np.dtype, leading: int
) -> tuple[np.ndarray, ...]:
    """Return the limits of a policy's numbers, centre, half size, and the bounds.

    They have the type `computed` and as many leading axes as the actions.
    """
    low, high = (
        np.reshape(np.asarray(bound, np.float64), (1,) * leading + space.shape)
        for bound in (space.low, space.high)
    )
    limited = np.isfinite(low) & np.isfinite(high)
    one = np.ones(low.shape)
    # The halves are taken first, since the sum and the difference can overflow.
    centre = np.where(limited, low, 0) / 2 + np.where(limited, high, 0) / 2
    half = np.where(limited, high, 2) / 2 - np.where(limited, low, 0) / 2
    most = np.where(limited, one, np.inf)
    results = [x.astype(computed) for x in (-most, most, centre, half, low, high)]
    if dtype.kind in "iu":  # floats do not hold the largest integers
        limits = np.iinfo(dtype)
        results[-2] = np.maximum(results[-2], _within(limits.min, computed, +1))
        results[-1] = np.minimum(results[-1], _within(limits.max, computed, -1))
    return tuple(results)


def _within(limit: int, dtype: np.dtype, direction: int) -> np.ndarray:
    """Return the float nearest to an integer that does not lie beyond it."""
    number = np.asarray(limit, dtype)
    if (int(number) - limit) * direction < 0:
        number = np.nextafter(number, np.asarray(direction * np.inf, dtype))
    return number
