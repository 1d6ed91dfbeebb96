"""Several discrete choices at once, and actions that are forbidden.

Shapes: `...` are any leading axes (rows, time, environments), `K` is the number of
choices, `n` the number of actions of each, `A` the number of bits.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from trpo_jax.agent.distributions import Categorical
from trpo_jax.solver.precision import as_floats


class MultiCategorical(NamedTuple):
    """K independent choices, each among up to n actions.

    Where a choice has fewer than n actions, the logits of those that are missing are
    −∞. Log-probability, entropy and KL are sums over the choices.

    Args:
        logits: `[..., K, n]` unnormalised log-probabilities; −∞ forbids an action.

    Example:
        >>> two_coins = MultiCategorical(jnp.log(jnp.array([[0.5, 0.5], [0.75, 0.25]])))
        >>> round(float(jnp.exp(two_coins.log_prob(jnp.array([0, 1])))), 6)  # ½ · ¼
        0.125
    """

    logits: jax.Array

    def sample(self, key: jax.Array) -> jax.Array:
        """Draw an action for each choice, `[..., K]` int32; `key` is consumed."""
        return self._choices().sample(key)

    def log_prob(self, action: jax.Array) -> jax.Array:
        """Return log p(action), `[...]`, for integer actions `[..., K]`."""
        return jnp.sum(self._choices().log_prob(action), axis=-1)

    def entropy(self) -> jax.Array:
        """Return the entropy in nats, `[...]`."""
        return jnp.sum(self._choices().entropy(), axis=-1)

    def mode(self) -> jax.Array:
        """Return the most probable action of each choice, `[..., K]` int32."""
        return self._choices().mode()

    def kl(self, other: "MultiCategorical") -> jax.Array:
        """Return KL(self ‖ other) in nats, `[...]`."""
        return jnp.sum(self._choices().kl(other._choices()), axis=-1)

    def fisher_product(self, tangent: "MultiCategorical") -> "MultiCategorical":
        """Multiply by the Fisher matrix of the logits, diag(p) − p pᵀ a choice."""
        product = self._choices().fisher_product(tangent._choices())
        return MultiCategorical(product.logits)

    def _choices(self) -> Categorical:
        return Categorical(self.logits)


class Bernoulli(NamedTuple):
    """A independent bits, each 1 with probability σ(logit) = 1 / (1 + e^−logit).

    A bit is a choice between 0 and 1 with logits 0 and ℓ. Bits are int32, as the
    actions of all discrete distributions are; booleans and other integers are accepted.
    Log-probability, entropy and KL are sums over the bits.

    Args:
        logits: `[..., A]` log-odds of a 1; −∞ forbids it.

    Example:
        >>> bits = Bernoulli(jnp.array([0.0, jnp.log(3.0)]))  # ½ and ¾
        >>> round(float(jnp.exp(bits.log_prob(jnp.array([1, 0])))), 6)  # ½ · ¼
        0.125
    """

    logits: jax.Array

    def sample(self, key: jax.Array) -> jax.Array:
        """Draw all bits of each row, `[..., A]` int32; `key` is consumed."""
        return self._choices().sample(key)

    def log_prob(self, action: jax.Array) -> jax.Array:
        """Return log p(action), `[...]`, for bits `[..., A]`."""
        return self._choices().log_prob(jnp.asarray(action).astype(jnp.int32))

    def entropy(self) -> jax.Array:
        """Return the entropy in nats, `[...]`."""
        return self._choices().entropy()

    def mode(self) -> jax.Array:
        """Return the more probable value of each bit (0 of equals), `[..., A]`."""
        return self._choices().mode()

    def kl(self, other: "Bernoulli") -> jax.Array:
        """Return KL(self ‖ other) in nats, `[...]`."""
        return self._choices().kl(other._choices())

    def fisher_product(self, tangent: "Bernoulli") -> "Bernoulli":
        """Multiply by the Fisher matrix of the logits, diag(p (1 − p))."""
        logits, t = as_floats(self.logits, tangent.logits)
        return Bernoulli(jax.nn.sigmoid(logits) * jax.nn.sigmoid(-logits) * t)

    def _choices(self) -> MultiCategorical:
        zero = jnp.zeros_like(self.logits)
        return MultiCategorical(jnp.stack([zero, self.logits], axis=-1))


def mask_logits(logits: jax.Array, mask: jax.Array) -> jax.Array:
    """Forbid actions: their logits become −∞, and so their probability exactly 0.

    A row that would be left without any action, where there is no distribution, keeps
    its logits, as if all of its actions were legal. Actions that `logits` forbids
    already are still forbidden, so masks can be applied one after another.

    Args:
        logits: `[..., n]` unnormalised log-probabilities.
        mask: `[..., n]` bool (or 0 and 1), True where an action is legal.

    Returns:
        Logits `[..., n]` for a `Categorical` or a `MultiCategorical`. The gradient
        with respect to a forbidden logit is exactly 0.

    Example:
        >>> mask = jnp.array([[True, False], [False, False]])
        >>> mask_logits(jnp.zeros((2, 2)), mask).tolist()
        [[0.0, -inf], [0.0, 0.0]]
    """
    legal = jnp.asarray(mask).astype(bool)
    some_left = jnp.any(legal & (logits != -jnp.inf), axis=-1, keepdims=True)
    return jnp.where(legal | ~some_left, logits, -jnp.inf)
