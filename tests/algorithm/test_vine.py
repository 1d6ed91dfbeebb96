"""Branches: which states they start from, what they add up, and what it estimates."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    Clock,
    ClockState,
    assert_close,
    assert_identical,
    linear_critic,
    softmax_agent,
)

from trpo_jax import theory
from trpo_jax.agent.distributions import Categorical, DiagonalGaussian
from trpo_jax.agent.networks import Agent, Network
from trpo_jax.agent.normalization import Moments, init_moments, init_normalizer
from trpo_jax.agent.standard_agents import default_agent
from trpo_jax.algorithm.batch import Batch
from trpo_jax.algorithm.estimation import estimate_advantages
from trpo_jax.algorithm.initialization import init
from trpo_jax.algorithm.rollout import collect
from trpo_jax.algorithm.state import TrainState
from trpo_jax.algorithm.trpo import train_step, update_from_batch
from trpo_jax.algorithm.vine import (
    collect_vine,
    collect_with_snapshots,
    propose_actions,
    tries_every_action,
)
from trpo_jax.algorithm.vine_batch import VineBatch
from trpo_jax.algorithm.vine_branches import Snapshots, branch_values, follow_branches
from trpo_jax.config import Config
from trpo_jax.environments import make_environment
from trpo_jax.environments.spaces import Box, Discrete
from trpo_jax.environments.tabular import TabularEnvironment

PLAIN = {"scale_reward": False, "normalize_observation": False}


def state_of(policy_params, critic_params):
    """A state of which only policy and critic are looked at."""
    nothing = init_normalizer(
        jnp.zeros((1, 1)), with_observation=False, with_reward=False
    )
    return TrainState(
        policy_params, critic_params, None, nothing, None, None, None, None,
        None, None, None,
    )  # fmt: skip


def values_of(key, state, environment, agent, snapshots, action, config):
    state = state.replace(env_index=jnp.arange(action.shape[1]))
    branches = follow_branches(
        key, state, environment, agent, snapshots, action, config
    )
    return branch_values(state, agent, branches, config)


# --- the states that are kept ---------------------------------------------------------


@pytest.mark.parametrize(("steps", "kept"), [(12, 4), (10, 3), (7, 7), (9, 1)])
def test_one_state_is_kept_from_each_stretch(steps, kept):
    """Clock's observation (name, time) tells which state a snapshot is of."""
    agent = Agent(softmax_agent().policy, linear_critic())
    config = Config(num_envs=5, **PLAIN)

    @jax.jit
    def run(key):
        state = init(key, Clock(), agent, config)
        return collect_with_snapshots(
            jax.random.key(1), state, Clock(), agent,
            num_steps=steps, num_snapshots=kept,
        )  # fmt: skip

    _, rollout, snapshots = run(jax.random.key(0))
    assert_identical(jnp.stack(snapshots.env_state, -1), snapshots.observation)
    bounds = [-(-m * steps // kept) for m in range(kept + 1)]
    for m in range(kept):
        for b in range(5):
            stretch = np.asarray(rollout.observation[bounds[m] : bounds[m + 1], b])
            same = np.all(stretch == np.asarray(snapshots.observation[m, b]), axis=1)
            assert np.sum(same) == 1


def test_every_step_is_as_likely_to_be_kept():
    agent = softmax_agent()

    @jax.jit
    def count(key):
        state = init(jax.random.key(0), Clock(), agent, Config(num_envs=4000, **PLAIN))
        *_, snapshots = collect_with_snapshots(
            key, state, Clock(), agent, num_steps=3, num_snapshots=1
        )
        return snapshots.env_state.time  # episodes are in step: the time is the index

    counts = np.bincount(np.asarray(count(jax.random.key(3)), int).ravel(), minlength=3)
    np.testing.assert_allclose(counts / 4000, 1 / 3, atol=0.04)


def test_keeping_states_does_not_change_what_is_collected():
    agent = softmax_agent()
    state = init(jax.random.key(0), Clock(), agent, Config(num_envs=2, **PLAIN))
    plain = collect(state, Clock(), agent, num_steps=6)
    kept = collect_with_snapshots(
        jax.random.key(1), state, Clock(), agent, num_steps=6, num_snapshots=2
    )
    assert_close(kept[:2], plain)


def test_more_snapshots_than_steps_are_refused():
    agent = softmax_agent()
    state = init(jax.random.key(0), Clock(), agent, Config(num_envs=2, **PLAIN))
    with pytest.raises(
        ValueError, match="num_snapshots must be <= num_steps; got 7 > 6"
    ):
        collect_with_snapshots(
            jax.random.key(1), state, Clock(), agent, num_steps=6, num_snapshots=7
        )


# --- what a branch adds up ------------------------------------------------------------


@pytest.mark.parametrize("bootstrap", [True, False])
@pytest.mark.parametrize("bootstrap_truncated", [True, False])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_branch_is_the_loop_by_hand(steps, bootstrap, bootstrap_truncated):
    """Clock: reward name + time, an end after three steps, no reset within a branch."""
    discount = 0.5
    names = [0.6, -0.3, 0.8, -0.9, 0.2, -0.1]  # positive: terminated, else truncated
    times = [0.0, 1.0, 2.0, 0.0, 1.0, 2.0]
    env_state = (
        Clock()
        .reset(jax.random.key(0))[0]
        ._replace(
            name=jnp.array(names).reshape(3, 2), time=jnp.array(times).reshape(3, 2)
        )
    )
    snapshots = Snapshots(env_state, jnp.stack(env_state, axis=-1))
    critic = {"slope": jnp.array([2.0, 3.0]), "offset": jnp.float32(0.5)}
    agent = softmax_agent()
    config = Config(
        num_envs=2, sampling="vine", vine_states=3, vine_actions=2, vine_steps=steps,
        vine_bootstrap=bootstrap, bootstrap_truncated=bootstrap_truncated,
        discount=discount, **PLAIN,
    )  # fmt: skip
    actual = values_of(
        jax.random.key(0), state_of(jnp.zeros((2, 2)), critic), Clock(), agent,
        snapshots, jnp.zeros((3, 2, 2), jnp.int32), config,
    )  # fmt: skip
    for i, (name, time) in enumerate(zip(names, times, strict=True)):
        total, t = 0.0, 0
        while t < steps and time + t < 3:
            total += discount**t * (name + time + t)
            t += 1
        over = time + t >= 3
        worth_something = not over or (name < 0 and bootstrap_truncated)
        if bootstrap and worth_something:
            total += discount**t * (2 * name + 3 * (time + t) + 0.5)
        np.testing.assert_allclose(actual.reshape(6, 2)[i], total, rtol=1e-5, atol=1e-6)


def table_agent(critic):
    return Agent(
        Network(lambda key, o: None, lambda logits, o: Categorical(logits[o])),
        Network(lambda key, o: critic, lambda v, o: v[o]),
    )


@functools.cache
def process():
    mdp = theory.random_mdp(jax.random.key(0), 4, 3, 0.9)
    return mdp, jax.random.normal(jax.random.key(1), (4, 3))


@functools.cache
def branches(copies, **values):
    """Q̂ of every action in every state, `[S, copies, A]`, with the exact critic."""
    mdp, logits = process()
    value = theory.state_value(mdp, jax.nn.softmax(logits))
    config = Config(
        num_envs=copies, sampling="vine", vine_states=4, discount=0.9,
        num_steps=4, **(PLAIN | values),
    )  # fmt: skip
    states = jnp.broadcast_to(jnp.arange(4, dtype=jnp.int32)[:, None], (4, copies))
    snapshots = Snapshots((states, jnp.zeros_like(states)), states)
    action = jnp.broadcast_to(jnp.arange(3), (4, copies, 3))
    return jax.jit(
        lambda key: values_of(
            key, state_of(logits, value), TabularEnvironment(mdp), table_agent(value),
            snapshots, action, config,
        )
    )(jax.random.key(5))  # fmt: skip


@pytest.mark.parametrize("common", [True, False])
def test_action_values_are_unbiased(common):
    mdp, logits = process()
    estimates = np.asarray(
        branches(4000, vine_steps=6, vine_common_random_numbers=common)
    )
    error = estimates.std(axis=1) / np.sqrt(4000)
    truth = theory.action_value(mdp, jax.nn.softmax(logits))
    assert np.all(np.abs(estimates.mean(axis=1) - truth) < 5 * error + 1e-5)


def test_without_bootstrap_it_is_the_value_of_so_many_steps():
    mdp, logits = process()
    policy = np.asarray(jax.nn.softmax(logits))
    q = value = 0
    for _ in range(3):  # backwards: Qₕ = r + γ P Vₕ₋₁
        q = np.asarray(mdp.reward) + (0.9 * np.asarray(mdp.transition) @ value
                                      if np.ndim(value) else 0)  # fmt: skip
        value = np.sum(policy * q, axis=1)
    estimates = np.asarray(branches(4000, vine_steps=3, vine_bootstrap=False))
    error = estimates.std(axis=1) / np.sqrt(4000)
    assert np.all(np.abs(estimates.mean(axis=1) - q) < 5 * error + 1e-5)


def test_common_random_numbers_are_common():
    """The same action tried twice in a state goes the same way, unless they are not."""
    mdp, logits = process()
    states = jnp.zeros((1, 8), jnp.int32)
    snapshots = Snapshots((states, states), states)
    twice = jnp.ones((1, 8, 2), jnp.int32)

    def estimates(common):
        config = Config(
            num_envs=8, sampling="vine", vine_states=8, vine_steps=5,
            vine_common_random_numbers=common, **PLAIN,
        )  # fmt: skip
        return values_of(
            jax.random.key(0), state_of(logits, jnp.zeros(4)), TabularEnvironment(mdp),
            table_agent(jnp.zeros(4)), snapshots, twice, config,
        )[0]  # fmt: skip

    common, own = estimates(True), estimates(False)
    assert_identical(common[:, 0], common[:, 1])
    assert len(np.unique(common[:, 0])) > 4  # of one state, not of all
    assert jnp.mean(own[:, 0] == own[:, 1]) < 0.5


def test_common_random_numbers_make_differences_of_actions_steadier():
    common = np.asarray(branches(4000, vine_steps=6, vine_common_random_numbers=True))
    own = np.asarray(branches(4000, vine_steps=6, vine_common_random_numbers=False))
    spread = [np.var(x[..., 0] - x[..., 1], axis=1).mean() for x in (common, own)]
    assert spread[0] < spread[1]


# --- which actions --------------------------------------------------------------------


def test_a_small_set_is_tried_completely():
    policy = Categorical(jnp.zeros((2, 3, 4)))
    for tried in (4, 9):
        config = Config(sampling="vine", vine_actions=tried)
        action, _ = propose_actions(
            jax.random.key(0), jnp.arange(3), policy, Discrete(4), config
        )
        assert tries_every_action(Discrete(4), config)
        assert_identical(action, jnp.broadcast_to(jnp.arange(4), (2, 3, 4)))


@pytest.mark.parametrize("proposal", ["policy", "uniform"])
def test_proposals_have_their_probabilities(proposal):
    logits = jnp.broadcast_to(jnp.array([0.0, 1.0, 2.0]), (40, 50, 3))
    config = Config(sampling="vine", vine_actions=2, vine_proposal=proposal)
    action, log_prob = propose_actions(
        jax.random.key(0), jnp.arange(50), Categorical(logits), Discrete(3), config
    )
    assert action.shape == log_prob.shape == (40, 50, 2)
    assert not tries_every_action(Discrete(3), config)
    p = np.full(3, 1 / 3) if proposal == "uniform" else jax.nn.softmax(logits[0, 0])
    share = np.bincount(np.asarray(action).ravel(), minlength=3) / 4000
    np.testing.assert_allclose(share, p, atol=0.04)
    np.testing.assert_allclose(log_prob, np.log(p)[action], rtol=1e-5)


def test_continuous_actions_come_from_the_policy():
    policy = DiagonalGaussian(jnp.zeros((2, 3, 5)), jnp.zeros((2, 3, 5)))
    config = Config(sampling="vine", vine_actions=4)
    action, log_prob = propose_actions(
        jax.random.key(0), jnp.arange(3), policy, Box.uniform((5,)), config
    )
    assert action.shape == (2, 3, 4, 5)
    assert not tries_every_action(Box.uniform((5,)), config)
    assert_close(log_prob[:, :, 1], policy.log_prob(action[:, :, 1]))
    with pytest.raises(ValueError, match="vine_proposal must be 'policy' for continu"):
        propose_actions(
            jax.random.key(0), jnp.arange(3), policy, Box.uniform((5,)),
            dataclasses.replace(config, vine_proposal="uniform"),
        )  # fmt: skip


# --- the estimators of L --------------------------------------------------------------


def one_state(key, logits, proposal, num_actions, q):
    """A batch of one state whose action values are known exactly."""
    action = jax.random.categorical(key, proposal, shape=(1, num_actions))
    return VineBatch(
        observation=jnp.zeros((1, 1)),
        action=action,
        action_value=q[action],
        proposal_log_prob=jax.nn.log_softmax(proposal)[action],
        weight=jnp.ones(1),
        critic_batch=None,
    )


def test_all_actions_give_the_exact_local_return_and_gradient(x64):
    """With exact Q in all states, weighted by ρ, L is L_π of the theory (eq. 3)."""
    mdp, logits = process()
    mdp = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), mdp)
    policy, new = (
        jax.nn.softmax(jnp.asarray(logits, jnp.float64)),
        jnp.full((4, 3), 1 / 3),
    )
    rho = theory.visitation(mdp, policy)
    batch = VineBatch(
        observation=jnp.arange(4),
        action=jnp.broadcast_to(jnp.arange(3), (4, 3)),
        action_value=theory.action_value(mdp, policy),
        proposal_log_prob=jnp.zeros((4, 3)),
        weight=rho,
        critic_batch=None,
        every_action=True,
    )
    surrogate = batch.surrogate(Categorical(jnp.log(policy)), standardize=False)
    gain = theory.local_return(mdp, policy, new) - theory.expected_return(mdp, policy)
    actual = surrogate(Categorical(jnp.log(new))) * jnp.sum(rho)
    np.testing.assert_allclose(actual, gain, rtol=1e-10)
    exact = jax.grad(lambda x: theory.expected_return(mdp, jax.nn.softmax(x)))
    estimated = jax.grad(lambda x: surrogate(Categorical(x)) * jnp.sum(rho))
    np.testing.assert_allclose(
        estimated(jnp.log(policy)), exact(jnp.log(policy)), atol=1e-10
    )


