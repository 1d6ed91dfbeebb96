"""Any loss of the policy's parameters, and a policy that stays within its region."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import assert_identical, is_finite, random_rows, softmax_agent
from scipy.special import log_softmax

from trpo_jax.agent.standard_agents import default_agent
from trpo_jax.algorithm.bounded_turn import bounded_turn
from trpo_jax.algorithm.estimation import estimate_advantages
from trpo_jax.algorithm.initialization import init
from trpo_jax.algorithm.policy_update import update_policy
from trpo_jax.algorithm.rollout import collect
from trpo_jax.algorithm.trpo import update_from_batch, update_statistics
from trpo_jax.config import Config
from trpo_jax.environments import make_environment

AGENT, CONFIG = softmax_agent(), Config()
PARAMS = AGENT.policy.init(jax.random.key(0), jnp.zeros(3))
ROWS = random_rows(AGENT, PARAMS, rows=64)
TARGET = jnp.asarray(np.random.default_rng(1).normal(size=(64, 2)), jnp.float32)


def far_targets(params, step):
    return jnp.mean((ROWS.observation @ params - 1e6 * TARGET) ** 2)


def near_targets(params, step):
    return jnp.mean((ROWS.observation @ params - TARGET) ** 2)


def uphill(params, step):
    return -near_targets(params, step)


def not_a_number(params, step):
    return jnp.sum(params) * jnp.nan


def against_the_policy(params, step):
    log_prob = AGENT.policy.apply(params, ROWS.observation).log_prob(ROWS.action)
    return jnp.mean(log_prob * ROWS.advantage)


LOSSES = [far_targets, near_targets, uphill, not_a_number, against_the_policy]


def turn(loss, params, acting=PARAMS, **options):
    options = {"optimizer": optax.sgd(1e-3), "steps": 10} | options
    return bounded_turn(loss, params, acting, ROWS, AGENT, CONFIG, **options)


def improved():
    return update_policy(jax.random.key(0), PARAMS, ROWS, AGENT, CONFIG)[0]


def kl_and_surrogate(params):
    """Both from the policy that acted, worked out in float64."""
    log_p, log_q = (
        log_softmax(np.float64(ROWS.observation) @ np.float64(p), axis=1)
        for p in (PARAMS, params)
    )
    ratio = np.exp(log_q - log_p)[np.arange(64), ROWS.action]
    advantage = np.float64(ROWS.advantage)
    advantage = (advantage - advantage.mean()) / advantage.std()
    return np.mean(np.sum(np.exp(log_p) * (log_p - log_q), 1)), ratio @ advantage / 64


@pytest.mark.parametrize("rate", [1e-6, 1e-2, 1e3])
@pytest.mark.parametrize("loss", LOSSES)
def test_whatever_the_loss_the_policy_stays_where_it_may_be(loss, rate):
    start = improved()
    params, info = turn(loss, start, optimizer=optax.sgd(rate))
    kl, surrogate = kl_and_surrogate(params)
    assert is_finite(params)
    assert kl <= CONFIG.max_kl * (1 + 1e-3)
    assert surrogate > 0.5 * kl_and_surrogate(start)[1] - 1e-6 > 0
    if not info.accepted:
        assert_identical(params, start)
    else:
        np.testing.assert_allclose(info.divergence, kl, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(
    ("loss", "rate"), [(not_a_number, 1.0), (far_targets, 1e3), (near_targets, 0.0)]
)
def test_without_a_point_within_the_region_nothing_changes(loss, rate):
    start = improved()
    params, info = turn(loss, start, optimizer=optax.sgd(rate))
    assert not info.accepted
    assert_identical(params, start)


def test_a_gentle_loss_is_descended_and_turns_do_not_add_up():
    params = improved()
    losses = [float(near_targets(params, 0))]
    for _ in range(8):
        params, _ = turn(near_targets, params, optimizer=optax.sgd(1e-2), steps=1)
        losses.append(float(near_targets(params, 0)))
        assert kl_and_surrogate(params)[0] <= CONFIG.max_kl * (1 + 1e-3)
    assert losses[1] < losses[0]
    assert np.all(np.diff(losses) <= 0)


def test_the_steps_are_those_of_the_optimiser():
    """Only the third of three steps has a slope: the gain is that of one step."""
    start = improved()
    sign = jnp.sign(start - PARAMS)

    def loss(params, step):
        return jnp.where(step == 2, 1.0, 0.0) * jnp.sum(sign * params)

    params, info = turn(loss, start, optimizer=optax.sgd(1e-3), steps=3)
    assert info.accepted
    expected = start - 1e-3 * info.step_fraction * sign
    np.testing.assert_allclose(params, expected, atol=1e-6)


def test_a_weight_on_the_kl_keeps_the_policy_nearer():
    free, _ = turn(near_targets, PARAMS, optimizer=optax.sgd(1e-3), steps=5)
    held, _ = turn(
        near_targets, PARAMS, optimizer=optax.sgd(1e-3), steps=5, kl_weight=500.0
    )
    assert kl_and_surrogate(held)[0] < kl_and_surrogate(free)[0]


@pytest.mark.parametrize(
    ("wrong", "message"), [({"steps": -1}, "steps"), ({"kl_weight": -1.0}, "kl_weight")]
)
def test_numbers_out_of_range_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        turn(near_targets, PARAMS, **wrong)


def test_a_hostile_loss_every_iteration_does_not_stop_learning():
    """Random targets times a million, the sign turned, NaN: all side by side."""
    environment = make_environment("probe:policy")
    spaces = environment.observation_space, environment.action_space
    agent = default_agent(*spaces, hidden_sizes=(16,), shared_trunk=True)
    config = Config(num_envs=8, num_steps=32, critic_method="joint")

    def iterate(kind, state):
        state, rollout = collect(state, environment, agent, num_steps=32)
        batch = estimate_advantages(state, rollout, agent, config)
        after, _ = update_from_batch(state, batch, agent, config)
        rows = batch.flatten().normalize(state.normalizer)

        def loss(params, step):
            value = agent.critic.apply(params, rows.observation)
            noise = jax.random.normal(jax.random.key(0), value.shape, value.dtype)
            far = jnp.mean((value - 1e6 * noise) ** 2)
            error = jnp.mean((value - rows.value_target) ** 2)
            return jnp.stack([far, -error, error * jnp.nan])[kind]

        params, _ = bounded_turn(
            loss, after.policy_params, state.policy_params, rows, agent, config,
            optimizer=optax.sgd(1e-2), steps=3,
        )  # fmt: skip
        old, new = (
            agent.policy.apply(p, rows.observation)
            for p in (state.policy_params, params)
        )
        after = update_statistics(after.replace(policy_params=params), rollout, config)
        return after, (jnp.mean(old.kl(new)), rollout.reward.mean())

    @jax.jit
    @jax.vmap
    def run(kind):
        state = init(jax.random.key(0), environment, agent, config)
        return jax.lax.scan(lambda s, _: iterate(kind, s), state, length=30)[1]

    kl, reward = run(jnp.arange(3))
    assert jnp.all(kl <= config.max_kl * (1 + 1e-3))
    assert jnp.all(reward[:, -1] > 0.9)
