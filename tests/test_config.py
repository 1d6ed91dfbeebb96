import dataclasses
import json
import math
import re
import subprocess
import sys
import typing

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trpo_jax.algorithm.off_policy import shrink_max_kl
from trpo_jax.algorithm.schedules import scheduled
from trpo_jax.config import Config, NetworkConfig, RunConfig
from trpo_jax.config.algorithm import AlgorithmOptions
from trpo_jax.config.fields import replace_options, unused_fields
from trpo_jax.config.network import NetworkOptions
from trpo_jax.config.options import (
    HyperParameters,
    TrainOptions,
    split_options,
)
from trpo_jax.config.run import RunOptions
from trpo_jax.config.synonyms import RENAMED
from trpo_jax.runs.plan import make_plan
from trpo_jax.runs.presets import DEFAULT, PRESETS, preset_of
from trpo_jax.validation import COUNT, COUNT_OR_ZERO, POSITIVE

NUMBERS = [f.name for f in dataclasses.fields(Config) if f.metadata["leaf"]]
GIVEN = [name for name in NUMBERS if getattr(Config(), name) is not None]
MODES = {  # in which a value is used
    "step_size": {"step_rule": "natural_gradient"},
    "critic_max_kl": {"critic_method": "gauss_newton"},
}

REFUSED = [
    *[
        (name, value, "a number in [0, 1]")
        for name in ("discount", "gae_lambda")
        for value in (-0.1, 1.1, math.nan, "0.9", None, True, 1j, [0.5, 2.0])
    ],
    *[
        (name, value, POSITIVE.words)
        for name in ("max_kl", "critic_learning_rate")
        for value in (
            0,
            -1.0,
            math.inf,
            math.nan,
            "x",
            None,
            False,
            1e300,
            1e-300,
            [0.1],
        )
    ],
    *[
        (name, value, "a finite number >= 0")
        for name in ("cg_damping", "cg_tolerance")
        for value in (-1e-9, math.inf, math.nan, "x", None)
    ],
    *[
        ("backtrack_coefficient", value, "a number in (0, 1)")
        for value in (0, 1, 1.5, -0.5, math.nan, None)
    ],
    *[
        ("fisher_fraction", value, "a number in (0, 1], or None")
        for value in (0, 1.01, -0.1, math.nan, "x", [0.1])
    ],
    *[
        (name, value, COUNT.words)
        for name in ("num_envs", "num_steps", "cg_iterations")
        for value in (0, -3, 2**31, 1.0, 2.5, "4", None, True, math.nan)
    ],
    *[
        ("critic_minibatch_size", value, f"{COUNT.words}, or None")
        for value in (0, -3, 2**31, 1.0, 2.5, "4", True, math.nan)
    ],
    *[
        (name, value, COUNT_OR_ZERO.words)
        for name in ("max_backtracks", "critic_epochs")
        for value in (-1, 1.0, "4", None, False)
    ],
    *[
        (name, value, "True or False")
        for name in ("standardize_advantage", "normalize_observation", "scale_reward")
        for value in (0, 1, "yes", None, 1.0)
    ],
]


@pytest.mark.parametrize(("name", "value", "rule"), REFUSED)
def test_a_bad_value_is_refused_with_name_rule_and_value(name, value, rule):
    message = re.escape(f"{name} must be {rule}; got {value!r}")
    with pytest.raises(ValueError, match=f"^{message}$"):
        Config(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        *[
            (name, value, f"a sequence of integers >= 1{or_none}")
            for name, or_none in (
                ("hidden_sizes", ""),
                ("critic_hidden_sizes", ", or None"),
            )
            for value in ((0,), (64, -1), (1.5,), 64, "64", (True,))
        ],
        ("hidden_sizes", None, "a sequence of integers >= 1"),
        *[
            ("log_std_init", value, "a number in [-20, 20]")
            for value in (math.nan, -math.inf, "0", None)
        ],
        *[("state_dependent_std", value, "True or False") for value in (1, None)],
    ],
)
def test_a_bad_network_value_is_refused(name, value, rule):
    message = re.escape(f"{name} must be {rule}; got {value!r}")
    with pytest.raises(ValueError, match=f"^{message}$"):
        NetworkConfig(**{name: value})


@pytest.mark.parametrize(
    "values",
    [
        {"discount": 0},
        {"discount": 1},
        {"gae_lambda": np.float32(1)},
        {"max_kl": 1e30},
        {"cg_damping": 0, "cg_tolerance": 0},
        {"fisher_fraction": 1},
        {"fisher_fraction": None, "critic_minibatch_size": None},
        {"max_backtracks": 0, "critic_epochs": 0},
        {"num_envs": 1, "num_steps": 1},
        {"max_kl": np.array([0.1, 0.2])},
    ],
    ids=str,
)
def test_the_ends_of_the_ranges_are_allowed(values):
    config = Config(**values)
    for name, value in values.items():
        assert np.array_equal(getattr(config, name), value)