def test_the_self_normalised_estimator_has_its_known_bias():
    """E[Σ w Q / Σ w] − E_π[Q] = −Σ_q w² (Q − E_π[Q]) / K + O(1/K²), w = π/q."""
    target, proposal = jnp.array([0.0, 1.0, 2.0]), jnp.array([0.5, 0.0, 0.3])
    q = jnp.array([1.0, -2.0, 4.0])
    pi, beta = jax.nn.softmax(target), jax.nn.softmax(proposal)
    truth = jnp.sum(pi * q)
    k = 16

    def estimate(key):
        batch = one_state(key, target, proposal, k, q)
        return jnp.sum(
            batch.action_weight(Categorical(target[None])) * batch.action_value
        )

    estimates = jax.jit(jax.vmap(estimate))(jax.random.split(jax.random.key(0), 40_000))
    bias = -jnp.sum(beta * (pi / beta) ** 2 * (q - truth)) / k
    error = jnp.std(estimates) / 200
    assert abs(float(bias)) > 10 * float(error)  # it can be seen
    assert abs(float(jnp.mean(estimates) - truth - bias)) < 4 * error + 0.2 * abs(bias)


def test_shares_by_hand():
    """π/q is ½ and 3, with sum 3½; all actions: the probabilities themselves."""
    policy = Categorical(jnp.log(jnp.array([[0.25, 0.75]])))
    batch = VineBatch(
        observation=jnp.zeros((1, 1)),
        action=jnp.array([[0, 1]]),
        action_value=jnp.array([[1.0, 5.0]]),
        proposal_log_prob=jnp.log(jnp.array([[0.5, 0.25]])),
        weight=jnp.ones(1),
        critic_batch=None,
    )
    weight = batch.action_weight(policy)
    np.testing.assert_allclose(weight, [[1 / 7, 6 / 7]], rtol=1e-6)
    np.testing.assert_allclose(
        batch.replace(every_action=True).action_weight(policy),
        [[0.25, 0.75]],
        rtol=1e-6,
    )
    other = Categorical(jnp.log(jnp.array([[0.5, 0.5]])))
    gain = batch.surrogate(policy, standardize=False)
    np.testing.assert_allclose(gain(policy), 0, atol=1e-6)
    # Weights of 1/3 and 2/3 on Q of 1 and 5, and V = 1/7 + 30/7.
    np.testing.assert_allclose(gain(other), 11 / 3 - 31 / 7, rtol=1e-5)


