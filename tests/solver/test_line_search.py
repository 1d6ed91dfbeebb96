"""Oracle: the definition of the search as a loop in Python."""

import functools
import math

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_identical

from trpo_jax.solver.line_search import LineSearchOutcome, line_search


def verdicts(info):
    return [LineSearchOutcome(int(code)).name for code in info.outcome]


def parabola(x):
    return -((x - 1.0) ** 2)


def search(objective, divergence, start, step, *, limit, max_steps=4, shrink=0.5):
    return line_search(
        objective,
        divergence,
        jnp.float32(start),
        jnp.float32(step),
        max_divergence=limit,
        backtrack_coefficient=shrink,
        max_backtracks=max_steps,
    )


def test_each_refusal_by_hand():
    # From 0 towards 1 by 8, 4, 2, 1 with |x| ≤ 3: too far, too far, level with the
    # start (−1 = −1), and then the top.
    x, info = search(parabola, jnp.abs, 0, 8, limit=3.0)
    assert verdicts(info) == [
        "CONSTRAINT_VIOLATED",
        "CONSTRAINT_VIOLATED",
        "NO_IMPROVEMENT",
        "ACCEPTED",
        "NOT_TRIED",
    ]
    assert float(x) == 1
    assert bool(info.accepted)
    assert int(info.backtracks) == 3
    assert float(info.step_fraction) == 0.125
    assert float(info.improvement) == 1
    assert float(info.divergence) == 1


def test_a_step_as_good_as_none_is_not_accepted():
    x, info = search(jnp.zeros_like, jnp.abs, 0, 1, limit=9.0)
    assert set(verdicts(info)) == {"NO_IMPROVEMENT"}
    assert float(x) == 0


def test_divergence_may_reach_the_limit_but_not_pass_it():
    def rising(x):
        return x

    _, at_limit = search(rising, jnp.abs, 0, 2, limit=2.0)
    _, above = search(
        rising, jnp.abs, 0, 2, limit=float(np.nextafter(2, 0, dtype="f4"))
    )
    assert int(at_limit.backtracks) == 0
    assert int(above.backtracks) == 1


def test_a_far_but_improving_step_is_refused():
    x, info = search(lambda x: x, jnp.abs, 0, 100, limit=1.0, max_steps=2)
    assert verdicts(info) == ["CONSTRAINT_VIOLATED"] * 3
    assert float(x) == 0


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["objective", "divergence"])
def test_a_number_that_is_not_finite_is_refused(poison, where):
    def poisoned(x):
        return jnp.where(x > 1.5, poison, x)

    functions = (poisoned, jnp.abs) if where == "objective" else (jnp.array, poisoned)
    x, info = search(*functions, 0, 4, limit=10.0)
    assert verdicts(info)[:3] == ["NON_FINITE", "NON_FINITE", "ACCEPTED"]
    assert float(x) == 1


@pytest.mark.parametrize("start", [math.nan, math.inf, -math.inf])
def test_nothing_improves_on_an_objective_that_is_not_finite(start):
    def objective(x):
        return jnp.where(x == 0, start, x)

    x, info = search(objective, jnp.abs, 0, 1, limit=10.0)
    assert set(verdicts(info)) == {"NON_FINITE"}
    assert float(x) == 0


def test_failure_returns_the_parameters_bit_for_bit():
    params = {
        "odd": jnp.array([-0.0, 1e-42, 1 / 3, jnp.nan, jnp.inf]),
        "half": jnp.array([1 / 3], jnp.bfloat16),
    }
    step = jax.tree.map(jnp.ones_like, params)
    new, info = line_search(
        lambda p: -jnp.sum(p["odd"][:3]),
        lambda p: jnp.zeros(()),
        params,
        step,
        max_divergence=1.0,
        max_backtracks=3,
    )
    assert not info.accepted
    assert_identical(new, params)
    assert float(info.step_fraction) == 0
    assert float(info.improvement) == 0
    assert float(info.divergence) == 0


def test_without_backtracks_only_the_full_step_is_tried():
    _, info = search(parabola, jnp.abs, 0, 8, limit=3.0, max_steps=0)
    assert verdicts(info) == ["CONSTRAINT_VIOLATED"]


def test_works_in_float64(x64):
    x, info = line_search(
        parabola, jnp.abs, jnp.zeros(()), jnp.ones(()) * 4, max_divergence=1.5
    )
    assert x.dtype == info.improvement.dtype == jnp.float64
    # 4, 3.2, …, 4 · 0.8⁵ = 1.31 is the first within 1.5.
    np.testing.assert_allclose(x, 4 * 0.8**5, rtol=1e-12)


