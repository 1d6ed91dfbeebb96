"""Statistics and computations that leave out rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, assert_identical

from trpo_jax.algorithm.masking import compute_where, explained_variance


@pytest.mark.parametrize("share", [0.0, 0.03, 0.5, 1.0])
@pytest.mark.parametrize(("rows", "size"), [(1, 1), (128, 8), (165, 33)])
def test_only_the_rows_that_are_wanted_are_computed(share, rows, size):
    rng = np.random.default_rng(0)
    wanted = rng.random(rows) < share
    values, x = rng.normal(size=(2, rows)).astype(np.float32)
    found = jax.jit(
        lambda values, wanted, x: compute_where(
            wanted, lambda x: 3 * x["x"], x, values, size=size
        )
    )(values, wanted, {"x": x})
    assert_identical(found, np.where(wanted, 3 * x, values))


def test_computing_is_mapped_over_agents_that_want_more_and_less():
    rng = np.random.default_rng(1)
    wanted = rng.random((3, 128)) < np.array([0, 0.1, 0.9])[:, None]
    values, x = rng.normal(size=(2, 3, 128)).astype(np.float32)
    found = jax.vmap(
        lambda values, wanted, x: compute_where(wanted, jnp.sin, x, values, size=8)
    )(values, wanted, x)
    assert_close(found, np.where(wanted, np.sin(x), values))


@pytest.mark.parametrize("level", [0.0, 0.1, -3e5, 1e-20])
@pytest.mark.parametrize("rows", [3, 100, 2048])
def test_constant_targets_have_no_variance_to_explain(level, rows):
    target = jnp.full(rows, level, jnp.float32)
    value = jax.random.normal(jax.random.key(0), (rows,))
    assert float(explained_variance(value, target)) == 0


@pytest.mark.parametrize("unit", [2.0**-80, 1.0, 2.0**80])
def test_explained_variance_has_no_unit(unit):
    value, target = jax.random.normal(jax.random.key(1), (2, 50))
    expected = 1 - np.var(target - value) / np.var(target)
    found = explained_variance(unit * value, unit * target)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
