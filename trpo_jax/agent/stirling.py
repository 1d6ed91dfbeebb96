"""What remains of log Γ and of logarithms where their large terms cancel.

Densities and divergences of beta distributions are small differences of large values of
log Γ. With Stirling's formula the large values are subtracted on paper, so that float32
is enough (after Loader 2000, "Fast and accurate computation of binomial
probabilities").
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

# B₂ₖ / 2k (2k − 1) for k = 1, 2, …, with the Bernoulli numbers B
_STIRLING = 1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156
_LARGE = 6.0  # from here the series is exact to 1e-13
_ARTANH = tuple(1 / (2 * k + 3) for k in range(9))  # to 1e-13 for |r| < 0.3


def stirling_error(z: jax.Array) -> jax.Array:
    """Return δ(z) = log Γ(z) − (z − ½) log z + z − ½ log 2π for z > 0.

    Its derivatives are free of cancellation as well where z is large.
    """
    inverse = 1 / jnp.where(z < _LARGE, _LARGE, z)
    series = inverse * _polynomial(_STIRLING, inverse * inverse)
    small = jnp.where(z < _LARGE, z, 1)
    direct = jax.scipy.special.gammaln(small) - (small - 0.5) * jnp.log(small) + small
    return jnp.where(z < _LARGE, direct - 0.5 * math.log(2 * math.pi), series)


def log_gap(r: jax.Array, log1p_r: jax.Array) -> jax.Array:
    """Return r − log(1 + r) ≥ 0, accurate for small r, given log(1 + r) for the others.

    log(1 + r) = 2 artanh y with y = r / (2 + r), and r − 2y = r y.
    """
    near = jnp.abs(r) < 0.3
    small = jnp.where(near, r, 0)
    y = small / (2 + small)
    series = small * y - 2 * y * y * y * _polynomial(_ARTANH, y * y)
    return jnp.where(near, series, r - log1p_r)


def _polynomial(coefficients: Sequence[float], x: jax.Array) -> jax.Array:
    """Return Σₖ cₖ xᵏ."""
    value = jnp.zeros_like(x)
    for coefficient in reversed(coefficients):
        value = value * x + coefficient
    return value
