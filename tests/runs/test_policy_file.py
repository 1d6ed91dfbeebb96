import itertools
import json
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_identical
from safetensors.numpy import load_file, save_file

from trpo_jax import Config, NetworkConfig, init, load_policy, make_environment
from trpo_jax.agent.normalization import normalize_observation
from trpo_jax.agent.standard_agents import default_agent
from trpo_jax.environments import full_name
from trpo_jax.runs import policy_file
from trpo_jax.runs.policy_file import save_policy

SEEDS = 3
CASES = {
    "discrete": ("CartPole-v1", NetworkConfig(hidden_sizes=(5,)), True),
    "linear": ("probe:policy", NetworkConfig(hidden_sizes=()), False),
    "continuous": (
        "Pendulum-v1",
        NetworkConfig(
            hidden_sizes=(4, 3),
            critic_hidden_sizes=(2,),
            activation="relu",
            log_std_init=-0.7,
        ),
        True,
    ),
    "state_dependent": (
        "probe:continuous",
        NetworkConfig(hidden_sizes=(4,), state_dependent_std=True),
        True,
    ),
}


pytestmark = pytest.mark.usefixtures("quick_compilation")


def make_agent(environment, network):
    return default_agent(
        environment.observation_space,
        environment.action_space,
        hidden_sizes=network.hidden_sizes,
        critic_hidden_sizes=network.critic_hidden_sizes,
        activation=network.activation,
        log_std_init=network.log_std_init,
        state_dependent_std=network.state_dependent_std,
    )


def filled(tree, offset):
    """The same shapes with numbers that are all different, and positive."""
    leaves, structure = jax.tree.flatten(tree)
    rng = np.random.default_rng(offset)
    return jax.tree.unflatten(
        structure,
        [jnp.asarray(rng.uniform(0.1, 1, leaf.shape), leaf.dtype) for leaf in leaves],
    )