@pytest.mark.parametrize("level", [0.0, 0.1, 100.0, -7e5])
@pytest.mark.parametrize("every", [True, False])
@pytest.mark.parametrize("standardized", [True, False])
def test_equal_action_values_are_no_gradient(level, every, standardized):
    logits = jax.random.normal(jax.random.key(0), (50, 3))
    batch = VineBatch(
        observation=None,
        action=jnp.broadcast_to(jnp.arange(3), (50, 3)),
        action_value=jnp.full((50, 3), level),
        proposal_log_prob=jnp.log(jnp.full((50, 3), 0.3)),
        weight=jnp.ones(50),
        critic_batch=None,
        every_action=every,
    )
    surrogate = batch.surrogate(Categorical(logits), standardize=standardized)
    gradient = jax.grad(lambda x: surrogate(Categorical(x)))(logits)
    assert jnp.all(gradient == 0)


@pytest.mark.parametrize("every", [True, False])
def test_what_the_policy_forbids_does_not_count(every):
    logits = jnp.array([[0.0, 1.0, -jnp.inf], [0.0, 0.0, 0.0]])
    batch = VineBatch(
        observation=None,
        action=jnp.broadcast_to(jnp.arange(3), (2, 3)),
        action_value=jnp.array([[1.0, 2.0, jnp.nan], [1.0, 2.0, 3.0]]),
        proposal_log_prob=jnp.log(jnp.full((2, 3), 1 / 3)),
        weight=jnp.ones(2),
        critic_batch=None,
        every_action=every,
    )
    surrogate = batch.surrogate(Categorical(logits), standardize=True)
    gradient = jax.grad(lambda x: surrogate(Categorical(x)))(logits)
    assert jnp.all(jnp.isfinite(gradient))
    assert gradient[0, 1] > 0 > gradient[0, 0]


