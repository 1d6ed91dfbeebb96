"""Policies of an environment or an agent of one's own: saved, loaded, evaluated."""

import subprocess
import sys

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import Clock, assert_identical, softmax_agent
from safetensors.numpy import load_file

import trpo_jax
from trpo_jax import (
    Agent,
    Box,
    Discrete,
    Network,
    NetworkConfig,
    Step,
    load_policy,
    record,
    save_policy,
    train,
)
from trpo_jax.agent.distributions import Categorical, DiagonalGaussian
from trpo_jax.environments.gymnasium import GymnasiumEnvironment
from trpo_jax.runs.evaluate import evaluate_policy

pytestmark = pytest.mark.usefixtures("quick_compilation")
SMALL = {
    "total_steps": 128,
    "num_envs": 2,
    "num_steps": 32,
    "evaluation_episodes": 3,
    "progress": False,
}


class Drive:
    """Two numbers that are observed; the force is scaled and clipped by the step."""

    name = "drive"
    observation_space = Box.uniform((2,))
    action_space = Box.uniform((1,), 0.0, 10.0)
    max_episode_steps = 6

    def reset(self, key):
        state = jax.random.uniform(key, (2,), minval=-1.0)
        return (state, jnp.int32(0)), state

    def step(self, key, env_state, action):
        state, time = env_state
        force = 5 + 5 * jnp.clip(action[0], -1, 1)
        state = jnp.stack([state[0] + 0.1 * state[1], state[1] + 0.01 * force])
        reward = -jnp.abs(state[0])
        return Step((state, time + 1), state, reward, jnp.bool_(False), time >= 5)

    def render(self, env_state):
        return np.zeros((4, 6, 3), np.uint8)


def test_an_environment_of_ones_own(tmp_path):
    result = train(Drive(), output_dir=tmp_path, seeds=2, action_repeat=2, **SMALL)
    alone = load_policy(tmp_path)  # to act, it needs no environment
    assert alone.action_repeat == 2
    action = alone.act([0.25, -0.5])
    assert action.dtype == np.float32
    assert 0 <= action[0] <= 10
    params, normalizer = alone.parameters_of("best")
    mode = trpo_jax.act(alone.agent, params, normalizer, jnp.array([0.25, -0.5])).mode()
    np.testing.assert_allclose(action, 5 + 5 * np.clip(mode, -1, 1), rtol=1e-6)
    for function in (evaluate_policy, record):
        with pytest.raises(
            ValueError, match=r"drive is .* own: .*environment=\.\.\.\)"
        ):
            function(alone)

    policy = load_policy(tmp_path, environment=Drive())
    assert policy.environment.max_episode_steps == 3
    returns = evaluate_policy(policy, episodes=5)
    assert returns.episode_return.shape == (2, 5)
    assert (returns.episode_length == 3).all()
    assert record(policy).episode_length == 3
    assert policy.greedy_return == tuple(result.evaluation["greedy"]["mean_per_seed"])


def test_a_space_may_be_written_with_types_of_numpy(own_agent, tmp_path):
    class Typed(Clock):
        observation_space = Box(
            (np.int64(2),), (np.float32(-1),) * 2, (np.inf, np.float64(2)), np.float32
        )
        action_space = Discrete(np.int64(2))

    path = tmp_path / "policy.safetensors"
    save_policy(path, own_agent[1].state, Typed(), None)
    policy = load_policy(path, agent=softmax())
    assert policy.observation_space == Box((2,), (-1.0, -1.0), (np.inf, 2.0))
    assert policy.act([0.0, 0.0], agent=1) in (0, 1)


def test_another_environment_than_ones_own_is_refused(tmp_path):
    train(Drive(), output_dir=tmp_path, **SMALL)

    class Stronger(Drive):
        action_space = Box.uniform((1,), 0.0, 20.0)

    class Wider(Drive):
        observation_space = Box.uniform((3,))

    for wrong, word in ((Stronger(), "actions"), (Wider(), "observations")):
        with pytest.raises(ValueError, match=f"drive must have the {word} of training"):
            load_policy(tmp_path, environment=wrong)
    with pytest.raises(ValueError, match="must be a name, an Environment, or a func"):
        load_policy(tmp_path, environment=3)
    with pytest.raises(ValueError, match="its environment is drive, not CartPole-v1"):
        load_policy(tmp_path, environment="CartPole-v1")


