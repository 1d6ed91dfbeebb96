"""Oracle: the recursion as a double loop in numpy."""

import functools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, is_finite

from trpo_jax.algorithm.advantages import advantages, standardize

estimate = jax.jit(advantages)


def random_trajectory(seed, shape=(9, 4), ending=0.25):
    rng = np.random.default_rng(seed)
    reward, value, next_value = rng.normal(size=(3, *shape))
    terminated, truncated = rng.random((2, *shape)) < ending
    return reward, value, next_value, terminated, truncated


def loop(reward, value, next_value, terminated, truncated, discount, gae_lambda):
    """Σₖ (γλ)ᵏ δₜ₊ₖ, k up to the end of the episode; no recursion."""
    steps, columns = reward.shape
    result = np.zeros((steps, columns))
    for b in range(columns):
        for t in range(steps):
            for k in range(t, steps):
                bootstrap = 0 if terminated[k, b] else discount * next_value[k, b]
                delta = reward[k, b] + bootstrap - value[k, b]
                result[t, b] += (discount * gae_lambda) ** (k - t) * delta
                if terminated[k, b] or truncated[k, b]:
                    break
    return result


@hypothesis.given(
    seed=st.integers(0, 2**16),
    ending=st.sampled_from([0.0, 0.2, 0.7, 1.0]),
    discount=st.sampled_from([0.0, 0.5, 0.99, 1.0]),
    gae_lambda=st.sampled_from([0.0, 0.5, 0.95, 1.0]),
)
def test_is_the_double_loop(seed, ending, discount, gae_lambda):
    trajectory = random_trajectory(seed, ending=ending)
    with jax.enable_x64(True):
        advantage, target = estimate(
            *trajectory, discount=discount, gae_lambda=gae_lambda
        )
    expected = loop(*trajectory, discount, gae_lambda)
    np.testing.assert_allclose(advantage, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(target, expected + trajectory[1], rtol=1e-9, atol=1e-12)


def test_all_four_flag_combinations_occur_in_the_random_trajectories():
    _, _, _, terminated, truncated = random_trajectory(0, (200, 4))
    assert {*zip(terminated.ravel().tolist(), truncated.ravel().tolist())} == {
        (False, False),
        (False, True),
        (True, False),
        (True, True),
    }


@pytest.mark.parametrize(
    ("terminated", "truncated", "expected"),
    [
        # γ = ½, λ = 1, r = 1, V = 10, V' = 20; the second step, never cut, has
        # Â = 1 + 10 − 10 = 1.
        (False, False, 1.5),  # 1 + 10 − 10 + ½·1
        (False, True, 1.0),  # 1 + 10 − 10, cut
        (True, False, -9.0),  # 1 + 0 − 10, cut
        (True, True, -9.0),  # termination wins
    ],
)
def test_flags_by_hand(terminated, truncated, expected):
    advantage, target = estimate(
        jnp.ones(2),
        jnp.full(2, 10.0),
        jnp.full(2, 20.0),
        jnp.array([terminated, False]),
        jnp.array([truncated, False]),
        discount=0.5,
        gae_lambda=1.0,
    )
    assert advantage.tolist() == [expected, 1.0]
    assert target.tolist() == [expected + 10, 11.0]


def test_lambda_zero_is_the_temporal_difference(x64):
    reward, value, next_value, terminated, truncated = random_trajectory(1)
    advantage, _ = estimate(
        reward, value, next_value, terminated, truncated, discount=0.9, gae_lambda=0.0
    )
    difference = reward + 0.9 * np.where(terminated, 0, next_value) - value
    np.testing.assert_allclose(advantage, difference, rtol=1e-12)


def rewards_to_go(reward, next_value, terminated, truncated, discount):
    """The definition, as a double loop."""
    result = np.zeros_like(reward)
    steps, columns = reward.shape
    for t, b in np.ndindex(steps, columns):
        factor = 1.0
        for k in range(t, steps):
            result[t, b] += factor * reward[k, b]
            factor *= discount
            if terminated[k, b]:
                break
            if truncated[k, b] or k == steps - 1:
                result[t, b] += factor * next_value[k, b]
                break
    return result


def test_lambda_one_is_reward_to_go_minus_the_baseline(x64):
    reward, value, _, terminated, truncated = random_trajectory(2)
    # The identity needs V(sₜ₊₁) to be the value of the next row within an episode.
    next_value = np.concatenate([value[1:], np.ones((1, 4))])
    flags = terminated, truncated
    advantage, _ = estimate(
        reward, value, next_value, *flags, discount=0.9, gae_lambda=1.0
    )
    returns = rewards_to_go(reward, next_value, *flags, 0.9)
    np.testing.assert_allclose(advantage, returns - value, rtol=1e-9, atol=1e-12)


def test_value_that_cannot_follow_a_termination_does_not_matter():
    trajectory = random_trajectory(3)
    poisoned = np.where(trajectory[3], np.nan, trajectory[2])
    advantage, target = estimate(
        *trajectory[:2], poisoned, *trajectory[3:], discount=0.9, gae_lambda=0.9
    )
    expected = loop(*trajectory, 0.9, 0.9)
    assert is_finite(target)
    np.testing.assert_allclose(advantage, expected, rtol=1e-4, atol=1e-5)


def test_one_trajectory_or_many_or_vmapped(x64):
    trajectory = random_trajectory(4)
    run = functools.partial(estimate, discount=0.9, gae_lambda=0.8)
    together = run(*trajectory)
    vmapped = jax.vmap(run, in_axes=1, out_axes=1)(*trajectory)
    assert_close(vmapped, together, rtol=1e-12)
    for b in range(4):
        alone = run(*(leaf[:, b] for leaf in trajectory))
        assert_close(alone, tuple(leaf[:, b] for leaf in together), rtol=1e-12)


def test_discount_and_lambda_can_be_vmapped():
    trajectory = random_trajectory(5)
    discount, gae_lambda = np.array([0.0, 0.9]), np.array([1.0, 0.5])
    both = jax.vmap(lambda d, g: estimate(*trajectory, discount=d, gae_lambda=g)[0])(
        discount, gae_lambda
    )
    for i in range(2):
        expected = loop(*trajectory, discount[i], gae_lambda[i])
        np.testing.assert_allclose(both[i], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("odd_one", range(5))
def test_nothing_is_broadcast(odd_one):
    trajectory = list(random_trajectory(0))
    trajectory[odd_one] = trajectory[odd_one][..., None]
    with pytest.raises(ValueError, match="must have one shape"):
        advantages(*trajectory, discount=0.9, gae_lambda=0.9)


def test_advantage_is_linear_in_the_reward():
    reward, *rest = random_trajectory(6)
    gradient = jax.grad(
        lambda r: jnp.sum(estimate(r, *rest, discount=1.0, gae_lambda=1.0)[0][0])
    )(jnp.asarray(reward))
    # With γ = λ = 1 the first advantage of a column counts each reward of its first
    # episode once.
    ended = rest[2] | rest[3]
    over = np.concatenate([np.zeros((1, 4), bool), np.cumsum(ended, 0)[:-1] > 0])
    np.testing.assert_array_equal(gradient, ~over)


def test_standardized_has_mean_zero_and_deviation_one(x64):
    x = 100 + 5 * np.random.default_rng(0).normal(size=(7, 3))
    result = standardize(x)
    np.testing.assert_allclose(result, (x - x.mean()) / x.std(), rtol=1e-10)


def test_standardize_with_weights(x64):
    # Weights 1, 1, 2 on 0, 4, 2: mean 2, variance (4 + 4)/4 = 2.
    x, weight = jnp.array([0.0, 4.0, 2.0, 1e9]), jnp.array([1.0, 1.0, 2.0, 0.0])
    np.testing.assert_allclose(
        standardize(x, weight), [-(2**0.5), 2**0.5, 0, 0], atol=1e-12
    )


@pytest.mark.parametrize("level", [0.0, 0.1, -3e7, 1e-30])
def test_equal_values_become_exactly_zero(level):
    assert standardize(jnp.full(1000, level)).tolist() == [0.0] * 1000


def test_equal_values_of_positive_weight_become_zero():
    result = standardize(jnp.array([0.1, 0.1, 7.0]), jnp.array([1.0, 0.3, 0.0]))
    assert result.tolist() == [0, 0, 0]


@pytest.mark.parametrize("unit", [1e-25, 1e-6, 1e6, 1e25])
def test_standardized_does_not_depend_on_the_unit(unit):
    np.testing.assert_allclose(
        standardize(jnp.array([1.0, 3.0]) * unit), [-1, 1], rtol=1e-6
    )


def test_small_differences_survive():
    np.testing.assert_allclose(
        standardize(jnp.array([1000.0, 1000.1])), [-1, 1], rtol=1e-2
    )


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_standardize_does_not_hide_poison(poison):
    assert not is_finite(standardize(jnp.array([1.0, 2.0, poison])))


def test_standardize_ignores_poison_of_weight_zero():
    result = standardize(jnp.array([1.0, 3.0, jnp.nan]), jnp.array([1.0, 1.0, 0.0]))
    np.testing.assert_allclose(result, [-1, 1, 0], rtol=1e-6)


KINDS = [jnp.int32, jnp.int8, jnp.uint8, jnp.bool_, jnp.float16, jnp.bfloat16]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: jnp.dtype(kind).name)
@pytest.mark.parametrize("gae_lambda", [0.0, 0.5, 1.0])
def test_rewards_of_any_type_give_what_the_same_floats_give(kind, gae_lambda):
    reward, value, next_value, terminated, truncated = random_trajectory(1)
    reward = (reward > 0).astype(float)
    numbers = (value.astype(np.float32), next_value.astype(np.float32))
    advantage, target = advantages(
        jnp.asarray(reward, kind),
        *numbers,
        terminated,
        truncated,
        discount=0.9,
        gae_lambda=gae_lambda,
    )
    flags = terminated, truncated
    expected = loop(reward, value, next_value, *flags, 0.9, gae_lambda)
    assert advantage.dtype == target.dtype == jnp.float32
    np.testing.assert_allclose(advantage, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(target, expected + value, rtol=1e-5, atol=1e-5)


def test_values_of_half_precision_are_summed_in_float32():
    """In bfloat16, 1 + 1/256 is 1: a sum of small rewards would stand still."""
    steps = 2000
    no, zero = jnp.zeros(steps, bool), jnp.zeros(steps, jnp.bfloat16)
    advantage, _ = advantages(
        jnp.full(steps, 1 / 512, jnp.bfloat16), zero, zero, no, no,
        discount=1.0, gae_lambda=1.0,
    )  # fmt: skip
    np.testing.assert_allclose(advantage, np.arange(steps, 0, -1) / 512, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS[:4], ids=lambda kind: jnp.dtype(kind).name)
def test_whole_numbers_are_standardised_with_the_weights_they_were_given(kind):
    numbers, weight = np.array([0, 1, 1, 0, 1]), np.array([0.5, 1, 0.25, 2, 0])
    found = standardize(jnp.asarray(numbers, kind), jnp.asarray(weight, jnp.float32))
    mean = (weight * numbers).sum() / weight.sum()
    deviation = np.sqrt((weight * (numbers - mean) ** 2).sum() / weight.sum())
    expected = np.where(weight > 0, (numbers - mean) / deviation, 0)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_many_numbers_of_half_precision_are_standardised_in_float32():
    numbers = (np.arange(70_000) % 3).astype(np.float16)  # more than float16 can count
    found = np.asarray(standardize(jnp.asarray(numbers)), float)
    exact = numbers.astype(float)
    expected = (exact - exact.mean()) / exact.std()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_discounts_may_differ_from_step_to_step():
    """Oracle: the recursion by hand, in numpy."""
    rng = np.random.default_rng(0)
    reward, value, following = rng.normal(size=(3, 6))
    discount, gae_lambda = rng.uniform(0.5, 1, (2, 6))
    no = np.zeros(6, bool)
    found, _ = advantages(
        *map(jnp.float32, (reward, value, following)), no, no,
        discount=jnp.float32(discount), gae_lambda=jnp.float32(gae_lambda),
    )  # fmt: skip
    expected, last = [], 0.0
    for t in reversed(range(6)):
        delta = reward[t] + discount[t] * following[t] - value[t]
        last = delta + discount[t] * gae_lambda[t] * last
        expected.insert(0, last)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_no_steps_have_no_advantages():
    nothing, no = jnp.zeros((0, 3)), jnp.zeros((0, 3), bool)
    found = advantages(nothing, nothing, nothing, no, no, discount=0.9, gae_lambda=0.9)
    assert [x.shape for x in found] == [(0, 3), (0, 3)]
