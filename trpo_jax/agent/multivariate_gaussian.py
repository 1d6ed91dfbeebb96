"""A Gaussian whose action dimensions are correlated.

Shapes: `...` are any leading axes (rows, time, environments), `A` is the number of
action dimensions.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from trpo_jax.solver.precision import as_floats, widen


class MultivariateGaussian(NamedTuple):
    """A normal distribution with covariance L Lᵀ, L lower triangular.

    L has the strict lower triangle of `factor`, and its diagonal is the exponential of
    that of `factor`: every real matrix is a valid `factor`, so no step can lose the
    positive diagonal. What stands above the diagonal is ignored.

    Args:
        mean: `[..., A]` in the units of the action.
        factor: `[..., A, A]`, L with the logarithm of its diagonal; zeros give the
            identity as the covariance.

    Example:
        >>> factor = jnp.array([[0.0, 0.0], [0.75, 0.0]])  # L = [[1, 0], [¾, 1]]
        >>> p = MultivariateGaussian(jnp.zeros(2), factor)
        >>> float(p.kl(MultivariateGaussian(jnp.array([1.0, 0.75]), factor)))  # L⁻¹ Δμ
        0.5
    """

    mean: jax.Array
    factor: jax.Array

    def sample(self, key: jax.Array) -> jax.Array:
        """Draw one action for each row, `[..., A]`; `key` is consumed."""
        mean, factor = as_floats(self.mean, self.factor)
        noise = jax.random.normal(key, mean.shape, mean.dtype)
        return mean + jnp.sum(_cholesky(factor) * noise[..., None, :], axis=-1)

    def log_prob(self, action: jax.Array) -> jax.Array:
        """Return the log density of `action` `[..., A]`, `[...]`."""
        action, mean, factor = as_floats(action, self.mean, self.factor)
        z = _solve(_cholesky(factor), (action - mean)[..., None])[..., 0]
        log_std = _diagonal(factor)
        return -jnp.sum(0.5 * z * z + log_std + 0.5 * math.log(2 * math.pi), axis=-1)

    def entropy(self) -> jax.Array:
        """Return Σ log Lᵢᵢ + ½ log 2πe in nats, `[...]`."""
        log_std = _diagonal(widen(self.factor))
        return jnp.sum(log_std + 0.5 * math.log(2 * math.pi * math.e), axis=-1)

    def mode(self) -> jax.Array:
        """Return the mean, `[..., A]`."""
        return self.mean

    def kl(self, other: "MultivariateGaussian") -> jax.Array:
        """Return KL(self ‖ other) in nats, `[...]`.

        With M = L_q⁻¹ L_p, dᵢ = log Mᵢᵢ and z = L_q⁻¹ (μ_p − μ_q) it is
        ½ Σᵢ (e²ᵈ − 1 − 2d) + ½ Σᵢ>ⱼ Mᵢⱼ² + ½ |z|². Below the diagonal M is that of
        L_q⁻¹ (L_p − L_q), which keeps small divergences accurate in float32 and makes
        KL(p ‖ p) exactly zero.
        """
        leaves = self.mean, self.factor, other.mean, other.factor
        mean, factor, other_mean, other_factor = as_floats(*leaves)
        d = 2 * (_diagonal(factor) - _diagonal(other_factor))
        lower = _cholesky(other_factor)
        change = _cholesky(factor) - lower, (mean - other_mean)[..., None]
        m, z = _split(_solve(lower, jnp.concatenate(change, axis=-1)))
        off_diagonal = jnp.sum(jnp.tril(m, -1) ** 2, axis=-1)
        return 0.5 * jnp.sum(jnp.expm1(d) - d + off_diagonal + z * z, axis=-1)

    def fisher_product(self, tangent: "MultivariateGaussian") -> "MultivariateGaussian":
        """Multiply by the Fisher matrix of mean and factor.

        To second order KL(L ‖ L + dL) = ¼ ‖B + Bᵀ‖² = ½ (‖B‖² + Σ Bᵢᵢ²) with the lower
        triangular B = L⁻¹ dL, and KL(μ ‖ μ + dμ) = ½ |L⁻¹ dμ|². So, pulled back, the
        metric takes dμ to L⁻ᵀ L⁻¹ dμ, and dL to the lower triangle of L⁻ᵀ (B + diag B).
        A step in `factor` is one of dLᵢᵢ / Lᵢᵢ on the diagonal.
        """
        leaves = self.factor, tangent.mean, tangent.factor
        factor, d_mean, d_factor = as_floats(*leaves)
        lower, diagonal = _cholesky(factor), _on_diagonal(factor)
        scale = jnp.where(diagonal, lower, 1)  # dL = scale · d_factor
        change = jnp.tril(scale * d_factor), d_mean[..., None]
        b, z = _split(_solve(lower, jnp.concatenate(change, axis=-1)))
        back = jnp.where(diagonal, 2 * b, b), z[..., None]
        columns = jnp.concatenate(back, axis=-1)
        c, mean = _split(_solve(lower, columns, transpose=True))
        return MultivariateGaussian(mean, jnp.tril(scale * c))


def _diagonal(matrix: jax.Array) -> jax.Array:
    return jnp.diagonal(matrix, axis1=-2, axis2=-1)


def _cholesky(factor: jax.Array) -> jax.Array:
    """Return L of a factor."""
    diagonal = jnp.exp(_diagonal(factor))
    return jnp.where(_on_diagonal(factor), diagonal[..., None], jnp.tril(factor))


def _on_diagonal(matrix: jax.Array) -> jax.Array:
    """Return a bool array of the matrix' shape, True on the diagonal."""
    return jnp.broadcast_to(jnp.eye(matrix.shape[-1], dtype=bool), matrix.shape)


def _solve(lower: jax.Array, b: jax.Array, *, transpose: bool = False) -> jax.Array:
    """Return L⁻¹ b, or L⁻ᵀ b, for columns `[..., A, n]`."""
    lower = jnp.broadcast_to(lower, (*b.shape[:-2], *lower.shape[-2:]))
    return jax.lax.linalg.triangular_solve(
        lower, b, left_side=True, lower=True, transpose_a=transpose
    )


def _split(columns: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the square matrix, and the column after it."""
    return columns[..., :-1], columns[..., -1]
