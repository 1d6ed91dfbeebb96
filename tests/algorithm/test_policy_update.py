"""The paper's alternatives: maximum KL, empirical Fisher, no line search, no Fisher."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    assert_close,
    assert_identical,
    gaussian_agent,
    improve_policy,
    is_finite,
    matrix_of,
    problem_of,
    random_rows,
    softmax_agent,
    step_by,
)

from trpo_jax.agent.standard_agents import default_agent
from trpo_jax.algorithm.initialization import init
from trpo_jax.algorithm.trpo import train_step
from trpo_jax.algorithm.vine_batch import VineBatch
from trpo_jax.config import Config
from trpo_jax.environments import make_environment
from trpo_jax.solver.fisher import (
    empirical_fisher_vector_product,
    fisher_quadratic_form,
    fisher_vector_product,
)
from trpo_jax.solver.trust_region import Status

AGENTS = {"categorical": softmax_agent(), "gaussian": gaussian_agent()}
each_agent = pytest.mark.parametrize("kind", AGENTS)


def example(kind, n=40, dtype=jnp.float32):
    agent = AGENTS[kind]
    params = agent.policy.init(jax.random.key(0), jnp.zeros(3)).astype(dtype)
    return agent.policy.apply, params, random_rows(agent, params, rows=n)


def improve(apply, params, rows, config):
    return improve_policy(jax.random.key(0), apply, params, rows, config)


def divergences(apply, old, new, rows):
    return apply(old, rows.observation).kl(apply(new, rows.observation))


@each_agent
def test_no_row_is_further_than_max_kl(kind):
    apply, params, rows = example(kind)
    new, info = improve(apply, params, rows, Config(kl_constraint="max", max_kl=0.02))
    assert info.status == Status.ACCEPTED
    distance = divergences(apply, params, new, rows)
    np.testing.assert_allclose(info.kl, jnp.max(distance), rtol=1e-4)
    assert jnp.max(distance) <= 0.02 * (1 + 1e-3)
    assert jnp.mean(distance) < 0.01  # the bound is the stricter one


@each_agent
def test_a_small_step_reaches_the_maximum_but_for_higher_orders(kind, x64):
    apply, params, rows = example(kind, dtype=jnp.float64)
    config = Config(kl_constraint="max", max_kl=1e-8, cg_damping=0.0)
    new, info = improve(apply, params, rows, config)
    assert info.search.backtracks <= 1
    assert 0.6e-8 < jnp.max(divergences(apply, params, new, rows)) <= 1e-8


def test_rows_of_weight_zero_do_not_bound_the_step():
    apply, params, rows = example("gaussian")
    far = rows.replace(observation=rows.observation.at[0].mul(100.0))
    config = Config(kl_constraint="max")
    ignored = far.replace(weight=far.weight.at[0].set(0.0))
    bounded, _ = improve(apply, params, far, config)
    free, info = improve(apply, params, ignored, config)
    assert info.status == Status.ACCEPTED
    length = jnp.linalg.norm(bounded - params), jnp.linalg.norm(free - params)
    assert length[0] < 0.5 * length[1]


@each_agent
def test_row_curvature_is_that_of_each_rows_own_matrix(kind, x64):
    apply, params, rows = example(kind, n=5, dtype=jnp.float64)
    vector = jax.random.normal(jax.random.key(1), params.shape, jnp.float64)
    actual = fisher_quadratic_form(lambda p: apply(p, rows.observation), params, vector)
    for i in range(5):
        product = fisher_vector_product(
            lambda p, i=i: apply(p, rows.observation[i : i + 1]), params
        )
        np.testing.assert_allclose(actual[i], jnp.sum(vector * product(vector)))


@each_agent
def test_the_empirical_matrix_is_the_covariance_of_the_scores(kind, x64):
    apply, params, rows = example(kind, n=12, dtype=jnp.float64)

    def log_prob(params):
        return rows.log_prob(apply(params, rows.observation))

    dense = np.zeros((params.size, params.size))
    for i in range(12):
        score = jax.grad(lambda p, i=i: log_prob(p)[i])(params).ravel()
        dense += np.outer(score, score) / 12
    product = empirical_fisher_vector_product(
        log_prob, params, action_weight=jnp.ones(12)
    )
    assert_close(matrix_of(product, params), jnp.asarray(dense), 1e-9, 1e-12)


def test_the_empirical_matrix_approaches_the_analytic_one(x64):
    """With actions of the policy itself the expectation of the scores' is F."""
    apply, params, rows = example("categorical", n=20_000, dtype=jnp.float64)

    def log_prob(params):
        return rows.log_prob(apply(params, rows.observation))

    product = empirical_fisher_vector_product(
        log_prob, params, action_weight=jnp.ones(20_000)
    )
    empirical = matrix_of(product, params)
    analytic = fisher_vector_product(lambda p: apply(p, rows.observation), params)
    np.testing.assert_allclose(empirical, matrix_of(analytic, params), atol=0.02)


