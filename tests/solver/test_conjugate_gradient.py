"""Oracles: `numpy.linalg.solve` and `scipy.sparse.linalg.cg`."""

import functools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse.linalg
from helpers import assert_close, assert_identical, is_finite

from trpo_jax.solver.conjugate_gradient import cg_solve


@functools.partial(jax.jit, static_argnames="iterations")
def solve(matrix, b, tolerance=0.0, iterations=10):
    return cg_solve(lambda v: matrix @ v, b, iterations=iterations, tolerance=tolerance)


def positive_definite(size, seed, condition=10.0):
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.normal(size=(size, size)))
    matrix = rotation @ np.diag(np.geomspace(1, condition, size)) @ rotation.T
    return (matrix + matrix.T) / 2, rng.normal(size=size)


@pytest.mark.parametrize("size", [1, 2, 7, 12])
def test_gives_the_solution_of_numpy_in_as_many_steps_as_unknowns(size, x64):
    matrix, b = positive_definite(size, seed=size)
    x, info = solve(matrix, b, iterations=size)
    np.testing.assert_allclose(x, np.linalg.solve(matrix, b), rtol=1e-9)
    assert float(info.residual) < 1e-9
    assert not info.breakdown


@pytest.mark.parametrize("steps", [1, 3, 5])
def test_every_iterate_is_that_of_scipy(steps, x64):
    matrix, b = positive_definite(8, seed=3, condition=1e3)
    x, info = solve(matrix, b, iterations=steps)
    expected, _ = scipy.sparse.linalg.cg(matrix, b, rtol=0, atol=0, maxiter=steps)
    np.testing.assert_allclose(x, expected, rtol=1e-9)
    assert int(info.iterations) == steps


def test_needs_one_step_for_each_distinct_eigenvalue(x64):
    rng = np.random.default_rng(0)
    rotation, _ = np.linalg.qr(rng.normal(size=(9, 9)))
    matrix = rotation @ np.diag([1.0] * 3 + [2.0] * 3 + [5.0] * 3) @ rotation.T
    _, info = solve(matrix, rng.normal(size=9), tolerance=1e-10)
    assert int(info.iterations) == 3


@pytest.mark.parametrize("steps", [1, 4, 10])
def test_reported_residual_and_curvature_are_the_true_ones(steps, x64):
    matrix, b = positive_definite(12, seed=1, condition=1e4)
    x, info = solve(matrix, b, iterations=steps)
    residual = np.linalg.norm(b - matrix @ np.asarray(x)) / np.linalg.norm(b)
    np.testing.assert_allclose(info.residual, residual, rtol=1e-6)
    np.testing.assert_allclose(info.curvature, x @ matrix @ x, rtol=1e-9)


def test_two_steps_by_hand():
    # A = diag(1, 3), b = (1, 1):  α₀ = 2/4, x₁ = (½, ½), r₁ = (½, −½);
    # β = ½/2 = ¼, p₁ = (¾, −¼), p₁ᵀAp₁ = ¾, α₁ = ⅔, x₂ = (1, ⅓).
    matrix, b = jnp.diag(jnp.array([1.0, 3.0])), jnp.ones(2)
    x, info = solve(matrix, b, iterations=1)
    np.testing.assert_allclose(x, [0.5, 0.5])
    np.testing.assert_allclose(info.residual, 0.5)  # |(½, −½)| / |(1, 1)|
    np.testing.assert_allclose(info.curvature, 1.0)  # ¼ + ¾
    x, _ = solve(matrix, b, iterations=2)
    np.testing.assert_allclose(x, [1, 1 / 3], rtol=1e-6)


