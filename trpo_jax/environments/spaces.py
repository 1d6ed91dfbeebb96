"""Spaces of actions and observations, in plain Python, without device arrays."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from trpo_jax.validation import plain

ACTION_MASK = "action_mask"  # the key of the legal actions in a dictionary
_SMALLEST_IMAGE = 32  # pixels


@dataclasses.dataclass(frozen=True)
class Discrete:
    """The integers start … start+n−1. A policy counts its actions from 0 all the same.

    Args:
        n: the number of integers.
        start: the first one.

    Raises:
        ValueError: if n is below 1, or the integers do not fit 32 bits.

    Example:
        >>> Discrete(2), Discrete(3, start=-1)
        (Discrete(n=2), Discrete(n=3, start=-1))
    """

    n: int
    start: int = 0

    def __post_init__(self) -> None:
        for name in ("n", "start"):
            object.__setattr__(self, name, plain(getattr(self, name)))
        if not isinstance(self.n, int) or self.n < 1:
            raise ValueError(f"n must be an integer >= 1; got {self.n!r}")
        _require_start("start", self.start, self.n)

    def __repr__(self) -> str:
        start = f", start={self.start}" if self.start else ""
        return f"Discrete(n={self.n}{start})"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one element: that of a number."""
        return ()

    @property
    def dtype(self) -> str:
        """The name of the type of an element."""
        return "int32"


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
    def is_image(self) -> bool:
        """Whether an array is a picture: uint8, three axes, 32 pixels high and wide.

        Smaller ones, such as the 7×7×3 codes of MiniGrid, hold symbols.
        """
        large = sum(length >= _SMALLEST_IMAGE for length in self.shape)
        return self.dtype == "uint8" and len(self.shape) == 3 and large >= 2

    @property
    def bounded(self) -> bool:
        """Whether every element has two finite bounds."""
        return all(map(math.isfinite, self.low + self.high))


@dataclasses.dataclass(frozen=True)
class MultiDiscrete:
    """Arrays of integers, each with a `Discrete` space of its own.

    Args:
        nvec: the number of integers for each element; an array gives `shape` as well.
        start: the first integer for each element, or one for all.
        shape: the shape of one array; that of `nvec` when None.

    Raises:
        ValueError: if a number is below 1, or does not fit the shape or 32 bits.

    Example:
        >>> MultiDiscrete([[3, 2]], start=1)
        MultiDiscrete(nvec=(3, 2), start=(1, 1), shape=(1, 2))
    """

    nvec: tuple[int, ...]
    start: tuple[int, ...] = 0  # type: ignore[assignment]
    shape: tuple[int, ...] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        shape = np.shape(self.nvec) if self.shape is None else tuple(self.shape)
        nvec = tuple(np.ravel(np.asarray(self.nvec, object)).tolist())
        start = tuple(np.ravel(np.asarray(self.start, object)).tolist())
        start = start * len(nvec) if np.ndim(self.start) == 0 else start
        for name, value in (("nvec", nvec), ("start", start), ("shape", shape)):
            object.__setattr__(self, name, tuple(map(plain, value)))
        sizes = {math.prod(self.shape), len(self.nvec), len(self.start)}
        if len(sizes) > 1 or not nvec:
            raise ValueError(
                f"nvec and start must have one number per element of shape, at least "
                f"one; got {self.nvec!r}, {self.start!r} and {self.shape!r}"
            )
        if any(not isinstance(n, int) or n < 1 for n in self.nvec):
            raise ValueError(f"nvec must be integers >= 1; got {self.nvec!r}")
        for first, n in zip(self.start, self.nvec, strict=True):
            _require_start("start", first, n)

    @property
    def dtype(self) -> str:
        """The name of the type of the elements."""
        return "int32"


@dataclasses.dataclass(frozen=True)
class MultiBinary:
    """Arrays of zeros and ones.

    Args:
        shape: the shape of one array, or its length.

    Raises:
        ValueError: if there is no element.

    Example:
        >>> MultiBinary(3)
        MultiBinary(shape=(3,))
    """

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        shape = (self.shape,) if np.ndim(self.shape) == 0 else self.shape
        object.__setattr__(self, "shape", tuple(map(plain, shape)))
        if any(not isinstance(length, int) or length < 1 for length in self.shape):
            raise ValueError(f"shape must be integers >= 1; got {self.shape!r}")

    @property
    def dtype(self) -> str:
        """The name of the type of the elements."""
        return "int8"


@dataclasses.dataclass(frozen=True)
class Tuple:
    """Tuples, with a space for each entry.

    Args:
        spaces: the spaces.

    Raises:
        ValueError: if there is none, or something else among them.

    Example:
        >>> Tuple((Discrete(2), MultiBinary(3)))
        Tuple(spaces=(Discrete(n=2), MultiBinary(shape=(3,))))
    """

    spaces: "tuple[Space, ...]"

    def __post_init__(self) -> None:
        object.__setattr__(self, "spaces", tuple(self.spaces))
        _require_spaces("Tuple", self.spaces)


@dataclasses.dataclass(frozen=True)
class Dict:
    """Dictionaries, with a space for each key.

    Args:
        spaces: the spaces by name, which are sorted by name, as JAX sorts dictionaries.

    Raises:
        ValueError: if there is none, something else among them, or a key is no text.

    Example:
        >>> Dict({"b": Discrete(2), "a": MultiBinary(3)})
        Dict(spaces={'a': MultiBinary(shape=(3,)), 'b': Discrete(n=2)})
    """

    spaces: "Mapping[str, Space]"

    def __post_init__(self) -> None:
        _require_spaces("Dict", tuple(self.spaces.values()))
        if wrong := [key for key in self.spaces if not isinstance(key, str)]:
            raise ValueError(f"the keys of a Dict must be texts; got {wrong[0]!r}")
        object.__setattr__(self, "spaces", dict(sorted(self.spaces.items())))

    def __hash__(self) -> int:
        return hash(tuple(self.spaces.items()))


Leaf = Discrete | Box | MultiDiscrete | MultiBinary
Space = Discrete | Box | MultiDiscrete | MultiBinary | Tuple | Dict


def _require_start(name: str, start: Any, n: int) -> None:
    whole = isinstance(start, int) and not isinstance(start, bool)
    if not whole or not -(2**31) <= start <= 2**31 - n:
        raise ValueError(
            f"{name} must be an integer, and {n} from there on must fit 32 bits; got "
            f"{start!r}"
        )


def _require_spaces(kind: str, spaces: tuple) -> None:
    if not spaces:
        raise ValueError(f"a {kind} must have at least one space; got none")
    if wrong := [space for space in spaces if not isinstance(space, Space)]:
        raise ValueError(
            f"a {kind} must have spaces of trpo_jax.environments.spaces; got "
            f"{wrong[0]!r}"
        )


def _in_32_bits(dtype: Any, low: tuple[float, ...], high: tuple[float, ...]) -> str:
    """Return the name of a type of at most 32 bits for numbers within these bounds."""
    name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    if name in ("int64", "uint64"):
        fits = all(x >= -(2**31) for x in low) and all(x < 2**31 for x in high)
        return "int32" if fits else "float32"
    return "float32" if name in ("float64", np.dtype(np.longdouble).name) else name
