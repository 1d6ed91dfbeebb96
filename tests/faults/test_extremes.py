"""Extreme settings: the state stays finite, and steps keep what they promise.

An accepted step has a KL of at most δ; after any other the policy is bit for bit what
it was, and the status names the cause.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_identical, is_finite

from trpo_jax import (
    Config,
    Status,
    cg_solve,
    default_agent,
    init,
    make_environment,
    train_step,
    trust_region_step,
)

pytestmark = pytest.mark.usefixtures("quick_compilation")


class Endless:
    """Pendulum whose episodes never end."""

    def __init__(self):
        inner = make_environment("Pendulum-v1")
        self.name, self.max_episode_steps = "endless", None
        self.observation_space = inner.observation_space
        self.action_space = inner.action_space
        self.reset, self._step = inner.reset, inner.step

    def step(self, key, env_state, action):
        after = self._step(key, env_state, action)
        return after._replace(truncated=jnp.zeros_like(after.truncated))


class Constant(Endless):
    """Every reward is 1."""

    def step(self, key, env_state, action):
        after = super().step(key, env_state, action)
        return after._replace(reward=jnp.ones_like(after.reward))


SMALL = {"num_envs": 2, "num_steps": 6, "critic_epochs": 1, "critic_minibatch_size": 4}
CASES = {
    "a huge δ": ("Pendulum-v1", {"max_kl": 1e6}, {}),
    "logits x 1000": ("CartPole-v1", {}, {"scale": 1e3}),
    "logits x 1e30": ("CartPole-v1", {}, {"scale": 1e30}),
    "log σ -20": ("Pendulum-v1", {}, {"log_std_init": -20.0}),
    "a singular Fisher matrix": ("CartPole-v1", {"cg_damping": 0.0}, {"dead": True}),
    "a constant reward": (Constant, {}, {}),
    "a batch of one": ("CartPole-v1", {"num_envs": 1, "num_steps": 1}, {}),
    "a horizon of one": ("CartPole-v1", {"num_steps": 1}, {}),
    "one action": ("probe:value", {}, {}),
    "episodes of one step": ("probe:policy", {}, {}),
    "episodes that never end": (Endless, {}, {}),
    "a huge critic step": ("CartPole-v1", {"critic_learning_rate": 1e30}, {}),
    "the largest divergence": ("CartPole-v1", {"kl_constraint": "max"}, {"scale": 1e3}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_step_keeps_what_it_promises(case):
    where, values, changes = CASES[case]
    environment = make_environment(where) if isinstance(where, str) else where()
    changes = dict(changes)
    scale, dead = changes.pop("scale", 1.0), changes.pop("dead", False)
    agent = default_agent(
        environment.observation_space,
        environment.action_space,
        hidden_sizes=(4,),
        **changes,
    )
    config = Config(**(SMALL | values))
    state = init(jax.random.key(0), environment, agent, config)
    params = jax.tree.map(
        lambda x: jnp.zeros_like(x) if dead else scale * x, state.policy_params
    )
    state = state.replace(policy_params=params)
    step = jax.jit(lambda state: train_step(state, environment, agent, config))
    for _ in range(3):
        after, metrics = step(state)
        assert is_finite((after.policy_params, after.critic_params))
        assert is_finite((after.normalizer, after.critic_optimizer_state))
        if metrics.status == Status.ACCEPTED:
            assert metrics.kl <= config.max_kl * (1 + 1e-3)
            assert metrics.improvement > 0
        else:
            assert_identical(after.policy_params, state.policy_params)
        state = after
    if case == "one action":
        assert metrics.status == Status.ZERO_GRADIENT


def one_step(product, slope):
    start = jnp.zeros(3)
    after, info = trust_region_step(
        lambda x: slope @ x, lambda x: x @ x / 2, product, start, max_divergence=0.02
    )
    return start, after, Status(int(info.status))


@pytest.mark.parametrize(
    ("matrix", "slope", "status"),
    [
        (-np.eye(3), [1, 2, 3], Status.BAD_CURVATURE),
        (np.zeros((3, 3)), [1, 2, 3], Status.BAD_CURVATURE),
        (np.eye(3), [0, 0, 0], Status.ZERO_GRADIENT),
        (np.eye(3), [np.nan, 0, 0], Status.NON_FINITE_GRADIENT),
        (np.full((3, 3), np.nan), [1, 2, 3], Status.NON_FINITE_FISHER),
    ],
    ids=["negative", "zero", "no gradient", "nan gradient", "nan matrix"],
)
def test_the_status_names_the_cause(matrix, slope, status):
    matrix = jnp.asarray(matrix, jnp.float32)
    start, after, found = one_step(lambda v: matrix @ v, jnp.array(slope, jnp.float32))
    assert found == status
    assert_identical(after, start)


def test_a_divergence_that_is_not_finite_is_named():
    start = jnp.zeros(3)
    after, info = trust_region_step(
        jnp.sum, lambda x: jnp.sum(x) * jnp.nan, lambda v: v, start, max_divergence=0.02
    )
    assert info.status == Status.NON_FINITE_STEP
    assert_identical(after, start)


def test_negative_directions_end_a_solve_where_it_was_sound():
    """Eigenvalues 2, 1 and −1: the last sound iterate is a direction of ascent."""
    matrix = jnp.diag(jnp.array([2.0, 1.0, -1.0]))
    b = jnp.array([1.0, 1.0, 0.1])
    x, info = cg_solve(lambda v: matrix @ v, b, iterations=10)
    assert np.all(np.isfinite(x))
    assert x @ b > 0 or bool(info.breakdown)