def own_simulators(space):
    class Task(gymnasium.Env):
        observation_space = gymnasium.spaces.Dict(
            a=gymnasium.spaces.Box(-1, 1, (2,)), b=gymnasium.spaces.Discrete(2)
        )
        action_space = space

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.time = 0
            return {"a": self.np_random.uniform(-1, 1, 2), "b": 1}, {}

        def step(self, action):
            assert self.action_space.contains(action)
            self.time += 1
            seen = {"a": self.np_random.uniform(-1, 1, 2), "b": 0}
            return seen, float(np.sum(action)), False, self.time == 4, {}

        def render(self):
            return np.zeros((4, 6, 3), np.uint8)

    def make(num_envs, seed):
        mode = gymnasium.vector.AutoresetMode.SAME_STEP
        vector = gymnasium.vector.SyncVectorEnv([Task] * num_envs, autoreset_mode=mode)
        return GymnasiumEnvironment(vector, seed=seed, max_episode_steps=4)

    return make


def test_simulators_of_ones_own(tmp_path):
    make = own_simulators(gymnasium.spaces.Box(-1, 3, (2,), np.float64))
    result = train(make, output_dir=tmp_path, **SMALL)
    policy = load_policy(tmp_path, environment=make)
    action = policy.act({"a": [0.5, 0.5], "b": 1})
    assert action.dtype == np.float64
    assert make(1, 0)._vector.single_action_space.contains(action)
    returns = evaluate_policy(policy, episodes=3, seed=0)
    assert returns.episode_return.shape == (1, 3)
    means = result.evaluation["greedy"]["mean_per_seed"]  # the same seeds, and greedy
    np.testing.assert_allclose(returns.episode_return.mean(axis=1), means, rtol=1e-5)
    other = own_simulators(gymnasium.spaces.Box(-1, 4, (2,), np.float64))
    policy = load_policy(tmp_path, environment=other)
    with pytest.raises(ValueError, match="must have the actions of training"):
        evaluate_policy(policy)


def softmax(dtype=jnp.float32, size=2):
    """An agent whose parameters have names, and a precision, of their own."""

    def init(key, observation):
        wide = jax.random.normal(key, (size, 2)).astype(dtype)
        return {"table": [wide, jnp.zeros(2, dtype)]}

    def apply(params, observation):
        weight, bias = params["table"]
        logits = observation.astype(dtype) @ weight
        logits += jnp.broadcast_to(bias, logits.shape)
        return Categorical(logits.astype(jnp.float32))

    return Agent(Network(init, apply), softmax_agent().critic)


@pytest.fixture(scope="module")
def own_agent(tmp_path_factory):
    """The directory and the result of a run of an agent of one's own."""
    run = tmp_path_factory.mktemp("own_agent")
    return run, train(Clock(), agent=softmax(), output_dir=run, seeds=2, **SMALL)


def test_an_agent_of_ones_own(own_agent):
    run, result = own_agent
    names = load_file(run / "policy.safetensors").keys()
    assert {"policy/table/0", "policy/table/1"} <= names
    with pytest.raises(ValueError, match=r"agent of your own: .*agent=\.\.\.\)"):
        load_policy(run)
    policy = load_policy(run, agent=softmax(), environment=Clock())
    assert_identical(policy.policy_params, result.state.policy_params)
    assert policy.act([0.5, 1.0]) in (0, 1)
    assert evaluate_policy(policy, episodes=4).finished.all()


