"""The defining property: accepted means KL ≤ δ and the surrogate up, else no move.

Oracles: both recomputed in double precision by scipy, closed-form toy problems, and
environments whose answer is known.
"""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from helpers import (
    Clock,
    assert_close,
    assert_identical,
    differ,
    gaussian_agent,
    improve_policy,
    is_finite,
    matrix_of,
    problem_of,
    random_rows,
    softmax_agent,
    step_by,
)

from trpo_jax.agent.normalization import normalize_observation, scale_reward
from trpo_jax.agent.standard_agents import default_agent
from trpo_jax.algorithm.estimation import estimate_advantages, usable_rows
from trpo_jax.algorithm.initialization import init
from trpo_jax.algorithm.metrics import Metrics, summarize
from trpo_jax.algorithm.rollout import collect
from trpo_jax.algorithm.schedules import scheduled
from trpo_jax.algorithm.trpo import train_step, update, update_from_batch
from trpo_jax.config import Config
from trpo_jax.config.fields import replace_options
from trpo_jax.environments import make_environment
from trpo_jax.solver.line_search import LineSearchOutcome
from trpo_jax.solver.trust_region import Status

AGENTS = {"categorical": softmax_agent(), "gaussian": gaussian_agent()}
each_agent = pytest.mark.parametrize("kind", AGENTS)


def status(info):
    return Status(int(info.status)).name


# --- one step of the policy --------------------------------------------------------


@functools.cache
def improve(kind):
    apply = AGENTS[kind].policy.apply
    return jax.jit(
        lambda params, rows, config, seed=0: improve_policy(
            jax.random.key(seed), apply, params, rows, config
        )
    )


@functools.cache
def improve_many(kind):
    return jax.jit(
        jax.vmap(
            lambda params, rows, max_kl: improve(kind)(
                params, rows, Config(max_kl=max_kl)
            ),
            in_axes=(0, 0, None),
        )
    )


def log_prob(kind, params, observation, action):
    out = observation @ params
    if kind == "gaussian":
        return scipy.stats.norm.logpdf(action, out).sum(-1)
    rows = np.arange(len(action))
    return scipy.special.log_softmax(out, axis=-1)[rows, action]


def mean_kl(kind, old, new, observation):
    p, q = observation @ old, observation @ new
    if kind == "gaussian":
        return np.mean(np.sum((p - q) ** 2, -1) / 2)  # unit variance
    log_p, log_q = scipy.special.log_softmax(p, -1), scipy.special.log_softmax(q, -1)
    return np.mean(np.sum(np.exp(log_p) * (log_p - log_q), -1))


def mean_gain(kind, old, new, rows):
    """Change of the surrogate with standardised advantages."""
    advantage = (rows.advantage - rows.advantage.mean()) / rows.advantage.std()
    at = (rows.observation, rows.action)
    ratio = np.exp(log_prob(kind, new, *at) - log_prob(kind, old, *at))
    return np.mean((ratio - 1) * advantage)


@each_agent
@pytest.mark.parametrize("max_kl", [1e-4, 1e-2, 1.0, 1e3, 1e10])
def test_accepted_is_closer_than_max_kl_and_better_else_nothing_moved(kind, max_kl):
    problems = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        scale = (0.1, 1.0, 10.0)[seed % 3]
        params = jnp.asarray(scale * rng.normal(size=(3, 2)), jnp.float32)
        problems.append((params, random_rows(AGENTS[kind], params, seed)))
    params, rows = jax.tree.map(lambda *leaves: jnp.stack(leaves), *problems)
    new, info = improve_many(kind)(params, rows, jnp.float32(max_kl))

    accepted = 0
    for i, (old, batch) in enumerate(problems):
        code = Status(int(info.status[i]))
        if code == Status.ACCEPTED:
            accepted += 1
            wide = [np.asarray(x, np.float64) for x in (old, new[i])]
            exact = batch.replace(
                observation=np.asarray(batch.observation, np.float64),
                action=np.asarray(batch.action),
                advantage=np.asarray(batch.advantage, np.float64),
            )
            assert mean_kl(kind, *wide, exact.observation) <= max_kl * (1 + 1e-3)
            # With δ absurd all ratios may underflow; the gain is then 0 up to rounding.
            least = 0 if max_kl <= 1 else -1e-6
            assert mean_gain(kind, *wide, exact) > least
        else:
            assert_identical(new[i], old)
            assert float(info.kl[i]) == 0
    assert accepted > 20 if max_kl < 100 else accepted < 60