@pytest.mark.parametrize("sizes", [(), (1,), [4, 4]])
def test_network_sizes_that_are_allowed(sizes):
    assert NetworkConfig(hidden_sizes=sizes).hidden_sizes == sizes


def test_every_field_has_a_rule():
    for kind in (Config, NetworkConfig, RunConfig):
        for field in dataclasses.fields(kind):
            assert field.metadata["rule"] is not None


@pytest.mark.parametrize(
    ("rows", "fraction", "minibatch"),
    [
        (1, 1.0, 256),
        (8192, 1.0, 256),
        (16_384, 0.5, 256),
        (65_536, 0.125, 1024),
        (10**6, 0.1, 15_625),
    ],
)
def test_what_depends_on_the_size_unless_it_is_given(rows, fraction, minibatch):
    assert Config().fraction_in_products(rows) == fraction
    assert Config().minibatch_of(rows) == minibatch
    given = Config(fisher_fraction=0.3, critic_minibatch_size=7)
    assert given.fraction_in_products(rows) == 0.3
    assert given.minibatch_of(rows) == 7


def test_a_plan_says_in_numbers_what_depends_on_the_size():
    plan = make_plan(
        "CartPole-v1",
        num_envs=1024,
        num_steps=64,
        fisher_fraction=None,
        critic_minibatch_size=None,
    )
    assert plan.config.fisher_fraction == 0.125
    assert plan.config.critic_minibatch_size == 1024


def test_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().max_kl = 1.0


def test_batch_size_is_environments_times_steps():
    assert Config(num_envs=3, num_steps=5).batch_size == 15


def test_is_a_pytree_of_its_numbers():
    config = Config(max_kl=0.5, num_envs=3)
    leaves, structure = jax.tree.flatten(config)
    assert leaves == [getattr(config, name) for name in GIVEN]
    assert jax.tree.unflatten(structure, leaves) == config
    doubled = jax.tree.map(lambda leaf: 2 * leaf, config)
    assert doubled.max_kl == 1.0
    assert doubled.num_envs == 3


def test_leaves_have_names():
    paths = [jax.tree_util.keystr(p) for p, _ in jax.tree.leaves_with_path(Config())]
    assert paths == [f".{name}" for name in GIVEN]


def test_another_structure_is_another_pytree():
    base = jax.tree.structure(Config())
    assert base == jax.tree.structure(Config(max_kl=0.5, discount=0.1))
    for change in ({"num_envs": 3}, {"cg_iterations": 3}, {"scale_reward": False}):
        assert base != jax.tree.structure(Config(**change))


def test_can_be_made_while_jax_traces():
    made = jax.jit(lambda kl: Config(max_kl=kl, discount=0.5))(0.25)
    assert float(made.max_kl) == 0.25


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_can_be_swept(name):
    values = jnp.array([0.25, 0.5])
    mode = MODES.get(name, {})
    results = jax.vmap(lambda v: getattr(Config(**{name: v}, **mode), name) * 2)(values)
    assert results.tolist() == [0.5, 1.0]
    stacked = Config(**{name: values}, **mode)
    names = [n for n in NUMBERS if n in GIVEN or n == name]
    axes = jax.tree.unflatten(
        jax.tree.structure(stacked), [0 if n == name else None for n in names]
    )
    results = jax.vmap(lambda c: getattr(c, name) * 2, in_axes=(axes,))(stacked)
    assert results.tolist() == [0.5, 1.0]


def test_a_batch_is_small_enough_to_be_indexed():
    with pytest.raises(ValueError, match="num_envs x num_steps must be < 2"):
        Config(num_envs=2**20, num_steps=2**11)


def test_other_numbers_share_a_compilation_and_other_structure_does_not():
    @jax.jit
    @chex.assert_max_traces(n=2)
    def discounted(config):
        return config.max_kl * config.discount

    assert float(discounted(Config(max_kl=0.5, discount=0.5))) == 0.25
    assert float(discounted(Config(max_kl=0.25, discount=0.5))) == 0.125
    discounted(Config(num_envs=4))  # the second trace
    with pytest.raises(AssertionError, match="traced > 2 times"):
        discounted(Config(num_envs=8))


