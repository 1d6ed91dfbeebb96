"""Oracles: least squares by numpy, and hand-worked fits of one number a row."""

import functools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import (
    assert_close,
    assert_identical,
    is_finite,
    linear_critic,
    linear_data,
)

from trpo_jax.algorithm import critic
from trpo_jax.algorithm.critic import fit_critic
from trpo_jax.algorithm.masking import explained_variance
from trpo_jax.solver.flat import all_finite

ADAM = optax.scale_by_adam()
DESCENT = optax.identity()  # plain gradient descent


def table(params, row):
    """A critic with a parameter for every row, so that visits can be counted."""
    return params[row]


@functools.partial(
    jax.jit, static_argnames=("apply", "optimizer", "epochs", "minibatch_size")
)
def fit(
    key,
    apply,
    params,
    observation,
    target,
    weight=None,
    *,
    optimizer=DESCENT,
    learning_rate=0.1,
    epochs=1,
    minibatch_size=10,
):
    weight = jnp.ones_like(target) if weight is None else weight
    return fit_critic(
        key,
        apply,
        params,
        optimizer,
        optax.flatten(optimizer).init(params),
        observation,
        target,
        weight,
        learning_rate=learning_rate,
        epochs=epochs,
        minibatch_size=minibatch_size,
    )


LINEAR = linear_critic()


def test_fits_a_linear_function():
    x, target, truth = linear_data()
    params, _, info = fit(
        jax.random.key(0),
        LINEAR.apply,
        LINEAR.init(None, x[0]),
        x,
        target,
        optimizer=ADAM,
        learning_rate=0.03,
        epochs=150,
        minibatch_size=16,
    )
    assert_close(params, jax.tree.map(jnp.asarray, truth), atol=1e-2)
    assert float(info.loss) < 1e-3
    assert info.accepted
    np.testing.assert_allclose(info.explained_variance, 0, atol=1e-6)  # V was 0


def test_finds_the_weighted_least_squares_solution():
    x, target, _ = linear_data(32)
    rng = np.random.default_rng(1)
    target = target + rng.normal(size=32).astype(np.float32)
    weight = rng.integers(0, 4, 32).astype(np.float32)
    params, _, _ = fit(
        jax.random.key(0),
        LINEAR.apply,
        LINEAR.init(None, x[0]),
        x,
        target,
        weight,
        epochs=300,
        minibatch_size=32,
    )
    root = np.sqrt(weight)[:, None]
    design = np.concatenate([x, np.ones((32, 1))], axis=1)
    expected, *_ = np.linalg.lstsq(root * design, root[:, 0] * target, rcond=None)
    np.testing.assert_allclose(params["slope"], expected[:3], atol=1e-3)
    np.testing.assert_allclose(params["offset"], expected[3], atol=1e-3)


def test_one_step_by_hand():
    # Values (0, 0), targets (1, 3), weights (3, 1): loss (3·1 + 1·9)/4 = 3, gradient
    # (−2·3·1, −2·1·3)/4 = (−1.5, −1.5), step 0.1 of it.
    values, _, info = fit(
        jax.random.key(0),
        table,
        jnp.zeros(2),
        jnp.arange(2),
        jnp.array([1.0, 3.0]),
        jnp.array([3.0, 1.0]),
    )
    np.testing.assert_allclose(values, [0.15, 0.15], rtol=1e-6)
    assert float(info.loss) == 3


def test_a_critic_that_keeps_an_axis_of_one_is_refused():
    x, target, params = linear_data()

    def column(params, observation):
        return LINEAR.apply(params, observation)[..., None]

    with pytest.raises(ValueError, match="one value for each row"):
        fit(jax.random.key(0), column, params, x, target)


def test_no_epochs_change_nothing():
    params, state, info = fit(
        jax.random.key(0), table, jnp.ones(3), jnp.arange(3), jnp.zeros(3), epochs=0
    )
    assert_identical((params, state), (jnp.ones(3), DESCENT.init(jnp.ones(3))))
    assert float(info.loss) == 0
    assert info.accepted


@pytest.mark.parametrize("minibatch_size", [3, 4, 1000])
def test_a_minibatch_larger_than_the_batch_is_the_batch(minibatch_size):
    values, _, _ = fit(
        jax.random.key(0),
        table,
        jnp.zeros(3),
        jnp.arange(3),
        jnp.full(3, 3.0),
        minibatch_size=minibatch_size,
    )
    np.testing.assert_allclose(values, [0.2] * 3, rtol=1e-6)  # 0.1 · 2 · 3 / 3