@each_agent
def test_a_small_step_uses_up_the_trust_region(kind, x64):
    # KL = ½ sᵀFs + O(s³): without damping the full step has KL → δ.
    params = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2)))
    rows = random_rows(AGENTS[kind], params, rows=64)
    config = Config(
        max_kl=1e-8, cg_damping=1e-9, backtrack_coefficient=0.999, cg_tolerance=1e-12
    )
    _, info = improve(kind)(params, rows, config)
    assert status(info) == "ACCEPTED"
    np.testing.assert_allclose(info.kl, 1e-8, rtol=1e-2)


@each_agent
def test_direction_and_length_are_those_of_the_dense_solution(kind, x64, monkeypatch):
    params = jnp.asarray(np.random.default_rng(1).normal(size=(3, 2)))
    rows = random_rows(AGENTS[kind], params, rows=64)
    config = Config(max_kl=1e-4, cg_tolerance=1e-12)
    new, info = improve(kind)(params, rows, config)

    problem = problem_of(monkeypatch, AGENTS[kind], params, rows, config)
    fisher = matrix_of(problem.product, params)
    gradient = np.asarray(jax.grad(problem.surrogate)(params)).ravel()
    natural = np.linalg.solve(fisher, gradient)
    step = np.sqrt(2 * 1e-4 / (natural @ fisher @ natural)) * natural
    taken = float(info.search.step_fraction) * step
    np.testing.assert_allclose((new - params).ravel(), taken, rtol=1e-6)


@each_agent
def test_the_ratio_is_exactly_one_where_the_search_starts(kind, monkeypatch):
    # Integer advantages over 64 rows add up without rounding, so that any ratio but 1
    # would show.
    params = jax.random.normal(jax.random.key(0), (3, 2))
    rows = random_rows(AGENTS[kind], params, rows=64)
    advantage = jnp.round(8 * rows.advantage)
    config = Config(standardize_advantage=False)

    @jax.jit
    def surrogate(params, rows):
        return problem_of(monkeypatch, AGENTS[kind], params, rows, config).surrogate(
            params
        )

    start = surrogate(params, rows.replace(advantage=advantage))
    assert float(start) == float(np.sum(advantage)) / 64


def test_the_unit_of_the_advantage_does_not_matter():
    params = jax.random.normal(jax.random.key(0), (3, 2))
    rows = random_rows(AGENTS["categorical"], params)
    one = improve("categorical")(params, rows, Config())
    big = rows.replace(advantage=1024 * rows.advantage + 0)
    assert_close(improve("categorical")(params, big, Config())[0], one[0])


def test_the_key_does_not_matter_when_all_rows_are_used():
    params = jax.random.normal(jax.random.key(0), (3, 2))
    rows = random_rows(AGENTS["categorical"], params)
    one, two = (improve("categorical")(params, rows, Config(), seed) for seed in (0, 1))
    assert_identical(one, two)


def test_a_fraction_of_the_rows_in_the_products_still_keeps_the_constraint():
    params = jax.random.normal(jax.random.key(0), (3, 2))
    rows = random_rows(AGENTS["categorical"], params)
    config = Config(fisher_fraction=0.2)
    new, info = improve("categorical")(params, rows, config)
    full, _ = improve("categorical")(params, rows, Config())
    assert status(info) == "ACCEPTED"
    assert differ(new, full)
    observation = np.asarray(rows.observation, np.float64)
    assert mean_kl("categorical", params, new, observation) <= 0.01 * (1 + 1e-3)


@each_agent
def test_rows_of_weight_zero_do_not_count(kind):
    params = jax.random.normal(jax.random.key(0), (3, 2))
    weight = jnp.ones(16).at[5:8].set(0)
    rows = random_rows(AGENTS[kind], params, weight=weight)
    garbage = rows.replace(
        observation=rows.observation.at[5:8].set(3.0),
        advantage=rows.advantage.at[5:8].set(1e6),
    )
    assert_identical(
        improve(kind)(params, garbage, Config()), improve(kind)(params, rows, Config())
    )


