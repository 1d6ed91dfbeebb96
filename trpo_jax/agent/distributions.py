"""Action distributions: pytrees with their own divergence and Fisher metric.

Shapes: `...` are any leading axes (rows, time, environments), `A` is the number of
actions (categorical) or of action dimensions (Gaussian).

All distributions are NamedTuples. The structures of two dataclasses with arrays of the
same shapes are equal for jaxlib, whatever the classes, so that a compiled function may
take one distribution for another.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from trpo_jax.solver.precision import as_floats, widen


class Categorical(NamedTuple):
    """A distribution over {0, …, A−1} given by unnormalised log-probabilities.

    Args:
        logits: `[..., A]`; −∞ forbids an action.

    Example:
        >>> coin = Categorical(jnp.log(jnp.array([0.25, 0.75])))
        >>> float(coin.kl(coin)), int(coin.mode())
        (0.0, 1)
    """

    logits: jax.Array

    def sample(self, key: jax.Array) -> jax.Array:
        """Draw one action for each row, `[...]` int32; `key` is consumed."""
        return jax.random.categorical(key, widen(self.logits)).astype(jnp.int32)

    def log_prob(self, action: jax.Array) -> jax.Array:
        """Return log p(action), `[...]`, for integer actions `[...]`."""
        action = jnp.asarray(action)[..., None]
        return jnp.take_along_axis(self._log_p(), action, axis=-1)[..., 0]

    def entropy(self) -> jax.Array:
        """Return −Σ p log p in nats, `[...]`."""
        log_p = self._log_p()
        p = jnp.exp(log_p)
        return -jnp.sum(p * jnp.where(p > 0, log_p, 0), axis=-1)

    def mode(self) -> jax.Array:
        """Return the most probable action, `[...]` int32."""
        return jnp.argmax(self.logits, axis=-1).astype(jnp.int32)

    def kl(self, other: "Categorical") -> jax.Array:
        """Return KL(self ‖ other) = Σ p (log p − log q) in nats, `[...]`."""
        log_p, log_q = as_floats(self._log_p(), other._log_p())
        p = jnp.exp(log_p)
        return jnp.sum(p * jnp.where(p > 0, log_p - log_q, 0), axis=-1)

    def fisher_product(self, tangent: "Categorical") -> "Categorical":
        """Multiply by the Fisher matrix of the logits: (diag(p) − p pᵀ) t."""
        p, t = as_floats(jax.nn.softmax(widen(self.logits)), tangent.logits)
        return Categorical(p * (t - jnp.sum(p * t, axis=-1, keepdims=True)))

    def _log_p(self) -> jax.Array:
        return jax.nn.log_softmax(widen(self.logits))


class DiagonalGaussian(NamedTuple):
    """Independent normal distributions, one for each action dimension.

    Mean and log σ may differ in precision.

    Args:
        mean: `[..., A]` in the units of the action.
        log_std: `[..., A]` natural logarithm of the standard deviation.

    Example:
        >>> p = DiagonalGaussian(jnp.zeros(2), jnp.zeros(2))
        >>> q = DiagonalGaussian(jnp.ones(2), jnp.zeros(2))
        >>> float(p.kl(q))  # |μ_p − μ_q|² / 2
        1.0
    """

    mean: jax.Array
    log_std: jax.Array

    def sample(self, key: jax.Array) -> jax.Array:
        """Draw one action for each row, `[..., A]`; `key` is consumed."""
        mean, log_std = as_floats(self.mean, self.log_std)
        noise = jax.random.normal(key, mean.shape, mean.dtype)
        return mean + jnp.exp(log_std) * noise

    def log_prob(self, action: jax.Array) -> jax.Array:
        """Return the log density of `action` `[..., A]`, summed over dimensions."""
        action, mean, log_std = as_floats(action, self.mean, self.log_std)
        z = (action - mean) * jnp.exp(-log_std)
        return -jnp.sum(0.5 * z * z + log_std + 0.5 * math.log(2 * math.pi), axis=-1)

    def entropy(self) -> jax.Array:
        """Return Σ log σ + ½ log 2πe in nats, `[...]`."""
        log_std = widen(self.log_std)
        return jnp.sum(log_std + 0.5 * math.log(2 * math.pi * math.e), axis=-1)

    def mode(self) -> jax.Array:
        """Return the mean, `[..., A]`."""
        return self.mean

    def kl(self, other: "DiagonalGaussian") -> jax.Array:
        """Return KL(self ‖ other) in nats, `[...]`.

        With d = log σ_p − log σ_q it is Σ ½ (e²ᵈ − 1 − 2d) + ½ ((μ_p − μ_q)/σ_q)²; the
        first bracket through expm1, which keeps small divergences accurate in float32
        and makes KL(p ‖ p) exactly zero.
        """
        leaves = self.mean, self.log_std, other.mean, other.log_std
        mean, log_std, other_mean, other_log_std = as_floats(*leaves)
        d = 2 * (log_std - other_log_std)
        z = (mean - other_mean) * jnp.exp(-other_log_std)
        return 0.5 * jnp.sum(jnp.expm1(d) - d + z * z, axis=-1)

    def fisher_product(self, tangent: "DiagonalGaussian") -> "DiagonalGaussian":
        """Multiply by the Fisher matrix of (μ, log σ): diag(1/σ²) and 2 I."""
        mean, log_std = as_floats(tangent.mean, self.log_std)
        return DiagonalGaussian(mean * jnp.exp(-2 * log_std), 2 * tangent.log_std)


def sample_rows(policy: Any, keys: jax.Array) -> Any:
    """Draw one action for each row of a distribution, each with its own key `[N]`."""
    return jax.vmap(lambda row, key: row.sample(key))(policy, keys)
