"""Oracles: `numpy.mean` and `numpy.var` of everything seen, and a loop for returns."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, assert_identical, is_finite

from trpo_jax.agent.normalization import (
    CLIP,
    Moments,
    Normalizer,
    first_statistics,
    init_moments,
    init_normalizer,
    normalize,
    normalize_observation,
    scale_reward,
    update_moments,
    update_normalizer,
)

take_in = jax.jit(update_moments)
take_in_iteration = jax.jit(update_normalizer)


def moments_of(*batches):
    moments = init_moments(batches[0].shape[2:], batches[0].dtype)
    for batch in batches:
        moments = take_in(moments, batch, jnp.ones(batch.shape[:2]))
    return moments


@hypothesis.given(
    seed=st.integers(0, 2**16), loc=st.sampled_from([0.0, 1e3]), count=st.integers(1, 4)
)
def test_moments_are_those_of_all_batches_together(seed, loc, count):
    rng = np.random.default_rng(seed)
    batches = [rng.normal(loc, 1 + i, size=(5, 2, 3)) for i in range(count)]
    with jax.enable_x64(True):
        moments = moments_of(*(jnp.asarray(batch) for batch in batches))
    everything = np.concatenate(batches).reshape(-1, 3)
    assert float(moments.count) == len(everything)
    np.testing.assert_allclose(moments.mean, everything.mean(0), rtol=1e-9)
    np.testing.assert_allclose(moments.variance, everything.var(0), rtol=1e-8)


def test_float32_survives_a_large_offset():
    # The naive E[x²] − E[x]² of 1e4 ± 1 keeps no digit in float32.
    batches = np.random.default_rng(0).normal(1e4, 1, size=(50, 20, 4, 2))
    moments = moments_of(*jnp.asarray(batches, jnp.float32))
    np.testing.assert_allclose(
        moments.variance, batches.reshape(-1, 2).var(0), rtol=1e-2
    )


def test_weights_count_as_repetitions(x64):
    x = np.random.default_rng(0).normal(size=(3, 2))
    weighted = take_in(init_moments((2,), x.dtype), x, jnp.array([1.0, 3.0, 0.0]))
    repeated = x[[0, 1, 1, 1]]
    np.testing.assert_allclose(weighted.count, 4)
    np.testing.assert_allclose(weighted.mean, repeated.mean(0))
    np.testing.assert_allclose(weighted.variance, repeated.var(0))


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_left_out(poison):
    x = np.arange(8, dtype=np.float32).reshape(4, 2)
    dirty = x.copy()
    dirty[2, 1] = poison
    with_poison = take_in(init_moments((2,)), dirty, jnp.ones(4))
    without = take_in(init_moments((2,)), x, jnp.array([1.0, 1.0, 0.0, 1.0]))
    assert_identical(with_poison, without)


def test_nothing_but_poison_changes_nothing():
    old = moments_of(jnp.ones((4, 1, 2)))
    assert_identical(take_in(old, jnp.full((3, 2), jnp.nan), jnp.ones(3)), old)


def test_numbers_whose_squares_overflow_keep_the_old_moments():
    old = moments_of(jnp.arange(8.0).reshape(2, 2, 2))
    huge = jnp.array([[1e30, -1e30], [-1e30, 1e30]])
    assert_identical(take_in(old, huge, jnp.ones(2)), old)


def test_no_rows_change_nothing():
    old = moments_of(jnp.arange(8.0).reshape(2, 2, 2))
    assert_identical(take_in(old, jnp.ones((3, 2)), jnp.zeros(3)), old)


def test_integer_observations_are_taken_in():
    moments = take_in(init_moments((1,)), jnp.array([[0], [2]]), jnp.ones(2))
    assert_close(moments, Moments(jnp.float32(2), jnp.ones(1), jnp.ones(1)))


def test_normalized_data_have_mean_zero_and_deviation_one():
    x = np.random.default_rng(0).normal(5, 3, size=(100, 4, 2)).astype(np.float32)
    scaled = np.asarray(normalize(moments_of(jnp.asarray(x)), jnp.asarray(x)))
    np.testing.assert_allclose(scaled.mean((0, 1)), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std((0, 1)), 1, rtol=1e-5)


def test_normalized_data_are_clipped():
    moments = Moments(jnp.float32(9), jnp.zeros(1), jnp.full(1, 4.0))
    x = jnp.array([[1e9], [-1e9], [6.0]])
    assert_close(normalize(moments, x), jnp.array([[CLIP], [-CLIP], [3.0]]))
    assert_close(normalize(moments, x, clip=2.0), jnp.array([[2.0], [-2.0], [2.0]]))


def test_a_constant_observation_stays_finite():
    moments = moments_of(jnp.full((5, 2, 1), 7.0))
    assert normalize(moments, jnp.array([[7.0]])).tolist() == [[0]]
    assert is_finite(normalize(moments, jnp.array([[7.1]])))


def test_before_any_data_normalising_does_nothing():
    x = jnp.array([[1.5, -2.0]])
    normalizer = init_normalizer(
        x, with_observation=True, with_reward=True, discount=0.9
    )
    assert_close(normalize_observation(normalizer, x), x)
    assert_close(scale_reward(normalizer, x[0]), x[0])


def test_switched_off_it_passes_everything_on():
    x = jnp.array([[1e9, jnp.nan]])
    off = init_normalizer(x, with_observation=False, with_reward=False)
    assert normalize_observation(off, x) is x
    assert scale_reward(off, x) is x
    same = update_normalizer(
        off, x[None], jnp.ones((1, 1)), jnp.ones((1, 1), bool), jnp.ones((1, 1))
    )
    assert same == Normalizer(None, None, None)


def test_observations_may_be_pytrees():
    observation = {"a": jnp.ones((1, 2, 3)), "b": (jnp.zeros((1, 2)),)}
    one = jax.tree.map(lambda leaf: leaf[0], observation)
    normalizer = init_normalizer(one, with_observation=True, with_reward=False)
    normalizer = take_in_iteration(
        normalizer, observation, None, None, jnp.ones((1, 2))
    )
    scaled = normalize_observation(normalizer, observation)
    assert_close(scaled, jax.tree.map(jnp.zeros_like, observation))


def random_iterations(seed, iterations=3, steps=6, batch=2):
    rng = np.random.default_rng(seed)
    shape = iterations, steps, batch
    reward = rng.normal(1, 2, shape).astype(np.float32)
    return reward, rng.random(shape) < 0.2, (rng.random(shape) < 0.8).astype("f4")


@hypothesis.given(seed=st.integers(0, 2**16), weighted=st.booleans())
def test_reward_scale_is_the_deviation_of_the_discounted_return(seed, weighted):
    reward, ended, weight = random_iterations(seed)
    if not weighted:
        weight = np.ones_like(weight)
    normalizer = init_normalizer(
        jnp.zeros((2, 1)), with_observation=False, with_reward=True, discount=0.9
    )
    for rows in zip(reward, ended, weight):
        normalizer = take_in_iteration(normalizer, None, *rows)

    returns = []
    for b in range(2):
        so_far = 0.0
        for i in range(3):
            for t in range(6):
                if weight[i, t, b]:
                    so_far = reward[i, t, b] + 0.9 * so_far
                    returns.append(so_far)
                if ended[i, t, b]:
                    so_far = 0.0
    np.testing.assert_allclose(
        scale_reward(normalizer, jnp.float32(1)), 1 / np.std(returns), rtol=1e-4
    )


def test_a_reward_that_is_not_finite_never_reaches_the_statistics():
    normalizer = init_normalizer(
        jnp.zeros((2, 1)), with_observation=True, with_reward=True, discount=0.9
    )
    reward = jnp.ones((4, 2)).at[1, 0].set(jnp.nan).at[2, 1].set(jnp.inf)
    observation = jnp.ones((4, 2, 1)).at[0, 0].set(jnp.nan)
    ended, weight = jnp.zeros((4, 2), bool), jnp.ones((4, 2))
    after = take_in_iteration(normalizer, observation, reward, ended, weight)
    assert is_finite(after)
    assert float(after.discounted_return.count) == 6
    assert float(after.observation.count) == 7


def test_scaled_rewards_are_clipped_and_keep_their_sign():
    normalizer = Normalizer(
        None, Moments(jnp.float32(9), jnp.float32(5), jnp.float32(4)), jnp.zeros(1)
    )
    scaled = scale_reward(normalizer, jnp.array([2.0, -2.0, 1e6]))
    assert_close(scaled, jnp.array([1.0, -1.0, CLIP]))  # the mean stays


def test_a_discounted_return_that_overflows_is_left_out():
    normalizer = init_normalizer(
        jnp.zeros((1, 1)), with_observation=False, with_reward=True, discount=0.9
    )
    reward = jnp.full((3, 1), 3e38)  # finite, but not their sum
    after = take_in_iteration(
        normalizer,
        jnp.zeros((3, 1, 1)),
        reward,
        jnp.zeros((3, 1), bool),
        jnp.ones((3, 1)),
    )
    assert is_finite(after)


@pytest.mark.parametrize("unit", [1e-12, 1e-6, 1.0, 1e6, 1e12])
def test_the_unit_decides_nothing(unit):
    x = np.random.default_rng(0).normal(3, 2, (50, 4, 2))
    moments = moments_of(jnp.float32(unit * x))
    expected = (x - x.mean((0, 1))) / x.std((0, 1))
    np.testing.assert_allclose(
        normalize(moments, jnp.float32(unit * x)), expected, atol=1e-4
    )
    one = jax.tree.map(lambda leaf: leaf[..., 0] if leaf.ndim else leaf, moments)
    scaled = scale_reward(Normalizer(None, one, None), jnp.float32(unit))
    np.testing.assert_allclose(scaled, 1 / x[..., 0].std(), rtol=1e-4)


def test_a_constant_is_not_made_of_its_rounding_errors():
    x = jnp.full((1000, 7, 1), 0.1)
    assert np.abs(normalize(moments_of(x), x)).max() < 0.1


def test_the_first_batch_brings_its_own_statistics_and_leaves_no_trace():
    rng = np.random.default_rng(0)
    observation = jnp.float32(rng.normal(5, 3, (20, 2, 1)))
    reward = jnp.float32(rng.normal(100, 30, (20, 2)))
    batch = observation, reward, jnp.zeros((20, 2), bool), jnp.ones((20, 2))
    start = init_normalizer(
        observation[0], with_observation=True, with_reward=True, discount=0.9
    )
    first, after = first_statistics(start, *batch), take_in_iteration(start, *batch)
    for name in ("mean", "variance"):
        for what in ("observation", "discounted_return"):
            found, wanted = (getattr(getattr(n, what), name) for n in (first, after))
            assert_close(found, wanted)
    assert float(first.observation.count) == 0
    assert_close(take_in_iteration(first, *batch), after)
    assert_identical(first_statistics(after, *batch), after)


@pytest.mark.parametrize("kind", [jnp.int32, jnp.uint8, jnp.bool_, jnp.float16])
def test_rewards_of_any_type_are_scaled_as_the_same_floats(kind):
    reward = np.random.default_rng(0).integers(0, 2, (40, 2))
    ended = np.zeros((40, 2), bool)
    results = []
    for numbers in (jnp.asarray(reward, kind), jnp.asarray(reward, jnp.float32)):
        normalizer = init_normalizer(
            jnp.zeros((2, 1)), with_observation=False, with_reward=True
        )
        normalizer = update_normalizer(
            normalizer, jnp.zeros((40, 2, 1)), numbers, jnp.asarray(ended),
            jnp.ones((40, 2)), discount=0.9,
        )  # fmt: skip
        results.append((normalizer, scale_reward(normalizer, numbers)))
    assert_identical(*results)
    total, returns = np.zeros(2), []
    for row in reward:
        total = row + 0.9 * total
        returns.append(total)
    variance = float(results[0][0].discounted_return.variance)
    np.testing.assert_allclose(variance, np.var(returns), rtol=1e-5)
    expected = reward / np.sqrt(np.var(returns))
    np.testing.assert_allclose(results[0][1], expected, rtol=1e-5)
