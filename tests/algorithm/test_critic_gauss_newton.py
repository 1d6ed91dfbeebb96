"""Oracles: least squares and divergences worked out by numpy in float64."""

import functools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, assert_identical, differ, linear_critic, linear_data

from trpo_jax.algorithm.critic_gauss_newton import fit_critic_gauss_newton
from trpo_jax.algorithm.subsampling import subsample_rows

LINEAR = linear_critic()


def noisy_linear_data(rows=64):
    x, target, _ = linear_data(rows)
    rng = np.random.default_rng(2)
    weight = rng.integers(0, 4, rows).astype(np.float32)
    return x, target + rng.normal(size=rows).astype(np.float32), weight


START = {"offset": jnp.float32(1), "slope": jnp.array([0.3, -0.2, 0.1])}


def kl_of(params, x, target, weight):
    """KL between Gaussians of equal variance, worked out in float64."""
    before, after = (np.float64(LINEAR.apply(p, x)) for p in (START, params))
    share = weight / weight.sum(dtype=np.float64)
    variance = share @ (target - before) ** 2
    return share @ (after - before) ** 2 / (2 * variance)


def test_a_wide_region_holds_the_weighted_least_squares_solution():
    x, target, weight = noisy_linear_data()
    params, info = fit_critic_gauss_newton(
        jax.random.key(0), LINEAR.apply, START, x, target, weight,
        max_kl=10.0, damping=0.0,
    )  # fmt: skip
    root = np.sqrt(weight)[:, None]
    design = np.concatenate([x, np.ones((64, 1))], axis=1)
    expected, *_ = np.linalg.lstsq(root * design, root[:, 0] * target, rcond=None)
    np.testing.assert_allclose(params["slope"], expected[:3], atol=1e-4)
    np.testing.assert_allclose(params["offset"], expected[3], atol=1e-4)
    after = np.average((target - LINEAR.apply(params, x)) ** 2, weights=weight)
    np.testing.assert_allclose(info.loss, after, rtol=1e-5)
    assert info.accepted


@pytest.mark.parametrize("max_kl", [1e-3, 0.1])
def test_a_narrow_region_is_gone_through_to_its_bound(max_kl):
    data = noisy_linear_data()
    params, _ = fit_critic_gauss_newton(
        jax.random.key(0), LINEAR.apply, START, *data, max_kl=max_kl, damping=0.0
    )
    np.testing.assert_allclose(kl_of(params, *data), max_kl, rtol=1e-3)


@functools.partial(jax.jit, static_argnames="iterations")
def fit_noisy_line(max_kl, damping, iterations):
    return fit_critic_gauss_newton(
        jax.random.key(0), LINEAR.apply, START, *noisy_linear_data(),
        max_kl=max_kl, damping=damping, cg_iterations=iterations,
    )  # fmt: skip


@hypothesis.given(
    max_kl=st.sampled_from([1e-3, 0.1, 10.0]),
    damping=st.sampled_from([0.0, 0.1, 10.0]),
    iterations=st.integers(1, 4),
)
def test_a_step_never_leaves_its_region_and_never_fits_worse(
    max_kl, damping, iterations
):
    x, target, weight = data = noisy_linear_data()
    params, info = fit_noisy_line(max_kl, damping, iterations)
    assert kl_of(params, *data) <= max_kl * (1 + 1e-5)
    before, after = (
        np.average((target - LINEAR.apply(p, x)) ** 2, weights=weight)
        for p in (START, params)
    )
    assert after < before
    np.testing.assert_allclose(info.loss, after, rtol=1e-5)


@pytest.mark.parametrize("fraction", [0.01, 1.0])
def test_rows_that_the_products_did_not_see_hold_the_bound_too(fraction):
    """One row in a thousand moves, and the sample of the metric misses it."""
    x = jnp.full(1000, 1e-3).at[-1].set(1)
    target, weight = jnp.full(1000, 3.0), jnp.ones(1000)
    w, info = fit_critic_gauss_newton(
        jax.random.key(0), lambda w, x: w * x, jnp.zeros(()), x, target, weight,
        max_kl=0.1, damping=0.0, fraction=fraction, max_backtracks=60,
    )  # fmt: skip
    assert np.mean(np.square(np.float64(w * x))) / (2 * 9) <= 0.1
    assert float(info.loss) < 9
    assert info.accepted


@pytest.mark.parametrize(
    "wrong", [{"fraction": 2.0}, {"fraction": 0.0}, {"max_kl": 0.0}, {"damping": -1.0}]
)
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        fit_critic_gauss_newton(
            jax.random.key(0), LINEAR.apply, START, *noisy_linear_data(),
            **{"max_kl": 0.1, **wrong},
        )  # fmt: skip


@pytest.mark.parametrize("damping", [0.0, 0.1])
def test_a_step_does_not_know_the_units_of_the_targets(damping):
    x, target, weight = noisy_linear_data()
    step = functools.partial(
        fit_critic_gauss_newton, jax.random.key(0), LINEAR.apply, observation=x,
        weight=weight, max_kl=0.05, damping=damping,
    )  # fmt: skip
    params, _ = step(params=START, target=target)
    scaled, _ = step(
        params=jax.tree.map(lambda p: 1000 * p, START), target=1000 * target
    )
    assert_close(scaled, jax.tree.map(lambda p: 1000 * p, params), rtol=1e-4)