def test_rows_of_weight_zero_might_as_well_be_absent():
    params = jax.random.normal(jax.random.key(0), (3, 2))
    weight = jnp.ones(16).at[5:8].set(0)
    rows = random_rows(AGENTS["categorical"], params, weight=weight)
    kept = np.r_[0:5, 8:16]
    absent = jax.tree.map(lambda leaf: leaf[kept], rows)
    assert_close(
        improve("categorical")(params, absent, Config())[0],
        improve("categorical")(params, rows, Config())[0],
    )


@each_agent
@pytest.mark.parametrize("level", [0.0, 0.1, -7e5])
def test_equal_advantages_are_no_gradient(kind, level):
    params = jax.random.normal(jax.random.key(0), (3, 2))
    rows = random_rows(AGENTS[kind], params)
    rows = rows.replace(advantage=jnp.full(16, level))
    new, info = improve(kind)(params, rows, Config())
    assert status(info) == "ZERO_GRADIENT"
    assert_identical(new, params)
    assert is_finite(info)


@each_agent
@pytest.mark.parametrize("standardized", [True, False])
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_poisoned_advantages_are_reported_and_move_nothing(kind, standardized, poison):
    params = jax.random.normal(jax.random.key(0), (3, 2))
    rows = random_rows(AGENTS[kind], params)
    rows = rows.replace(advantage=rows.advantage.at[3].set(poison))
    config = Config(standardize_advantage=standardized)
    new, info = improve(kind)(params, rows, config)
    assert status(info) == "NON_FINITE_GRADIENT"
    assert_identical(new, params)


# --- the step itself, on toy problems ----------------------------------------------


def quadratic(seed=0, size=5):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(size, size))
    return jnp.asarray(root @ root.T + np.eye(size)), jnp.asarray(rng.normal(size=size))


def test_reaches_the_optimum_of_a_linear_objective_in_an_ellipsoid(x64):
    # Maximise gᵀθ subject to ½ θᵀFθ ≤ δ: θ* = √(2δ / gᵀF⁻¹g) F⁻¹g.
    fisher, g = quadratic()
    theta, info = step_by(
        Config(max_kl=0.3, cg_tolerance=1e-14),
        lambda theta: g @ theta,
        # A hair flatter than F, since the optimum lies on the very boundary.
        lambda theta: 0.5 * theta @ fisher @ theta * (1 - 1e-9),
        lambda v: fisher @ v,
        jnp.zeros(5),
    )
    natural = np.linalg.solve(fisher, g)
    np.testing.assert_allclose(
        theta, np.sqrt(2 * 0.3 / (g @ natural)) * natural, rtol=1e-9
    )
    assert theta.dtype == info.search.divergence.dtype == jnp.float64
    assert status(info) == "ACCEPTED"
    np.testing.assert_allclose(info.search.divergence, 0.3, rtol=1e-8)
    np.testing.assert_allclose(info.gradient_norm, np.linalg.norm(g), rtol=1e-12)


def line(surrogate, divergence=lambda x: 0 * x, product=lambda v: v, **numbers):
    """One dimension from 0, F = 1, halving: the full step is √(2δ)."""
    config = Config(backtrack_coefficient=0.5, **{"max_kl": 2.0, **numbers})
    return step_by(config, surrogate, divergence, product, jnp.float32(0))


def test_backtracking_by_hand():
    # x − x² from 0: the full step √(2·2) = 2 gives −2, 1 gives 0 (no gain), ½ gives ¼.
    x, info = line(lambda x: x - x**2)
    assert float(x) == 0.5
    assert status(info) == "ACCEPTED"
    assert int(info.search.backtracks) == 2
    assert float(info.search.improvement) == 0.25
    assert float(info.search.step_fraction) == 0.25


@pytest.mark.parametrize(
    ("curvature", "said"),
    [
        (-1.0, "BAD_CURVATURE"),
        (0.0, "BAD_CURVATURE"),
        (np.nan, "NON_FINITE_FISHER"),
        (np.inf, "NON_FINITE_FISHER"),
    ],
)
def test_no_step_without_positive_curvature(curvature, said):
    x, info = line(lambda x: x, product=lambda v: jnp.float32(curvature) * v)
    assert status(info) == said
    assert float(x) == 0
    assert is_finite(info)


def test_a_failed_search_says_so():
    x, info = line(lambda x: x, divergence=lambda x: 1e9 * jnp.abs(x))
    assert status(info) == "SEARCH_FAILED"
    assert {int(v) for v in info.search.outcome} == {
        LineSearchOutcome.CONSTRAINT_VIOLATED
    }
    assert float(x) == float(info.search.divergence) == 0