def test_flat_names_are_sorted_into_their_groups():
    run, algorithm, network = split_options(
        {"max_kl": 0.1, "hidden_sizes": (3,), "num_envs": 2, "seeds": 4}
    )
    assert run == {"seeds": 4}
    assert algorithm == {"max_kl": 0.1, "num_envs": 2}
    assert network == {"hidden_sizes": (3,)}


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [("max_KL", "max_kl"), ("gamma_lambda", "gae_lambda"), ("n_envs", "num_envs")],
)
def test_an_unknown_name_is_refused_with_the_nearest(wrong, nearest):
    message = f"unknown option '{wrong}'; nearest: '{nearest}'"
    with pytest.raises(ValueError, match=message):
        split_options({wrong: 1})


@pytest.mark.parametrize("name", RENAMED)
def test_an_old_name_is_refused_with_the_new_one(name):
    with pytest.raises(ValueError, match=f"'{name}' is now "):
        split_options({name: 1})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"vine_steps": 3}, "vine_steps is used with sampling vine only; got 3"),
        ({"step_size": 0.1}, "with step_rule natural_gradient or policy_gradient only"),
        ({"critic_steps": 2}, "with critic_method gauss_newton only; got 2"),
        ({"critic_epochs": 3, "critic_method": "gauss_newton"}, "critic_method adam"),
        ({"step_size": np.array([0.1, 0.2])}, "step_size is used with step_rule"),
    ],
    ids=str,
)
def test_a_value_that_the_mode_does_not_use_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Config(**values)


def test_a_traced_config_can_be_scheduled_and_shrunk():
    configs = jax.vmap(
        lambda kl: Config(max_kl=kl, final_max_kl=kl / 2, schedule_iterations=2)
    )
    swept = configs(jnp.array([0.01, 0.02]))
    deltas = jax.vmap(lambda config: scheduled(config, 1).max_kl)(swept)
    np.testing.assert_allclose(deltas, [0.0075, 0.015], rtol=1e-6)
    shrunk = jax.jit(lambda config: shrink_max_kl(config, 1).max_kl)(Config(max_kl=0.5))
    assert float(shrunk) == 0.25
    arrays = jax.tree.map(jnp.asarray, Config())
    assert dataclasses.replace(arrays, num_envs=3).num_envs == 3


@pytest.mark.parametrize("value", ["x", None, -1.0])
def test_a_bad_start_of_a_schedule_is_refused_by_name(value):
    config = Config(max_kl=0.02, final_max_kl=0.01)
    with pytest.raises(ValueError, match="max_kl must be a finite number > 0"):
        replace_options(config, max_kl=value)


def test_replacing_a_mode_resets_what_only_the_old_one_used():
    config = Config(critic_epochs=3, critic_learning_rate=0.1, max_kl=0.5)
    other = replace_options(config, critic_method="gauss_newton", critic_steps=2)
    assert other == Config(critic_method="gauss_newton", critic_steps=2, max_kl=0.5)
    assert all(
        getattr(other, field.name) == field.default for field in unused_fields(other)
    )
    with pytest.raises(ValueError, match="critic_epochs is used with critic_method"):
        replace_options(config, critic_method="gauss_newton", critic_epochs=4)


def test_the_keyword_arguments_are_the_fields():
    groups = [RunConfig, Config, NetworkConfig]
    names = [f.name for kind in groups for f in dataclasses.fields(kind)]
    assert sorted(TrainOptions.__annotations__) == sorted(names)
    assert set(HyperParameters.__annotations__) == {
        f.name for kind in groups[1:] for f in dataclasses.fields(kind)
    }
    for kind, options in zip(groups, (RunOptions, AlgorithmOptions, NetworkOptions)):
        hints = typing.get_type_hints(options)
        assert hints == typing.get_type_hints(kind), kind


def test_the_end_of_a_schedule_keeps_its_ratio_to_a_new_start():
    config = Config(max_kl=0.02, final_max_kl=0.01)
    assert replace_options(config, max_kl=0.04).final_max_kl == 0.02
    assert replace_options(config, max_kl=0.04, final_max_kl=0.1).final_max_kl == 0.1
    assert replace_options(config, final_max_kl=None).final_max_kl is None
    assert replace_options(config, num_envs=2).final_max_kl == 0.01


@pytest.mark.parametrize(
    "first",
    ["import jax\nfrom trpo_jax.config import Config", "from trpo_jax import Config",
     "from trpo_jax.config import Config\nimport jax",
     "from trpo_jax.config.algorithm import Config"],
)  # fmt: skip
def test_it_is_a_pytree_wherever_it_is_imported_from(first):
    code = f"{first}\nimport jax\nprint(len(jax.tree.leaves(Config(max_kl=0.5))))"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert int(run.stdout) == len(GIVEN)


@pytest.mark.parametrize("scalar", [np.float32(0.5), np.array(0.5), jnp.float32(0.5)])
def test_a_plan_holds_plain_numbers(scalar):
    plan = make_plan("CartPole-v1", max_kl=scalar)
    assert json.loads(json.dumps(plan.as_json()))["config"]["max_kl"] == 0.5