@hypothesis.given(
    shape=st.sampled_from([(5, 2), (6, 3), (4, 1)]), seed=st.integers(0, 999)
)
def test_an_epoch_visits_rows_once_and_drops_the_remainder(shape, seed):
    rows, size = shape
    values, _, _ = fit(
        jax.random.key(seed),
        table,
        jnp.zeros(rows),
        jnp.arange(rows),
        jnp.ones(rows),
        minibatch_size=size,
    )
    once = 0.1 * 2 / size
    visited = np.isclose(values, once)
    assert visited.sum() == rows // size * size
    assert (np.asarray(values)[~visited] == 0).all()


@pytest.mark.parametrize("rows, pieces", [(32, 4), (31, 4)])
def test_a_large_minibatch_is_the_sum_of_its_pieces(monkeypatch, rows, pieces):
    x, target, _ = linear_data(rows)
    kept = rows - rows % pieces
    weight = np.arange(rows) % 3

    def step(**sizes):
        return fit(
            jax.random.key(0), LINEAR.apply, LINEAR.init(None, x[0]), x, target, weight,
            **sizes,
        )  # fmt: skip

    expected, _, whole = step(minibatch_size=kept)
    monkeypatch.setattr(critic, "LARGEST_PIECE", 8)
    found, _, info = step(minibatch_size=rows + 1)  # compiled anew
    assert_close(found, expected, rtol=1e-5)
    np.testing.assert_allclose(info.loss, whole.loss, rtol=1e-5)


def test_no_row_is_left_out_of_every_epoch():
    values, _, _ = fit(
        jax.random.key(0),
        table,
        jnp.zeros(5),
        jnp.arange(5),
        jnp.ones(5),
        epochs=30,
        minibatch_size=4,
    )
    assert (values > 0).all()


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_a_fit_that_is_not_finite_is_thrown_away(poison):
    x, target, _ = linear_data()
    target = jnp.asarray(target).at[7].set(poison)
    start = LINEAR.init(None, x[0])
    optimizer_state = optax.flatten(ADAM).init(start)
    params, state, info = fit(
        jax.random.key(0),
        LINEAR.apply,
        start,
        x,
        target,
        optimizer=ADAM,
        epochs=2,
        minibatch_size=16,
    )
    assert not info.accepted
    assert_identical((params, state), (start, optimizer_state))


@pytest.mark.parametrize("garbage", [1e3, 1e30, np.nan])
def test_rows_of_weight_zero_do_not_count(garbage):
    x, target, _ = linear_data(16)
    weight = jnp.ones(16).at[3].set(0)
    start = {"offset": jnp.ones(()), "slope": jnp.ones(3)}
    clean, dirty = (
        fit(
            jax.random.key(0),
            LINEAR.apply,
            start,
            x,
            jnp.asarray(target).at[3].set(content),
            weight,
            optimizer=ADAM,
            epochs=3,
            minibatch_size=4,
        )
        for content in (0.0, garbage)
    )
    assert_identical(dirty, clean)


def test_a_minibatch_of_weight_zero_is_harmless():
    params, _, info = fit(
        jax.random.key(0),
        table,
        jnp.ones(2),
        jnp.arange(2),
        jnp.zeros(2),
        jnp.zeros(2),
        minibatch_size=1,
    )
    assert_identical(params, jnp.ones(2))
    assert is_finite(info.loss)


def test_the_same_key_gives_the_same_fit():
    x, target, _ = linear_data()
    run = functools.partial(
        fit,
        apply=LINEAR.apply,
        params=LINEAR.init(None, x[0]),
        observation=x,
        target=target,
        optimizer=ADAM,
        epochs=2,
        minibatch_size=16,
    )
    one, again, other = (run(jax.random.key(seed)) for seed in (0, 0, 1))
    assert_identical(one, again)
    assert (one[0]["slope"] != other[0]["slope"]).any()


def test_learning_rate_can_be_vmapped():
    rates = jnp.array([0.01, 0.1])
    values = jax.vmap(
        lambda rate: fit(
            jax.random.key(0),
            table,
            jnp.zeros(3),
            jnp.arange(3),
            jnp.full(3, 3.0),
            learning_rate=rate,
        )[0]
    )(rates)
    np.testing.assert_allclose(values, [[0.02] * 3, [0.2] * 3], rtol=1e-6)


def test_explained_variance_by_hand():
    # Targets 1, 2, 3: variance ⅔. Values 1, 2, 0: errors 0, 0, 3, variance 3 − 1 = 2.
    target, value = jnp.array([1.0, 2.0, 3.0]), jnp.array([1.0, 2.0, 0.0])
    np.testing.assert_allclose(explained_variance(value, target), -2, rtol=1e-6)
    assert float(explained_variance(target, target)) == 1
    assert float(explained_variance(jnp.zeros(3), target)) == 0
    assert float(explained_variance(target - 7, target)) == 1  # a bias is not variance