@each_agent
def test_an_empirical_step_keeps_the_constraint(kind):
    apply, params, rows = example(kind, n=400)
    new, info = improve(apply, params, rows, Config(fisher="empirical"))
    assert info.status == Status.ACCEPTED
    assert jnp.mean(divergences(apply, params, new, rows)) <= 0.01 * (1 + 1e-3)


def batches(kind):
    """The three kinds of batch, 12 states each."""
    apply, params, rows = example(kind, n=12, dtype=jnp.float64)
    rows = rows.replace(weight=jnp.arange(12.0) / 4)
    yield apply, params, rows
    yield apply, params, rows.replace(importance_ratio=jnp.linspace(0.2, 3, 12))
    policy = apply(params, rows.observation)
    action = jax.vmap(policy.sample, out_axes=1)(jax.random.split(jax.random.key(1), 3))
    proposal = jax.random.normal(jax.random.key(2), (12, 3), jnp.float64)
    yield (
        apply,
        params,
        VineBatch(rows.observation, action, proposal, proposal, rows.weight, rows),
    )


@each_agent
def test_the_update_multiplies_by_the_empirical_matrix(kind, x64, monkeypatch):
    """Σ w share ∇log π ∇log πᵀ / Σ w, and the damping, for every kind of batch."""
    for apply, params, rows in batches(kind):
        config = Config(fisher="empirical", cg_damping=0.5)
        agent = AGENTS[kind]
        product = problem_of(monkeypatch, agent, params, rows, config).product
        policy = apply(params, rows.observation)
        share = np.asarray(rows.action_weight(policy)).reshape(12, -1)

        def log_prob(p, apply=apply, rows=rows):
            return rows.log_prob(apply(p, rows.observation)).reshape(12, -1)

        scores = np.asarray(jax.jacobian(log_prob)(params)).reshape(*share.shape, -1)
        weight = np.asarray(rows.weight / jnp.sum(rows.weight))
        dense = np.einsum("n,nk,nki,nkj->ij", weight, share, scores, scores)
        dense += 0.5 * np.eye(len(dense))
        assert_close(matrix_of(product, params), jnp.asarray(dense), 1e-8, 1e-10)


def bowl(method, **values):
    """A slope (3, 4) in the metric F = diag(1, 4): g = (3, 4), F⁻¹ g = (3, 1)."""
    slope, metric = jnp.array([3.0, 4.0]), jnp.array([1.0, 4.0])
    return step_by(
        Config(step_rule=method, cg_tolerance=0.0, **values),
        lambda x: slope @ x,
        lambda x: x @ (metric * x) / 2,
        lambda v: metric * v,
        jnp.zeros(2),
    )


def test_natural_gradient_with_a_fixed_step_by_hand():
    x, info = bowl("natural_gradient", step_size=0.1)
    np.testing.assert_allclose(x, [0.3, 0.1], rtol=1e-6)
    assert info.status == Status.ACCEPTED
    np.testing.assert_allclose(
        info.search.divergence, (0.09 + 0.04) / 2, rtol=1e-6
    )  # δ is ignored