def test_keeps_structure_and_types():
    params = {"a": jnp.zeros(2), "b": jnp.zeros((), jnp.bfloat16)}
    new, _ = line_search(
        lambda p: jnp.sum(p["a"]) + p["b"].astype(jnp.float32),
        lambda p: jnp.sum(p["a"] ** 2),
        params,
        jax.tree.map(jnp.ones_like, params),
        max_divergence=0.5,
    )
    assert jax.tree.structure(new) == jax.tree.structure(params)
    assert [leaf.dtype for leaf in jax.tree.leaves(new)] == [jnp.float32, jnp.bfloat16]


def wavy(problem, x):
    objective = problem[0] @ x + jnp.sin(3 * problem[1] @ x)
    return jnp.where(jnp.abs(x[0]) > 4, jnp.nan, objective)


def distance(problem, x):
    return jnp.sum((problem[2] * (x - problem[3])) ** 2)


@functools.partial(jax.jit, static_argnames="max_steps")
def wavy_search(problem, limit, shrink, max_steps=6):
    return line_search(
        functools.partial(wavy, problem),
        functools.partial(distance, problem),
        problem[3],
        problem[4],
        max_divergence=limit,
        backtrack_coefficient=shrink,
        max_backtracks=max_steps,
    )


def wavy_problem(seed, scale=1.0):
    rng = np.random.default_rng(seed)
    problem = rng.normal(size=(5, 3)).astype(np.float32)
    problem[4] *= scale
    return jnp.asarray(problem)


def loop(problem, limit, shrink, max_steps=6):
    """The definition, with numpy and double precision."""
    a, b, c, start, step = np.asarray(problem, np.float64)

    def objective(x):
        return a @ x + np.sin(3 * b @ x) if abs(x[0]) <= 4 else np.nan

    reasons = []
    for j in range(max_steps + 1):
        x = start + shrink**j * step
        gain = objective(x) - objective(start)
        hypothesis.assume(not abs(gain) < 1e-5)  # beyond what float32 can tell
        far = np.sum((c * (x - start)) ** 2)
        if not np.isfinite(gain):
            reasons.append("NON_FINITE")
        elif far > limit:
            reasons.append("CONSTRAINT_VIOLATED")
        elif gain <= 0:
            reasons.append("NO_IMPROVEMENT")
        else:
            reasons.append("ACCEPTED")
            return x, reasons
    return start, reasons


@hypothesis.given(
    seed=st.integers(0, 2**16),
    scale=st.sampled_from([0.1, 1.0, 10.0]),
    limit=st.sampled_from([0.01, 0.5, 20.0]),
    shrink=st.sampled_from([0.3, 0.5, 0.8]),
)
def test_takes_what_the_loop_takes(seed, scale, limit, shrink):
    problem = wavy_problem(seed, scale)
    x, info = wavy_search(problem, limit, shrink)
    expected, reasons = loop(problem, limit, shrink)
    assert verdicts(info) == reasons + ["NOT_TRIED"] * (7 - len(reasons))
    if reasons[-1] == "ACCEPTED":
        np.testing.assert_allclose(x, expected, rtol=1e-5, atol=1e-5)
        assert int(info.backtracks) == len(reasons) - 1
        assert float(info.divergence) <= limit
        assert float(info.improvement) > 0
    else:
        assert_identical(x, problem[3])


def test_under_vmap_each_search_goes_as_if_alone():
    problems = jnp.stack([wavy_problem(seed, 3.0) for seed in range(12)])
    limits = jnp.geomspace(1e-3, 10, 12)
    batched = jax.vmap(lambda p, limit: wavy_search(p, limit, 0.5))(problems, limits)
    outcomes = set()
    for i in range(12):
        x, info = jax.tree.map(lambda leaf, i=i: leaf[i], batched)
        alone_x, alone = wavy_search(problems[i], limits[i], 0.5)
        assert verdicts(info) == verdicts(alone)
        np.testing.assert_allclose(x, alone_x, rtol=1e-6)
        outcomes.add(tuple(verdicts(info)))
    assert len(outcomes) > 2  # they did go differently


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_backtracks": -1}, "max_backtracks must be an integer >= 0"),
        (
            {"backtrack_coefficient": 1.0},
            r"backtrack_coefficient must be a number in \(0, 1\)",
        ),
    ],
)
def test_a_search_that_would_not_end_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        line_search(
            lambda x: x,
            lambda x: x,
            jnp.zeros(()),
            jnp.ones(()),
            max_divergence=1.0,
            **values,
        )
