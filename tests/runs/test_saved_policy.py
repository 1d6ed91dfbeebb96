"""Acting with a saved policy: in the units of the environment, without a simulator."""

import itertools
import json
import subprocess
import sys

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete

import trpo_jax
from trpo_jax import load_policy, make_environment, train
from trpo_jax.agent.normalization import normalize_observation
from trpo_jax.environments.observations import ObservationReader
from trpo_jax.runs.evaluate import evaluate_policy

SMALL = {"num_envs": 2, "num_steps": 32, "evaluation_episodes": 2, "progress": False}


class Parts(gymnasium.Env):
    """The observation is a dictionary; the reward is 1 for the room as the action."""

    observation_space = Dict(
        room=Discrete(3), place=Box(-1, 1, (2,), np.float64), more=Dict(x=Discrete(2))
    )
    action_space = Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.time = 0
        return self.observe(), {}

    def observe(self):
        self.seen = self.observation_space.sample()
        return self.seen

    def step(self, action):
        reward = float(action == self.seen["room"])
        self.time += 1
        return self.observe(), reward, False, self.time == 5, {}


@pytest.fixture(scope="module", autouse=True)
def _registered():
    gymnasium.register("DictionaryParts-v0", Parts)
    yield
    del gymnasium.registry["DictionaryParts-v0"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("policies")


@pytest.fixture(scope="module")
def pendulum(folder):
    run = folder / "pendulum"
    train("Pendulum-v1", total_steps=30_000, output_dir=run, progress=False)
    return load_policy(run)


@pytest.fixture(scope="module")
def cartpole(folder):
    run = folder / "cartpole"
    train("CartPole-v1", total_steps=256, seeds=3, output_dir=run, **SMALL)
    return load_policy(run)


@pytest.fixture(scope="module")
def parts(folder):
    run, name = folder / "parts", "gymnasium:DictionaryParts-v0"
    train(name, total_steps=128, output_dir=run, hidden_sizes=(8,), **SMALL)
    return load_policy(run)


def within(returns, reference):
    """Do the means differ by less than four standard errors?"""
    error = np.hypot(*(x.std(ddof=1) / np.sqrt(x.size) for x in (returns, reference)))
    assert abs(returns.mean() - reference.mean()) < 4 * error
    assert error < 100  # so that half the torque, or none, would be noticed


def test_it_drives_gymnasium_as_it_was_evaluated(pendulum):
    environment, returns = gymnasium.make("Pendulum-v1"), []
    for seed in range(60):
        observation, _ = environment.reset(seed=seed)
        total, over = 0.0, False
        for t in itertools.count():
            if t % pendulum.action_repeat == 0:
                action = pendulum.act(observation)
                assert environment.action_space.contains(action)
            observation, reward, _, over, _ = environment.step(action)
            total += reward
            if over:
                break
        returns.append(total)
    within(np.array(returns), evaluate_policy(pendulum).episode_return[0])
    idle = -1200.0  # what no torque returns
    assert np.mean(returns) > idle + 300


@pytest.mark.filterwarnings("ignore:.*precision lowered")  # of its float64 bounds
def test_it_drives_envpool_as_it_was_evaluated(pendulum):
    envpool = pytest.importorskip("envpool")
    pool = envpool.make("Pendulum-v1", env_type="gymnasium", num_envs=100, seed=3)
    observation, _ = pool.reset()
    total = np.zeros(100)
    for t in range(200):
        if t % pendulum.action_repeat == 0:
            action = pendulum.act(observation)
        observation, reward, _, over, _ = pool.step(action)
        total += reward
        assert over.all() == (t == 199)
    within(total, evaluate_policy(pendulum).episode_return[0])


def test_it_moves_a_pendulum_as_training_did(pendulum):
    """The same torques in gymnax, by the policy's numbers, and in Gymnasium, by act."""
    ours, params = pendulum.environment, pendulum.parameters_of(0)
    theirs = gymnasium.make("Pendulum-v1").unwrapped
    env_state, observation = ours.reset(jax.random.key(0))
    theirs.reset()
    theirs.state = np.array([env_state.theta, env_state.theta_dot], float)

    @jax.jit
    def step(env_state, observation):
        action = trpo_jax.act(pendulum.agent, *params, observation).mode()
        return ours.step(jax.random.key(0), env_state, action)

    seen = theirs._get_obs()
    for _ in range(10):
        action = pendulum.act(seen)
        assert pendulum.action_repeat == 3
        rewards = []
        for _ in range(3):
            seen, reward, *_ = theirs.step(action)
            rewards.append(reward)
        after = step(env_state, observation)
        env_state, observation = after.env_state, after.observation
        np.testing.assert_allclose(seen, observation, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(sum(rewards), after.reward, rtol=1e-2, atol=1e-3)


WITHOUT = """
import sys

BLOCKED = {"gymnax", "envpool", "gymnasium", "brax", "mujoco", "mujoco_playground"}


class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"{name} is blocked")


sys.meta_path.insert(0, Blocker())
import json
import numpy as np
import trpo_jax

folder = sys.argv[1]
actions = {}
for name, seen in json.loads(sys.argv[2]).items():
    policy = trpo_jax.load_policy(f"{folder}/{name}")
    actions[name] = np.asarray(policy.act(seen)).tolist()
assert not BLOCKED & {name.partition(".")[0] for name in sys.modules}
print(json.dumps(actions))
"""


def test_it_acts_where_no_simulator_is_installed(folder, pendulum, cartpole, parts):
    seen = {
        "pendulum": [[0.6, 0.8, -1.5], [1.0, 0.0, 0.0]],
        "cartpole": [0.01, 0.02, 0.03, 0.04],
        "parts": {"room": 2, "place": [0.25, 0.5], "more": {"x": 1}},
    }
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(folder), json.dumps(seen)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    actions = json.loads(run.stdout)
    here = {"pendulum": pendulum, "cartpole": cartpole, "parts": parts}
    for name, policy in here.items():
        expected = policy.act(seen[name])
        np.testing.assert_allclose(actions[name], expected, rtol=1e-5)


def test_two_batch_sizes_compile_twice_whoever_acts(folder, cartpole):
    policy = load_policy(folder / "cartpole")
    one, eight = np.zeros(4, np.float32), np.zeros((8, 4), np.float32)
    for agent in (0, 1, 2, "best"):
        for seen in (one, eight, eight.astype(float), one.tolist(), jnp.asarray(one)):
            policy.act(seen, agent=agent)
    assert policy._acting.compiled._cache_size() == 2
    for seed in range(3):
        policy.act(one, greedy=False, key=seed)
    assert policy._acting.compiled._cache_size() == 3


def test_the_best_agent_is_the_one_with_the_highest_greedy_return(cartpole):
    scored = cartpole._replace(greedy_return=(3.0, 9.0, None))
    assert scored.index_of("best") == 1
    assert cartpole._replace(greedy_return=(9.0, 9.0, 1.0)).index_of("best") == 0
    rng = np.random.default_rng(0)
    seen = rng.normal(0, 3, (200, 4)).astype(np.float32)
    actions = [scored.act(seen, agent=k) for k in range(3)]
    assert (actions[0] != actions[1]).any()
    np.testing.assert_array_equal(scored.act(seen), actions[1])
    for scores in (None, (None, None, None)):
        unknown = cartpole._replace(greedy_return=scores)
        with pytest.raises(ValueError, match="agent must be an index from 0 to 2: "):
            unknown.act(seen)
        assert unknown.act(seen, agent=2).shape == (200,)


def test_samples_follow_from_the_key_and_the_policy(cartpole):
    seen = np.tile(np.array([0.02, 0.1, -0.03, 0.2], np.float32), (20_000, 1))
    params, normalizer = cartpole.parameters_of(1)
    logits = cartpole.agent.policy.apply(
        params, normalize_observation(normalizer, seen[:1])
    ).logits[0]
    given = {"agent": 1, "greedy": False}
    sampled = cartpole.act(seen, key=5, **given)
    share = np.exp(logits[1]) / np.exp(logits).sum()
    assert abs(sampled.mean() - share) < 5 * np.sqrt(share * (1 - share) / 20_000)
    for key in (np.int64(5), jax.random.key(5), jax.random.PRNGKey(5)):
        np.testing.assert_array_equal(cartpole.act(seen, key=key, **given), sampled)
    assert (cartpole.act(seen, key=6, **given) != sampled).any()


def test_samples_of_a_box_are_clipped(pendulum):
    seen = np.tile(np.array([1.0, 0.0, 0.0], np.float32), (5000, 1))
    params, normalizer = pendulum.parameters_of()
    loud = jax.tree.map(lambda leaf: np.array(leaf)[None], params)
    loud["params"]["log_std"][:] = 1.0
    noisy = pendulum._replace(policy_params=loud)
    torque = noisy.act(seen, greedy=False, key=1)
    assert torque.dtype == np.float32
    assert torque.shape == (5000, 1)
    assert torque.min() == -2
    assert torque.max() == 2
    mean = pendulum.agent.policy.apply(
        params, normalize_observation(normalizer, seen[:1])
    ).mode()
    expected = 2 * np.clip(mean[0], -1, 1)
    np.testing.assert_allclose(pendulum.act(seen[0]), expected, rtol=1e-5)


def test_under_jit_it_is_the_same_function(pendulum, cartpole):
    rng = np.random.default_rng(1)
    for policy, size in ((pendulum, 3), (cartpole, 4)):
        seen = rng.normal(size=(7, size)).astype(np.float32)
        for given in ({}, {"greedy": False, "key": 3}):
            acted = policy.act(seen, **given)
            traced = jax.jit(lambda x, p=policy, g=given: p.act(x, **g))(seen)
            np.testing.assert_allclose(traced, acted, rtol=1e-5)
        alone = jax.vmap(policy.act)(seen)
        np.testing.assert_allclose(alone, policy.act(seen), rtol=1e-5)


def test_a_dictionary_and_its_vector_are_the_same_observation(parts):
    environment = Parts()
    rows = []
    for seed in range(40):
        seen, _ = environment.reset(seed=seed)
        vector = np.concatenate(  # in alphabetical order, integers one-hot
            [np.eye(2)[seen["more"]["x"]], seen["place"], np.eye(3)[seen["room"]]]
        )
        action = parts.act(seen)
        assert environment.action_space.contains(action)
        assert parts.act(vector) == action
        assert parts.act({**seen, "of_no_interest": "text"}) == action
        rows.append((seen, vector, action))
    assert len({int(action) for *_, action in rows}) > 1
    batch = {
        "room": [seen["room"] for seen, *_ in rows],
        "place": np.stack([seen["place"] for seen, *_ in rows]),
        "more": {"x": np.array([seen["more"]["x"] for seen, *_ in rows])},
    }
    np.testing.assert_array_equal(parts.act(batch), [action for *_, action in rows])


def test_actions_can_be_keys_of_dictionaries(cartpole):
    action = cartpole.act([0.0, 0.0, 0.0, 0.0])
    assert {0: "left", 1: "right"}[action]


CALLS = {
    "shape": ({"observation": [0.0, 0.0]}, r"shape \[..., 4\]; got float64 of .*\[2\]"),
    "text": ({"observation": "left"}, "numbers, of shape .* got 'left'"),
    "ragged": ({"observation": [[0.0], [0.0, 0.0]]}, "lists of different lengths"),
    "complex": ({"observation": np.zeros(4, complex)}, "got complex128"),
    "nothing": ({"observation": None}, "got None"),
    "not a number": ({"observation": [0.0, np.nan, 0.0, 0.0]}, "got NaN"),
    "dictionary": ({"observation": {"x": 1}}, "dictionary with the keys 'x'"),
    "agent": ({"agent": 3}, "agent must be below 3, the number of agents; got 3"),
    "negative agent": ({"agent": -1}, "agent must be an integer >= 0"),
    "worst": ({"agent": "worst"}, "an index or \"best\"; got 'worst'"),
    "no key": ({"greedy": False}, "key must be a key of JAX or an integer"),
    "bad key": ({"greedy": False, "key": -1}, "key must be an integer >= 0"),
    "key": ({"key": 1}, "key is used with greedy=False only"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_bad_call_gives_one_sentence(name, cartpole):
    given, words = CALLS[name]
    with pytest.raises(ValueError, match=words) as said:
        cartpole.act(**{"observation": [0.0] * 4, "agent": 0} | given)
    assert "\n" not in str(said.value)


PARTS = {
    "missing": ({"place": [0, 0], "more": {"x": 1}}, "'room' is missing"),
    "inner": ({"room": 0, "place": [0, 0], "more": {}}, r"\['more'\] .* 'x' is miss"),
    "no inner": ({"room": 0, "place": [0, 0], "more": 1}, r"\['more'\] must be a dict"),
    "shape": ({"room": 0, "place": [0], "more": {"x": 1}}, r"\['place'\] must .* 2\]"),
    "large": ({"room": 3, "place": [0, 0], "more": {"x": 1}}, r"from 0 to 2; got 3"),
    "float": ({"room": 1.5, "place": [0, 0], "more": {"x": 1}}, r"\['room'\] .* 1\.5"),
    "vector": ([0.0] * 6, r"dictionary with the keys 'more', 'place', 'room', or an "),
    "batch": (
        {"room": [0, 1], "place": [0, 0], "more": {"x": [1, 0]}},
        r"leading axes of observation\['more'\]\['x'\], \[2\]; got \[\]",
    ),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_bad_dictionary_gives_one_sentence(name, parts):
    observation, words = PARTS[name]
    with pytest.raises(ValueError, match=words) as said:
        parts.act(observation)
    assert "\n" not in str(said.value)


def test_integers_are_never_changed():
    read = ObservationReader(trpo_jax.Box((2,), (0, 0), (255, 255), "uint8"))
    array, leading = read(np.array([[3, 255]], np.int64))
    assert (array.dtype, leading) == (np.uint8, (1,))
    for wrong in ([3, 256], [-1, 0]):
        with pytest.raises(ValueError, match="integers of type uint8"):
            read(wrong)
    with pytest.raises(ValueError, match="an array of integers"):
        read([0.5, 1.0])


def test_an_agent_can_be_taken_out(cartpole):
    environment = make_environment("CartPole-v1")
    result = trpo_jax.evaluate(
        jax.random.key(0), environment, cartpole.agent, *cartpole.parameters_of(2),
        episodes=2,
    )  # fmt: skip
    assert result.finished.all()
