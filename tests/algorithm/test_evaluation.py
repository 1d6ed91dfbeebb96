import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trpo_jax import (
    Agent,
    Categorical,
    DiagonalGaussian,
    Discrete,
    Network,
    Step,
    make_environment,
)
from trpo_jax.agent.normalization import Moments, Normalizer
from trpo_jax.algorithm import evaluation
from trpo_jax.algorithm.evaluation import evaluate
from trpo_jax.environments.spaces import Box

ONE_NUMBER, TWO_ACTIONS = Box.uniform((1,)), Discrete(2)
PLAIN = Normalizer(None, None, None)


pytestmark = pytest.mark.usefixtures("quick_compilation")


def agent_of(policy):
    """An agent whose policy is a function of observations alone."""
    network = Network(lambda key, observation: (), lambda params, x: policy(x))
    return Agent(policy=network, critic=network)


@dataclasses.dataclass(frozen=True)
class Countdown:
    """Starts at a random n in 1 … 8 and pays n, n − 1, … 1: in all n (n + 1) / 2."""

    name: str = "countdown"
    observation_space: Box = ONE_NUMBER
    action_space: Discrete = TWO_ACTIONS
    max_episode_steps: int | None = None
    goal: int = 0

    def reset(self, key):
        left = jax.random.randint(key, (), 1, 9)
        return left, left.astype(jnp.float32)[None]

    def step(self, key, env_state, action):
        del key, action
        after = env_state - 1
        return Step(
            after,
            after.astype(jnp.float32)[None],
            reward=env_state.astype(jnp.float32),
            terminated=after == self.goal,
            truncated=jnp.bool_(False),
        )


def uniform(x):
    return Categorical(jnp.zeros((*x.shape[:-1], 2)))


def play(environment, policy, *, episodes, greedy=True, normalizer=PLAIN, seed=0):
    @jax.jit
    def run(key):
        return evaluate(
            key,
            environment,
            agent_of(policy),
            (),
            normalizer,
            episodes=episodes,
            greedy=greedy,
        )

    return jax.tree.map(np.asarray, run(jax.random.key(seed)))


def test_every_episode_counts_exactly_once_whatever_its_length():
    result = play(Countdown(), uniform, episodes=64)
    n = result.episode_length
    assert result.finished.all()
    assert set(n) == set(range(1, 9))  # short and long ones, the starts are random
    np.testing.assert_array_equal(result.episode_return, n * (n + 1) / 2)


def test_other_keys_play_other_episodes():
    first, second = (
        play(Countdown(), uniform, episodes=64, seed=seed) for seed in (0, 1)
    )
    assert (first.episode_length != second.episode_length).any()


def test_one_entry_an_episode():
    result = play(Countdown(), uniform, episodes=5)
    assert result.episode_return.shape == (5,)
    assert result.episode_return.dtype == np.float32
    assert result.episode_length.dtype == np.int32
    assert result.finished.dtype == bool


@pytest.mark.parametrize("own_limit", [None, 4])
def test_an_episode_that_does_not_end_is_stopped_at_the_limit(own_limit, monkeypatch):
    monkeypatch.setattr(evaluation, "STEP_LIMIT", 7)
    endless = Countdown(max_episode_steps=own_limit, goal=-(10**6))
    result = play(endless, uniform, episodes=16)
    assert not result.finished.any()
    np.testing.assert_array_equal(result.episode_length, own_limit or 7)


@dataclasses.dataclass(frozen=True)
class SameStart:
    """An environment that always starts in the same state."""

    inner: Any

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def reset(self, key):
        del key
        return self.inner.reset(jax.random.key(3))


def by_hand(environment, choose):
    """Return and length of one episode in a plain loop."""
    step = jax.jit(environment.step)
    state, observation = environment.reset(jax.random.key(3))
    total, length, over = 0.0, 0, False
    while not over:
        after = step(jax.random.key(9), state, choose(np.asarray(observation)))
        state, observation = after.env_state, after.observation
        total += float(after.reward)
        length += 1
        over = bool(after.terminated | after.truncated)
    return total, length


MEAN, VARIANCE = np.float32(0.01), np.float32(0.25)


def moments(size):
    return Normalizer(
        Moments(jnp.float32(100), jnp.full(size, MEAN), jnp.full(size, VARIANCE)),
        None,
        None,
    )


