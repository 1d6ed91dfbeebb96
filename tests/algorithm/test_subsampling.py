"""Choosing rows: each once, each as likely as the others, and spread evenly."""

import math

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_identical

from trpo_jax.algorithm.masking import RowStatistics
from trpo_jax.algorithm.subsampling import golden_stride, random_start, subsample_rows
from trpo_jax.solver.flat import all_finite


@hypothesis.given(total=st.integers(1, 5000))
def test_a_walk_in_golden_strides_visits_every_row_once(total):
    walk = np.arange(total) * golden_stride(total) % total
    assert len(set(walk.tolist())) == total


@pytest.mark.parametrize("total", [100, 1024, 2048, 65536])
@pytest.mark.parametrize("count", [8, 50])
def test_a_few_strides_leave_no_large_gap(total, count):
    taken = np.sort(np.arange(count) * golden_stride(total) % total)
    gaps = np.diff(np.append(taken, taken[0] + total))
    # Points of the golden-ratio sequence are never further apart than φ² = 2.62 times
    # the even distance; a stride is a whole number and prime to N, hence a bit more.
    assert gaps.max() <= 3 * total / count + 2


def test_every_row_is_as_likely_as_every_other():
    keys = jax.random.split(jax.random.key(0), 20_000)
    taken = jax.vmap(lambda key: subsample_rows(key, jnp.arange(20), 0.25))(keys)
    share = np.bincount(np.ravel(taken), minlength=20) / len(keys)
    # Binomial: 5 standard deviations of a share of a quarter.
    np.testing.assert_allclose(share, 0.25, atol=5 * math.sqrt(0.25 * 0.75 / len(keys)))


def test_a_random_start_is_a_row():
    keys = jax.random.split(jax.random.key(0), 1000)
    starts = np.asarray(jax.vmap(lambda key: random_start(key, 7))(keys))
    assert starts.dtype == np.int32
    assert set(starts.tolist()) == set(range(7))


@hypothesis.given(
    total=st.sampled_from([1, 3, 40]),
    fraction=st.sampled_from([0.01, 0.1, 0.5, 0.99]),
    seed=st.integers(0, 2**16),
)
def test_subsample_keeps_a_fraction_of_distinct_rows(total, fraction, seed):
    rows = {"index": np.arange(total), "double": 2 * np.arange(total)[:, None]}
    kept = subsample_rows(jax.random.key(seed), rows, fraction)
    index = np.asarray(kept["index"])
    assert len(index) == max(1, round(fraction * total))
    assert len(set(index.tolist())) == len(index)
    np.testing.assert_array_equal(kept["double"][:, 0], 2 * index)


def test_subsample_of_everything_leaves_the_rows_as_they_are():
    rows = (jnp.arange(5), jnp.ones((5, 2)))
    assert_identical(subsample_rows(jax.random.key(0), rows, 1.0), rows)


def test_subsample_follows_its_key():
    rows = jnp.arange(100)
    one, again, other = (
        subsample_rows(jax.random.key(seed), rows, 0.1) for seed in (0, 0, 1)
    )
    assert_identical(one, again)
    assert set(one.tolist()) != set(other.tolist())


def test_what_weighs_nothing_may_be_anything():
    x = jnp.array([1.0, jnp.nan, 4.0])
    rows = RowStatistics(jnp.array([1.0, 0.0, 2.0]))
    np.testing.assert_allclose(rows.mean(x), 3.0)
    assert rows.max(x) == 4


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_one_number_that_is_not_finite_is_found(poison):
    tree = {"a": jnp.ones((2, 2)), "b": jnp.arange(3)}
    assert all_finite(tree)
    assert not all_finite(tree | {"c": jnp.array([1.0, poison])})
