"""What the critic says of a rollout, against valuing every row of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import Clock, assert_close, assert_identical, softmax_agent

from trpo_jax.agent.normalization import normalize_observation
from trpo_jax.algorithm.estimation import (
    bootstrap_values,
    estimate_advantages,
)
from trpo_jax.algorithm.initialization import init
from trpo_jax.algorithm.masking import explained_variance
from trpo_jax.algorithm.rollout import collect
from trpo_jax.algorithm.trpo import update, update_from_batch
from trpo_jax.config import Config

AGENT, CLOCK, STEPS, ENVS = softmax_agent(), Clock(), 40, 3


@pytest.fixture(scope="module")
def collected():
    """A state whose critic tells observations apart, and its rollout."""
    state = init(jax.random.key(3), CLOCK, AGENT, Config(num_envs=ENVS))
    state = state.replace(
        critic_params=jax.tree.map(
            lambda x: x + jnp.linspace(1, 2, x.size).reshape(x.shape),
            state.critic_params,
        )
    )
    return collect(state, CLOCK, AGENT, num_steps=STEPS)


def all_values(state, observation):
    seen = normalize_observation(state.normalizer, observation)
    return np.asarray(AGENT.critic.apply(state.critic_params, seen))


def masked(rollout):
    """Take single rows, a whole step, and the last row of an environment out."""
    weight = np.array(rollout.weight)
    weight[[4, 5, 17, 38], [0, 1, 2, 0]] = 0
    weight[11] = 0
    weight[-1, 1] = 0
    return rollout.replace(weight=jnp.asarray(weight))


@pytest.mark.parametrize("change", [lambda r: r, masked], ids=["whole", "masked"])
@pytest.mark.parametrize("bootstrap", [True, False])
def test_values_led_to_are_those_of_valuing_every_row(collected, change, bootstrap):
    state, rollout = collected
    rollout = change(rollout)
    config = Config(num_envs=ENVS, bootstrap_truncated=bootstrap)
    _, transitions = bootstrap_values(state, rollout, AGENT, config)
    _, here, there, terminated, _ = transitions
    valid = np.asarray(rollout.weight) > 0
    asked = valid & ~np.asarray(terminated)
    assert asked.sum() > 50
    assert asked[:-1][np.asarray(rollout.truncated)[:-1]].any() == bootstrap
    assert_close(
        np.asarray(there)[asked], all_values(state, rollout.next_observation)[asked]
    )
    assert_close(np.asarray(here)[valid], all_values(state, rollout.observation)[valid])
    assert (np.asarray(here)[~valid] == 0).all()


def test_rows_that_do_not_follow_each_other_are_valued_by_themselves(collected):
    state, rollout = collected
    order = np.random.default_rng(2).permutation(STEPS)
    shuffled = jax.tree.map(lambda x: x[order] if jnp.ndim(x) else x, rollout)
    _, (_, _, there, terminated, _) = bootstrap_values(state, shuffled, AGENT, Config())
    asked = ~np.asarray(terminated)
    assert_close(
        np.asarray(there)[asked], all_values(state, shuffled.next_observation)[asked]
    )


def test_few_rows_are_valued_twice(collected):
    state, rollout = collected
    seen = []

    def apply(params, observation):
        jax.debug.callback(lambda x: seen.append(len(x)), observation)
        return AGENT.critic.apply(params, observation)

    agent = AGENT._replace(critic=AGENT.critic._replace(apply=apply))
    jax.block_until_ready(bootstrap_values(state, rollout, agent, Config()))
    jax.effects_barrier()
    again = int(np.sum(np.asarray(rollout.truncated)[:-1])) + ENVS
    a_pass = -(-STEPS * ENVS // 16)
    assert sum(seen) == STEPS + a_pass * -(-again // a_pass)  # `len` of [T, B] is T


def observe_both(observation):
    """The same as a dictionary, one leaf of which is of integers."""
    return {
        "x": observation,
        "number": jnp.round(10 * observation[..., 0]).astype(jnp.int32),
    }


def test_observations_may_be_trees_with_integers(collected):
    state, rollout = collected
    tree = rollout.replace(
        observation=observe_both(rollout.observation),
        next_observation=observe_both(rollout.next_observation),
    )
    both = AGENT._replace(
        critic=AGENT.critic._replace(
            apply=lambda params, x: (
                AGENT.critic.apply(params, x["x"]) + x["number"].astype(jnp.float32)
            )
        )
    )
    free = state.replace(normalizer=state.normalizer.replace(observation=None))
    _, (_, _, there, terminated, _) = bootstrap_values(free, tree, both, Config())
    asked = ~np.asarray(terminated)
    expected = both.critic.apply(state.critic_params, tree.next_observation)
    assert_close(np.asarray(there)[asked], np.asarray(expected)[asked])


def test_one_step_of_each_environment(collected):
    state, rollout = collected
    one = jax.tree.map(lambda x: x[:1] if jnp.ndim(x) else x, rollout)
    _, (_, _, there, _, _) = bootstrap_values(state, one, AGENT, Config())
    assert_close(there, all_values(state, one.next_observation))


@pytest.mark.parametrize("what", ["reward", "observation", "next_observation"])
def test_a_transition_that_is_not_finite_costs_that_transition_only(collected, what):
    """The others are as if the row had weight 0."""
    state, rollout = collected
    t, b = np.argwhere(~np.asarray(rollout.terminated | rollout.truncated))[5]
    array = getattr(rollout, what)
    broken = rollout.replace(**{what: array.at[t, b].set(jnp.nan)})
    batch = estimate_advantages(state, broken, AGENT, Config())
    left_out = rollout.replace(weight=rollout.weight.at[t, b].set(0.0))
    assert_identical(batch, estimate_advantages(state, left_out, AGENT, Config()))
    assert float(batch.weight[t, b]) == 0
    assert float(batch.weight.sum()) == batch.weight.size - 1


def test_the_final_observation_of_a_terminated_episode_need_not_be_finite(collected):
    state, rollout = collected
    t, b = np.argwhere(np.asarray(rollout.terminated))[0]
    there = rollout.next_observation.at[t, b].set(jnp.nan)
    broken = rollout.replace(next_observation=there)
    assert_identical(
        estimate_advantages(state, broken, AGENT, Config()),
        estimate_advantages(state, rollout, AGENT, Config()),
    )


def test_the_explained_variance_of_an_update_is_that_of_its_own_critic(collected):
    state, rollout = collected
    config = Config(num_envs=ENVS)
    batch = estimate_advantages(state, rollout, AGENT, config)
    expected = explained_variance(
        all_values(state, rollout.observation), batch.value_target, batch.weight
    )
    for learn, given in ((update, rollout), (update_from_batch, batch)):
        _, info = learn(state, given, AGENT, config)
        np.testing.assert_allclose(info.critic.explained_variance, expected, rtol=1e-4)


def test_a_critic_of_another_shape_is_refused(collected):
    state, rollout = collected
    wide = AGENT._replace(
        critic=AGENT.critic._replace(
            apply=lambda params, x: jnp.zeros((*x.shape[:2], 1))
        )
    )
    with pytest.raises(ValueError, match="one value for each row"):
        bootstrap_values(state, rollout, wide, Config())