def test_rows_of_weight_zero_may_hold_anything():
    critic_batch = Batch(jnp.ones((1, 2)), jnp.ones((1, 2)), *[jnp.ones((1, 2))] * 3)
    batch = VineBatch(
        observation=jnp.ones((3, 2, 4)),
        action=jnp.zeros((3, 2, 2), jnp.int32),
        action_value=jnp.ones((3, 2, 2)).at[1, 0].set(jnp.nan),
        proposal_log_prob=jnp.zeros((3, 2, 2)),
        weight=jnp.ones((3, 2)).at[1, 0].set(0.0),
        critic_batch=critic_batch,
    )
    rows = batch.flatten()
    assert rows.action_value.shape == (6, 2)
    assert jnp.all(rows.action_value[2] == 0)
    assert rows.critic_batch.advantage.shape == (2,)


def test_rewards_are_scaled_and_observations_normalised():
    """Clock with γ = 0.5, one step: Q̂ = r / σ + γ V((s − μ) / √variance)."""
    normalizer = init_normalizer(
        jnp.zeros((1, 2)), with_observation=True, with_reward=True
    )
    normalizer = normalizer.replace(
        observation=Moments(
            jnp.float32(9), jnp.array([0.5, 1.0]), jnp.array([4.0, 9.0])
        ),
        discounted_return=init_moments().replace(variance=jnp.float32(16.0)),
    )
    critic = {"slope": jnp.array([2.0, 3.0]), "offset": jnp.float32(0.5)}
    state = state_of(jnp.zeros((2, 2)), critic).replace(normalizer=normalizer)
    start = ClockState(jnp.full((1, 1), 0.25), jnp.full((1, 1), 1.0))
    config = Config(
        num_envs=1, sampling="vine", vine_states=1, vine_steps=1, discount=0.5
    )
    value = values_of(
        jax.random.key(0), state, Clock(), softmax_agent(),
        Snapshots(start, jnp.stack(start, axis=-1)), jnp.zeros((1, 1, 2), jnp.int32),
        config,
    )  # fmt: skip
    after = 2 * (0.25 - 0.5) / 2 + 3 * (2.0 - 1.0) / 3 + 0.5
    np.testing.assert_allclose(value, 1.25 / 4 + 0.5 * after, rtol=1e-5)


