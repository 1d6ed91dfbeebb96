"""Poisoned data: the status names it, with its place, and nothing of it stays."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_identical

from trpo_jax import Config, Status, collect, init, make_environment, mlp_agent, update
from trpo_jax.algorithm.metrics import summarize

CONFIG = Config(
    num_envs=4, num_steps=8, critic_epochs=2, critic_minibatch_size=8, cg_iterations=5
)


@functools.cache
def parts():
    environment = make_environment("Pendulum-v1")
    agent = mlp_agent(
        environment.observation_space, environment.action_space, hidden_sizes=(8,)
    )

    @jax.jit
    def learn(state, rollout):
        after, info = update(state, rollout, agent, CONFIG)
        return after, summarize(rollout, info)

    @jax.jit
    def start(key):
        state = init(key, environment, agent, CONFIG)
        for _ in range(2):  # so that statistics are there to be spoilt
            state, rollout = collect(state, environment, agent, num_steps=8)
            state, _ = update(state, rollout, agent, CONFIG)
        return collect(state, environment, agent, num_steps=8)

    state, rollout = start(jax.random.key(0))
    return learn, state, rollout


def finite(tree):
    return all(
        np.all(np.isfinite(leaf))
        for leaf in jax.tree.leaves(tree)
        if jnp.issubdtype(leaf.dtype, jnp.floating)
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("field", "status"),
    [
        ("observation", Status.NON_FINITE_OBSERVATION),
        ("next_observation", Status.NON_FINITE_OBSERVATION),
        ("reward", Status.NON_FINITE_REWARD),
    ],
)
@pytest.mark.parametrize("place", [(0, 0), (5, 2), (7, 3)])
def test_one_number_that_is_not_finite(field, status, value, place):
    learn, state, rollout = parts()
    clean = getattr(rollout, field)
    where = place if field == "reward" else (*place, 1)
    poisoned = rollout.replace(**{field: clean.at[where].set(value)})
    after, metrics = learn(state, poisoned)
    assert (metrics.fault_step, metrics.fault_environment) == place
    kept = (after.policy_params, after.critic_params, after.critic_optimizer_state)
    assert finite((kept, after.normalizer))
    clipped = np.isinf(value) and metrics.status == Status.ACCEPTED  # and harmless
    if not clipped:
        assert metrics.status == status
        assert_identical(after.policy_params, state.policy_params)
    again, metrics = learn(after, rollout)
    assert metrics.status == Status.ACCEPTED  # usable afterwards
    assert metrics.fault_step == metrics.fault_environment == -1
    assert finite(again.policy_params)


@pytest.mark.parametrize("field", ["observation", "reward"])
@pytest.mark.parametrize("value", [1e30, -1e30])
def test_a_huge_number(field, value):
    learn, state, rollout = parts()
    where = (3, 1) if field == "reward" else (3, 1, 0)
    huge = rollout.replace(**{field: getattr(rollout, field).at[where].set(value)})
    after, metrics = learn(state, huge)
    kept = (after.policy_params, after.critic_params, after.critic_optimizer_state)
    assert finite((kept, after.normalizer))
    assert metrics.fault_step == -1  # it is a number
    _, metrics = learn(after, rollout)
    assert metrics.status == Status.ACCEPTED


def test_all_numbers_poisoned():
    learn, state, rollout = parts()
    nothing = jnp.full_like(rollout.reward, jnp.nan)
    after, metrics = learn(state, rollout.replace(reward=nothing))
    assert metrics.status == Status.NON_FINITE_REWARD
    assert (metrics.fault_step, metrics.fault_environment) == (0, 0)
    assert_identical(after.policy_params, state.policy_params)
    assert_identical(after.critic_params, state.critic_params)
    moments = after.normalizer.discounted_return
    assert_identical(moments, state.normalizer.discounted_return)
    assert finite(after.normalizer)


def test_rows_that_do_not_count_are_not_to_blame():
    learn, state, rollout = parts()
    weight = rollout.weight.at[2, 2].set(0)
    poisoned = rollout.replace(
        weight=weight, reward=rollout.reward.at[2, 2].set(jnp.nan)
    )
    _, metrics = learn(state, poisoned)
    assert metrics.status == Status.ACCEPTED
    assert metrics.fault_step == -1
