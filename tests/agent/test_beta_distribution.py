"""Oracles: scipy in float64 where it is accurate, float64 for float32, quadrature."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
from helpers import assert_close, is_finite

from trpo_jax.agent.beta_distribution import Beta
from trpo_jax.agent.distributions import sample_rows
from trpo_jax.agent.stirling import log_gap, stirling_error

pytestmark = pytest.mark.usefixtures("quick_compilation")

VALUES = 1e-3, 0.3, 1.0, 2.0, 5.99, 6.0, 40.0, 1e3
LARGE = 1e4, 1e6, 1e8
WIDTH = 4.25 * 2.0**-23  # of the interval for which a bound stands in float32


def grid(values, dtype):
    """Return α and β, all pairs of the values, with one action dimension."""
    pairs = np.array(list(itertools.product(values, values)))
    logs = (jnp.asarray(np.log(pairs[:, i : i + 1]), dtype) for i in (0, 1))
    return Beta(*logs)


def shifted(p, change):
    """Return a distribution that differs by about `change` standard deviations."""
    width = change / jnp.sqrt(1 + jnp.exp(jnp.minimum(p.log_alpha, p.log_beta)))
    return Beta(p.log_alpha + width, p.log_beta - 0.7 * width)


def scipy_of(p):
    return scipy.stats.beta(*(np.exp(np.asarray(x, float))[:, 0] for x in p), -1, 2)


def widened(p):
    return jax.tree.map(lambda x: x.astype(float), p)


def typical_actions(p, z):
    alpha, beta = (jnp.exp(x) for x in p)
    mean = p.mode()
    std = 2 * jnp.sqrt(alpha * beta / (alpha + beta + 1)) / (alpha + beta)
    return jnp.clip(mean + z * std, -1 + 1e-5, 1 - 1e-5)


@jax.jit
def facts(p, q, action):
    return {
        "log_prob": p.log_prob(action),
        "entropy": p.entropy(),
        "kl": p.kl(q),
        "products": [p.fisher_product(q), p.fisher_product(Beta(*q[::-1]))],
    }


@pytest.mark.parametrize("z", [-2.0, 0.0, 0.7])
def test_log_prob_and_entropy_are_those_of_scipy(z, x64):
    p = grid(VALUES, float)
    action = typical_actions(p, z)
    known = facts(p, p, action)
    expected = scipy_of(p).logpdf(action[:, 0])
    np.testing.assert_allclose(known["log_prob"], expected, rtol=1e-9, atol=1e-9)
    entropy = scipy_of(p).entropy()
    np.testing.assert_allclose(known["entropy"], entropy, rtol=1e-9, atol=1e-9)


def test_kl_is_the_closed_form(x64):
    p, q = grid(VALUES, float), shifted(grid(VALUES, float), 1.0)
    (a, b), (c, d) = ([np.exp(x)[:, 0] for x in x] for x in (p, q))
    expected = (
        scipy.special.betaln(c, d)
        - scipy.special.betaln(a, b)
        + (a - c) * scipy.special.psi(a)
        + (b - d) * scipy.special.psi(b)
        + (c - a + d - b) * scipy.special.psi(a + b)
    )
    found = facts(p, q, p.mode())["kl"]
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-9)


def test_kl_is_that_of_a_quadrature(x64):
    p, q = Beta(*jnp.log(jnp.array([[2.5], [1.5]]))), Beta(*jnp.zeros((2, 1)))

    def integrand(x):
        log_p, log_q = (
            scipy.stats.beta(*np.exp(np.ravel(d)), -1, 2).logpdf(x) for d in (p, q)
        )
        return np.exp(log_p) * (log_p - log_q)

    expected, _ = scipy.integrate.quad(integrand, -1, 1, epsabs=1e-11)
    found = jax.jit(lambda p, q: p.kl(q))(p, q)
    np.testing.assert_allclose(found, expected, rtol=1e-8)


@pytest.mark.parametrize("change", [0.1, 1.0])
def test_float32_is_enough_for_large_parameters(change, x64):
    """KL of large α is a small difference of terms of log Γ of up to 2e9."""
    p = grid((0.5, *LARGE), "float32")
    q = shifted(p, jnp.float32(change))
    action = typical_actions(p, jnp.float32(0.7))
    found = facts(p, q, action)
    exact = facts(*(widened(x) for x in (p, q, action)))
    np.testing.assert_allclose(found["kl"], exact["kl"], rtol=2e-3, atol=3e-6)
    for name, tolerance in (("log_prob", 2e-3), ("entropy", 1e-5), ("products", 2e-4)):
        assert_close(found[name], exact[name], rtol=tolerance, atol=tolerance)


def test_samples_are_those_of_scipy():
    for alpha, beta in ((0.4, 0.7), (1.0, 1.0), (3.0, 0.5), (200.0, 50.0)):
        logs = jnp.log(jnp.array([alpha, beta], "float32"))
        many = Beta(*(jnp.full((5000, 1), x) for x in logs))
        action = np.asarray(many.sample(jax.random.key(0)), float)[:, 0]
        test = scipy.stats.kstest(action, scipy.stats.beta(alpha, beta, -1, 2).cdf)
        assert test.pvalue > 1e-4


EXTREMES = -14.0, -5.0, 0.0, 5.0, 18.0


def test_everything_is_finite_from_1e_6_to_1e_8():
    p = grid(np.exp(EXTREMES), "float32")
    q = jax.tree.map(lambda x: x[::-1], p)
    keys = jax.random.split(jax.random.key(0), p.log_alpha.shape[0])
    sample = jax.jit(sample_rows)(p, keys)

    values = facts(p, q, sample), facts(q, p, sample)

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def gradient(p):
        ends = [p.log_prob(jnp.full_like(sample, x)) for x in (-1, -0.9999999, 0, 1)]
        used = ends, p.log_prob(sample), q.kl(p)
        return sum(jnp.sum(x) for x in jax.tree.leaves(used)), used

    assert is_finite((sample, values, gradient(p)))
    assert float(jnp.min(values[0]["kl"])) > -1e-5


@pytest.mark.parametrize(("alpha", "beta"), [(0.05, 0.1), (0.5, 30.0), (1.0, 3.0)])
def test_at_a_bound_log_prob_is_that_of_all_that_is_so_close(alpha, beta):
    for swap in (False, True):
        a, b = (beta, alpha) if swap else (alpha, beta)
        p = Beta(*(jnp.log(jnp.array([x], "float32")) for x in (a, b)))
        mass = scipy.stats.beta(alpha, beta).cdf(WIDTH / 2)
        for close in (1.0, 1 - 1e-7, 1.5):
            action = jnp.array([close if swap else -close], "float32")
            expected = np.log(mass / WIDTH)
            np.testing.assert_allclose(p.log_prob(action), expected, rtol=1e-4)


def test_the_mean_score_is_zero_and_the_mean_ratio_one_at_the_bounds():
    # Half of these actions are exactly ±1.
    p = Beta(*jnp.log(jnp.array([[0.05], [0.08]])))
    q = Beta(p.log_alpha + 0.1, p.log_beta - 0.1)

    @jax.jit
    @jax.vmap
    def numbers_of(key):
        action = p.sample(key)
        score = jax.grad(lambda p: p.log_prob(action))(p)
        ratio = jnp.exp(q.log_prob(action) - p.log_prob(action)) - 1
        at_bound = (jnp.abs(action) == 1).astype(jnp.float32)
        return jnp.concatenate([*score, ratio[None], at_bound])

    numbers = np.asarray(numbers_of(jax.random.split(jax.random.key(0), 20_000)), float)
    assert numbers[:, -1].mean() > 0.4
    numbers = numbers[:, :-1]
    error = numbers.std(0) / np.sqrt(len(numbers))
    assert (np.abs(numbers.mean(0)) < 4 * error).all()


def test_mode_is_the_mean():
    p = Beta(*jnp.log(jnp.array([[3.0], [1.0]])))
    np.testing.assert_allclose(p.mode(), 0.5, rtol=1e-6)  # (3 − 1) / (3 + 1)


def test_stirling_error_is_what_stirlings_formula_leaves(x64):
    z = np.array([1e-6, 0.1, 1.0, 5.999999, 6.0, 6.000001, 20.0])
    formula = (z - 0.5) * np.log(z) - z + 0.5 * np.log(2 * np.pi)
    expected = scipy.special.gammaln(z) - formula
    np.testing.assert_allclose(stirling_error(jnp.asarray(z)), expected, atol=1e-13)
    slope = jax.grad(stirling_error)
    expected = scipy.special.psi(z) - np.log(z) + 1 / (2 * z)
    found = jax.jit(jax.vmap(slope))(z)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-11)
    expected = scipy.special.polygamma(1, z) - 1 / z - 1 / (2 * z * z)
    found = jax.jit(jax.vmap(jax.grad(slope)))(z)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-11)


def test_log_gap_is_accurate_in_float32():
    r = np.array(
        [-0.99, -0.31, -0.3, -0.29, -1e-3, 0.0, 1e-6, 1e-2, 0.3, 5.0], "float32"
    )
    wide = r.astype(float)
    small = wide**2 / 2 - wide**3 / 3  # log1p alone would cancel
    exact = np.where(np.abs(wide) < 1e-4, small, wide - np.log1p(wide))
    found = log_gap(jnp.asarray(r), jnp.log1p(jnp.asarray(r)))
    np.testing.assert_allclose(found, exact, rtol=3e-6)
