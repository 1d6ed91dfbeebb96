"""Spaces in plain Python, and everything that goes through their leaves."""

import json

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.vector.utils import batch_space

from trpo_jax import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from trpo_jax.environments.actions import convert_action
from trpo_jax.environments.base import check_environment, shaped, shapes_in
from trpo_jax.environments.conversion import (
    convert_observations,
    convert_space,
    types_of,
)
from trpo_jax.environments.description import (
    as_json,
    describe_environment,
    from_json,
    require_same_spaces,
)
from trpo_jax.environments.nested import leaves_of, map_nested, rows_of, space_tree
from trpo_jax.environments.observations import ObservationReader
from trpo_jax.environments.probe import make_probe

theirs = gymnasium.spaces
NESTED = theirs.Dict(
    b=theirs.Tuple([theirs.Discrete(3, start=-1), theirs.MultiBinary([2, 2])]),
    a=theirs.MultiDiscrete([[3, 2]], start=[[5, -1]]),
    c=theirs.Dict(x=theirs.Box(-2, 2, (2, 1), np.float64)),
)
OURS = Dict(
    {
        "a": MultiDiscrete((3, 2), (5, -1), (1, 2)),
        "b": Tuple((Discrete(3, -1), MultiBinary((2, 2)))),
        "c": Dict({"x": Box.uniform((2, 1), -2, 2)}),
    }
)
REFUSED = {
    "Text": theirs.Text(3),
    "Sequence": theirs.Sequence(theirs.Discrete(2)),
    "Graph": theirs.Graph(theirs.Discrete(2), None),
    "OneOf": theirs.OneOf([theirs.Discrete(2), theirs.Discrete(3)]),
}


def test_every_space_of_gymnasium_is_taken_or_refused_by_name():
    names = {name for name in theirs.__all__ if isinstance(getattr(theirs, name), type)}
    taken = {"Box", "Dict", "Discrete", "MultiBinary", "MultiDiscrete", "Tuple"}
    assert names == taken | REFUSED.keys() | {"GraphInstance", "Space"}
    assert convert_space("mine", "action", NESTED) == OURS
    for name, space in REFUSED.items():
        for role in ("observation", "action"):
            words = rf"^mine\['a'\]: {role} space {name} is not supported; .* a Dict of"
            with pytest.raises(ValueError, match=words) as said:
                convert_space("mine", role, theirs.Dict(a=space))
            assert "\n" not in str(said.value)


def test_a_space_can_be_a_key_and_says_what_it_is():
    again = convert_space("mine", "action", NESTED)
    assert len({OURS, again}) == 1
    assert hash(OURS) == hash(again)
    assert eval(repr(OURS), dict(globals())) == OURS
    assert list(OURS.spaces) == ["a", "b", "c"]
    assert Dict({**OURS.spaces, "a": Discrete(2)}) != OURS


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Discrete(0), "n must be an integer >= 1; got 0"),
        (lambda: Discrete(2, 0.5), "start must be an integer"),
        (lambda: Discrete(2, 2**31 - 1), "must fit 32 bits; got 2147483647"),
        (lambda: MultiDiscrete(()), "at least one"),
        (lambda: MultiDiscrete((2, 0)), r"nvec must be integers >= 1; got \(2, 0\)"),
        (lambda: MultiDiscrete((2, 2), (1,)), "one number per element"),
        (lambda: MultiDiscrete((2, 2), 0, (3,)), "one number per element"),
        (lambda: MultiDiscrete((2, 2), (0, 2**31)), "32 bits"),
        (lambda: MultiBinary(0), "integers >= 1"),
        (lambda: Tuple(()), "at least one space; got none"),
        (lambda: Dict({}), "at least one space; got none"),
        (lambda: Dict({"a": 3}), "spaces of trpo_jax.*; got 3"),
        (lambda: Dict({1: Discrete(2)}), "keys of a Dict must be texts; got 1"),
    ],
)
def test_what_is_no_space_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_the_tree_of_a_space_is_that_of_its_elements():
    tree = space_tree(OURS)
    element = convert_observations("mine", NESTED)[1](NESTED.sample())
    assert jax.tree.structure(tree) == jax.tree.structure(element)
    assert jax.tree.leaves(tree) == leaves_of(OURS)
    shapes = jax.tree.map(lambda leaf: leaf.shape, shapes_in(OURS))
    assert shapes == jax.tree.map(lambda leaf: leaf.shape, element)
    types = jax.tree.map(lambda leaf: leaf.dtype, shapes_in(OURS))
    assert types == jax.tree.map(lambda leaf: leaf.dtype, element)


def policy_actions(batch, rng):
    """What a policy gives for `OURS`: from 0, flat, and ±1 at the bounds."""
    return {
        "a": rng.integers(0, [3, 2], (batch, 2)).astype(np.int32),
        "b": (
            rng.integers(0, 3, batch).astype(np.int32),
            rng.integers(0, 2, (batch, 4)).astype(np.int32),
        ),
        "c": {"x": rng.normal(size=(batch, 2)).astype(np.float32)},
    }


