"""Oracles: the same numbers as float64 in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_identical, matrix_of
from jax.flatten_util import ravel_pytree

from trpo_jax.agent.distributions import Categorical, DiagonalGaussian
from trpo_jax.solver.conjugate_gradient import cg_solve
from trpo_jax.solver.fisher import fisher_quadratic_form, fisher_vector_product
from trpo_jax.solver.flat import ravel
from trpo_jax.solver.precision import as_floats, widen
from trpo_jax.solver.trust_region import Status, trust_region_step

HALF = [jnp.bfloat16, jnp.float16]
LESS = [*HALF, jnp.bool_, jnp.int8, jnp.uint8, jnp.int32, jnp.uint32]


@pytest.mark.parametrize("kind", LESS, ids=lambda kind: jnp.dtype(kind).name)
def test_numbers_of_fewer_bits_become_float32_without_a_change(kind):
    numbers = np.array([0, 1, 1, 0])
    (converted,) = as_floats(numbers.astype(kind))
    assert converted.dtype == jnp.float32
    np.testing.assert_array_equal(converted, numbers)


def test_float32_and_float64_stay_as_they_are(x64):
    assert [x.dtype for x in as_floats(jnp.ones(2, jnp.float32), jnp.int8(1))] == (
        [jnp.float32] * 2
    )
    wide = as_floats(np.ones(2), jnp.ones(2, jnp.float32), jnp.ones(2, jnp.bfloat16))
    assert [x.dtype for x in wide] == [jnp.float64] * 3


def test_only_floats_of_half_precision_are_widened():
    tree = {
        "half": jnp.ones(2, jnp.bfloat16),
        "single": jnp.ones(2),
        "count": jnp.int8(1),
        "key": jax.random.key(0),
    }
    found = jax.tree.map(lambda x: str(x.dtype), widen(tree))
    assert found.pop("key") == str(tree["key"].dtype)
    assert found == {"half": "float32", "single": "float32", "count": "int8"}


@pytest.mark.parametrize("kind", HALF)
def test_a_vector_of_half_precision_is_float32_and_comes_back_bit_for_bit(kind):
    tree = {"a": jnp.linspace(-1, 1, 7).astype(kind), "b": jnp.ones((2, 2), kind)}
    vector, unravel = ravel(tree)
    assert vector.dtype == jnp.float32
    assert_identical(unravel(vector), tree)


@pytest.mark.parametrize("kind", HALF)
def test_a_solve_in_half_precision_is_rounded_only_at_its_end(kind):
    rng = np.random.default_rng(0)
    root = rng.normal(size=(24, 24))
    matrix = (root @ root.T / 24 + np.eye(24)).astype(np.float32)
    b = jnp.asarray(rng.normal(size=24), kind)
    x, info = cg_solve(
        lambda v: jnp.asarray(matrix) @ v.astype(jnp.float32), b, iterations=24
    )
    expected = np.linalg.solve(matrix.astype(float), np.asarray(b, float))
    assert x.dtype == kind
    error = np.abs(np.asarray(x, float) - expected).max() / np.abs(expected).max()
    assert error < 4 * float(jnp.finfo(kind).eps)  # the products are rounded as well
    assert info.residual.dtype == jnp.float32


OBSERVATION = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
PARAMS = {
    "slope": np.random.default_rng(1).normal(size=(3, 2)).astype(np.float32),
    "log_std": np.array([0.3, -0.4], np.float32),
}


def gaussian(params, mean_type, std_type):
    mean = (jnp.asarray(OBSERVATION) @ params["slope"]).astype(mean_type)
    log_std = jnp.broadcast_to(params["log_std"].astype(std_type), mean.shape)
    return DiagonalGaussian(mean, log_std)


def dense_fisher():
    """Return Jᵀ M J / N, with M = diag(1/σ²) for the mean and 2 for log σ."""
    total = np.zeros((8, 8))  # log_std, then the rows of the slope
    precision = np.exp(-2.0 * PARAMS["log_std"].astype(float))
    for x in OBSERVATION.astype(float):
        for j in range(2):
            gradient = np.zeros(8)
            gradient[2 + j :: 2] = x
            total += precision[j] * np.outer(gradient, gradient)
            total[j, j] += 2
    return total / len(OBSERVATION)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("mean_type", "std_type"),
    [
        (jnp.bfloat16, jnp.float32),
        (jnp.float32, jnp.bfloat16),
        (jnp.float16, jnp.float32),
        (jnp.bfloat16, jnp.float16),
    ],
)
def test_arrays_of_a_distribution_may_differ_in_precision(
    mean_type, std_type, weighted
):
    weight = jnp.ones(6, bool) if weighted else None  # a mask is a weight
    product = fisher_vector_product(
        lambda p: gaussian(p, mean_type, std_type), PARAMS, weight=weight
    )
    dense = matrix_of(product, jax.tree.map(jnp.asarray, PARAMS))
    tolerance = 8 * float(jnp.finfo(jnp.bfloat16).eps)
    np.testing.assert_allclose(dense, dense_fisher(), rtol=tolerance, atol=tolerance)
    result = product(jax.tree.map(jnp.ones_like, PARAMS))
    assert {leaf.dtype for leaf in jax.tree.leaves(result)} == {jnp.dtype("float32")}


def test_distributions_may_mix_float32_and_float64(x64):
    with jax.numpy_dtype_promotion("standard"):
        params = jax.tree.map(jnp.asarray, PARAMS)
        product = fisher_vector_product(
            lambda p: gaussian(p, jnp.float32, jnp.float64), params
        )
        _, unravel = ravel_pytree(params)
        columns = [product(unravel(v)) for v in jnp.eye(8, dtype=jnp.float32)]
    dense = np.stack([ravel_pytree(column)[0] for column in columns])
    np.testing.assert_allclose(dense, dense_fisher(), rtol=1e-5, atol=1e-6)


def test_the_weights_of_many_rows_do_not_overflow_in_half_precision():
    rows = 70_000  # more than the largest float16
    weight = jnp.ones(rows, jnp.float16)
    product = fisher_vector_product(
        lambda m: DiagonalGaussian(
            jnp.broadcast_to(m, (rows, 1)), jnp.zeros((rows, 1))
        ),
        jnp.zeros(1),
        weight=weight,
    )
    np.testing.assert_allclose(product(jnp.ones(1)), [1.0], rtol=1e-5)


def test_the_quadratic_form_of_half_precision_is_that_of_the_matrix():
    params = jax.tree.map(jnp.asarray, PARAMS)
    vector = jax.tree.map(lambda x: 0.5 * jnp.ones_like(x), params)
    each = fisher_quadratic_form(
        lambda p: gaussian(p, jnp.bfloat16, jnp.float32), params, vector
    )
    flat = np.asarray(ravel_pytree(vector)[0], float)
    assert each.dtype == jnp.float32
    expected = flat @ dense_fisher() @ flat
    np.testing.assert_allclose(np.mean(np.asarray(each, float)), expected, rtol=0.03)


@pytest.mark.parametrize("kind", HALF)
def test_a_step_of_half_precision_keeps_its_bound(kind):
    logits = jnp.array([[0.5, -0.25, 0.0]], kind)

    def policy(logits):
        return Categorical(logits)

    def kl(new):
        return policy(logits).kl(policy(new))[0]

    after, info = trust_region_step(
        lambda x: policy(x).log_prob(jnp.array([2]))[0],
        kl,
        fisher_vector_product(policy, logits, damping=0.1),
        logits,
        max_divergence=0.01,
    )
    assert Status(int(info.status)) == Status.ACCEPTED
    assert after.dtype == kind
    # The bound holds for the rounded parameters, in float64.
    old, new = (np.asarray(x[0], float) for x in (logits, after))
    p, q = (np.exp(x) / np.exp(x).sum() for x in (old, new))
    assert 1e-3 < (p * np.log(p / q)).sum() <= 0.01 * (1 + 1e-3)