@hypothesis.given(
    size=st.sampled_from([1, 2, 5]),
    seed=st.integers(0, 2**16),
    matrix_scale=st.sampled_from([1e-8, 1.0, 1e8]),
    b_scale=st.sampled_from([1e-12, 1.0, 1e12]),
)
def test_float32_at_any_scale(size, seed, matrix_scale, b_scale):
    matrix, b = positive_definite(size, seed)
    matrix = jnp.asarray(matrix * matrix_scale, jnp.float32)
    b = jnp.asarray(b * b_scale, jnp.float32)
    x, info = solve(matrix, b, tolerance=1e-6, iterations=10)
    assert x.dtype == jnp.float32
    assert is_finite((x, info.residual))
    wide = np.asarray(matrix, np.float64), np.asarray(b, np.float64)
    left = wide[1] - wide[0] @ np.asarray(x, np.float64)
    assert np.linalg.norm(left) <= 1e-4 * np.linalg.norm(wide[1])


def test_works_on_pytrees(x64):
    matrix, b = positive_definite(6, seed=5)
    tree = {"a": jnp.asarray(b[:4]).reshape(2, 2), "b": (jnp.asarray(b[4:]),)}

    def product(v):
        flat = matrix @ jnp.concatenate([v["a"].ravel(), v["b"][0]])
        return {"a": flat[:4].reshape(2, 2), "b": (flat[4:],)}

    x, _ = cg_solve(product, tree, iterations=6)
    expected = jnp.asarray(np.linalg.solve(matrix, b))
    assert_close(x, {"a": expected[:4].reshape(2, 2), "b": (expected[4:],)}, rtol=1e-9)


def test_zero_right_hand_side_is_solved_by_zero():
    x, info = solve(jnp.eye(3), jnp.zeros(3))
    assert_identical(x, jnp.zeros(3))
    assert info.finite
    assert [float(field) for field in info._replace(finite=0)] == [0, 0, 0, 0, 0]


def test_negative_definite_operator_gives_no_step():
    x, info = solve(-jnp.eye(3), jnp.ones(3))
    assert_identical(x, jnp.zeros(3))
    assert info.breakdown
    assert int(info.iterations) == 0
    assert float(info.curvature) == 0


def test_stops_where_curvature_turns_negative():
    # A = diag(2, −1), b = (1, 1):  p₀ᵀAp₀ = 1, α₀ = 2, x₁ = (2, 2), r₁ = (−3, 3),
    # β = 18/2, p₁ = (6, 12), p₁ᵀAp₁ = 72 − 144 < 0: x₁ it is.
    x, info = solve(jnp.diag(jnp.array([2.0, -1.0])), jnp.ones(2))
    assert_identical(x, jnp.array([2.0, 2.0]))
    assert info.breakdown
    assert int(info.iterations) == 1
    np.testing.assert_allclose(info.residual, 3.0)  # √18 / √2
    np.testing.assert_allclose(info.curvature, 4.0)  # 8 − 4


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_non_finite_operator_gives_no_step(poison):
    x, info = solve(jnp.full((3, 3), poison), jnp.ones(3))
    assert_identical(x, jnp.zeros(3))
    assert info.breakdown


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_non_finite_right_hand_side_gives_finite_x(poison):
    x, _ = solve(jnp.eye(3), jnp.array([1.0, poison, 1.0]))
    assert is_finite(x)


def test_singular_operator_is_solved_within_its_range(x64):
    matrix = jnp.diag(jnp.array([2.0, 4.0, 0.0]))
    x, info = solve(matrix, jnp.array([2.0, 4.0, 0.0]), tolerance=1e-10)
    np.testing.assert_allclose(x, [1, 1, 0], rtol=1e-12)
    assert not info.breakdown


def test_unsolvable_singular_system_stays_finite():
    x, info = solve(jnp.diag(jnp.array([1.0, 0.0])), jnp.ones(2))
    assert is_finite((x, info))


def test_starts_from_zero_along_b(x64):
    matrix, b = positive_definite(6, seed=2)
    first, _ = solve(matrix, b, iterations=1)
    np.testing.assert_allclose(first, b * (b @ b) / (b @ matrix @ b), rtol=1e-12)


def test_every_iterate_is_a_direction_of_ascent(x64):
    matrix, b = positive_definite(8, seed=4, condition=1e6)
    for steps in (1, 3, 5, 10):
        x, _ = solve(matrix, b, iterations=steps)
        assert float(x @ b) > 0


