"""A beta distribution between the bounds of an action space.

Shapes: `...` are any leading axes (rows, time, environments), `A` is the number of
action dimensions.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from trpo_jax.agent.bounds import counts_as_bound, to_bounds, width_of_bound
from trpo_jax.agent.stirling import log_gap, stirling_error
from trpo_jax.solver.precision import as_floats


class Beta(NamedTuple):
    """a = 2x − 1, with independent beta-distributed x, one for each action dimension.

    The density of x is x^(α−1) (1 − x)^(β−1) / B(α, β). The parameters are logarithms,
    so that α and β stay positive after any step; zeros give the uniform distribution.
    Float32 is enough for α and β between 1e-6 and 1e8, as large values of log Γ never
    appear: below n = α + β, m = α/n is the mean of x, δ(z) is the error of Stirling's
    formula for log Γ(z), and g(r) = r − log(1 + r).

    Args:
        log_alpha: `[..., A]` natural logarithm of α.
        log_beta: `[..., A]` natural logarithm of β.

    Example:
        >>> uniform = Beta(jnp.zeros(1), jnp.zeros(1))
        >>> round(float(jnp.exp(uniform.log_prob(jnp.array([0.3])))), 6)
        0.5
    """

    log_alpha: jax.Array
    log_beta: jax.Array

    def sample(self, key: jax.Array) -> jax.Array:
        """Draw one action for each row, `[..., A]` in [−1, 1]; `key` is consumed."""
        alpha, beta = (jnp.exp(x) for x in as_floats(self.log_alpha, self.log_beta))
        return to_bounds(2 * jax.random.beta(key, alpha, beta, dtype=alpha.dtype) - 1)

    def log_prob(self, action: jax.Array) -> jax.Array:
        """Return the log density of `action` `[..., A]` in [−1, 1], `[...]`.

        It is Σ C − α g(x/m − 1) − β g((1 − x)/(1 − m) − 1) − log x − log(1 − x) − log 2
        with C = ½ log(αβ / 2πn) − δ(α) − δ(β) + δ(n). At a bound it is the mean density
        of the interval next to it, which is the density at its end divided by α (at −1)
        or β (at 1).
        """
        leaves = action, self.log_alpha, self.log_beta
        action, log_alpha, log_beta = as_floats(*leaves)
        width = width_of_bound(action)
        action = jnp.clip(action, -1, 1)
        x, rest = (0.5 * jnp.maximum(d, width) for d in (1 + action, 1 - action))
        log_x, log_rest = jnp.log(x), jnp.log(rest)
        p = _Terms.of(log_alpha, log_beta)
        change = jnp.where(action < 0, x - p.mean, p.rest - rest)  # of the mean, to x
        deviance = p.alpha * log_gap(change / p.mean, log_x - p.log_mean)
        deviance += p.beta * log_gap(-change / p.rest, log_rest - p.log_rest)
        log_density = p.log_scale - deviance - log_x - log_rest - math.log(2)
        at_bound = log_density - jnp.where(action > 0, log_beta, log_alpha)
        return jnp.sum(
            jnp.where(counts_as_bound(action), at_bound, log_density), axis=-1
        )

    def entropy(self) -> jax.Array:
        """Return the differential entropy of the action in nats, `[...]`.

        It is Σ ½ − αδ'(α) − βδ'(β) + nδ'(n) − C + E[log x] + E[log(1 − x)] + log 2 with
        E[log x] = log m − (1 − m)/2α + δ'(α) − δ'(n), and C of `log_prob`.
        """
        p = _Terms.of(*as_floats(self.log_alpha, self.log_beta))
        slope_alpha, slope_beta, slope_n = map(_stirling_slope, (p.alpha, p.beta, p.n))
        log_x = p.log_mean - 0.5 * p.rest / p.alpha + slope_alpha - slope_n
        log_rest = p.log_rest - 0.5 * p.mean / p.beta + slope_beta - slope_n
        deviance = 0.5 - p.alpha * slope_alpha - p.beta * slope_beta + p.n * slope_n
        return jnp.sum(deviance - p.log_scale + log_x + log_rest + math.log(2), axis=-1)

    def mode(self) -> jax.Array:
        """Return the mean (α − β)/(α + β), `[..., A]`, for acting without noise.

        The density itself is largest at (α − β)/(α + β − 2) if α and β are above 1, and
        at a bound or both otherwise; the mean changes smoothly from one to the other.
        """
        log_alpha, log_beta = as_floats(self.log_alpha, self.log_beta)
        return jnp.tanh(0.5 * (log_alpha - log_beta))

    def kl(self, other: "Beta") -> jax.Array:
        """Return KL(self ‖ other) in nats, `[...]`.

        With α′, β′, n′, m′ of `other` it is the sum over the dimensions of
        α′ g(m/m′ − 1) + β′ g((1 − m)/(1 − m′) − 1), and of ½ g(z′/z − 1) + δ(z′) − δ(z)
        − δ'(z) (z′ − z) for z = α and β, minus this for z = n. No term is large if the
        KL is small, and all are exactly zero at KL(p ‖ p).
        """
        leaves = self.log_alpha, self.log_beta, other.log_alpha, other.log_beta
        log_alpha, log_beta, other_log_alpha, other_log_beta = as_floats(*leaves)
        p = _Terms.of(log_alpha, log_beta)
        q = _Terms.of(other_log_alpha, other_log_beta)
        d_alpha, d_beta = other_log_alpha - log_alpha, other_log_beta - log_beta
        up, down = jnp.expm1(d_beta - d_alpha), jnp.expm1(d_alpha - d_beta)
        r_n = p.mean * jnp.expm1(d_alpha) + p.rest * jnp.expm1(d_beta)
        return jnp.sum(
            q.alpha * log_gap(p.rest * up, p.log_mean - q.log_mean)
            + q.beta * log_gap(p.mean * down, p.log_rest - q.log_rest)
            + _remainder(p.alpha, q.alpha, jnp.expm1(d_alpha), d_alpha)
            + _remainder(p.beta, q.beta, jnp.expm1(d_beta), d_beta)
            - _remainder(p.n, q.n, r_n, q.log_n - p.log_n),
            axis=-1,
        )

    def fisher_product(self, tangent: "Beta") -> "Beta":
        """Multiply by the Fisher matrix of (log α, log β).

        For (α, β) it is [[ψ₁(α) − ψ₁(n), −ψ₁(n)], [−ψ₁(n), ψ₁(β) − ψ₁(n)]] with the
        trigamma function ψ₁. With z² ψ₁(z) = z + ½ + z² δ''(z) the large terms become
        n m (1 − m) (t_α − t_β), and what remains is of order 1.
        """
        leaves = self.log_alpha, self.log_beta, tangent.log_alpha, tangent.log_beta
        log_alpha, log_beta, t_alpha, t_beta = as_floats(*leaves)
        p = _Terms.of(log_alpha, log_beta)
        large = p.n * p.mean * p.rest * (t_alpha - t_beta)
        joint = _trigamma_rest(p.n) * (p.mean * t_alpha + p.rest * t_beta)
        return Beta(
            large + _trigamma_rest(p.alpha) * t_alpha - p.mean * joint,
            -large + _trigamma_rest(p.beta) * t_beta - p.rest * joint,
        )


class _Terms(NamedTuple):
    """What the formulas have in common, for each dimension."""

    alpha: jax.Array
    beta: jax.Array
    n: jax.Array  # α + β
    log_n: jax.Array
    mean: jax.Array  # m = α/n
    rest: jax.Array  # 1 − m
    log_mean: jax.Array
    log_rest: jax.Array

    @classmethod
    def of(cls, log_alpha: jax.Array, log_beta: jax.Array) -> "_Terms":
        alpha, beta = jnp.exp(log_alpha), jnp.exp(log_beta)
        log_odds = log_alpha - log_beta
        return cls(
            alpha=alpha,
            beta=beta,
            n=alpha + beta,
            log_n=jnp.logaddexp(log_alpha, log_beta),
            mean=jax.nn.sigmoid(log_odds),
            rest=jax.nn.sigmoid(-log_odds),
            log_mean=jax.nn.log_sigmoid(log_odds),
            log_rest=jax.nn.log_sigmoid(-log_odds),
        )

    @property
    def log_scale(self) -> jax.Array:
        """C = ½ log(αβ / 2πn) − δ(α) − δ(β) + δ(n), where αβ/n = n m (1 − m)."""
        half = self.log_n + self.log_mean + self.log_rest - math.log(2 * math.pi)
        error = stirling_error(self.alpha) + stirling_error(self.beta)
        return 0.5 * half - error + stirling_error(self.n)


def _remainder(
    z: jax.Array, new_z: jax.Array, r: jax.Array, log1p_r: jax.Array
) -> jax.Array:
    """Return ½ g(r) + δ(z′) − δ(z) − δ'(z) (z′ − z), where r = z′/z − 1."""
    gained = stirling_error(new_z) - stirling_error(z)
    return 0.5 * log_gap(r, log1p_r) + gained - _stirling_slope(z) * z * r


def _stirling_slope(z: jax.Array) -> jax.Array:
    """Return δ'(z)."""
    return jax.jvp(stirling_error, (z,), (jnp.ones_like(z),))[1]


def _trigamma_rest(z: jax.Array) -> jax.Array:
    """Return ½ + z² δ''(z) = z² ψ₁(z) − z."""
    return 0.5 + z * z * jax.jvp(_stirling_slope, (z,), (jnp.ones_like(z),))[1]
