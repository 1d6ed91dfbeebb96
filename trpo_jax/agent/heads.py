"""From the outputs of a network to a distribution of actions, whatever their space.

Shapes: `...` are any leading axes; a space has so many outputs and so many log σ.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trpo_jax.agent.discrete_distributions import (
    Bernoulli,
    MultiCategorical,
    mask_logits,
)
from trpo_jax.agent.distributions import Categorical, DiagonalGaussian
from trpo_jax.agent.features import width_of
from trpo_jax.agent.product import Product
from trpo_jax.environments.nested import leaves_of, parts_of
from trpo_jax.environments.spaces import (
    ACTION_MASK,
    Box,
    Dict,
    Discrete,
    MultiBinary,
    MultiDiscrete,
    Space,
    Tuple,
)

PyTree = Any


def log_std_size(space: Space) -> int:
    """Return how many numbers the log σ of a space has: one for each of its boxes'.

    >>> log_std_size(Tuple((Box.uniform((3,)), MultiBinary(2))))
    3
    """
    if isinstance(space, Dict | Tuple):
        return sum(log_std_size(part) for _, part in parts_of(space))
    return math.prod(space.shape) if isinstance(space, Box) else 0


def distribution_of(space: Space, outputs: jax.Array, log_std: jax.Array) -> Any:
    """Return the distribution of actions for what a network has computed.

    A `Discrete` space gives a `Categorical`, a `MultiDiscrete` one a
    `MultiCategorical`, a `MultiBinary` one a `Bernoulli`, and a `Box` a
    `DiagonalGaussian`; a `Tuple` or a `Dict` gives a `Product` of the distributions of
    its parts, which share the outputs in order.

    Args:
        space: the space of the actions.
        outputs: `[..., width_of(space)]`, logits and means.
        log_std: `[..., log_std_size(space)]`.

    Returns:
        A distribution with the leading axes of the outputs.

    Example:
        >>> space = Dict({"go": MultiBinary(2), "where": Box.uniform((3,))})
        >>> pair = distribution_of(space, jnp.zeros((7, 5)), jnp.zeros((7, 3)))
        >>> pair.parts["go"].logits.shape, pair.parts["where"].mean.shape
        ((7, 2), (7, 3))
    """
    if isinstance(space, Dict | Tuple):
        parts = parts_of(space)
        spaces = [part for _, part in parts]
        pieces = zip(
            parts,
            _split(outputs, map(width_of, spaces)),
            _split(log_std, map(log_std_size, spaces)),
            strict=True,
        )
        made = {
            key: distribution_of(part, outputs, log_std)
            for (key, part), outputs, log_std in pieces
        }
        return Product(made if isinstance(space, Dict) else tuple(made.values()))
    if isinstance(space, Box):
        return DiagonalGaussian(outputs, log_std)
    if isinstance(space, MultiDiscrete):
        return MultiCategorical(_padded(space, outputs, -jnp.inf))
    return (
        Bernoulli(outputs) if isinstance(space, MultiBinary) else Categorical(outputs)
    )


def mask_space(observation_space: Space, action_space: Space) -> Space | None:
    """Return the space of the mask of legal actions in an observation, if there is one.

    A `Dict` of observations may have an entry `action_mask`: for a `Discrete` space of
    actions n numbers, for a `MultiDiscrete` one those of all elements, in one array or
    a tuple of arrays; those above 0 mark legal actions. Beside boxes and bits as
    actions an entry of that name is seen like any other. A mask of another size, or one
    for a `Dict` or a `Tuple` of actions, is a `ValueError`.

    Example:
        >>> space = Dict({"action_mask": MultiBinary(2), "observation": MultiBinary(3)})
        >>> mask_space(space, Discrete(2))
        MultiBinary(shape=(2,))
    """
    if not isinstance(observation_space, Dict):
        return None
    mask = observation_space.spaces.get(ACTION_MASK)
    if mask is None or isinstance(action_space, Box | MultiBinary):
        return None
    if isinstance(action_space, Dict | Tuple):
        raise ValueError(
            "an action_mask in the observation is not supported for a "
            f"{type(action_space).__name__} of actions; give the actions one Discrete "
            "or MultiDiscrete space, or name the mask otherwise"
        )
    numbers = sum(math.prod(leaf.shape) for leaf in leaves_of(mask))
    if numbers != width_of(action_space):
        raise ValueError(
            f"action_mask must have {width_of(action_space)} numbers, one for each "
            f"action of {action_space}; got {numbers}"
        )
    return mask


def forbid(space: Space, distribution: Any, mask: PyTree) -> Any:
    """Give the actions that a mask forbids probability 0, see `mask_space`.

    Where no action would be left, all are legal. The distribution is that of
    `distribution_of` for a `Discrete` or a `MultiDiscrete` space.

    Example:
        >>> coin = Categorical(jnp.zeros((1, 2)))
        >>> forbid(Discrete(2), coin, jnp.array([[0, 1]])).logits.tolist()
        [[-inf, 0.0]]
    """
    rows = distribution.logits.shape[: -1 if isinstance(space, Discrete) else -2]
    leaves = [leaf.reshape(*rows, -1) > 0 for leaf in jax.tree.leaves(mask)]
    legal = jnp.concatenate(leaves, axis=-1)
    if isinstance(space, MultiDiscrete):
        legal = _padded(space, legal, False)
    return type(distribution)(mask_logits(distribution.logits, legal))


def _split(x: jax.Array, sizes: Any) -> list[jax.Array]:
    return jnp.split(x, np.cumsum(list(sizes))[:-1], axis=-1)


def _padded(space: MultiDiscrete, x: jax.Array, missing: Any) -> jax.Array:
    """Return an array `[..., K, n]`, filled up where an element has fewer integers."""
    nvec = np.asarray(space.nvec)[:, None]
    column = np.arange(nvec.max())
    first = np.cumsum(nvec, axis=0) - nvec
    exists = column < nvec
    padded = x[..., np.minimum(first + column, x.shape[-1] - 1)]
    return jnp.where(jnp.broadcast_to(exists, padded.shape), padded, missing)