# --- together -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["probe:policy", "probe:continuous"])
@pytest.mark.parametrize("constraint", ["mean", "max"])
def test_a_vine_learns(name, constraint):
    environment = make_environment(name)
    agent = default_agent(environment.observation_space, environment.action_space)
    config = Config(
        num_envs=8, num_steps=16, sampling="vine", vine_states=8, vine_steps=2,
        kl_constraint=constraint, max_kl=0.02,
    )  # fmt: skip

    @jax.jit
    def run(key):
        state = init(key, environment, agent, config)
        return jax.lax.scan(
            lambda state, _: train_step(state, environment, agent, config),
            state,
            length=40,
        )

    state, metrics = run(jax.random.key(0))
    assert metrics.episode_return[-1] > metrics.episode_return[0]
    assert metrics.episode_return[-5:].mean() > (
        0.9 if name == "probe:policy" else -0.3
    )
    assert jnp.all(metrics.kl <= 0.02 * (1 + 1e-3))
    assert int(state.iteration) == 40


def test_the_critic_learns_from_the_trunk_as_on_a_single_path():
    environment = make_environment("CartPole-v1")
    agent = default_agent(environment.observation_space, environment.action_space)
    config = Config(num_envs=4, num_steps=32, sampling="vine", vine_states=8)

    @jax.jit
    def run(key):
        state = init(key, environment, agent, config)
        after, rollout, batch = collect_vine(state, environment, agent, config)
        state = state.replace(normalizer=after.normalizer)
        critic_batch = estimate_advantages(state, rollout, agent, config)
        return (
            after,
            batch,
            critic_batch,
            update_from_batch(after, batch, agent, config),
        )

    state, batch, critic_batch, (updated, info) = run(jax.random.key(0))
    assert batch.action_value.shape == (8, 4, 2)
    assert_close(batch.critic_batch, critic_batch)
    assert bool(info.critic.accepted)
    assert bool(info.policy.search.accepted)
    assert_identical(updated.normalizer, state.normalizer)  # for the caller to do


