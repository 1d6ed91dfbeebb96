"""Oracles: scipy's normal distribution under a change of variables, and quadrature."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from helpers import assert_close, is_finite

from trpo_jax.agent.distributions import DiagonalGaussian
from trpo_jax.agent.squashed_gaussian import SquashedGaussian

EPSILON = 2.0**-23
EDGE = 1 - 4 * EPSILON  # the smallest number that counts as 1
WIDTH = 4.25 * EPSILON  # from what is rounded to it to 1
LIMIT = np.arctanh(1 - WIDTH)


def make(mean, std, rows=None, dtype="float32"):
    shape = (1,) if rows is None else (rows, 1)
    return SquashedGaussian(
        jnp.full(shape, mean, dtype), jnp.full(shape, np.log(std), dtype)
    )


def log_density(action, mean, std):
    """d/da of the normal distribution function at artanh(a), in float64."""
    action = np.asarray(action, float)
    normal = scipy.stats.norm.logpdf(np.arctanh(action), mean, std)
    return normal - np.log1p(action) - np.log1p(-action)


@jax.jit
def log_prob_and_gradients(p, action):
    return jax.value_and_grad(lambda p, action: p.log_prob(action), (0, 1))(p, action)


EACH = pytest.mark.parametrize(
    ("mean", "std"), [(0.0, 1.0), (-1.5, 0.1), (3.0, 2.0), (7.0, 1.0), (0.0, 10.0)]
)


@EACH
def test_log_prob_of_samples_is_the_density_to_rounding(mean, std):
    p = make(mean, std, rows=5000)
    action = p.sample(jax.random.key(0))
    log_prob = np.asarray(p.log_prob(action))
    assert np.isfinite(log_prob).all()
    inside = np.abs(action[:, 0]) < 1
    assert inside.any()
    np.testing.assert_allclose(
        log_prob[inside],
        log_density(action[inside, 0], mean, std),
        rtol=2e-5,
        atol=1e-5,
    )


@EACH
def test_samples_are_squashed_normal_numbers(mean, std):
    action = np.asarray(make(mean, std, rows=20_000).sample(jax.random.key(1)), float)
    assert (np.abs(action) <= 1).all()
    normal = scipy.stats.norm(mean, std)
    inside = np.arctanh(action[np.abs(action) < np.tanh(5)])  # beyond, numbers are rare
    low, high = normal.cdf([-5, 5])
    uniform = (normal.cdf(inside) - low) / (high - low)
    assert scipy.stats.kstest(uniform, "uniform").pvalue > 1e-4
    low, high = normal.cdf([-LIMIT, LIMIT])
    for beyond, probability in ((action >= EDGE, 1 - high), (action <= -EDGE, low)):
        assert set(np.unique(action[beyond])) <= {-1.0, 1.0}
        error = np.sqrt(probability * (1 - probability) / len(action))
        assert abs(beyond.mean() - probability) <= 5 * error + 1e-12


def test_at_a_bound_log_prob_is_that_of_all_that_is_so_close():
    # P(u > 7.59) for u ~ N(7, 1) is 0.28, on an interval of 5.1e-7.
    p = make(7.0, 1.0)
    for action, tail in ((1.0, LIMIT - 7), (-1.0, LIMIT + 7)):
        for close in (action, action * (1 - 1e-7), 2 * action):
            expected = scipy.stats.norm.logsf(tail) - np.log(WIDTH)
            log_prob = p.log_prob(jnp.array([close], "float32"))
            np.testing.assert_allclose(log_prob, expected, rtol=1e-5)


def test_densities_and_bounds_together_have_probability_one():
    mean, std, edge = 6.5, 1.5, np.float32(EDGE)
    u = np.linspace(-LIMIT, LIMIT, 4001)
    p = make(mean, std, rows=u.size)
    action = np.tanh(u).astype(np.float32)[:, None]
    action = np.clip(action, np.nextafter(-edge, 0), np.nextafter(edge, 0))
    density = np.exp(p.log_prob(jnp.asarray(action)))
    inside = np.trapezoid(density * (1 - np.tanh(u) ** 2), u)
    ends = sum(
        float(jnp.exp(make(mean, std).log_prob(x * jnp.ones(1)))) for x in (-1, 1)
    )
    np.testing.assert_allclose(inside + ends * WIDTH, 1, rtol=2e-3)


def test_the_mean_score_is_zero_and_the_mean_ratio_one_at_the_bounds():
    # 28 % of these actions are exactly 1.
    p, q = make(7.0, 1.0), make(7.2, 1.1)

    @jax.jit
    @jax.vmap
    def facts(key):
        action = p.sample(key)
        score = log_prob_and_gradients(p, action)[1][0]
        ratio = jnp.exp(q.log_prob(action) - p.log_prob(action)) - 1
        return jnp.concatenate([score.mean, score.log_std, ratio[None]])

    numbers = np.asarray(facts(jax.random.split(jax.random.key(0), 100_000)), float)
    error = numbers.std(0) / np.sqrt(len(numbers))
    assert (np.abs(numbers.mean(0)) < 4 * error).all()


@pytest.mark.parametrize("action", [1.0, -1.0, EDGE, 0.0, 0.999999])
@pytest.mark.parametrize("std", [1e-6, 1e-2, 1.0, 1e4])
def test_gradients_are_finite_and_right_at_and_near_the_bounds(action, std, x64):
    """The oracle is a difference in float64."""
    given = jnp.full(1, action, "float32")
    value, (gradient, by_action) = log_prob_and_gradients(make(0.3, std), given)
    assert is_finite((value, gradient, by_action))

    def exact(mean):
        if abs(action) < EDGE:
            return log_density(np.float32(action), mean, std)
        return scipy.stats.norm.logsf((LIMIT - np.sign(action) * mean) / std)

    step = 1e-4 * max(std, 1e-3)
    expected = (exact(0.3 + step) - exact(0.3 - step)) / (2 * step)
    np.testing.assert_allclose(gradient.mean, expected, rtol=2e-3, atol=1e-8 / std)


@pytest.mark.parametrize("mean", [0.0, 0.4, -2.0, 6.0, 30.0])
def test_entropy_is_that_of_a_quadrature_for_every_width(mean, x64):
    z = np.linspace(-10, 10, 100_001)
    density = scipy.stats.norm.pdf(z)
    for std in (1e-3, 0.03, 0.3, 1.0, 3.0, 10.0, 100.0):
        u = np.abs(mean + std * z)
        log_slope = 2 * (np.log(2) - u - np.log1p(np.exp(-2 * u)))
        change = np.trapezoid(density * log_slope, z)
        expected = scipy.stats.norm(mean, std).entropy() + change
        found = entropy(make(mean, std, dtype=float))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7 * (1 + std / 30))
        narrow = entropy(make(mean, std))
        np.testing.assert_allclose(narrow, expected, rtol=1e-6, atol=1e-5)


@jax.jit
def entropy(p):
    return p.entropy()


def test_entropy_is_the_mean_of_minus_log_prob():
    p = make(0.5, 0.8, rows=40_000)
    log_prob = np.asarray(p.log_prob(p.sample(jax.random.key(0))))
    error = log_prob.std() / np.sqrt(log_prob.size)
    assert abs(log_prob.mean() + float(p.entropy()[0])) < 5 * error


def test_kl_and_metric_are_those_before_squashing():
    for mean, std in itertools.product((0.0, 2.0), (0.5, 2.0)):
        p, q = make(mean, std), make(1.0, 1.0)
        plain_p, plain_q = (DiagonalGaussian(*x) for x in (p, q))
        np.testing.assert_array_equal(p.kl(q), plain_p.kl(plain_q))
        product = plain_p.fisher_product(plain_q)
        assert_close(p.fisher_product(q), SquashedGaussian(*product), rtol=0, atol=0)


def test_mode_is_the_median():
    p = make(0.7, 2.0)
    sample = jax.vmap(p.sample)(jax.random.split(jax.random.key(0), 10_000))
    assert abs(float((sample < p.mode()[None]).mean()) - 0.5) < 0.025


def test_numbers_that_are_not_finite_stay_so():
    assert np.isnan(make(0.0, 1.0).log_prob(jnp.array([jnp.nan])))
