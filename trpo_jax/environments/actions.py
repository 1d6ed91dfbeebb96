"""From the numbers of a policy to the actions of a simulator."""

import functools
from typing import Any

import numpy as np

from trpo_jax.environments.nested import parts_of
from trpo_jax.environments.spaces import (
    Box,
    Dict,
    Discrete,
    MultiDiscrete,
    Space,
    Tuple,
)


def convert_action(
    space: Space,
    action: Any,
    dtype: Any = None,
    leading: tuple[int, ...] | None = None,
) -> Any:
    """Turn the actions of a policy into those of a simulator, of the type `dtype`.

    The policy counts from 0: the `[B]` integers of a `Discrete` space, and the `[B, K]`
    ones of a `MultiDiscrete` space, become integers from the space's `start` on. Zeros
    and ones of a `MultiBinary` space keep their values. The `[B, A]` numbers of a `Box`
    with A elements become `[B, *space.shape]`; `rescale_action` says what they mean.
    Arrays of NumPy are computed in float64, as simulators compute, those of JAX in
    their own precision. A dictionary or a tuple of actions is converted leaf by leaf;
    `dtype` then has the same structure. The leading axes are those of the action,
    `[B]`, unless others are given.
    """
    if isinstance(space, Dict | Tuple):
        parts = {
            key: convert_action(
                part, action[key], None if dtype is None else dtype[key], leading
            )
            for key, part in parts_of(space)
        }
        return parts if isinstance(space, Dict) else tuple(parts.values())
    if isinstance(space, Discrete):
        action = action + space.start if space.start else action
        return action if dtype is None else action.astype(dtype)
    leading = action.shape[:1] if leading is None else leading
    action = action.reshape(*leading, *space.shape)
    if not isinstance(space, Box):
        if isinstance(space, MultiDiscrete) and any(space.start):
            start = np.asarray(space.start, action.dtype).reshape(space.shape)
            action = action + start[(None,) * len(leading)]
        return action if dtype is None else action.astype(dtype)
    if isinstance(action, np.ndarray):
        action = action.astype(np.float64)
    if dtype is None:
        dtype = np.float64 if np.dtype(space.dtype).kind == "f" else space.dtype
    return rescale_action(space, action, dtype)


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
