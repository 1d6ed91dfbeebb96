"""Poisoned data: the status names it, with its place, and nothing of it stays."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_identical

from trpo_jax import (
    Box,
    Config,
    Discrete,
    Status,
    Step,
    collect,
    default_agent,
    init,
    make_environment,
    train,
    update,
)
from trpo_jax.algorithm.metrics import summarize

CONFIG = Config(
    num_envs=4, num_steps=8, critic_epochs=2, critic_minibatch_size=8, cg_iterations=5
)


@functools.cache
def parts():
    environment = make_environment("Pendulum-v1")
    agent = default_agent(
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
@pytest.mark.parametrize("field", ["observation", "next_observation", "reward"])
@pytest.mark.parametrize("place", [(0, 0), (5, 2), (7, 3)])
def test_one_number_that_is_not_finite_costs_its_transition(field, value, place):
    learn, state, rollout = parts()
    clean = getattr(rollout, field)
    where = place if field == "reward" else (*place, 1)
    poisoned = rollout.replace(**{field: clean.at[where].set(value)})
    after, metrics = learn(state, poisoned)
    assert (metrics.fault_step, metrics.fault_environment) == place
    assert metrics.unusable == 1
    assert metrics.status == Status.ACCEPTED
    kept = (after.policy_params, after.critic_params, after.critic_optimizer_state)
    assert finite((kept, after.normalizer))
    without, _ = learn(state, rollout.replace(weight=rollout.weight.at[place].set(0)))
    assert_identical(after.policy_params, without.policy_params)
    assert_identical(after.critic_params, without.critic_params)
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


class Fragile:
    """Now and then a reward is not a number, and the episode ends."""

    name, max_episode_steps = "fragile", 50
    observation_space, action_space = Box.uniform((2,)), Discrete(2)

    def reset(self, key):
        state = jax.random.normal(key, (2,))
        return (state, jnp.int32(0)), state

    def step(self, key, env_state, action):
        state, time = env_state
        noise, luck = jax.random.split(key)
        state = 0.9 * state + 0.1 * jax.random.normal(noise, (2,))
        broken = jax.random.uniform(luck) < 0.002
        reward = jnp.where(broken, jnp.nan, state[0] * (2 * jnp.float32(action) - 1))
        return Step((state, time + 1), state, reward, broken, time >= 49)


def test_a_simulator_that_fails_now_and_then_is_trained_in_and_reported(capsys):
    result = train(
        Fragile(), total_steps=64 * 32 * 20, num_envs=64, num_steps=32,
        hidden_sizes=(8,), evaluation_episodes=2, progress=False,
    )  # fmt: skip
    metrics = result.metrics
    assert (metrics.status == Status.ACCEPTED).mean() > 0.9
    assert metrics.unusable.sum() > 20
    assert np.isfinite(metrics.episode_return[0, -5:]).all()
    assert metrics.episode_return[0, -5:].mean() > metrics.episode_return[0, 2]
    (line,) = capsys.readouterr().err.splitlines()
    assert "is not finite; such transitions are left out" in line