def test_no_gradient_no_step():
    x, info = line(lambda x: x**2)
    assert status(info) == "ZERO_GRADIENT"
    assert float(x) == 0


def test_a_gradient_that_is_not_finite_is_reported():
    x, info = line(jnp.sqrt)  # slope ∞ at 0
    assert status(info) == "NON_FINITE_GRADIENT"
    assert float(x) == 0


def test_knows_only_pytrees():
    params = {"critic": jnp.zeros(2), "odd": (jnp.zeros((2, 1)),)}
    new, info = step_by(
        Config(max_kl=0.5),
        lambda p: jnp.sum(p["critic"]) + jnp.sum(p["odd"][0]),
        lambda p: 0.4 * sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(p)),
        lambda v: v,
        params,
    )
    # g = (1, 1, 1, 1), F = I: step √(2·½ / 4) g = ½ g.
    assert_close(new, jax.tree.map(lambda leaf: leaf + 0.5, params))
    assert status(info) == "ACCEPTED"


# --- a whole update ----------------------------------------------------------------

CLOCK = Clock()
SMALL = Config(
    num_envs=4, num_steps=6, critic_epochs=2, critic_minibatch_size=10, max_kl=0.02
)


@functools.cache
def prepared(config=SMALL):
    """A state with some history, and the rollout collected from it."""
    agent = AGENTS["categorical"]
    state = jax.jit(lambda key: init(key, CLOCK, agent, config))(jax.random.key(0))
    for _ in range(2):
        state, rollout = gather(state)
        state, _ = run_update(state, rollout, config)
    return gather(state)


gather = jax.jit(
    functools.partial(
        collect, environment=CLOCK, agent=AGENTS["categorical"], num_steps=6
    )
)
jitted_update = jax.jit(functools.partial(update, agent=AGENTS["categorical"]))


@jax.jit
def jitted_from_batch(state, batch):
    return update_from_batch(state, batch, AGENTS["categorical"], SMALL)


def run_update(state, rollout, config=SMALL):
    return jitted_update(state, rollout, config=config)


def test_an_update_improves_policy_critic_and_normalizer():
    state, rollout = prepared()
    after, info = run_update(state, rollout)
    assert status(info.policy) == "ACCEPTED"
    assert 0 < float(info.policy.kl) <= 0.02
    assert info.critic.accepted
    for part in ("policy_params", "critic_params", "normalizer", "key"):
        assert differ(getattr(after, part), getattr(state, part))
    for part in ("env_state", "observation", "episode_return", "episode_length"):
        assert_identical(getattr(after, part), getattr(state, part))
    assert int(after.iteration) == int(state.iteration) + 1


def test_what_depends_on_the_size_is_done_as_if_it_had_been_given():
    state, rollout = prepared()
    version = rollout.policy_version
    many = jax.tree.map(
        lambda x: jnp.concatenate([x] * 700),
        rollout.replace(policy_version=version[None]),
    ).replace(policy_version=version)
    free = dataclasses.replace(SMALL, critic_minibatch_size=None)
    given = dataclasses.replace(
        free, fisher_fraction=8192 / 16_800, critic_minibatch_size=262
    )
    assert_identical(run_update(state, many, free), run_update(state, many, given))


def test_entropy_is_that_of_the_policy_that_acted():
    state, rollout = prepared()
    _, info = run_update(state, rollout)
    moments = state.normalizer.observation
    x = np.asarray(rollout.observation).reshape(-1, 2) - np.asarray(moments.mean)
    x = np.clip(x / np.sqrt(moments.variance), -10, 10)
    p = scipy.special.softmax(x @ np.asarray(state.policy_params), axis=-1)
    np.testing.assert_allclose(
        info.policy.entropy, scipy.stats.entropy(p, axis=-1).mean(), rtol=1e-4
    )


POISON = {
    "NaN reward": lambda r: r.replace(reward=r.reward.at[2, 1].set(jnp.nan)),
    "NaN observation": lambda r: r.replace(
        observation=r.observation.at[2, 1].set(jnp.nan)
    ),
    "NaN next observation": lambda r: r.replace(
        next_observation=r.next_observation.at[1].set(jnp.nan),
        terminated=jnp.zeros_like(r.terminated),
    ),
    "all NaN": lambda r: r.replace(reward=jnp.full_like(r.reward, jnp.nan)),
}