@pytest.mark.parametrize("command", ["evaluate", "watch"])
@pytest.mark.parametrize("word", ["agent", "environment"])
def test_the_command_says_how_to_do_it_in_python(word, command, own_agent, tmp_path):
    run, result = own_agent
    if word == "environment":
        agent = trpo_jax.default_agent(Clock.observation_space, Clock.action_space)
        one = jax.eval_shape(agent.policy.init, jax.random.key(0), jnp.zeros(2))
        params = jax.tree.map(lambda leaf: jnp.zeros((2, *leaf.shape)), one)
        state = result.state.replace(policy_params=params)
        given = Clock(), NetworkConfig()
        run = tmp_path / "policy.safetensors"
        save_policy(run, state, *given, own_environment=True, greedy_return=[1, 2])
    done = subprocess.run(
        [sys.executable, "-m", "trpo_jax", command, str(run)], cwd=tmp_path,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert f"trpo_jax.load_policy(run, {word}=...)" in done.stderr


MISMATCHES = {
    "names": (softmax_agent(), "policy is missing; the agent has it"),
    "shapes": (softmax(size=3), r"policy/table/0 has shape \(2, 2\), .* \(3, 2\)"),
    "types": (softmax(jnp.int32), "policy/table/0 has type float32, .* int32"),
    "nothing": (3, "agent must be a trpo_jax.Agent; got 3"),
}


@pytest.mark.parametrize("name", MISMATCHES)
def test_another_agent_than_ones_own_is_refused(name, own_agent):
    wrong, words = MISMATCHES[name]
    with pytest.raises(ValueError, match=words) as said:
        load_policy(own_agent[0], agent=wrong)
    assert "\n" not in str(said.value)


def test_numbers_of_half_precision_come_back(own_agent, tmp_path):
    _, result = own_agent
    half = jax.tree.map(
        lambda leaf: leaf.astype(jnp.bfloat16), result.state.policy_params
    )
    path, state = tmp_path / "policy.safetensors", result.state
    save_policy(path, state.replace(policy_params=half), Clock(), None)
    agent = softmax(jnp.bfloat16)
    policy = load_policy(path, agent=agent)
    assert_identical(policy.policy_params, half)
    seen = jnp.array([0.5, 1.0])
    one = jax.tree.map(lambda leaf: leaf[0], half)
    expected = trpo_jax.act(agent, one, policy.parameters_of(0)[1], seen).mode()
    assert policy.act(seen, agent=0) == expected


class Pair:
    """Observations are pairs of arrays, whose space is the user's own."""

    name, max_episode_steps = "pair", 3
    observation_space, action_space = "pairs", Discrete(2)

    def reset(self, key):
        time = jnp.int32(0)
        return time, (jnp.zeros(2), time)

    def step(self, key, env_state, action):
        time = env_state + 1
        seen = jnp.full(2, action, jnp.float32), time
        return Step(time, seen, jnp.float32(action), jnp.bool_(False), time >= 3)


def pair_agent():
    def init(key, observation):
        return jnp.zeros((2, 2)).at[0, 1].set(1.0)

    def apply(params, observation):
        place, time = observation
        return Categorical(place @ params + time.astype(jnp.float32)[..., None] * 0.1)

    def value(params, observation):
        return observation[0] @ params

    critic = Network(lambda key, observation: jnp.zeros(2), value)
    return Agent(Network(init, apply), critic)


def test_a_space_of_ones_own_needs_the_environment(tmp_path):
    options = SMALL | {"normalize_observation": False}
    train(Pair(), agent=pair_agent(), output_dir=tmp_path, **options)
    with pytest.raises(ValueError, match="observation space of pair is your own: pass"):
        load_policy(tmp_path, agent=pair_agent())
    policy = load_policy(tmp_path, agent=pair_agent(), environment=Pair())
    assert policy.act(([5.0, 0.0], 1)) in (0, 1)
    assert policy.act((np.ones((4, 2)), np.arange(4))).shape == (4,)
    assert evaluate_policy(policy, episodes=2).finished.all()
    for wrong in ([1.0, 2.0, 3.0], ([5.0], 1), {"x": 1}):
        with pytest.raises(
            ValueError, match="observation must be what the env"
        ) as said:
            policy.act(wrong)
        assert "\n" not in str(said.value)


def test_a_gaussian_of_ones_own_is_clipped_too(tmp_path):
    def apply(params, observation):
        mean = observation @ params
        return DiagonalGaussian(mean, jnp.zeros_like(mean))

    network = Network(lambda key, observation: jnp.full((2, 1), 3.0), apply)
    agent = Agent(network, softmax_agent().critic)
    train(Drive(), agent=agent, output_dir=tmp_path, **SMALL)
    policy = load_policy(tmp_path, agent=agent)
    assert policy.act([[9e9, 9e9], [-9e9, -9e9]]).tolist() == [[10.0], [0.0]]
