"""One network for policy and value: one step, one trust region, one line search."""

import functools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, assert_identical, is_finite, matrix_of, problem_of
from jax.flatten_util import ravel_pytree
from scipy.special import log_softmax, softmax

import trpo_jax
from trpo_jax.agent.agent_check import check_agent
from trpo_jax.agent.distributions import Categorical
from trpo_jax.agent.networks import Agent, Heads, Network, shared_agent
from trpo_jax.agent.standard_agents import default_agent
from trpo_jax.algorithm.batch import Batch
from trpo_jax.algorithm.initialization import init
from trpo_jax.algorithm.joint_batch import join
from trpo_jax.algorithm.policy_update import update_policy
from trpo_jax.algorithm.trpo import train_step, update_from_batch
from trpo_jax.algorithm.vine_batch import VineBatch
from trpo_jax.config import Config
from trpo_jax.environments import make_environment
from trpo_jax.environments.spaces import Box, Discrete
from trpo_jax.runs.plan import make_plan
from trpo_jax.solver.trust_region import Status

DELTA, EPSILON = 0.01, 0.5
W = DELTA / EPSILON
JOINT = Config(critic_method="joint")
PLAIN = Config(critic_method="joint", critic_share=1.0, cg_damping=0.05)


def init_disjoint(key, observation):
    one, two = jax.random.split(key)
    return {
        "policy": jax.random.normal(one, (*observation.shape, 2)),
        "value": jax.random.normal(two, observation.shape),
    }


def apply_disjoint(params, x):
    return Heads(Categorical(x @ params["policy"]), x @ params["value"])


def init_shared(key, observation):
    keys = jax.random.split(key, 4)
    sizes = {"trunk": (3, 4), "policy": (4, 2), "value": (4,), "colour": (4, 3)}
    return {k: jax.random.normal(key, s) for key, (k, s) in zip(keys, sizes.items())}


def apply_shared(params, x):
    x = jnp.tanh(x @ params["trunk"])
    colour = Categorical(x @ params["colour"])
    return Heads(Categorical(x @ params["policy"]), x @ params["value"], {"c": colour})


DISJOINT = shared_agent(Network(init_disjoint, apply_disjoint))
COLOUR = Network(init_shared, apply_shared)
SHARED = shared_agent(Network(init_shared, apply_shared))
COLOURED = shared_agent(COLOUR, auxiliary_max_kl={"c": 0.1})


def example(agent, seed=0, rows=24, dtype=jnp.float32, scale=1.0, colours=False):
    rng = np.random.default_rng(seed)
    x, advantage, target, weight = (
        jnp.asarray(a, dtype)
        for a in (
            rng.normal(size=(rows, 3)),
            rng.normal(size=rows),
            rng.normal(size=rows) * scale,
            rng.integers(1, 4, rows),
        )
    )
    params = agent.heads.init(jax.random.key(seed), jnp.zeros(3))
    params = jax.tree.map(lambda p: p.astype(dtype), params)
    params["value"] = params["value"] * jnp.asarray(scale, dtype)
    action = agent.policy.apply(params, x).sample(jax.random.key(seed))
    colour = {"c": jnp.asarray(rng.integers(0, 3, rows))} if colours else None
    return params, Batch(x, action, advantage, target, weight, auxiliary=colour)


def kl_of(agent, old, new, batch):
    """KL(π_old ‖ π) of every row, worked out in float64."""
    log_p, log_q = (
        log_softmax(np.float64(agent.policy.apply(p, batch.observation).logits), axis=1)
        for p in (old, new)
    )
    return np.sum(np.exp(log_p) * (log_p - log_q), axis=1)


def squared_error(params, batch):
    error = SHARED.critic.apply(params, batch.observation) - batch.value_target
    return share_of(batch) @ np.square(np.float64(error))


def share_of(batch):
    return np.float64(batch.weight) / np.sum(np.float64(batch.weight))