IN_REGIONS = replace_options(SMALL, critic_method="gauss_newton")


def test_steps_in_trust_regions_bring_the_critic_nearer_and_use_no_optimizer():
    state, rollout = prepared()
    agent = AGENTS["categorical"]
    batch = estimate_advantages(state, rollout, agent, SMALL)
    shown = normalize_observation(state.normalizer, batch.observation)

    def error(state):
        value = agent.critic.apply(state.critic_params, shown)
        return float(jnp.mean((value - batch.value_target) ** 2))

    errors = [error(state)]
    for steps in (1, 4):
        config = dataclasses.replace(IN_REGIONS, critic_steps=steps)
        after, info = run_update(state, rollout, config)
        assert info.critic.accepted
        assert_identical(after.critic_optimizer_state, state.critic_optimizer_state)
        errors.append(error(after))
        if steps == 1:
            np.testing.assert_allclose(info.critic.loss, errors[1], rtol=1e-5)
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("config", [SMALL, IN_REGIONS])
@pytest.mark.parametrize("poison", POISON)
def test_poisoned_data_never_reach_policy_or_critic(poison, config):
    state, rollout = prepared()
    after, info = run_update(state, POISON[poison](rollout), config)
    good = usable_rows(POISON[poison](rollout))
    assert not good.all()
    moved = bool(good.any())  # the sound transitions are learnt from
    assert (status(info.policy) == "ACCEPTED") == moved
    for part in ("policy_params", "critic_params"):
        assert differ(getattr(after, part), getattr(state, part)) == moved
    assert is_finite(after)
    assert int(after.iteration) == int(state.iteration) + 1


@pytest.mark.parametrize("size", [1e10, 1e30, np.inf])
def test_absurd_rewards_leave_everything_finite(size):
    state, rollout = prepared()
    rollout = rollout.replace(reward=rollout.reward.at[2].set(size))
    after, _ = run_update(state, rollout)
    assert is_finite(
        (after.policy_params, after.critic_params, after.critic_optimizer_state)
    )
    assert is_finite(after.normalizer)


def test_the_critic_learns_whatever_happens_to_the_policy():
    state, rollout = prepared()
    batch = estimate_advantages(state, rollout, AGENTS["categorical"], SMALL)
    flat = batch.replace(advantage=jnp.zeros_like(batch.advantage))
    after, info = jitted_from_batch(state, flat)
    assert status(info.policy) == "ZERO_GRADIENT"
    assert_identical(after.policy_params, state.policy_params)
    assert differ(after.critic_params, state.critic_params)


def test_a_finished_batch_gives_the_same_update_but_no_statistics():
    state, rollout = prepared()
    from_rollout, _ = run_update(state, rollout)
    batch = estimate_advantages(state, rollout, AGENTS["categorical"], SMALL)
    from_batch, _ = jitted_from_batch(state, batch)
    for part in ("policy_params", "critic_params"):
        assert_close(getattr(from_batch, part), getattr(from_rollout, part), atol=1e-5)
    assert_identical(from_batch.normalizer, state.normalizer)


def test_metrics_are_what_a_loop_finds():
    state, rollout = prepared()
    _, info = run_update(state, rollout)
    metrics = summarize(rollout, info)
    returns, lengths = [], []
    for t in range(6):
        for b in range(4):
            if rollout.terminated[t, b] or rollout.truncated[t, b]:
                returns.append(float(rollout.episode_return[t, b]))
                lengths.append(int(rollout.episode_length[t, b]))
    assert float(metrics.episodes) == len(returns) == 8
    np.testing.assert_allclose(metrics.episode_return, np.mean(returns), rtol=1e-5)
    np.testing.assert_allclose(metrics.episode_length, np.mean(lengths), rtol=1e-6)
    assert all(m.shape == () and m.dtype == jnp.float32 for m in metrics)


def test_no_finished_episode_is_not_a_return_of_zero():
    state, rollout = prepared()
    _, info = run_update(state, rollout)
    never = jnp.zeros_like(rollout.terminated)
    metrics = summarize(rollout.replace(terminated=never, truncated=never), info)
    assert float(metrics.episodes) == 0
    assert np.isnan(metrics.episode_return)
    assert np.isnan(metrics.episode_length)


# --- training ----------------------------------------------------------------------

POLICY_PROBE = make_environment("probe:policy")


