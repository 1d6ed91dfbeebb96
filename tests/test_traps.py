"""One test for each trap of docs/design.md, each seen in a public implementation.

Most have their full test in the file of their module; here is the trap by its name.
"""

import functools

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
    linear_critic,
    problem_of,
    random_rows,
    softmax_agent,
    step_by,
)

from trpo_jax.agent.distributions import Categorical, DiagonalGaussian
from trpo_jax.agent.networks import Agent, Network
from trpo_jax.agent.normalization import init_normalizer
from trpo_jax.algorithm import trpo
from trpo_jax.algorithm.advantages import standardize
from trpo_jax.algorithm.estimation import estimate_advantages
from trpo_jax.algorithm.initialization import init
from trpo_jax.algorithm.metrics import summarize
from trpo_jax.algorithm.policy_update import update_policy
from trpo_jax.algorithm.rollout import collect
from trpo_jax.algorithm.trpo import train_step, update
from trpo_jax.config import Config
from trpo_jax.solver.conjugate_gradient import cg_solve
from trpo_jax.solver.line_search import line_search
from trpo_jax.solver.trust_region import Status

CLOCK, AGENT = Clock(), softmax_agent()
STEPS, BATCH = 6, 4
CONFIG = Config(
    num_envs=BATCH, num_steps=STEPS, critic_epochs=2, critic_minibatch_size=1000
)


gather = jax.jit(
    functools.partial(collect, environment=CLOCK, agent=AGENT, num_steps=STEPS)
)
run_update = jax.jit(functools.partial(update, agent=AGENT, config=CONFIG))


@functools.cache
def experienced():
    """A state whose normaliser has seen something, and the next rollout."""
    state = jax.jit(lambda key: init(key, CLOCK, AGENT, CONFIG))(jax.random.key(0))
    state, rollout = gather(state)
    state, _ = run_update(state, rollout)
    return gather(state)


@pytest.mark.parametrize("kind", ["categorical", "gaussian"])
def test_trap_kl_direction_differs_or_is_reversed(kind, monkeypatch):
    agent = softmax_agent() if kind == "categorical" else gaussian_agent()
    if kind == "gaussian":  # give the deviation a gradient, and KL a direction

        def apply(params, x):
            return DiagonalGaussian(x @ params, 0.5 * x @ params)

        agent = agent._replace(policy=agent.policy._replace(apply=apply))
    old, new = jax.random.normal(jax.random.key(0), (2, 3, 2))
    rows = random_rows(agent, old)
    problem = problem_of(monkeypatch, agent, old, rows, Config())
    x = np.asarray(rows.observation)

    def kl(left, right):
        left, right = x @ np.asarray(left), x @ np.asarray(right)
        if kind == "categorical":
            p, q = (scipy.special.softmax(out, -1) for out in (left, right))
            return scipy.stats.entropy(p, q, axis=-1).mean()
        s, t = np.exp(0.5 * left), np.exp(0.5 * right)
        per_dimension = np.log(t / s) + (s**2 + (left - right) ** 2) / (2 * t**2) - 0.5
        return per_dimension.sum(-1).mean()

    np.testing.assert_allclose(problem.divergence(new), kl(old, new), rtol=1e-4)
    assert abs(kl(old, new) - kl(new, old)) > 0.05 * kl(old, new)


def test_trap_epsilon_inside_kl(x64):
    p = Categorical(jnp.log(jnp.array([0.5, 0.5])))
    q = Categorical(jnp.log(jnp.array([1e-12, 1 - 1e-12])))
    # ½ ln(½ / 1e−12) + ½ ln ½ + 5e−13; an epsilon of 1e−8 would say 8.5.
    expected = 0.5 * np.log(0.5e12) + 0.5 * np.log(0.5)
    np.testing.assert_allclose(p.kl(q), expected, rtol=1e-10)
    assert float(p.kl(p)) == float(q.kl(q)) == 0.0


@pytest.mark.parametrize("curvature", [-1.0, 0.0])
def test_trap_square_root_of_curvature_that_is_not_positive(curvature):
    theta, info = step_by(
        Config(),
        jnp.sum,
        lambda p: 0 * jnp.sum(p),
        lambda v: curvature * v,
        jnp.ones(2),
    )
    assert int(info.status) == Status.BAD_CURVATURE
    assert_identical(theta, jnp.ones(2))
    assert is_finite(info)


def test_trap_random_start_of_cg():
    first, _ = cg_solve(lambda v: jnp.array([1.0, 4.0]) * v, jnp.ones(2), iterations=1)
    np.testing.assert_allclose(first, [0.4, 0.4])  # b bᵀb / bᵀAb, from zero


def test_trap_parameters_not_restored_after_a_failed_search():
    params = {"a": jnp.array([1 / 3, -0.0])}
    after, info = line_search(
        lambda p: -jnp.sum(p["a"]),
        lambda p: jnp.zeros(()),
        params,
        {"a": jnp.ones(2)},
        max_divergence=1.0,
    )
    assert not info.accepted
    assert_identical(after, params)


def test_trap_search_that_ignores_kl():
    x, info = line_search(
        lambda x: x, jnp.abs, jnp.zeros(()), jnp.ones(()), max_divergence=0.7
    )
    # 1 is better but too far, 0.8 too; 0.64 is within.
    assert int(info.backtracks) == 2
    np.testing.assert_allclose(x, 0.64, rtol=1e-6)