def test_every_step_of_the_simulator_is_counted():
    config = Config(num_envs=4, num_steps=32, sampling="vine", vine_states=16,
                    vine_actions=3, vine_steps=5)  # fmt: skip
    assert config.steps_per_iteration == 4 * (32 + 16 * 3 * 5)
    assert Config(num_envs=4, num_steps=32).steps_per_iteration == 4 * 32


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"vine_actions": 1},
            "vine_actions must be >= 2, so that there is something",
        ),
        (
            {"training_time_limit": 9},
            "training_time_limit must be 0 with sampling vine",
        ),
        ({"vine_states": 129}, "vine_states must be <= num_steps; got 129 with"),
        ({"vine_steps": 2**27}, r"must be < 2\*\*31; got 16 x 8 x 4 x 134217728"),
        (
            {"sampling": "vines"},
            "sampling must be one of single_path, vine; got 'vines'",
        ),
        ({"vine_steps": 0}, "vine_steps must be an integer >= 1"),
    ],
)
def test_a_vine_that_cannot_be_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Config(**({"sampling": "vine"} | values))


def test_the_products_have_as_many_rows_as_on_a_single_path():
    """`fisher_fraction` is of the states visited, of which few branch."""
    agent = softmax_agent()
    config = Config(
        num_envs=4, num_steps=20, sampling="vine", vine_states=5, vine_steps=2, **PLAIN
    )

    def collected(key):
        return collect_vine(init(key, Clock(), agent, config), Clock(), agent, config)

    _, _, batch = jax.eval_shape(collected, jax.random.key(0))
    rows = jax.eval_shape(VineBatch.flatten, batch)
    assert rows.weight.shape == (20,)
    tenth, half = Config(fisher_fraction=0.1), Config(fisher_fraction=0.5)
    assert rows.fisher_fraction(tenth) == 0.4  # 8 of 20, as 8 of 80
    assert rows.fisher_fraction(half) == rows.fisher_fraction(Config()) == 1
    assert rows.critic_batch.fisher_fraction(tenth) == 0.1
