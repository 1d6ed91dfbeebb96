"""The first state can be donated, whatever an environment and an agent return."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import Clock, assert_identical, softmax_agent

from trpo_jax.agent.networks import Agent, Network
from trpo_jax.algorithm.initialization import init
from trpo_jax.algorithm.rollout import collect
from trpo_jax.algorithm.trpo import train_step
from trpo_jax.config import Config
from trpo_jax.environments.base import Step
from trpo_jax.environments.spaces import Box, Discrete

CONFIG = Config(
    num_envs=4, num_steps=6, critic_epochs=1, critic_minibatch_size=8, cg_iterations=2
)
AGENT = softmax_agent()

pytestmark = pytest.mark.usefixtures("quick_compilation")


class Own:
    """An environment whose state is made by a function of a random position."""

    name, max_episode_steps = "own", 5
    observation_space, action_space = Box.uniform((3,)), Discrete(2)

    def __init__(self, state_of):
        self._state_of = state_of

    def reset(self, key):
        position = jax.random.normal(key, (3,))
        return self._state_of(position), position

    def step(self, key, env_state, action):
        position = jax.random.normal(key, (3,))
        never = jnp.bool_(False)
        return Step(self._state_of(position), position, position[0], never, never)


STATES = {
    "one array twice": lambda position: (position, position),
    "the observation": lambda position: position,
    "a constant": lambda position: {"a": ONES, "b": ONES},
    "numpy": lambda position: (np.arange(3), np.float32(2), np.ones(2, np.float32)),
    "numbers of Python": lambda position: (position, 0, 1.5, True),
}
ONES = jnp.ones(2)


@pytest.mark.parametrize("kind", STATES)
def test_a_state_whose_leaves_share_memory_can_be_donated(kind):
    environment = Own(STATES[kind])
    state = init(jax.random.key(0), environment, AGENT, CONFIG)
    expected = jax.jit(lambda s: train_step(s, environment, AGENT, CONFIG))(state)
    donating = jax.jit(
        lambda s: train_step(s, environment, AGENT, CONFIG), donate_argnums=0
    )
    once = donating(state)
    assert_identical(once, expected)
    donating(once[0])
    assert donating._cache_size() == 1  # no type of a leaf depended on what wrote it
    assert ONES.tolist() == [1, 1]  # not given away


def test_no_leaf_is_weakly_typed():
    environment = Own(STATES["numbers of Python"])
    state = init(jax.random.key(0), environment, AGENT, CONFIG)
    types = [jax.typeof(leaf) for leaf in jax.tree.leaves(state.replace(key=None))]
    assert not any(kind.weak_type for kind in types)


def test_parameters_that_an_agent_holds_are_not_given_away():
    weights = jnp.full((3, 2), 0.5)
    critic = Network(lambda key, x: weights, lambda p, x: jnp.sum(x @ p, axis=-1))
    agent = Agent(Network(lambda key, x: weights, AGENT.policy.apply), critic)
    environment = Own(STATES["the observation"])
    state = init(jax.random.key(0), environment, agent, CONFIG)
    step = jax.jit(
        lambda s: train_step(s, environment, agent, CONFIG), donate_argnums=0
    )
    step(state)
    assert weights.tolist() == [[0.5, 0.5]] * 3


def test_parameters_may_be_arrays_and_numbers_of_numpy_and_python():
    policy = Network(
        lambda key, x: {"slope": np.zeros((2, 2)), "offset": 0.5},
        lambda p, x: AGENT.policy.apply(p["slope"] + p["offset"][None, None], x),
    )
    state = init(jax.random.key(0), Clock(), Agent(policy, AGENT.critic), CONFIG)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.policy_params)} == {
        jnp.dtype("float32")
    }
    train_step(state, Clock(), Agent(policy, AGENT.critic), CONFIG)


def test_keys_of_the_old_kind_give_the_numbers_of_new_ones():
    states = [
        init(key, Clock(), AGENT, CONFIG)
        for key in (jax.random.key(7), jax.random.PRNGKey(7))
    ]
    assert_identical(*states)


def test_a_rollout_is_the_same_from_a_key_of_the_old_kind():
    state = init(jax.random.key(7), Clock(), AGENT, CONFIG)
    old = state.replace(key=jax.random.key_data(state.key))
    (after, rollout), (after_old, rollout_old) = (
        collect(each, Clock(), AGENT, num_steps=5) for each in (state, old)
    )
    assert_identical(rollout, rollout_old)
    assert_identical(after.key, jax.random.wrap_key_data(after_old.key))


@pytest.mark.parametrize("key", [0, np.int64(3), jnp.float32(1), None, "0"])
def test_what_is_no_key_is_refused_in_one_line(key):
    with pytest.raises(ValueError, match=r"^key must be made by jax.random.key\(seed"):
        init(key, Clock(), AGENT, CONFIG)