def test_actions_count_from_zero_and_arrive_in_the_simulators_types():
    rng = np.random.default_rng(0)
    action, many = policy_actions(200, rng), batch_space(NESTED, 200)
    types = types_of(NESTED)
    given = convert_action(OURS, action, types)
    assert many.contains(given)
    np.testing.assert_array_equal(given["a"][:, 0], action["a"] + [5, -1])
    np.testing.assert_array_equal(given["b"][0], action["b"][0] - 1)
    np.testing.assert_array_equal(given["b"][1].reshape(200, 4), action["b"][1])
    expected = 2 * action["c"]["x"].clip(-1, 1).astype(float)
    np.testing.assert_allclose(given["c"]["x"][..., 0], expected)
    traced = jax.jit(
        lambda x: convert_action(
            OURS, x, map_nested(jax.dtypes.canonicalize_dtype, types)
        )
    )(action)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), traced, given
    )
    one = convert_action(OURS, rows_of(action, 0), types, leading=())
    assert NESTED.contains(map_nested(lambda x: x[()] if x.ndim == 0 else x, one))


def test_a_compiled_environment_gets_actions_in_the_shapes_of_its_space():
    class Any:
        action_space = OURS

    action = rows_of(policy_actions(1, np.random.default_rng(0)), 0)
    given = shaped(Any(), jax.tree.map(jnp.asarray, action))
    shapes = jax.tree.map(lambda leaf: leaf.shape, given)
    assert shapes == {"a": (1, 2), "b": ((), (2, 2)), "c": {"x": (2, 1)}}
    assert given["c"]["x"].dtype == jnp.float32
    assert given["b"][1].dtype == jnp.int32


def test_observations_are_read_from_whatever_an_environment_gives():
    NESTED.seed(0)
    samples = [NESTED.sample() for _ in range(5)]
    read = ObservationReader(OURS)
    for sample in samples:
        arrays, leading = read(sample)
        assert leading == ()
        jax.tree.map(np.testing.assert_allclose, arrays, dict(sample))
    batch = jax.tree.map(lambda *rows: np.stack(rows).tolist(), *samples)
    arrays, leading = read(
        jax.tree.map(np.asarray, batch, is_leaf=lambda x: type(x) is list)
    )
    assert leading == (5,)
    assert arrays["b"][1].shape == (5, 2, 2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"b": (0,)},
            r"observation\['b'\] must be a tuple of length 2; got a tuple of",
        ),
        ({"b": 3}, r"observation\['b'\] must be a tuple of length 2; got 3"),
        (
            {"b": (2, np.zeros((2, 2)))},
            r"\['b'\]\[0\] must be integers from -1 to 1; got 2",
        ),
        ({"b": (0, np.full((2, 2), 2))}, r"\[1\] must be zeros and ones; got 2"),
        (
            {"a": np.array([[8, 0]])},
            r"observation\['a'\] must be in MultiDisc.*; got 8",
        ),
        ({"c": 1}, r"observation\['c'\] must be a dictionary with the keys 'x'; got 1"),
    ],
)
def test_an_observation_that_is_none_is_refused_in_one_sentence(change, words):
    NESTED.seed(0)
    with pytest.raises(ValueError, match=words) as said:
        ObservationReader(OURS)({**NESTED.sample(), **change})
    assert "\n" not in str(said.value)


class Described:
    name, max_episode_steps = "mine", None
    observation_space = action_space = OURS
    action_dtype = types_of(NESTED)


def test_spaces_survive_json():
    description = describe_environment(Described(), own=True)
    content = as_json(description)
    assert from_json(json.loads(json.dumps(content))) == description
    assert description.action_dtype == {
        "a": "int64", "b": ("int64", "int8"), "c": {"x": "float64"},
    }  # fmt: skip
    require_same_spaces(description, Described())
    other = Described()
    other.action_space = Dict(
        {**OURS.spaces, "b": Tuple((Discrete(3), MultiBinary(4)))}
    )
    with pytest.raises(ValueError, match="mine must have the actions of training"):
        require_same_spaces(description, other)


@pytest.mark.parametrize("name", ["mask", "parts"])
def test_nested_probes_keep_the_contract(name):
    check_environment(make_probe(name))


def test_a_broken_contract_of_nested_observations_is_named():
    class Broken(type(make_probe("parts"))):
        def reset(self, key):
            env_state, (first, _, last) = super().reset(key)
            return env_state, (first, last)

    with pytest.raises(ValueError, match="reset must return observations of observ"):
        check_environment(Broken())


def test_probe_mask_pays_most_for_what_is_forbidden():
    probe, shown = make_probe("mask"), set()
    for seed in range(10):
        env_state, seen = probe.reset(jax.random.key(seed))
        legal = seen["action_mask"].tolist()
        pays = [
            float(probe.step(jax.random.key(0), env_state, jnp.int32(arm)).reward)
            for arm in range(3)
        ]
        assert pays == [arm if legal[arm] else 10 for arm in range(3)]
        assert legal[0] == 1
        assert sum(legal) == 2
        shown.add(tuple(legal))
    assert shown == {(1, 1, 0), (1, 0, 1)}


def test_probe_parts_pays_for_each_part_that_is_right():
    probe = make_probe("parts")
    for seed in range(4):
        env_state, (s, choice, real) = probe.reset(jax.random.key(seed))
        assert choice.tolist() == [int(s), int(s) - 1]
        assert float(real[0]) == int(s)
        right = {
            "bits": jnp.array([s == 1, s == 2], jnp.int32),
            "choice": jnp.array([s, 0], jnp.int32),
            "more": (real / 4,),
        }
        wrong = {
            "bits": 1 - right["bits"],
            "choice": jnp.array([s, 1], jnp.int32),
            "more": (real / 4 - 0.5,),
        }
        for name, reward in (("bits", 2.0), ("choice", 2.0), ("more", 2.75)):
            action = {**right, name: wrong[name]}
            step = probe.step(jax.random.key(0), env_state, action)
            assert float(step.reward) == reward
        assert float(probe.step(jax.random.key(0), env_state, right).reward) == 3