def probe_agent(environment):
    return default_agent(
        environment.observation_space, environment.action_space, hidden_sizes=(8,)
    )


PROBE_AGENT = probe_agent(POLICY_PROBE)
TINY = Config(
    num_envs=4, num_steps=8, critic_epochs=2, critic_minibatch_size=16, max_kl=0.05
)


def iteration(state, config):
    return train_step(state, POLICY_PROBE, PROBE_AGENT, config)


tiny_iteration = jax.jit(chex.assert_max_traces(iteration, n=1))


@functools.cache
def tiny_start():
    make = functools.partial(
        init, environment=POLICY_PROBE, agent=PROBE_AGENT, config=TINY
    )
    keys = jax.random.split(jax.random.key(0), 3)
    return jax.jit(jax.vmap(make))(keys)


def at(tree, i):
    return jax.tree.map(lambda leaf: leaf[i], tree)


def changed(**numbers):
    fields = {name: getattr(TINY, name) for name in vars(TINY)}
    return Config(**{**fields, **numbers})


def test_other_numbers_do_not_compile_again():
    state = at(tiny_start(), 0)
    for config in (TINY, changed(max_kl=0.001), changed(discount=0.5, cg_damping=0.0)):
        state, _ = tiny_iteration(state, config)
    assert int(state.iteration) == 3  # a second trace would have raised


def test_the_same_seed_gives_the_same_run():
    def run():
        state = at(tiny_start(), 0)
        for _ in range(3):
            state, metrics = tiny_iteration(state, TINY)
        return state, metrics

    assert_identical(run(), run())


def test_seeds_and_numbers_under_vmap_go_as_if_alone():
    sweep = {
        "max_kl": jnp.array([0.001, 0.05, 0.2]),
        "discount": jnp.array([0.5, 0.9, 1.0]),
        "gae_lambda": jnp.array([0.0, 0.95, 1.0]),
        "cg_damping": jnp.array([0.0, 0.1, 1.0]),
        "backtrack_coefficient": jnp.array([0.3, 0.5, 0.8]),
        "critic_learning_rate": jnp.array([1e-4, 1e-3, 1e-2]),
    }
    axes = jax.tree.unflatten(
        jax.tree.structure(TINY),
        [
            0 if path[0].name in sweep else None
            for path, _ in jax.tree.leaves_with_path(TINY)
        ],
    )
    together = jax.jit(jax.vmap(iteration, in_axes=(0, axes)))
    states = tiny_start()
    for _ in range(2):
        states, metrics = together(states, changed(**sweep))
    for i in range(3):
        state = at(tiny_start(), i)
        config = changed(**{name: float(values[i]) for name, values in sweep.items()})
        for _ in range(2):
            state, alone = tiny_iteration(state, config)
        assert_close(at(metrics, i), alone, rtol=1e-2, atol=1e-4)
        assert_close(
            at(states, i).policy_params, state.policy_params, rtol=1e-2, atol=1e-4
        )
    assert len(set(metrics.kl.tolist())) == 3


LEARNING = Config(
    num_envs=16,
    num_steps=12,
    discount=0.5,
    max_kl=0.05,
    critic_learning_rate=0.01,
    critic_minibatch_size=48,
    normalize_observation=False,
    scale_reward=False,
)


@functools.cache
def trained(name, iterations=40):
    """Train on a probe; return its networks at the observations 0, −1 and 1."""
    environment = make_environment(f"probe:{name}")
    agent = probe_agent(environment)

    @jax.jit
    def train(key):
        state = init(key, environment, agent, LEARNING)
        state, metrics = jax.lax.scan(
            lambda state, _: train_step(state, environment, agent, LEARNING),
            state,
            length=iterations,
        )
        shown = jnp.array([[0.0], [-1.0], [1.0]])
        policy = agent.policy.apply(state.policy_params, shown)
        value = agent.critic.apply(state.critic_params, shown)
        return policy, value, metrics

    policy, value, metrics = train(jax.random.key(0))
    zero, minus, plus = np.asarray(value)
    return policy, {0: zero, -1: minus, 1: plus}, metrics


def test_probe_value_is_learned():
    _, value, _ = trained("value")
    np.testing.assert_allclose(value[0], 1, atol=0.05)


def test_probe_observation_is_learned():
    _, value, _ = trained("observation")
    np.testing.assert_allclose([value[-1], value[1]], [-1, 1], atol=0.05)