def test_natural_gradient_as_far_as_delta_by_hand():
    """√(2 δ / xᵀFx) = √(2 · 0.065 / 13) = 0.1."""
    x, info = bowl("natural_gradient", max_kl=0.065)
    np.testing.assert_allclose(x, [0.3, 0.1], rtol=1e-6)
    np.testing.assert_allclose(info.search.divergence, 0.065, rtol=1e-6)


def test_policy_gradient_by_hand():
    x, info = bowl("policy_gradient", step_size=0.01)
    np.testing.assert_allclose(x, [0.03, 0.04], rtol=1e-6)
    assert int(info.cg.iterations) == 1  # with the identity for a matrix
    # gᵀFg = 9 + 64 = 73; √(2 · 0.365 / 73) = 0.1.
    x, info = bowl("policy_gradient", max_kl=0.365)
    np.testing.assert_allclose(x, [0.3, 0.4], rtol=1e-6)
    np.testing.assert_allclose(info.search.divergence, 0.365, rtol=1e-6)


@pytest.mark.parametrize("method", ["natural_gradient", "policy_gradient"])
def test_without_a_search_a_step_that_is_not_finite_moves_nothing(method):
    start = jnp.array([1.0, 2.0])
    params, info = step_by(
        Config(step_rule=method),
        lambda x: jnp.where(jnp.all(x == start), 0.0, jnp.inf) + jnp.sum(x),
        lambda x: jnp.sum((x - start) ** 2) / 2,
        lambda v: v,
        start,
    )
    assert_identical(params, start)
    assert info.status == Status.NON_FINITE_STEP
    assert is_finite(info)


@pytest.mark.parametrize("method", ["natural_gradient", "policy_gradient"])
def test_without_a_gradient_there_is_no_step(method):
    start = jnp.ones(2)
    config = Config(step_rule=method, step_size=1.0)
    params, info = step_by(
        config, lambda x: jnp.sum(x) * 0, lambda x: x @ x, lambda v: v, start
    )
    assert_identical(params, start)
    assert info.status == Status.ZERO_GRADIENT


def test_the_step_size_is_a_number_to_sweep():
    def taken(step_size):
        config = Config(step_rule="natural_gradient", step_size=step_size)
        return step_by(config, jnp.sum, lambda x: x @ x / 2, lambda v: v, jnp.zeros(2))[
            0
        ]

    swept = jax.vmap(taken)(jnp.array([0.1, 0.2]))
    np.testing.assert_allclose(swept, [[0.1, 0.1], [0.2, 0.2]], rtol=1e-6)


@pytest.mark.parametrize(
    "values",
    [
        {"kl_constraint": "max"},
        {"fisher": "empirical"},
        {"step_rule": "natural_gradient"},
        {"step_rule": "natural_gradient", "step_size": 0.05},
        {"step_rule": "policy_gradient", "max_kl": 0.03},
    ],
    ids=str,
)
def test_each_alternative_learns_which_action_is_better(values):
    environment = make_environment("probe:policy")
    agent = default_agent(environment.observation_space, environment.action_space)
    config = Config(num_envs=8, num_steps=32, **values)

    @jax.jit
    def run(key):
        state = init(key, environment, agent, config)

        def step(state, _):
            return train_step(state, environment, agent, config)

        return jax.lax.scan(step, state, length=30)

    _, metrics = run(jax.random.key(0))
    assert metrics.episode_return[-1] > 0.9


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"step_rule": "ppo"}, "step_rule must be one of trust_region, natural_gra"),
        ({"kl_constraint": "kl"}, "kl_constraint must be one of mean, max; got 'kl'"),
        ({"fisher": "exact"}, "fisher must be one of analytic, empirical; got 'exact'"),
        ({"step_size": -1.0}, "step_size must be a finite number >= 0; got -1.0"),
    ],
)
def test_what_is_no_alternative_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Config(**values)