def test_explained_variance_of_constant_targets_is_zero():
    assert float(explained_variance(jnp.arange(3.0), jnp.full(3, 0.25))) == 0


@pytest.mark.parametrize("garbage", [5.0, 1e30, np.nan])
def test_explained_variance_ignores_rows_of_weight_zero(garbage):
    target, value = jnp.array([1.0, 2.0, 3.0]), jnp.array([1.0, 2.0, 0.0])
    masked = explained_variance(
        jnp.append(value, garbage),
        jnp.append(target, garbage),
        jnp.array([1.0, 1.0, 1.0, 0.0]),
    )
    np.testing.assert_allclose(masked, -2, rtol=1e-6)


def test_all_finite():
    assert all_finite({"a": jnp.ones(3), "b": (jnp.zeros(()), jnp.arange(2))})
    for poison in (jnp.nan, jnp.inf, -jnp.inf):
        assert not all_finite((jnp.ones(3), jnp.array([0.0, poison])))


def test_without_a_row_of_weight_nothing_moves_not_even_by_momentum():
    target = jnp.arange(8.0)
    optimizer = optax.scale_by_adam()
    params, state = jnp.ones(1), optax.flatten(optimizer).init(jnp.ones(1))

    def fitted(params, state, weight):
        return fit_critic(
            jax.random.key(0),
            lambda w, x: w * x,
            params,
            optimizer,
            state,
            target,
            3 * target,
            weight,
            learning_rate=0.1,
            epochs=2,
            minibatch_size=4,
        )

    params, state, _ = fitted(params, state, jnp.ones(8))
    same, same_state, _ = fitted(params, state, jnp.zeros(8))
    assert_identical((same, same_state), (params, state))


@pytest.mark.parametrize("kind", [jnp.int32, jnp.uint8, jnp.float16])
def test_targets_of_any_type_keep_their_fractional_weights(kind):
    """One number for all rows is fitted: the weighted mean of the targets."""
    target, weight = np.array([0, 1, 2, 5]), np.array([0.5, 0.25, 2.0, 0.75])
    params, _, info = fit(
        jax.random.key(0),
        lambda p, x: jnp.broadcast_to(p, x.shape),
        jnp.zeros(1),
        jnp.zeros(4),
        jnp.asarray(target, kind),
        jnp.asarray(weight, jnp.float32),
        learning_rate=0.5,
        epochs=1,
        minibatch_size=4,
    )
    mean = (weight * target).sum() / weight.sum()
    np.testing.assert_allclose(params, [mean], rtol=1e-5)
    before = (weight * target**2).sum() / weight.sum()
    np.testing.assert_allclose(info.loss, before, rtol=1e-5)


@pytest.mark.parametrize("kind", [jnp.bfloat16, jnp.float16])
def test_parameters_of_half_precision_take_small_steps(kind):
    """A step of 1/1024 from 1 is nothing in bfloat16; a hundred of them are something.

    The sum of the steps is kept in float32 and rounded once.
    """
    params, _, info = fit(
        jax.random.key(0),
        lambda p, x: jnp.broadcast_to(p, x.shape),
        jnp.ones(1, kind),
        jnp.zeros(8),
        jnp.full(8, 2.0),
        learning_rate=2.0**-11,
        epochs=100,
        minibatch_size=8,
    )
    expected = 2 - (1 - 2.0**-10) ** 100
    assert params.dtype == kind
    assert bool(info.accepted)
    # The gradient is rounded at every step, the parameter at the last one.
    np.testing.assert_allclose(
        np.asarray(params, float), expected, atol=2 * float(jnp.finfo(kind).eps)
    )
    assert float(params[0]) != 1


@pytest.mark.parametrize("kind", [jnp.int32, jnp.bool_, jnp.float16])
def test_explained_variance_of_any_type_is_that_of_float64(kind):
    rng = np.random.default_rng(0)
    target = rng.integers(0, 2, 70_000)
    value = (0.5 * target + 0.25 * rng.normal(size=70_000)).astype(np.float32)
    weight = rng.random(70_000).astype(np.float32)
    found = explained_variance(jnp.asarray(value), jnp.asarray(target, kind), weight)

    def variance(x):
        mean = np.average(x, weights=weight.astype(float))
        return np.average((x - mean) ** 2, weights=weight.astype(float))

    expected = 1 - variance(target - value.astype(float)) / variance(target)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