def test_probe_discount_is_learned():
    _, value, _ = trained("discount")
    np.testing.assert_allclose([value[0], value[1]], [0.5, 1], atol=0.05)


def test_probe_truncation_is_learned():
    # V(1) = 1 / (1 − γ) = 2 and V(0) = 0 + γ V(1) = 1.
    _, value, _ = trained("truncation")
    np.testing.assert_allclose([value[0], value[1]], [1, 2], atol=0.1)


def test_where_there_is_no_choice_rounding_does_not_pass_for_a_gain():
    # One action only: the surrogate is constant, whatever the advantages.
    _, _, metrics = trained("truncation")
    assert set(metrics.status.tolist()) == {Status.ZERO_GRADIENT}
    assert set(metrics.improvement.tolist()) == {0}


def test_probe_action_is_learned():
    policy, _, metrics = trained("action")
    assert float(jnp.exp(policy.log_prob(jnp.zeros(3, int)))[0]) > 0.95
    assert float(metrics.episode_return[-1]) > 0.9


def test_probe_policy_is_learned():
    policy, _, metrics = trained("policy")
    assert policy.mode()[1:].tolist() == [0, 1]
    assert float(metrics.episode_return[-1]) > 0.9


def test_probe_continuous_is_learned():
    policy, _, metrics = trained("continuous")
    np.testing.assert_allclose(policy.mode()[1:, 0], [-0.5, 0.5], atol=0.1)
    assert (policy.log_std < -0.7).all()  # it became sure of itself
    assert float(metrics.episode_return[-1]) > -0.2


@pytest.mark.parametrize("name", ["action", "policy", "continuous"])
def test_every_accepted_iteration_of_a_training_run_kept_the_constraint(name):
    _, _, metrics = trained(name)
    accepted = metrics.status == Status.ACCEPTED
    assert isinstance(metrics, Metrics)
    assert accepted.sum() >= 5
    assert (metrics.kl[accepted] <= 0.05).all()
    assert (metrics.improvement[accepted] > 0).all()
    assert (metrics.kl[~accepted] == 0).all()
    assert (metrics.step_fraction[~accepted] == 0).all()


def test_the_schedule_of_a_run_moves_delta_in_a_straight_line():
    config = Config(
        num_envs=4, num_steps=16, max_kl=0.04, final_max_kl=0.01, schedule_iterations=4
    )
    state = init(jax.random.key(0), CLOCK, softmax_agent(), config)
    step = jax.jit(lambda state: train_step(state, CLOCK, softmax_agent(), config))
    for expected in (0.04, 0.0325, 0.025, 0.0175, 0.01, 0.01):
        now = scheduled(config, state.iteration)
        assert float(now.max_kl) == pytest.approx(expected)
        state, metrics = step(state)
        assert float(metrics.kl) <= expected * (1 + 1e-5)


def test_the_schedule_of_the_critic_is_its_step_size():
    config = Config(final_critic_learning_rate=5e-4, schedule_iterations=2)
    rates = [float(scheduled(config, i).critic_learning_rate) for i in range(4)]
    np.testing.assert_allclose(rates, [1e-3, 0.75e-3, 0.5e-3, 0.5e-3])
    assert scheduled(Config(), 7) == Config()


def test_without_bootstrapping_a_time_limit_is_an_end():
    """The targets are then rewards-to-go of the episode, whatever the critic says."""
    config = Config(num_envs=1, num_steps=6, gae_lambda=1.0, bootstrap_truncated=False)
    state = init(jax.random.key(0), CLOCK, softmax_agent(), config)
    state, rollout = collect(state, CLOCK, softmax_agent(), num_steps=6)
    assert rollout.truncated.any() or rollout.terminated.any()
    rollout = rollout.replace(
        terminated=jnp.zeros((6, 1), bool),
        truncated=jnp.array([[0, 0, 1, 0, 0, 1]], bool).T,
    )
    batch = estimate_advantages(state, rollout, softmax_agent(), config)
    scaled = scale_reward(state.normalizer, rollout.reward)[:, 0]
    gamma = config.discount
    for first in (0, 3):
        a, b, c = scaled[first : first + 3]
        expected = [a + gamma * b + gamma**2 * c, b + gamma * c, c]
        assert_close(
            batch.value_target[first : first + 3, 0], jnp.array(expected), rtol=1e-5
        )
