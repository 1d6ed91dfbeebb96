"""Whole iterations in double, mixed and half precision, under JAX's usual promotion.

The defining properties hold whatever the precision: an accepted step has a KL of at
most δ and a better surrogate, and the state keeps its types, so that one program serves
all iterations. The oracle of a step is the same agent in float32.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import is_finite
from jax.flatten_util import ravel_pytree

from trpo_jax.agent.agent_check import check_agent
from trpo_jax.agent.distributions import Categorical, DiagonalGaussian
from trpo_jax.agent.networks import Agent, Network
from trpo_jax.agent.standard_agents import default_agent
from trpo_jax.algorithm.evaluation import evaluate
from trpo_jax.algorithm.initialization import init
from trpo_jax.algorithm.masking import RowStatistics
from trpo_jax.algorithm.off_policy import estimate_off_policy_advantages
from trpo_jax.algorithm.policy_update import update_policy
from trpo_jax.algorithm.rollout import collect
from trpo_jax.algorithm.trpo import train_step, update_from_batch, update_statistics
from trpo_jax.config import Config
from trpo_jax.environments import make_environment
from trpo_jax.environments.spaces import Box
from trpo_jax.solver.trust_region import Status

pytestmark = pytest.mark.usefixtures("quick_compilation")

HALF, SINGLE, DOUBLE = jnp.bfloat16, jnp.float32, jnp.float64
MODES = {
    "adam": {},
    "gauss_newton": {"critic_method": "gauss_newton", "critic_steps": 1},
    "empirical": {"fisher": "empirical"},
    "max": {"kl_constraint": "max"},
    "vine": {"sampling": "vine", "vine_states": 2, "vine_actions": 2, "vine_steps": 2},
}
ADAM = {"critic_epochs": 1, "critic_minibatch_size": 16}


@pytest.fixture(autouse=True)
def usual_promotion():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def config_of(mode):
    adam = {} if mode == "gauss_newton" else ADAM
    return Config(num_envs=4, num_steps=16, cg_iterations=5, **adam, **MODES[mode])


class Policy(nn.Module):
    space: object
    compute: object
    stored: object
    std: object = SINGLE

    @nn.compact
    def __call__(self, x):
        layer = functools.partial(nn.Dense, dtype=self.compute, param_dtype=self.stored)
        x = nn.tanh(layer(8)(x))
        if not isinstance(self.space, Box):
            return Categorical(layer(self.space.n)(x))
        mean = layer(self.space.shape[0])(x)
        log_std = self.param(
            "log_std", nn.initializers.zeros, mean.shape[-1:], self.std
        )
        return DiagonalGaussian(mean, jnp.broadcast_to(log_std, mean.shape))


class Critic(nn.Module):
    compute: object
    stored: object

    @nn.compact
    def __call__(self, x):
        return nn.Dense(1, dtype=self.compute, param_dtype=self.stored)(x)[..., 0]


def agent_of(environment, policy, critic, std=SINGLE):
    networks = Policy(environment.action_space, *policy, std), Critic(*critic)
    return Agent(*(Network(network.init, network.apply) for network in networks))


def types_of(tree):
    return jax.tree.map(lambda leaf: (leaf.dtype, leaf.shape), tree)


def assert_an_iteration_keeps_types(environment, agent, config):
    """Trace an iteration, as it would be compiled, and an evaluation after it."""
    check_agent(agent, environment)

    def iterate(key):
        state = init(key, environment, agent, config)
        after, metrics = train_step(state, environment, agent, config)
        parts = after.policy_params, after.normalizer
        return (
            state,
            after,
            metrics,
            evaluate(key, environment, agent, *parts, episodes=2),
        )

    state, after, metrics, result = jax.eval_shape(iterate, jax.random.key(0))
    assert types_of(after) == types_of(state)
    assert {leaf.dtype for leaf in jax.tree.leaves(metrics)} == {jnp.dtype(SINGLE)}
    assert result.episode_return.dtype == SINGLE
    return state


def run_some_iterations(environment, agent, config, iterations=2):
    """Train for a few iterations, donating the state; check what must hold."""
    state = init(jax.random.key(0), environment, agent, config)
    types = types_of(state)
    step = jax.jit(
        lambda state: train_step(state, environment, agent, config), donate_argnums=0
    )
    for _ in range(iterations):
        before = jax.tree.map(np.asarray, state.policy_params)
        state, metrics = step(state)
        assert types_of(state) == types
        assert metrics.status == Status.ACCEPTED
        assert 0 < metrics.kl <= config.max_kl * (1 + 1e-3)
        assert metrics.improvement > 0
        assert ravel_pytree(before)[0].tolist() != (
            ravel_pytree(state.policy_params)[0].tolist()
        )
    assert step._cache_size() == 1
    assert is_finite((state.critic_params, metrics.critic_loss))
    return state


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1"])
def test_the_standard_agent_learns_in_double_precision(name, mode, x64):
    environment = make_environment(name)
    agent = default_agent(
        environment.observation_space, environment.action_space, hidden_sizes=(8,)
    )
    state = assert_an_iteration_keeps_types(environment, agent, config_of(mode))
    # It is as precise as without: the flag is often set for another library.
    params = state.policy_params, state.critic_params, state.critic_optimizer_state
    kinds = {leaf.dtype for leaf in jax.tree.leaves(params)} - {jnp.dtype("int32")}
    assert kinds == {jnp.dtype(SINGLE)}
    if name == "Pendulum-v1" and mode in ("adam", "vine"):
        run_some_iterations(environment, agent, config_of(mode))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("policy", "critic"),
    [
        ((HALF, SINGLE), (HALF, SINGLE)),
        ((HALF, HALF), (HALF, HALF)),
        ((jnp.float16, SINGLE), (None, SINGLE)),
    ],
    ids=["bfloat16 layers", "bfloat16 parameters", "float16 policy"],
)
def test_networks_of_half_precision_learn(policy, critic, mode):
    environment = make_environment("Pendulum-v1")
    agent = agent_of(environment, policy, critic)
    assert_an_iteration_keeps_types(environment, agent, config_of(mode))
    if mode == "adam":
        run_some_iterations(environment, agent, config_of(mode))


@pytest.mark.parametrize(
    ("policy", "critic", "std"),
    [
        ((None, DOUBLE), (None, DOUBLE), DOUBLE),
        ((None, SINGLE), (None, DOUBLE), DOUBLE),
        ((HALF, DOUBLE), (None, SINGLE), SINGLE),
    ],
    ids=["all", "critic and log σ", "parameters"],
)
@pytest.mark.parametrize("mode", ["adam", "gauss_newton"])
def test_agents_may_be_partly_in_double_precision(policy, critic, std, mode, x64):
    environment = make_environment("Pendulum-v1")
    agent = agent_of(environment, policy, critic, std)
    assert_an_iteration_keeps_types(environment, agent, config_of(mode))


@pytest.mark.parametrize("precision", [SINGLE, HALF])
def test_data_of_other_policies_are_learnt_from_in_double_precision(precision, x64):
    environment, config = make_environment("Pendulum-v1"), config_of("adam")
    agent = agent_of(environment, (precision, SINGLE), (None, DOUBLE))

    @jax.jit
    def learn(key):
        state = init(key, environment, agent, config)
        state, rollout = collect(state, environment, agent, num_steps=16)
        batch = estimate_off_policy_advantages(state, rollout, agent, config)
        state, info = update_from_batch(state, batch, agent, config)
        return update_statistics(state, rollout, config), info

    state, info = learn(jax.random.key(0))
    assert info.policy.status == Status.ACCEPTED
    assert is_finite(state.policy_params)


def test_a_step_in_mixed_precision_is_close_to_that_in_float32():
    """Relative to the length of the step, which is far below the parameters."""
    environment, config = make_environment("Pendulum-v1"), config_of("adam")
    exact = agent_of(environment, (SINGLE, SINGLE), (SINGLE, SINGLE))

    @jax.jit
    def step_of_each(key):
        state = init(key, environment, exact, config)
        state, rollout = collect(state, environment, exact, num_steps=16)
        batch = estimate_off_policy_advantages(state, rollout, exact, config)
        rows = batch.flatten().normalize(state.normalizer)
        old, steps = ravel_pytree(state.policy_params)[0], []
        for compute in (SINGLE, HALF):
            agent = agent_of(environment, (compute, SINGLE), (SINGLE, SINGLE))
            params, info = update_policy(key, state.policy_params, rows, agent, config)
            steps.append((info.status, ravel_pytree(params)[0] - old))
        return steps

    (_, one), (status, other) = step_of_each(jax.random.key(0))
    assert status == Status.ACCEPTED
    one, other = np.asarray(one, float), np.asarray(other, float)
    assert one @ other > 0.95 * np.linalg.norm(one) * np.linalg.norm(other)


@pytest.mark.parametrize("kind", [jnp.bool_, jnp.int8, jnp.float16])
def test_means_over_many_rows_neither_overflow_nor_stand_still(kind):
    weight = (np.arange(70_000) % 2).astype(kind)  # sums that float16 cannot hold
    x = (np.arange(70_000) % 5).astype(np.float16)
    rows = RowStatistics(jnp.asarray(weight))
    expected = np.average(x.astype(float), weights=weight.astype(float))
    np.testing.assert_allclose(rows.mean(jnp.asarray(x)), expected, rtol=1e-5)


def test_parameters_that_cannot_be_learnt_are_named():
    environment = make_environment("CartPole-v1")
    agent = agent_of(environment, (SINGLE, SINGLE), (SINGLE, SINGLE))
    counting = agent._replace(
        critic=Network(
            lambda key, x: {"calls": jnp.int32(0), "w": jnp.zeros(4)},
            lambda params, x: x @ params["w"],
        )
    )
    message = r"parameter of the critic must be .*; got int32\[\] as \['calls'\]"
    with pytest.raises(ValueError, match=message):
        check_agent(counting, environment)