@pytest.mark.parametrize(
    "gains",
    [
        pytest.param((0.0, 0.0, 1.0, 0.0), id="falls"),
        pytest.param((0.1, 0.5, 3.0, 1.0), id="stands until the time limit"),
    ],
)
def test_a_greedy_episode_of_cartpole_is_that_of_a_plain_loop(gains):
    environment = make_environment("CartPole-v1")
    weight = np.array(gains, np.float32)

    def policy(x):
        push = x @ weight
        return Categorical(jnp.stack([jnp.zeros_like(push), push], axis=-1))

    def choose(observation):
        return jnp.int32(weight @ (observation - MEAN) / np.sqrt(VARIANCE) > 0)

    total, length = by_hand(environment, choose)
    result = play(SameStart(environment), policy, episodes=2, normalizer=moments(4))
    np.testing.assert_array_equal(result.episode_length, length)
    np.testing.assert_allclose(result.episode_return, total)
    assert (length == 500) == (gains[0] > 0)


def test_a_greedy_episode_of_pendulum_is_that_of_a_plain_loop():
    environment = make_environment("Pendulum-v1")
    weight = np.array([0.3, -0.5, -0.1], np.float32)

    def policy(x):
        mean = (x @ weight)[..., None]
        return DiagonalGaussian(mean, jnp.zeros_like(mean))

    def choose(observation):
        return jnp.asarray([weight @ (observation - MEAN) / np.sqrt(VARIANCE)])

    total, length = by_hand(environment, choose)
    result = play(SameStart(environment), policy, episodes=2, normalizer=moments(3))
    assert length == 200
    np.testing.assert_array_equal(result.episode_length, length)
    np.testing.assert_allclose(result.episode_return, total, rtol=1e-3)


def test_greedy_plays_the_mode_and_sampled_plays_the_distribution():
    environment, episodes = make_environment("probe:action"), 2000
    logits = jnp.log(jnp.array([0.75, 0.25]))

    def policy(x):
        return Categorical(jnp.broadcast_to(logits, (*x.shape[:-1], 2)))

    greedy, sampled = (
        play(environment, policy, episodes=episodes, greedy=greedy).episode_return
        for greedy in (True, False)
    )
    assert (greedy == 1).all()
    assert set(sampled) == {-1.0, 1.0}
    spread = 2 * np.sqrt(0.75 * 0.25 / episodes)
    assert abs(sampled.mean() - 0.5) < 5 * spread


def test_whether_to_be_greedy_may_be_a_traced_value():
    environment = make_environment("probe:action")
    agent = agent_of(uniform)

    @jax.jit
    @jax.vmap
    def run(greedy):
        return evaluate(
            jax.random.key(0), environment, agent, (), PLAIN, episodes=50, greedy=greedy
        )

    both = run(jnp.array([True, False]))
    for row, greedy in enumerate((True, False)):
        single = play(environment, uniform, episodes=50, greedy=greedy)
        np.testing.assert_array_equal(both.episode_return[row], single.episode_return)


@dataclasses.dataclass(frozen=True)
class Steady:
    """Pays the same at every step of a long episode."""

    reward: Any
    max_episode_steps: int
    name: str = "steady"
    observation_space: Box = ONE_NUMBER
    action_space: Discrete = TWO_ACTIONS

    def reset(self, key):
        return jnp.int32(0), jnp.zeros(1)

    def step(self, key, env_state, action):
        over = env_state + 1 >= self.max_episode_steps
        return Step(env_state + 1, jnp.zeros(1), self.reward, jnp.bool_(False), over)


def test_the_rewards_of_a_long_episode_add_up():
    """One by one in float32 they add up to 29920, three thousandths too little."""
    result = play(Steady(jnp.float32(0.1), 300_000), uniform, episodes=2)
    exact = 300_000 * float(np.float32(0.1))
    np.testing.assert_allclose(result.episode_return, exact, rtol=1e-7)
    assert abs(np.full(300_000, 0.1, np.float32).cumsum()[-1] - exact) > 10


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_a_reward_that_is_not_finite_makes_such_a_return(value):
    result = play(Steady(jnp.float32(value), 3), uniform, episodes=2)
    np.testing.assert_array_equal(result.episode_return, np.float32(value))


@pytest.mark.parametrize("reward", [jnp.bool_(True), jnp.int32(1), 1, np.float64(1)])
def test_rewards_of_any_type_are_summed_as_floats(reward):
    result = play(Steady(reward, 5), uniform, episodes=2)
    assert result.episode_return.dtype == np.float32
    np.testing.assert_array_equal(result.episode_return, 5)


def test_a_limit_beyond_32_bits_is_no_limit():
    endless = dataclasses.replace(Countdown(), max_episode_steps=10**12)
    result = play(endless, uniform, episodes=3)
    assert result.finished.all()


def test_keys_of_the_old_kind_play_the_same_episodes():
    new, old = (
        evaluate(
            key, Countdown(), agent_of(uniform), (), PLAIN, episodes=4, greedy=False
        )
        for key in (jax.random.key(3), jax.random.PRNGKey(3))
    )
    np.testing.assert_array_equal(new.episode_return, old.episode_return)
