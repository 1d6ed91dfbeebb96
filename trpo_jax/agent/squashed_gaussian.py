"""A Gaussian squashed into the bounds of an action space by tanh.

Shapes: `...` are any leading axes (rows, time, environments), `A` is the number of
action dimensions.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from trpo_jax.agent.bounds import counts_as_bound, to_bounds, width_of_bound
from trpo_jax.agent.distributions import DiagonalGaussian
from trpo_jax.solver.precision import as_floats


class SquashedGaussian(NamedTuple):
    """a = tanh(u), with independent normal u, one for each action dimension.

    tanh is one-to-one, so KL and Fisher matrix are those of u.

    Args:
        mean: `[..., A]` mean of u.
        log_std: `[..., A]` natural logarithm of the standard deviation of u.

    Example:
        >>> p = SquashedGaussian(jnp.zeros(2), jnp.zeros(2))
        >>> float(p.kl(SquashedGaussian(jnp.ones(2), jnp.zeros(2))))
        1.0
        >>> bool(jnp.isfinite(p.log_prob(jnp.array([1.0, -1.0]))))
        True
    """

    mean: jax.Array
    log_std: jax.Array

    def sample(self, key: jax.Array) -> jax.Array:
        """Draw one action for each row, `[..., A]` in [−1, 1]; `key` is consumed."""
        return to_bounds(_tanh(self._gaussian().sample(key)))

    def log_prob(self, action: jax.Array) -> jax.Array:
        """Return the log density of `action` `[..., A]` in [−1, 1], `[...]`.

        With u = artanh(a) it is Σ log N(u; μ, σ²) − log(1 − a²). At a bound it is the
        mean density next to it, from the probability that |u| is larger than 7.6 (in
        float32) on that side.
        """
        action, mean, log_std = as_floats(action, self.mean, self.log_std)
        at_bound, width = counts_as_bound(action), width_of_bound(action)
        inside = jnp.where(at_bound, 0, action)
        above, below = jnp.log1p(inside), jnp.log1p(-inside)  # log(1 ± a)
        z = (0.5 * (above - below) - mean) * jnp.exp(-log_std)
        normal = -0.5 * z * z - log_std - 0.5 * math.log(2 * math.pi)
        distance = math.atanh(1 - width) - jnp.sign(action) * mean
        tail = _log_upper_tail(distance * jnp.exp(-log_std)) - math.log(width)
        return jnp.sum(jnp.where(at_bound, tail, normal - above - below), axis=-1)

    def entropy(self) -> jax.Array:
        """Return the differential entropy of the action in nats, `[...]`.

        It is that of u plus Σ E[log(1 − tanh² u)]. The density ½ sech² is a mixture of
        normal densities whose standard deviations s have Kolmogorov's distribution
        (Andrews & Mallows 1974), so that with ψ(x) = φ(x) + x (Φ(x) − ½)
        log(1 − tanh² u) = 2 log 2 − 4 E_s[s ψ(u/s)]. In the mean over u, t = √(s² + σ²)
        takes the place of s: 2 log 2 − 4 E_s[t ψ(μ/t)]. Sixteen values of s give it to
        1e-8 for every μ and σ.
        """
        mean, log_std = as_floats(self.mean, self.log_std)
        s, weight = (
            jnp.asarray(x, mean.dtype).reshape(*[1] * mean.ndim, -1)
            for x in _kolmogorov_nodes()
        )
        t = jnp.sqrt(s * s + jnp.exp(2 * log_std)[..., None])
        x = mean[..., None] / t
        density = jnp.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
        psi = density + 0.5 * x * jax.lax.erf(x / math.sqrt(2))
        change = 2 * math.log(2) - 4 * jnp.sum(weight * t * psi, axis=-1)
        return self._gaussian().entropy() + jnp.sum(change, axis=-1)

    def mode(self) -> jax.Array:
        """Return tanh(μ), `[..., A]`, the median, for acting without noise.

        The density itself is largest elsewhere; near both bounds if σ is large.
        """
        return jnp.tanh(self.mean)

    def kl(self, other: "SquashedGaussian") -> jax.Array:
        """Return KL(self ‖ other) in nats, `[...]`."""
        return self._gaussian().kl(other._gaussian())

    def fisher_product(self, tangent: "SquashedGaussian") -> "SquashedGaussian":
        """Multiply by the Fisher matrix of (μ, log σ): diag(1/σ²) and 2 I."""
        product = self._gaussian().fisher_product(tangent._gaussian())
        return SquashedGaussian(product.mean, product.log_std)

    def _gaussian(self) -> DiagonalGaussian:
        return DiagonalGaussian(self.mean, self.log_std)


def _tanh(u: jax.Array) -> jax.Array:
    """Return tanh(u), correctly rounded near ±1, where XLA's is off by up to 4 ulp."""
    far = jnp.sign(u) * (1 - 2 * jax.nn.sigmoid(-2 * jnp.abs(u)))
    return jnp.where(jnp.abs(u) > 2, far, jnp.tanh(u))


def _log_upper_tail(z: jax.Array) -> jax.Array:
    """Return log(1 − Φ(z)), with accurate derivatives for every z.

    Far out it is log φ(z) − log(z + 1/(z + 2/(z + …))), Laplace's continued fraction.
    """
    far = jnp.where(z > 5, z, 5)
    fraction = far
    for k in range(9, 0, -1):
        fraction = far + k / fraction
    log_far = -0.5 * far * far - 0.5 * math.log(2 * math.pi) - jnp.log(fraction)
    near = jnp.where(z > 5, 0, z)
    log_near = jnp.log(0.5 * jax.lax.erfc(near / math.sqrt(2)))
    return jnp.where(z > 5, log_far, log_near)


@functools.cache
def _kolmogorov_nodes() -> tuple[np.ndarray, np.ndarray]:
    """Return values s and weights that integrate over Kolmogorov's distribution.

    Its density 8 s Σₖ (−1)ᵏ⁺¹ k² exp(−2 k² s²) falls off so fast in log s, in both
    directions, that the trapezoidal rule over log s is exact to 1e-9.
    """
    log_s, spacing = np.linspace(math.log(0.2), math.log(3), 16, retstep=True)
    s, k = np.exp(log_s), np.arange(1, 31)[:, None]
    density = 8 * s * np.sum((-1.0) ** (k + 1) * k**2 * np.exp(-2 * (k * s) ** 2), 0)
    return s, spacing * s * density
