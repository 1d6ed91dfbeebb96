"""Oracles: scipy's multivariate normal, and the closed form by dense inverses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from helpers import assert_close

from trpo_jax.agent.distributions import DiagonalGaussian
from trpo_jax.agent.multivariate_gaussian import MultivariateGaussian

pytestmark = pytest.mark.usefixtures("quick_compilation")

A = 3


def random(seed, dtype=float, leading=()):
    rng = np.random.default_rng(seed)
    mean, factor = rng.normal(size=(*leading, A)), rng.normal(size=(*leading, A, A))
    return MultivariateGaussian(jnp.asarray(mean, dtype), jnp.asarray(factor, dtype))


def covariance(p):
    factor = np.asarray(p.factor, float)
    lower = np.tril(factor, -1) + np.diag(np.exp(np.diagonal(factor)))
    return lower @ lower.T


def test_log_prob_and_entropy_are_those_of_scipy(x64):
    p = random(0)
    reference = scipy.stats.multivariate_normal(p.mean, covariance(p))
    action = jnp.asarray(np.random.default_rng(1).normal(size=(5, A)))
    many = jax.tree.map(lambda x: jnp.broadcast_to(x, (5, *x.shape)), p)
    np.testing.assert_allclose(many.log_prob(action), reference.logpdf(action))
    np.testing.assert_allclose(p.entropy(), reference.entropy())
    # One row of the mean for several actions.
    one = jax.tree.map(lambda x: x[None], p)
    np.testing.assert_allclose(one.log_prob(action), reference.logpdf(action))


def test_kl_is_the_closed_form(x64):
    # ½ (tr(Σ_q⁻¹ Σ_p) − A + Δμᵀ Σ_q⁻¹ Δμ + ln det Σ_q / det Σ_p)
    p, q = random(0), random(1)
    inverse = np.linalg.inv(covariance(q))
    change = np.asarray(q.mean - p.mean)
    determinants = (np.linalg.slogdet(covariance(x))[1] for x in (q, p))
    expected = 0.5 * (
        np.trace(inverse @ covariance(p))
        - A
        + change @ inverse @ change
        + np.subtract(*determinants)
    )
    np.testing.assert_allclose(p.kl(q), expected, rtol=1e-10)


@pytest.mark.parametrize("change", [1e-1, 1e-3])
def test_small_kl_is_accurate_in_float32(change, x64):
    p = random(0, leading=(20,))
    q = jax.tree.map(lambda x: x + change * jnp.sin(7 * x), p)
    narrow = [jax.tree.map(lambda x: x.astype(jnp.float32), d) for d in (p, q)]
    exact = [jax.tree.map(lambda x: x.astype(float), d) for d in narrow]
    np.testing.assert_allclose(
        narrow[0].kl(narrow[1]), exact[0].kl(exact[1]), rtol=2e-3
    )


def test_a_diagonal_factor_is_a_diagonal_gaussian(x64):
    p, q = (
        DiagonalGaussian(x.mean, jnp.diagonal(x.factor, axis1=-2, axis2=-1))
        for x in (random(0), random(1))
    )
    dense_p, dense_q = (
        MultivariateGaussian(x.mean, jnp.diag(x.log_std)) for x in (p, q)
    )
    np.testing.assert_allclose(dense_p.kl(dense_q), p.kl(q), rtol=1e-12)
    product, expected = dense_p.fisher_product(dense_q), p.fisher_product(q)
    assert_close(product.mean, expected.mean, rtol=1e-12)
    assert_close(product.factor, jnp.diag(expected.log_std), rtol=1e-12)


def test_nothing_depends_on_what_stands_above_the_diagonal():
    p, q = random(0, "float32"), random(1, "float32")
    other = p._replace(factor=p.factor + jnp.triu(jnp.ones((A, A)), 1))
    action = p.sample(jax.random.key(0))
    for function in (
        lambda p: p.sample(jax.random.key(1)),
        lambda p: p.log_prob(action),
        lambda p: p.entropy(),
        lambda p: p.kl(q),
        q.kl,
        lambda p: p.fisher_product(q),
        q.fisher_product,
    ):
        assert_close(function(other), function(p), rtol=0, atol=0)


def test_samples_have_the_mean_and_the_covariance():
    p, n = random(0, "float32"), 40_000
    many = jax.tree.map(lambda x: jnp.broadcast_to(x, (n, *x.shape)), p)
    action = np.asarray(many.sample(jax.random.key(0)), float)
    dense = covariance(p)
    std = np.sqrt(np.diagonal(dense))
    change = action - np.asarray(p.mean, float)
    assert (np.abs(change.mean(0)) < 5 * std / np.sqrt(n)).all()
    assert np.abs(np.cov(change.T) - dense).max() < 0.05 * std.max() ** 2
    white = np.linalg.solve(np.linalg.cholesky(dense), change.T)
    assert scipy.stats.kstest(white.ravel(), "norm").pvalue > 1e-4