@pytest.mark.parametrize("values", [[0.01, 0.02], np.array([0.01, 0.02])], ids=str)
def test_a_plan_refuses_a_sweep(values):
    with pytest.raises(ValueError, match=r"max_kl must be one value.*vmap"):
        make_plan("CartPole-v1", max_kl=values)


def test_an_unknown_activation_is_refused_at_construction():
    with pytest.raises(ValueError, match=r"activation must be one of tanh.*'tahn'"):
        NetworkConfig(activation="tahn")


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("gymnax:CartPole-v1", "CartPole-v1"),
        ("gymnasium:CartPole-v1", "CartPole-v1"),  # the same task
        ("envpool:Hopper-v5", "Hopper-v*"),
        ("brax:ant@spring", "brax:ant"),
        ("brax:ant", "brax:ant"),
        ("gymnasium:Acrobot-v1", None),  # its preset holds actions, the host cannot
        ("playground:CartpoleBalance", None),
    ],
)
def test_a_task_has_its_preset_in_every_simulator(name, key):
    assert preset_of(name) == (PRESETS[key] if key else DEFAULT)


SCALARS = [
    ("num_envs", np.int64(8), 8),
    ("num_steps", np.uint8(16), 16),
    ("num_steps", np.array(16), 16),
    ("num_envs", jnp.int32(8), 8),
    ("total_steps", np.int64(50_000), 50_000),
    ("seeds", np.int64(2), 2),
    ("seed", np.int32(3), 3),
    ("evaluation_episodes", np.int64(5), 5),
    ("simulator_timeout", np.float32(0), 0.0),
    ("hidden_sizes", (np.int64(32), np.int32(16)), (32, 16)),
    ("hidden_sizes", np.array([32, 16]), (32, 16)),
    ("critic_hidden_sizes", [np.int64(32)], [32]),
    ("log_std_init", np.float32(-0.5), -0.5),
    ("log_std_init", np.array(-0.5), -0.5),
    ("scale_reward", np.bool_(False), False),
    ("orthogonal_init", np.array(False), False),
    ("kl_constraint", np.str_("max"), "max"),
    ("max_kl", np.float64(0.5), 0.5),
    ("max_kl", np.array(0.5), 0.5),
    ("max_kl", np.int64(1), 1),
    ("fisher_fraction", np.float16(0.5), 0.5),
]


@pytest.mark.parametrize(("name", "given", "stored"), SCALARS)
def test_numbers_of_numpy_are_stored_as_numbers_of_python(name, given, stored):
    kinds = Config, NetworkConfig, RunConfig
    (kind,) = (x for x in kinds if name in x.__dataclass_fields__)
    values = kind(**{name: given})
    found = getattr(values, name)
    assert found == stored
    assert type(found) is type(stored)
    assert json.loads(json.dumps(dataclasses.asdict(values))) == json.loads(
        json.dumps(dataclasses.asdict(kind(**{name: stored})))
    )
    assert values == kind(**{name: stored})


def test_a_plan_of_numbers_of_numpy_is_that_of_numbers_of_python():
    given = {name: value for name, value, _ in SCALARS if name != "log_std_init"}
    stored = {name: value for name, _, value in SCALARS if name != "log_std_init"}
    assert make_plan("CartPole-v1", **given).as_json() == (
        make_plan("CartPole-v1", **stored).as_json()
    )


def test_the_structure_of_a_config_does_not_depend_on_who_made_its_integers():
    one, other = Config(num_envs=np.int64(8)), Config(num_envs=8)
    assert jax.tree.structure(one) == jax.tree.structure(other)
    counted = jax.jit(chex.assert_max_traces(lambda config: config.max_kl, n=1))
    counted(one)
    counted(other)
    chex.clear_trace_counter()


@pytest.mark.parametrize("swept", [np.array([0.1, 0.2]), jnp.array([0.1, 0.2])])
def test_swept_numbers_stay_arrays(swept):
    assert Config(max_kl=swept).max_kl is swept


def test_a_number_on_a_device_stays_there():
    number = jnp.float32(0.1)
    assert Config(max_kl=number).max_kl is number


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("num_envs", np.float64(8), "8.0"),
        ("num_envs", np.int64(0), "0"),
        ("num_envs", np.bool_(True), "True"),
        ("num_envs", np.array([8]), r"\(8,\)"),
        ("scale_reward", np.int64(1), "1"),
        ("max_kl", np.float32(-1), "-1.0"),
        ("max_kl", np.bool_(True), "True"),
    ],
)
def test_numbers_of_numpy_keep_the_rules(name, value, shown):
    with pytest.raises(ValueError, match=f"{name} must be .*; got {shown}$"):
        Config(**{name: value})