def test_trap_policy_parameters_picked_by_name():
    names = ("critic", "value_head", "vf", "log_std")

    def apply(params, x):
        return Categorical(sum(x @ params[name] for name in names))

    def start(key, observation):
        return {name: jnp.zeros((*observation.shape, 2)) for name in names}

    agent = Agent(policy=Network(start, apply), critic=linear_critic())
    matrix = jnp.zeros((3, 2))
    params = dict.fromkeys(names, matrix)
    rows = random_rows(softmax_agent(), matrix)
    new, info = improve_policy(
        jax.random.key(0), agent.policy.apply, params, rows, Config()
    )
    assert int(info.status) == Status.ACCEPTED
    assert all((new[name] != 0).any() for name in names)


def test_trap_truncated_step_thrown_away_or_bootstrapped_from_the_reset():
    state, rollout = experienced()
    # No normaliser, V(o) = 10 · time: 30 at a final observation, 0 at a reset.
    off = init_normalizer(state.observation, with_observation=False, with_reward=False)
    slope = jnp.array([0.0, 10.0])
    state = state.replace(
        normalizer=off, critic_params={"slope": slope, "offset": jnp.zeros(())}
    )
    config = Config(discount=0.5, gae_lambda=0.0)
    batch = estimate_advantages(state, rollout, AGENT, config)
    cut = rollout.truncated
    assert cut.any()
    assert (batch.weight == 1).all()
    assert_close(batch.value_target[cut], rollout.reward[cut] + 0.5 * 30)
    end = rollout.terminated
    assert end.any()
    assert_close(batch.value_target[end], rollout.reward[end])


@functools.cache
def with_resetting_frames():
    """The same experience with frames spent on resetting: once clean, twice dirty."""
    state, rollout = experienced()
    rows = []
    for b in range(BATCH):  # one frame after each end of an episode, at the same row
        ended = np.flatnonzero(rollout.terminated[:, b] | rollout.truncated[:, b])
        rows.append(int(ended[0]) + 1)
    assert len(set(rows)) == 1  # all clocks show the same time
    row = rows[0]

    def insert(leaf, garbage):
        frame = jnp.full((1, *leaf.shape[1:]), garbage).astype(leaf.dtype)
        return jnp.concatenate([leaf[:row], frame, leaf[row:]])

    def dirty(garbage):
        longer = {
            name: insert(getattr(rollout, name), garbage)
            for name in vars(rollout)
            if name not in ("weight", "policy_version", "memory", "first")
        }
        weight = insert(rollout.weight, 0)
        longer["action"] = insert(rollout.action, 1)
        return rollout.replace(**longer, weight=weight)

    return state, rollout, dirty(0.0), dirty(1e6), dirty(jnp.nan)


def test_trap_frames_spent_on_resetting_counted_as_transitions():
    state, clean, quiet, *dirty = with_resetting_frames()
    left_out, info = run_update(state, clean)
    one, one_info = run_update(state, quiet)
    for rollout in dirty:
        two, two_info = run_update(state, rollout)
        assert_identical(two, one)
        assert_identical(two_info, one_info)
    parts = ("policy_params", "critic_params", "normalizer", "iteration")
    for part in parts:
        assert_close(getattr(one, part), getattr(left_out, part), rtol=1e-3, atol=1e-4)
    metrics = [summarize(*pair) for pair in ((clean, info), (dirty[0], two_info))]
    assert_close(metrics[1], metrics[0], rtol=1e-3, atol=1e-4)


def test_trap_normaliser_moves_between_acting_and_updating(monkeypatch):
    state, rollout = experienced()
    seen = {}

    def watch(key, params, rows, agent, config):
        policy = agent.policy.apply(params, rows.observation)
        seen["log_prob"] = policy.log_prob(rows.action)
        return update_policy(key, params, rows, agent, config)

    monkeypatch.setattr(trpo, "update_policy", watch)

    @jax.jit
    def watched(state, rollout):
        after, _ = update(state, rollout, AGENT, CONFIG)
        return after, seen.pop("log_prob")

    after, log_prob = watched(state, rollout)
    assert_close(log_prob, rollout.log_prob.ravel(), rtol=1e-6)
    assert differ(after.normalizer, state.normalizer)  # it moved, but afterwards


def test_trap_advantages_standardized_per_minibatch(monkeypatch):
    params = jax.random.normal(jax.random.key(0), (3, 2))
    rows = random_rows(AGENT, params)
    config = Config(critic_minibatch_size=4)
    problem = problem_of(monkeypatch, AGENT, params, rows, config)
    a = np.asarray(rows.advantage, np.float64)
    centred = (a - a.mean()) / a.std()
    other = params + 0.3
    log_p = AGENT.policy.apply(other, rows.observation).log_prob(rows.action)
    log_q = AGENT.policy.apply(params, rows.observation).log_prob(rows.action)
    gain = np.mean((np.exp(np.asarray(log_p - log_q)) - 1) * centred)
    np.testing.assert_allclose(
        problem.surrogate(other) - problem.surrogate(params), gain, atol=1e-6
    )


def test_trap_zero_by_zero_when_all_advantages_are_equal():
    assert standardize(jnp.full(7, 0.1)).tolist() == [0] * 7


def test_trap_metrics_of_every_step_stacked_until_memory_runs_out():
    state, _ = experienced()
    for num_steps in (6, 600):
        config = Config(num_envs=BATCH, num_steps=num_steps)
        _, metrics = jax.eval_shape(
            lambda s, c=config: train_step(s, CLOCK, AGENT, c), state
        )
        assert {(m.shape, m.dtype) for m in metrics} == {((), jnp.dtype("float32"))}


def test_trap_every_environment_reset_to_the_same_cached_first_state():
    _, rollout = experienced()
    _, clock = 0, 1
    start = rollout.observation[rollout.observation[..., clock] == 0]
    assert len(start) == 8
    assert len(np.unique(start[:, 0])) == len(start)