def test_with_disjoint_trees_the_direction_is_that_of_trpo_and_of_gauss_newton(
    x64, monkeypatch
):
    params, batch = example(DISJOINT, dtype=jnp.float64)
    problem = problem_of(monkeypatch, DISJOINT, params, batch, PLAIN)
    matrix, g = (
        matrix_of(problem.product, params),
        ravel_pytree(jax.grad(problem.surrogate)(params))[0],
    )
    joint = np.linalg.solve(matrix, g)

    x, share = np.asarray(batch.observation), share_of(batch)
    p = softmax(x @ np.asarray(params["policy"]), axis=1)
    advantage = np.asarray(batch.advantage)
    advantage = advantage - share @ advantage
    advantage = advantage / np.sqrt(share @ advantage**2)
    score = np.eye(2)[np.asarray(batch.action)] - p
    g_policy = np.einsum("n,ni,na->ia", share * advantage, x, score).ravel()
    metric = np.einsum("na,ab->nab", p, np.eye(2)) - np.einsum("na,nb->nab", p, p)
    f = np.einsum("n,ni,nab,nj->iajb", share, x, metric, x).reshape(6, 6)
    trpo = np.linalg.solve(f + 0.05 * np.eye(6), g_policy)

    error = np.asarray(batch.value_target) - x @ np.asarray(params["value"])
    variance = share @ error**2
    h = np.einsum("n,ni,nj->ij", share, x, x)
    damping = 0.05 * variance / W  # in squared units of the value, as there
    gauss_newton = np.linalg.solve(h + damping * np.eye(3), (share * error) @ x)
    expected = np.concatenate([trpo, gauss_newton])
    np.testing.assert_allclose(joint, expected, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("fisher", ["analytic", "empirical"])
def test_the_product_is_the_joint_fisher_matrix_of_its_definition(
    fisher, x64, monkeypatch
):
    """F_π + w F_V + w_c F_c from Jacobians, whose trunk is shared."""
    params, batch = example(COLOURED, dtype=jnp.float64, colours=True)
    flat, unflatten = ravel_pytree(params)
    config = Config(critic_method="joint", cg_damping=0.5, fisher=fisher)
    product = problem_of(monkeypatch, COLOURED, params, batch, config).product
    x, share = batch.observation, share_of(batch)
    error = batch.value_target - apply_shared(params, x).value
    variance = share @ np.square(error)
    n = np.arange(len(share))

    if fisher == "analytic":

        def outputs(v):
            out = apply_shared(unflatten(v), x)
            logits = out.policy.logits, out.auxiliary["c"].logits
            return *logits, out.value[:, None]

        metrics = [np.eye(k) for k in (2, 3, 1)]
        for i, logits in enumerate(outputs(flat)[:2]):
            p = softmax(np.asarray(logits), axis=1)
            metrics[i] = p[:, :, None] * np.eye(p.shape[1]) - p[:, :, None] * p[:, None]
        metrics[2] = np.ones((len(share), 1, 1)) / variance
    else:  # scores, with residuals for the value
        taken = batch.action, batch.auxiliary["c"]

        def outputs(v):
            out = apply_shared(unflatten(v), x)
            logits = out.policy.logits, out.auxiliary["c"].logits
            scores = (jax.nn.log_softmax(x)[n, a] for x, a in zip(logits, taken))
            likelihood = -((batch.value_target - out.value) ** 2) / (2 * variance)
            return tuple(s[:, None] for s in (*scores, likelihood))

        metrics = [np.ones((len(share), 1, 1))] * 3
    dense = 0.5 * np.eye(flat.size)
    weights = (1.0, DELTA / 0.1, W)
    for w, jacobian, metric in zip(weights, jax.jacobian(outputs)(flat), metrics):
        j = np.asarray(jacobian)
        dense += w * np.einsum("n,nai,nab,nbj->ij", share, j, metric, j)
    assert_close(matrix_of(product, params), dense, 1e-8, 1e-10)


def test_nothing_shared_and_no_weight_leave_the_step_of_the_policy_alone():
    params, batch = example(DISJOINT)
    config = Config(critic_method="joint", critic_share=1.0, critic_max_kl=1e30)
    joint, info = update_policy(jax.random.key(0), params, batch, DISJOINT, config)
    alone = Agent(Network(None, lambda p, x: Categorical(x @ p)), None)
    policy, expected = update_policy(
        jax.random.key(0), params["policy"], batch, alone, Config()
    )
    assert info.status == Status.ACCEPTED
    assert_close(joint["policy"], policy, 1e-6, 1e-7)
    assert_close((info.kl, info.search), (expected.kl, expected.search), 1e-4, 1e-6)
    assert_close(joint["value"], params["value"], 1e-6, 1e-7)


@functools.partial(jax.jit, static_argnames="constraint")
def improve(params, batch, critic_max_kl, constraint):
    config = Config(
        critic_method="joint", critic_max_kl=critic_max_kl, kl_constraint=constraint
    )
    return update_policy(jax.random.key(0), params, batch, SHARED, config)


@hypothesis.given(
    seed=st.integers(0, 1000),
    scale=st.sampled_from([0.0, 1e-6, 1.0, 1e6]),
    epsilon=st.sampled_from([1e-3, 0.5, 100.0]),
    constraint=st.sampled_from(["mean", "max"]),
)
def test_the_policy_alone_never_leaves_the_trust_region(
    seed, scale, epsilon, constraint
):
    params, batch = example(SHARED, seed, scale=scale)
    new, info = improve(params, batch, epsilon, constraint)
    kl = kl_of(SHARED, params, new, batch)
    distance = share_of(batch) @ kl if constraint == "mean" else kl.max()
    assert distance <= DELTA * (1 + 1e-3)
    np.testing.assert_allclose(info.kl, distance, rtol=1e-3, atol=1e-6)
    assert info.search.divergence >= info.kl * (1 - 1e-3) - 1e-7
    assert is_finite(new)
    if info.status != Status.ACCEPTED:
        assert_identical(new, params)


def test_both_parts_improve():
    params, batch = example(SHARED, scale=3.0)
    new, info = update_policy(jax.random.key(0), params, batch, SHARED, JOINT)
    assert info.status == Status.ACCEPTED
    ratio = np.exp(
        SHARED.policy.apply(new, batch.observation).log_prob(batch.action)
        - SHARED.policy.apply(params, batch.observation).log_prob(batch.action)
    )
    advantage = batch.advantage - share_of(batch) @ np.asarray(batch.advantage)
    assert share_of(batch) @ np.asarray(ratio * advantage) > 0
    assert squared_error(new, batch) < squared_error(params, batch)


def test_a_head_without_a_gradient_changes_nothing():
    params, batch = example(SHARED)

    def apply(params, x):
        out = apply_shared(params, x)
        return out._replace(auxiliary={"c": Categorical(jnp.zeros((*x.shape[:-1], 3)))})

    agent = shared_agent(Network(init_shared, apply), auxiliary_max_kl={"c": 1.0})
    with_head = batch.replace(auxiliary={"c": jnp.zeros(24, jnp.int32)})
    expected, _ = update_policy(jax.random.key(0), params, batch, SHARED, JOINT)
    new, _ = update_policy(jax.random.key(0), params, with_head, agent, JOINT)
    assert_close(new, expected, 1e-6, 1e-7)


def test_an_auxiliary_head_learns_within_the_same_region():
    params, batch = example(COLOURED, colours=True)
    new, info = update_policy(jax.random.key(0), params, batch, COLOURED, JOINT)
    assert info.status == Status.ACCEPTED
    assert share_of(batch) @ kl_of(COLOURED, params, new, batch) <= DELTA * 1.001
    before, after = (
        share_of(batch)
        @ np.asarray(
            COLOUR.apply(p, batch.observation)
            .auxiliary["c"]
            .log_prob(batch.auxiliary["c"])
        )
        for p in (params, new)
    )
    assert after > before


@pytest.mark.parametrize("target", [0.0, 7.0])
def test_targets_that_are_constant_and_known_do_not_stop_the_policy(target):
    def apply(params, x):
        return apply_shared(params, x)._replace(
            value=apply_shared(params, x).value + target
        )

    agent = shared_agent(Network(init_shared, apply))
    params, batch = example(agent, scale=0.0)
    batch = batch.replace(value_target=jnp.full(24, target))
    new, info = update_policy(jax.random.key(0), params, batch, agent, JOINT)
    assert info.status == Status.ACCEPTED
    assert share_of(batch) @ kl_of(agent, params, new, batch) > 0.5 * DELTA


def test_a_policy_with_little_to_gain_keeps_its_part_of_the_region():
    """Without a limit, the value would take nearly everything."""
    params, batch = example(SHARED, rows=400, scale=0.1)
    params["policy"] = 5 * params["policy"]  # almost deterministic
    best = SHARED.policy.apply(params, batch.observation).mode()
    target = SHARED.critic.apply(
        {**params, "value": -params["value"]}, batch.observation
    )
    batch = batch.replace(action=best, value_target=target + 0.3 * batch.value_target)
    kl = {}
    for share in (0.25, 0.5, 1.0):
        config = Config(critic_method="joint", critic_share=share)
        new, info = update_policy(jax.random.key(0), params, batch, SHARED, config)
        assert info.status == Status.ACCEPTED
        kl[share] = share_of(batch) @ kl_of(SHARED, params, new, batch)
        value_part = info.search.divergence - info.kl
        assert value_part <= 1.3 * share * DELTA
        assert squared_error(new, batch) < squared_error(params, batch)
    assert kl[1.0] < 0.6 * kl[0.5] < 0.6 * kl[0.25]


def test_a_part_that_is_not_finite_leaves_everything_as_it_was():
    params, batch = example(SHARED)
    bad = batch.replace(value_target=batch.value_target.at[0].set(jnp.nan))
    new, info = update_policy(jax.random.key(0), params, bad, SHARED, JOINT)
    assert info.status == Status.NON_FINITE_GRADIENT
    assert_identical(new, params)


def agent_of(environment, **values):
    spaces = environment.observation_space, environment.action_space
    return default_agent(*spaces, shared_trunk=True, **values)


@pytest.mark.parametrize(
    "values",
    [
        {"kl_constraint": "max", "fisher": "empirical"},
        {"step_rule": "natural_gradient"},
        {"critic_extra_epochs": 2},
    ],
    ids=str,
)
def test_a_shared_network_learns_which_action_is_better(values):
    environment = make_environment("probe:policy")
    agent = agent_of(environment, hidden_sizes=(16,))
    check_agent(agent, environment)
    config = Config(num_envs=8, num_steps=32, critic_method="joint", **values)

    @jax.jit
    def run(key):
        state = init(key, environment, agent, config)
        return jax.lax.scan(
            lambda state, _: train_step(state, environment, agent, config),
            state,
            length=30,
        )

    state, metrics = run(jax.random.key(0))
    assert metrics.episode_return[-1] > 0.9
    assert state.critic_params == () and state.critic_optimizer_state == ()
    assert jnp.all(metrics.critic_accepted == 1)
    if "step_rule" not in values:
        assert jnp.all(metrics.kl <= DELTA * (1 + 1e-3))


def test_the_metrics_of_the_fit_are_those_of_values_before_and_after():
    environment = make_environment("probe:policy")
    agent = agent_of(environment, hidden_sizes=(4,))
    config = Config(num_envs=4, critic_method="joint", normalize_observation=False)
    state = init(jax.random.key(0), environment, agent, config)
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(6, 4, *state.observation.shape[1:])), jnp.float32)
    target = jnp.asarray(rng.normal(size=(6, 4)), jnp.float32)
    value = agent.critic.apply(state.policy_params, x)
    zeros = jnp.zeros((6, 4), jnp.int32)
    batch = Batch(x, zeros, target, target, jnp.ones((6, 4)), value)
    after, info = update_from_batch(state, batch, agent, config)
    error = target - agent.critic.apply(after.policy_params, x)
    np.testing.assert_allclose(info.critic.loss, np.mean(np.square(error)), rtol=1e-5)
    unexplained = np.var(target - value) / np.var(target)
    np.testing.assert_allclose(
        info.critic.explained_variance, 1 - unexplained, rtol=1e-4
    )


