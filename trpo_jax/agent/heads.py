"""From the outputs of a network to a distribution of actions, whatever their space.

Shapes: `...` are any leading axes; a space has so many outputs and so many log σ.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trpo_jax.agent.discrete_distributions import Bernoulli, MultiCategorical
from trpo_jax.agent.distributions import Categorical, DiagonalGaussian
from trpo_jax.agent.features import parts_of, width_of
from trpo_jax.agent.product import Product
from trpo_jax.environments.spaces import (
    Box,
    Dict,
    MultiBinary,
    MultiDiscrete,
    Space,
    Tuple,
)


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
        return MultiCategorical(_padded(space, outputs))
    return Bernoulli(outputs) if isinstance(space, MultiBinary) else Categorical(outputs)


def _split(x: jax.Array, sizes: Any) -> list[jax.Array]:
    return jnp.split(x, np.cumsum(list(sizes))[:-1], axis=-1)


def _padded(space: MultiDiscrete, logits: jax.Array) -> jax.Array:
    """Return logits `[..., K, n]`, with −∞ where an element has fewer integers."""
    nvec = np.asarray(space.nvec)[:, None]
    column = np.arange(nvec.max())
    first = np.cumsum(nvec, axis=0) - nvec
    return jnp.where(
        jnp.broadcast_to(column < nvec, (*logits.shape[:-1], *(column < nvec).shape)),
        logits[..., np.minimum(first + column, logits.shape[-1] - 1)],
        -jnp.inf,
    )
