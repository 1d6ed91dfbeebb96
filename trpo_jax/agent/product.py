"""The distribution of several independent actions at once."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from trpo_jax.solver.precision import as_floats

PyTree = Any


class Product(NamedTuple):
    """Independent distributions in a pytree, for actions in a pytree of that structure.

    p(a) = Πᵢ pᵢ(aᵢ): log-probability, entropy and KL are sums over the parts. As the
    parts do not share parameters, the Fisher matrix is block diagonal, with one block
    for each part.

    Args:
        parts: at least one distribution with `[...]` rows, in any pytree (dictionary,
            tuple, ...); a part may be a `Product`.

    Example:
        >>> from trpo_jax import Categorical, DiagonalGaussian
        >>> hand = DiagonalGaussian(jnp.zeros((5, 3)), jnp.zeros((5, 3)))
        >>> robot = Product({"button": Categorical(jnp.zeros((5, 2))), "hand": hand})
        >>> action = robot.sample(jax.random.key(0))
        >>> action["button"].shape, action["hand"].shape, robot.log_prob(action).shape
        ((5,), (5, 3), (5,))
    """

    parts: PyTree

    def sample(self, key: jax.Array) -> PyTree:
        """Draw an action of every part for each row; `key` is consumed.

        Every part has a key of its own, in the order of `jax.tree.leaves`.
        """
        parts, structure = jax.tree.flatten(self.parts, is_leaf=_is_distribution)
        keys = jax.random.split(key, len(parts))
        drawn = [part.sample(key) for part, key in zip(parts, keys, strict=True)]
        return jax.tree.unflatten(structure, drawn)

    def log_prob(self, action: PyTree) -> jax.Array:
        """Return the sum of the parts' log-probabilities of their actions, `[...]`."""
        return _sum(self._map(lambda part, action: part.log_prob(action), action))

    def entropy(self) -> jax.Array:
        """Return the sum of the parts' entropies in nats, `[...]`."""
        return _sum(self._map(lambda part: part.entropy()))

    def mode(self) -> PyTree:
        """Return the mode of every part."""
        return self._map(lambda part: part.mode())

    def kl(self, other: "Product") -> jax.Array:
        """Return KL(self ‖ other), the sum over the parts, in nats, `[...]`."""
        return _sum(self._map(lambda part, other: part.kl(other), other.parts))

    def fisher_product(self, tangent: "Product") -> "Product":
        """Multiply by the Fisher matrix of every part."""
        return Product(self._map(lambda part, t: part.fisher_product(t), tangent.parts))

    def _map(self, function: Callable[..., Any], *others: PyTree) -> PyTree:
        return jax.tree.map(function, self.parts, *others, is_leaf=_is_distribution)


def _is_distribution(node: Any) -> bool:
    return hasattr(node, "fisher_product")


def _sum(values: PyTree) -> jax.Array:
    return functools.reduce(jnp.add, as_floats(*jax.tree.leaves(values)))