def test_what_does_not_fit_together_is_refused():
    params, batch = example(SHARED)
    separate = default_agent(Box.uniform((3,)), Discrete(2))
    with pytest.raises(ValueError, match="critic_method must be joint for an agent"):
        join(batch, params, SHARED, Config())
    with pytest.raises(ValueError, match="this agent has two"):
        join(batch, params, separate, JOINT)
    with pytest.raises(ValueError, match="auxiliary must have targets for \\['c'\\]"):
        join(batch, params, COLOURED, JOINT)
    vine = VineBatch(None, None, None, None, batch.weight, batch)
    with pytest.raises(ValueError, match="needs a Batch; got VineBatch"):
        join(vine, params, SHARED, JOINT)
    with pytest.raises(ValueError, match="single_path with critic_method joint"):
        Config(sampling="vine", critic_method="joint")
    with pytest.raises(ValueError, match="critic_hidden_sizes must be left out"):
        default_agent(
            Box.uniform((3,)), Discrete(2), critic_hidden_sizes=(3,), shared_trunk=True
        )
    with pytest.raises(ValueError, match="joint with shared_trunk; got adam"):
        make_plan("CartPole-v1", shared_trunk=True, critic_method="adam")
    assert make_plan("CartPole-v1", shared_trunk=True).config.critic_method == "joint"