def test_a_fraction_of_the_rows_makes_the_metric_and_all_make_the_gradient():
    x, target, weight = noisy_linear_data()
    key = jax.random.key(0)
    params, _ = fit_critic_gauss_newton(
        key, LINEAR.apply, START, x, target, weight,
        max_kl=10.0, damping=0.1, fraction=0.25,
    )  # fmt: skip
    design = np.concatenate([np.ones((64, 1)), x], axis=1)
    (of_step,) = jax.random.split(key, 1)
    seen, counts = subsample_rows(of_step, (design, weight), 0.25)
    h = np.einsum("n,ni,nj->ij", np.float64(counts), seen, seen) / counts.sum()
    error = target - LINEAR.apply(START, x)
    g = np.average(error[:, None] * design, axis=0, weights=weight)
    expected = np.linalg.solve(h + 0.1 * np.eye(4), g)
    np.testing.assert_allclose(params["offset"] - 1, expected[0], rtol=1e-3)
    np.testing.assert_allclose(
        params["slope"] - START["slope"], expected[1:], rtol=1e-3
    )


@pytest.mark.parametrize("size", [1e-18, 1e-9, 1e9])
def test_errors_of_any_size_are_learnt_from(size):
    x, target, weight = noisy_linear_data()
    params, info = fit_critic_gauss_newton(
        jax.random.key(0), LINEAR.apply, LINEAR.init(None, x[0]), x, size * target,
        weight, max_kl=10.0, damping=0.0,
    )  # fmt: skip
    assert info.accepted
    assert differ(params, LINEAR.init(None, x[0]))


def test_a_gradient_that_is_not_finite_is_told():
    x, target, weight = noisy_linear_data()
    params, info = fit_critic_gauss_newton(
        jax.random.key(0), lambda p, x: jnp.sqrt(p * x[:, 0] ** 2), jnp.zeros(()),
        x, target, weight, max_kl=0.1,
    )  # fmt: skip
    assert not info.accepted
    assert_identical(params, jnp.zeros(()))


def test_values_in_half_precision_are_taken():
    x, target, weight = noisy_linear_data()
    params, info = fit_critic_gauss_newton(
        jax.random.key(0), lambda p, x: LINEAR.apply(p, x).astype(jnp.bfloat16),
        START, x, target, weight, max_kl=0.1,
    )  # fmt: skip
    assert info.accepted
    assert differ(params, START)


@pytest.mark.parametrize("width", [1, 2**16])
def test_small_and_large_critics_are_stepped_alike_and_bounds_can_be_vmapped(width):
    """A large one is a pytree inside; copies of its inputs make no difference."""
    x, _, weight = noisy_linear_data()
    target = 3 * x[:, 0]

    def apply(p, x):
        return jnp.asarray(x)[:, 0] * jnp.sum(p) / width**0.5

    bounds = jnp.array([1e-3, 1e-2])
    step = jax.jit(
        jax.vmap(
            lambda bound: fit_critic_gauss_newton(
                jax.random.key(0), apply, jnp.zeros(width), x, target, weight,
                max_kl=bound, damping=0.0,
            )[0]
        )
    )  # fmt: skip
    params = step(bounds)
    variance = np.average(target**2, weights=weight)
    for bound, p in zip(bounds, params):
        moved = np.average(np.square(apply(p, x)), weights=weight)
        kl = moved / (2 * variance)
        assert 0.63 * bound < kl < 1.0001 * bound  # rounding may cost one backtrack


@pytest.mark.parametrize("garbage", [1e3, 1e30, np.nan])
def test_a_step_ignores_rows_of_weight_zero(garbage):
    x, target, _ = noisy_linear_data(16)
    weight = jnp.ones(16).at[3].set(0)
    clean, dirty = (
        fit_critic_gauss_newton(
            jax.random.key(0), LINEAR.apply, START, x,
            jnp.asarray(target).at[3].set(content), weight, max_kl=0.1,
        )
        for content in (0.0, garbage)
    )  # fmt: skip
    assert_identical(dirty, clean)


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_a_step_that_is_not_finite_is_thrown_away(poison):
    x, target, weight = noisy_linear_data()
    target = jnp.asarray(target).at[weight.argmax()].set(poison)
    params, info = fit_critic_gauss_newton(
        jax.random.key(0), LINEAR.apply, START, x, target, weight, max_kl=0.1
    )
    assert not info.accepted
    assert_identical(params, START)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_without_an_error_or_a_row_of_weight_no_step_is_taken(weight):
    x, _, _ = noisy_linear_data()
    target = LINEAR.apply(START, x)
    params, _ = fit_critic_gauss_newton(
        jax.random.key(0), LINEAR.apply, START, x, target, jnp.full(64, weight),
        max_kl=0.1,
    )  # fmt: skip
    assert_identical(params, START)


def test_a_step_refuses_a_critic_that_keeps_an_axis_of_one():
    x, target, weight = noisy_linear_data()
    with pytest.raises(ValueError, match="one value for each row"):
        fit_critic_gauss_newton(
            jax.random.key(0), lambda p, x: LINEAR.apply(p, x)[:, None], START,
            x, target, weight, max_kl=0.1,
        )  # fmt: skip