def make_state(name, network, normalized):
    environment = make_environment(name)
    agent = make_agent(environment, network)
    config = Config(num_envs=2, normalize_observation=normalized)
    keys = jax.random.split(jax.random.key(0), SEEDS)
    state = jax.jit(
        jax.vmap(lambda key: init(key, environment, agent, config)),
    )(keys)
    return agent, state.replace(
        policy_params=filled(state.policy_params, 1),
        normalizer=filled(state.normalizer, 2),
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Agent, state and file of the first case."""
    path = tmp_path_factory.mktemp("policy") / "policy.safetensors"
    name, network, normalized = CASES["discrete"]
    agent, state = make_state(name, network, normalized)
    save_policy(path, state, make_environment(name), network)
    return agent, state, path


def parsed(content):
    """Header and raw bytes of a safetensors file, by its specification."""
    (size,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def rebuilt(header, data):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize("case", CASES)
def test_a_policy_read_back_acts_as_the_one_that_was_saved(case, tmp_path):
    name, network, normalized = CASES[case]
    agent, state = make_state(name, network, normalized)
    environment = make_environment(name)
    save_policy(tmp_path / "policy.safetensors", state, environment, network)
    back = load_policy(tmp_path)

    assert back.description.name == back.environment.name == full_name(name)
    for kind in ("observation_space", "action_space"):
        assert getattr(back, kind) == getattr(environment, kind)
    assert_identical(back.policy_params, state.policy_params)
    assert_identical(back.normalizer.observation, state.normalizer.observation)
    assert (back.normalizer.observation is not None) == normalized

    def act(agent, params, normalizer):
        def one(params, normalizer):
            policy = agent.policy.apply(
                params, normalize_observation(normalizer, observation)
            )
            return policy, policy.mode(), policy.sample(jax.random.key(4))

        return jax.jit(jax.vmap(one))(params, normalizer)

    size = make_environment(name).observation_space.shape
    numbers = np.random.default_rng(3).normal(size=(6, *size))
    observation = jnp.asarray(numbers, jnp.float32)
    assert_identical(
        act(back.agent, back.policy_params, back.normalizer),
        act(
            agent,
            state.policy_params,
            state.normalizer.replace(discounted_return=None, return_so_far=None),
        ),
    )


def test_the_file_and_its_directory_are_the_same_policy(saved):
    _, _, path = saved
    by_file, by_directory = load_policy(str(path)), load_policy(path.parent)
    assert_identical(by_file.policy_params, by_directory.policy_params)


def test_the_file_is_a_json_header_and_raw_numbers_with_no_code(saved):
    _, state, path = saved
    header, data = parsed(path.read_bytes())
    description = json.loads(header.pop("__metadata__")["trpo_jax"])
    assert description["environment"]["name"] == "gymnax:CartPole-v1"
    assert description["network"]["hidden_sizes"] == [5]

    covered = sorted(entry["data_offsets"] for entry in header.values())
    assert covered[0][0] == 0
    assert covered[-1][1] == len(data)
    assert all(a[1] == b[0] for a, b in itertools.pairwise(covered))

    found = sorted(data[slice(*entry["data_offsets"])] for entry in header.values())
    expected = jax.tree.leaves((state.policy_params, state.normalizer.observation))
    assert found == sorted(np.asarray(leaf).tobytes() for leaf in expected)
    for entry in header.values():
        assert entry["dtype"] == "F32"
        assert entry["shape"][0] == SEEDS


def refused(path, *needles):
    """A broken file is named, whatever is wrong with it."""
    with pytest.raises(ValueError) as error:
        load_policy(path)
    for needle in (str(path), *needles):
        assert needle in str(error.value)


@pytest.mark.parametrize("part", [0.0, 0.001, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused_by_name(part, saved, tmp_path):
    content = saved[2].read_bytes()
    path = tmp_path / "policy.safetensors"
    path.write_bytes(content[: int(part * len(content))])
    refused(path)


@pytest.mark.parametrize(
    "content",
    [b"hello", b"\x80\x04K\x01.", b"\xff" * 100, b"\0" * 100, b"PK\x03\x04" * 30],
    ids=["text", "pickle", "ones", "zeros", "zip"],
)
def test_a_file_of_another_kind_is_refused_by_name(content, tmp_path):
    path = tmp_path / "policy.safetensors"
    path.write_bytes(content)
    refused(path)


@pytest.mark.parametrize("metadata", [None, {"trpo_jax": "{}"}], ids=str)
def test_weights_of_another_program_are_refused_by_name(metadata, tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"w": np.zeros(3, np.float32)}, path, metadata)
    refused(path, "trpo_jax")


@pytest.mark.parametrize(
    ("field", "value", "needle"),
    [
        ("environment", "CartPole-v1", "environment"),
        ("environment", {"name": "CartPole-v1"}, "missing"),
        ("greedy_return", [1.0], "3 numbers"),
        ("greedy_return", ["a", "b", "c"], "3 numbers"),
        ("greedy_return", 5, ""),
        ("network", "{", ""),
        ("network", {"hidden_sizes": [6]}, "shape"),
        ("network", {"hidden_sizes": [5], "depth": 3}, "depth"),
        ("network", {"hidden_sizes": [0]}, "hidden_sizes"),
        ("network", [], ""),
        ("network", {"hidden_sizes": [5], "activation": "tahn"}, "tahn"),
    ],
)
def test_a_description_that_does_not_fit_is_refused_by_name(
    field, value, needle, saved, tmp_path
):
    path = forged(saved[2], tmp_path, {field: value})
    refused(path, needle)


def forged(path, folder, changes, environment=()):
    """Change a description and sign it again, as somebody with our code might."""
    header, data = parsed(path.read_bytes())
    description = json.loads(header["__metadata__"]["trpo_jax"])
    del description["sha256"]
    description |= changes
    if environment:
        description["environment"] |= environment
    numbers = load_file(path)
    description["sha256"] = policy_file._checksum(numbers, description)
    header["__metadata__"]["trpo_jax"] = json.dumps(description)
    forgery = folder / "policy.safetensors"
    forgery.write_bytes(rebuilt(header, data))
    return forgery


BOX = {"shape": [4], "low": None, "high": None, "dtype": "float32"}


@pytest.mark.parametrize(
    ("changes", "needle"),
    [
        ({"name": 3}, "name must be a text"),
        ({"own": "no"}, "own must be True or False"),
        ({"action_repeat": 0}, "action_repeat must be"),
        ({"num_envs": 1.5}, "num_envs must be"),
        ({"depth": 3}, "depth"),
        ({"action_dtype": "O"}, "numbers"),
        ({"action_dtype": "i4,f4"}, "numbers"),
        ({"action_dtype": "str"}, "numbers"),
        ({"action_dtype": 3}, "text"),
        ({"action_dtype": {"a": "int64"}}, "text"),
        (
            {"action_dtype": {"a": "int64"}, "action_space": {"dict": {"b": {"n": 2}}}},
            "'b' is missing",
        ),
        ({"action_space": {"n": 0}}, "not described"),
        ({"action_space": {"n": 10**12}}, "not described"),
        ({"action_space": {"n": 3}}, "shape"),
        ({"action_space": {"parts": {"a": {"n": 3}}}}, "train it again"),
        ({"action_space": {"nvec": [2], "start": [0], "shape": [3]}}, "one number per"),
        (
            {"action_space": {"nvec": [10**9] * 2, "start": [0, 0], "shape": [2]}},
            "not d",
        ),
        ({"action_space": {"binary": [10**9]}}, "not described"),
        ({"action_space": {"binary": [0]}}, "integers >= 1"),
        ({"action_space": {"tuple": []}}, "at least one"),
        ({"observations": None}, "observation space of gymnax:CartPole-v1 is"),
        ({"observations": {"dict": {}}}, "at least one"),
        ({"observations": {"dict": {"a": None}}}, "not described"),
        ({"observations": {"dict": {"b": {"n": 1}, "a": {"n": 1}}}}, ""),
        ({"observations": {"n": 4, "start": 0}}, "not described as"),
        ({"observations": {"n": 4, "start": "1"}}, "not described"),
        ({"observations": {"n": 4, "first": 1}}, ""),
        ({"observations": BOX | {"shape": [10**6, 10**6]}}, "not described"),
        ({"observations": BOX | {"shape": [2.0, 2]}}, "not described"),
        ({"observations": BOX | {"shape": [5]}}, "shape"),
        ({"observations": BOX | {"low": [1.0]}}, "low and high"),
        ({"observations": BOX | {"low": float("nan")}}, "NaN"),
        ({"observations": BOX | {"low": 2, "high": 1}}, "low must be"),
        ({"observations": BOX | {"dtype": "object"}}, "numbers"),
        ({"observations": BOX | {"dtype": "float33"}}, ""),
    ],
    ids=str,
)
def test_an_environment_that_does_not_fit_is_refused(changes, needle, saved, tmp_path):
    path = forged(saved[2], tmp_path, {}, changes)
    refused(path, needle)


def test_a_description_nested_without_end_is_refused(saved, tmp_path):
    space = {"n": 3}
    for _ in range(200):
        space = {"dict": {"a": space}}
    refused(forged(saved[2], tmp_path, {}, {"observations": space}))
    header, data = parsed(saved[2].read_bytes())
    header["__metadata__"]["trpo_jax"] = "[" * 100_000
    path = tmp_path / "policy.safetensors"
    path.write_bytes(rebuilt(header, data))
    refused(path)


def test_another_environment_is_refused_when_it_is_made(saved, tmp_path):
    wrong = load_policy(forged(saved[2], tmp_path, {}, {"name": "gymnax:Acrobot-v1"}))
    with pytest.raises(
        ValueError, match=r"gymnax:Acrobot-v1 must have the obs.* \(4,\)"
    ):
        _ = wrong.environment
    none = load_policy(forged(saved[2], tmp_path, {}, {"name": "gymnax:CartPole-v9"}))
    with pytest.raises(ValueError, match="unknown environment 'gymnax:CartPole-v9'"):
        _ = none.environment
    with pytest.raises(ValueError, match="its environment is gymnax:CartPole-v1, not"):
        load_policy(saved[2], "Acrobot-v1")
    assert load_policy(saved[2], "CartPole-v1").environment.name == "gymnax:CartPole-v1"


@pytest.mark.parametrize(
    ("written", "needle"),
    [(None, "written by trpo_jax 0.1; install that"), (2, "is 2")],
)
def test_another_format_is_refused(written, needle, saved, tmp_path):
    header, data = parsed(saved[2].read_bytes())
    description = json.loads(header["__metadata__"]["trpo_jax"])
    del description["sha256"], description["format"]
    description |= {} if written is None else {"format": written}
    numbers = load_file(saved[2])
    description["sha256"] = policy_file._checksum(numbers, description)
    header["__metadata__"]["trpo_jax"] = json.dumps(description)
    path = tmp_path / "policy.safetensors"
    path.write_bytes(rebuilt(header, data))
    refused(path, needle)


def test_a_changed_description_is_noticed(saved, tmp_path):
    content = saved[2].read_bytes()
    assert content.count(b"tanh") == 1
    path = tmp_path / "policy.safetensors"
    path.write_bytes(content.replace(b"tanh", b"relu"))
    refused(path, "checksum")


def test_a_saved_policy_acts_greedily_for_any_of_its_seeds(saved):
    agent, state, path = saved
    policy = load_policy(path)
    observation = jnp.ones((3, *policy.observation_space.shape))
    for seed in range(len(jax.tree.leaves(state.policy_params)[0])):
        params, normalizer = jax.tree.map(
            lambda leaf, seed=seed: leaf[seed],
            (state.policy_params, state.normalizer),
        )
        seen = normalize_observation(normalizer, observation)
        expected = agent.policy.apply(params, seen).mode()
        acted = policy.act(observation, agent=seed)
        np.testing.assert_array_equal(acted, expected)
        assert acted.dtype == np.int32
    assert policy.act(observation[0], agent=0).shape == ()


def test_actions_are_held_as_in_training(saved, tmp_path):
    name, network, _ = CASES["discrete"]
    path = tmp_path / "policy.safetensors"
    save_policy(path, saved[1], make_environment(name, action_repeat=4), network)
    raw, policy = make_environment(name), load_policy(path)
    assert policy.action_repeat == 4
    held = policy.environment
    assert held.max_episode_steps == -(-raw.max_episode_steps // 4)


def test_a_missing_array_is_refused_by_name(saved, tmp_path):
    _, state, _ = saved
    name, network, _ = CASES["discrete"]
    params = jax.tree.map(lambda leaf: leaf, state.policy_params)
    module = next(iter(params["params"].values()))
    del module[next(iter(module))]
    path = tmp_path / "policy.safetensors"
    environment = make_environment(name)
    save_policy(path, state.replace(policy_params=params), environment, network)
    refused(path, "missing")


def test_a_changed_number_is_noticed(saved, tmp_path):
    content = bytearray(saved[2].read_bytes())
    content[-3] ^= 0x40
    path = tmp_path / "policy.safetensors"
    path.write_bytes(content)
    refused(path)


def test_no_file_is_said_with_its_name(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"policy\.safetensors"):
        load_policy(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_policy(tmp_path / "nowhere")


def test_the_policy_of_your_own_agent_says_that_only_you_can_rebuild_it(
    saved, tmp_path
):
    path = tmp_path / "policy.safetensors"
    save_policy(path, saved[1], make_environment("CartPole-v1"), None)
    refused(path, "your own", "load_policy(run, agent=...)")
    back = load_policy(path, agent=saved[0])
    assert_identical(back.policy_params, saved[1].policy_params)