def test_tolerance_stops_early(x64):
    matrix, b = positive_definite(40, seed=6)
    _, loose = solve(matrix, b, tolerance=0.1, iterations=40)
    _, tight = solve(matrix, b, tolerance=1e-4, iterations=40)
    assert int(loose.iterations) < int(tight.iterations) < 40
    assert float(tight.residual) <= 1e-4 < float(loose.residual) <= 0.1


def test_under_vmap_each_system_is_solved_as_if_alone(x64):
    systems = [
        positive_definite(5, 0, 2.0),
        positive_definite(5, 1, 1e4),
        (-np.eye(5), np.ones(5)),
        (np.eye(5), np.zeros(5)),
        (np.full((5, 5), np.nan), np.ones(5)),
    ]
    tolerance = jnp.array([1e-1, 1e-12, 1e-5, 1e-5, 1e-5])
    matrices, bs = (jnp.asarray(np.stack(part)) for part in zip(*systems))
    batched = jax.vmap(solve)(matrices, bs, tolerance)
    for i in range(len(systems)):
        x, info = jax.tree.map(lambda leaf, i=i: leaf[i], batched)
        alone_x, alone = solve(matrices[i], bs[i], tolerance[i])
        np.testing.assert_allclose(x, alone_x, rtol=1e-9)
        assert int(info.iterations) == int(alone.iterations)
        assert bool(info.breakdown) == bool(alone.breakdown)
        np.testing.assert_allclose(info.residual, alone.residual, rtol=1e-2, atol=1e-9)


def test_fewer_than_no_iterations_are_refused():
    with pytest.raises(ValueError, match="iterations must be an integer >= 0"):
        cg_solve(lambda v: v, jnp.ones(2), iterations=-1, tolerance=0.0)


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize(("size", "rank"), [(6, 2), (20, 3)])
def test_a_singular_matrix_is_solved_in_its_range_in_float32(size, rank, scale):
    """The oracle is the pseudo-inverse in float64; A = JᵀJ has no damping."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        jacobian = rng.normal(size=(rank, size))
        matrix = scale * jacobian.T @ jacobian
        b = matrix @ rng.normal(size=size)
        x, _ = solve(jnp.float32(matrix), jnp.float32(b), tolerance=1e-5)
        expected = np.linalg.pinv(matrix) @ b
        np.testing.assert_allclose(x, expected, atol=1e-3 * np.linalg.norm(expected))


@pytest.mark.parametrize(("size", "rank"), [(6, 2), (20, 3)])
def test_outside_the_range_of_a_singular_matrix_the_solution_is_bounded(size, rank):
    """By what a matrix of condition 1/eps could give; rounding alone gave 1e16."""
    for seed in range(30):
        rng = np.random.default_rng(seed)
        jacobian = rng.normal(size=(rank, size))
        matrix, b = jacobian.T @ jacobian, rng.normal(size=size)
        x, _ = solve(jnp.float32(matrix), jnp.float32(b), tolerance=1e-5)
        smallest = np.sort(np.linalg.eigvalsh(matrix))[-rank]
        bound = np.linalg.norm(b) / (smallest * np.finfo(np.float32).eps)
        assert np.linalg.norm(np.float64(x)) < 100 * bound


@pytest.mark.parametrize("unit", [2.0**-100, 2.0**100])
def test_the_unit_of_b_only_scales_the_solution(unit):
    matrix, b = positive_definite(7, seed=2)
    one, info = solve(jnp.float32(matrix), jnp.float32(b), tolerance=1e-5)
    other, scaled = solve(jnp.float32(matrix), jnp.float32(unit * b), tolerance=1e-5)
    assert_identical(other, jnp.float32(unit) * one)
    assert_identical((info.iterations, info.residual), scaled[:2])


def test_a_product_of_another_shape_is_refused():
    b = {"a": jnp.ones(2), "b": jnp.ones(3)}
    for wrong in ({"a": b["b"], "b": b["a"]}, {"a": b["a"]}):
        with pytest.raises(ValueError, match="matvec must return shapes"):
            cg_solve(lambda v, wrong=wrong: wrong, b)