def test_a_run_is_resumed_exactly_saved_and_evaluated(tmp_path):
    options = {
        "shared_trunk": True, "hidden_sizes": (8,), "num_envs": 4, "num_steps": 8,
        "seeds": 2, "evaluation_episodes": 3,
    }  # fmt: skip
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train = functools.partial(trpo_jax.train, "probe:policy", progress=False, **options)
    result = train(total_steps=128, output_dir=str(whole))
    train(total_steps=64, output_dir=str(parts))
    resumed = trpo_jax.resume(parts, total_steps=128, progress=False)
    assert_identical(resumed.state, result.state)
    header, first = (whole / "metrics.csv").read_text("utf-8").splitlines()[:2]
    row = dict(zip(header.split(","), first.split(",")))
    assert 0 < float(row["kl"]) <= float(row["joint_kl"]) * (1 + 1e-4)
    policy = trpo_jax.load_policy(whole)
    assert policy.act(np.zeros(1, np.float32)) in (0, 1)
    again = trpo_jax.evaluate_policy(policy, episodes=3, seed=0)
    assert np.all(np.asarray(again.finished))


def test_simulators_on_the_host_train_a_shared_network():
    result = trpo_jax.train(
        "gymnasium:CartPole-v1", shared_trunk=True, hidden_sizes=(8,), num_envs=2,
        num_steps=16, total_steps=96, evaluation_episodes=1, progress=False,
    )  # fmt: skip
    metrics = result.metrics
    assert np.all(metrics.kl <= DELTA * (1 + 1e-3)) and np.all(metrics.kl > 0)
    assert np.all(metrics.joint_kl >= metrics.kl * (1 - 1e-4))
    assert np.all(np.isfinite(metrics.critic_loss))


@pytest.mark.slow
def test_a_shared_network_balances_the_pole():
    result = trpo_jax.train("CartPole-v1", shared_trunk=True, seeds=3, progress=False)
    assert min(result.evaluation["greedy"]["mean_per_seed"]) >= 475
    assert np.max(result.metrics.kl) <= DELTA * (1 + 1e-3)
