"""Brax behind the contract; what it does is held against brax stepped by hand."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    Relaxed,
    assert_a_step_leaves_its_state,
    assert_close,
    assert_nothing_is_weakly_typed,
    assert_resets_only_at_the_end,
    is_finite,
    play,
    play_twice,
)

pytest.importorskip("brax")

from trpo_jax import Config, collect, default_agent, init, train
from trpo_jax.environments.base import check_environment
from trpo_jax.environments.brax import BraxEnvironment, envs, fluid, names
from trpo_jax.environments.spaces import Box, Dict

pytestmark = pytest.mark.filterwarnings(
    "ignore:Accessing .* directly from `Data`:DeprecationWarning"
)
KEY = jax.random.key(0)
REAL, LIMIT = "inverted_pendulum@spring", 5


class Meter(envs.Env):
    """Brax at its worst: cheap, and every reset can be told from every other.

    Observation: name in [100, 200], drawn at the reset, and time. Reward: the first
    action. Done: the second action above 0.9. State: changes types, keeps keys, and is
    written into.
    """

    action_size, observation_size, backend = 2, 2, "none"

    def __init__(self, start=0):
        self._start = start

    def _observe(self, name, time):
        return {"time": time[None], "name": name}

    def reset(self, key):
        key, name_key = jax.random.split(key)
        name = jax.random.uniform(name_key, minval=100, maxval=200)
        time = jnp.float32(self._start)
        return envs.State(
            pipeline_state={"name": name, "time": time},
            obs=self._observe(name, time),
            reward=jnp.zeros(()),
            done=jnp.zeros(()),
            metrics={"time": 0.0},
            info={"key": key, "count": 0},
        )

    def step(self, state, action):
        name, time = state.pipeline_state["name"], state.pipeline_state["time"] + 1
        state.metrics.update(time=time)
        state.info["count"] += 1.0
        state.pipeline_state["time"] = time
        return state.replace(
            obs=self._observe(name, time),
            reward=action[0],
            done=jnp.where(action[1] > 0.9, 1.0, 0.0),
        )


@pytest.fixture(autouse=True, scope="module")
def world():
    """Brax under the usual promotion, which it needs, and with one more environment."""
    get = envs.get_environment
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(envs._envs, "meter", Meter)
        patch.setattr(envs, "get_environment", lambda *a, **k: Relaxed(get(*a, **k)))
        yield


@functools.cache
def meter():
    return BraxEnvironment("meter", max_episode_steps=3)


@functools.cache
def real():
    return BraxEnvironment(REAL, max_episode_steps=LIMIT)


ACTIONS = np.linspace(-1, 0.8, LIMIT, dtype=np.float32)[:, None]


@functools.cache
def played():
    """Two episodes with the same actions: by the adapter, and by hand."""
    with warnings.catch_warnings(action="ignore"):
        raw = envs.get_environment("inverted_pendulum", backend="spring")
    return play_twice(real(), raw, ACTIONS, jax.random.split(KEY))


def test_it_is_what_brax_does_by_hand():
    (first, steps), (expected_first, expected) = played()
    assert_close(first, expected_first)
    assert_close((steps.observation, steps.reward), expected[:2])
    np.testing.assert_array_equal(steps.terminated, expected[2] > 0)


def test_the_time_limit_truncates_and_shows_where_the_episode_ended():
    (first, steps), (_, (observation, _, _)) = played()
    np.testing.assert_array_equal(steps.truncated, [[False] * 4 + [True]] * 2)
    assert not steps.terminated.any()
    assert_close(steps.observation[:, -1], observation[:, -1])
    assert np.abs(steps.observation[:, -1] - first).max() > 0.1


def test_different_keys_give_different_resets():
    (first, _), _ = played()
    assert (first[0] != first[1]).all()
    _, observation = jax.vmap(meter().reset)(jax.random.split(KEY, 50))
    assert len(np.unique(observation["name"])) == 50


@pytest.mark.parametrize("environment", [meter, real])
def test_the_contract_is_held(environment):
    check_environment(environment())
    assert_nothing_is_weakly_typed(environment())


def test_spaces_and_limit():
    assert real().action_space == Box.uniform((1,), -1, 1)
    assert real().observation_space == Box.uniform((4,))
    assert real().max_episode_steps == LIMIT
    assert BraxEnvironment("meter").max_episode_steps == 1000


def test_dictionaries_of_observations_stay_dictionaries():
    observation, steps = play(meter(), [[0.0, 0.0]])
    parts = {"name": Box.uniform(()), "time": Box.uniform((1,))}
    assert meter().observation_space == Dict(parts)
    assert observation["time"].tolist() == [0]
    assert steps[0].observation["time"].tolist() == [1]
    assert steps[0].observation["name"] == observation["name"]


@pytest.mark.parametrize(
    ("falls", "terminated", "truncated"),
    [
        ((0, 0, 0), (False, False, False), (False, False, True)),
        ((0, 1, 0), (False, True, False), (False, False, True)),
        ((0, 0, 1), (False, False, True), (False, False, True)),
    ],
)
def test_a_fall_terminates_and_time_truncates(falls, terminated, truncated):
    _, steps = play(meter(), [[0.0, float(fall)] for fall in falls])
    assert tuple(bool(step.terminated) for step in steps) == terminated
    assert tuple(bool(step.truncated) for step in steps) == truncated


def test_an_action_beyond_the_bounds_is_clipped():
    _, steps = play(meter(), [[0.5, 0.0], [7.0, 0.0], [-7.0, 0.0]])
    assert [float(step.reward) for step in steps] == [0.5, 1, -1]


def test_a_step_leaves_the_state_it_starts_from_as_it_was():
    assert_a_step_leaves_its_state(meter())


def test_a_reset_happens_only_at_the_end_and_the_final_observation_is_kept():
    assert_resets_only_at_the_end(meter())


def test_trap_next_observations_are_final_ones_not_those_of_the_reset():
    spaces = meter().observation_space, meter().action_space
    agent = default_agent(*spaces, hidden_sizes=())
    state = init(KEY, meter(), agent, Config(num_envs=3))
    _, rollout = jax.jit(lambda state: collect(state, meter(), agent, num_steps=20))(
        state
    )
    name, time = 0, 1
    fall = np.asarray(rollout.action[..., 1]).clip(-1, 1) > 0.9
    before, after = (
        np.stack([seen["name"], seen["time"][..., 0]], axis=-1)
        for seen in (rollout.observation, rollout.next_observation)
    )
    # A name is a random number, which two programs may round differently.
    np.testing.assert_allclose(after[..., name], before[..., name], rtol=1e-6)
    np.testing.assert_array_equal(after[..., time], before[..., time] + 1)
    np.testing.assert_array_equal(rollout.terminated, fall)
    np.testing.assert_array_equal(rollout.truncated, after[..., time] == 3)
    ended = (rollout.terminated | rollout.truncated)[:-1]
    assert (rollout.terminated & rollout.truncated).any()
    np.testing.assert_array_equal(before[1:][ended][:, time], 0)
    assert (before[1:][ended][:, name] != after[:-1][ended][:, name]).all()
    np.testing.assert_array_equal(before[1:][~ended], after[:-1][~ended])
    assert len(np.unique(before[..., name])) == 3 + ended.sum()  # each reset is fresh


def test_it_trains():
    result = train(
        real(),
        total_steps=256,
        num_envs=8,
        num_steps=16,
        evaluation_episodes=2,
        progress=False,
    )
    assert result.plan.environment == f"brax:{REAL}"
    assert is_finite(result.state.policy_params)
    assert (np.asarray(result.metrics.kl) > 0).any()
    # One for each step that the pendulum stands, and nothing falls within the limit.
    assert result.evaluation["greedy"]["mean_per_seed"] == [LIMIT]


def test_the_backend_is_a_part_of_the_name_or_an_argument():
    named = [
        BraxEnvironment(REAL),
        BraxEnvironment("inverted_pendulum", "spring"),
        BraxEnvironment(REAL, "spring"),
    ]
    assert {environment.name for environment in named} == {f"brax:{REAL}"}
    assert {environment.simulator.backend for environment in named} == {"spring"}
    default = BraxEnvironment("inverted_pendulum")
    assert default.name == "brax:inverted_pendulum"
    assert default.simulator.backend == "generalized"


def test_options_are_those_of_the_class():
    _, observation = BraxEnvironment("meter", start=7).reset(KEY)
    assert observation["time"].tolist() == [7]


def test_names_are_those_that_brax_knows_now():
    assert "meter" in names()  # registered by a user
    assert {"ant", "halfcheetah", "hopper", "humanoid", "walker2d"} <= set(names())


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("antt", {}, "unknown brax environment 'antt'; nearest: 'ant'"),
        ("antt@spring", {}, "unknown brax environment 'antt'; nearest: 'ant'"),
        ("", {}, "unknown brax environment ''; list them with: trpo-jax envs"),
        ("ant@sprong", {}, "backend must be one of generalized, .*; got 'sprong'"),
        ("ant@", {}, "backend must be one of .*; got ''"),
        ("ant", {"backend": "warp"}, "backend must be one of .*; got 'warp'"),
        (
            "ant@spring",
            {"backend": "mjx"},
            "backend must be None or the one in the name, 'spring'; got 'mjx'",
        ),
        ("ant", {"max_episode_steps": 0}, "max_episode_steps must be .*; got 0"),
        ("swimmer@mjx", {}, "^brax:swimmer@mjx cannot be made .*backend: mjx.$"),
        ("meter", {"colour": 3}, "brax:meter cannot be made .*'colour'"),
    ],
)
def test_what_does_not_exist_is_refused_in_one_line(name, arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        BraxEnvironment(name, **arguments)
    assert "\n" not in str(error.value)


def test_making_an_environment_says_nothing_and_leaves_no_file(
    capfd, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    BraxEnvironment("halfcheetah@spring")
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


def test_swimming_works_though_jax_has_renamed_an_argument():
    x = jnp.array([-1.0, 0.5, 3.0])
    assert fluid.jp.clip(x, a_min=0.0).tolist() == [0, 0.5, 3]
    assert fluid.jp.clip(x, 0.0, 1.0).tolist() == [0, 0.5, 1]
    assert fluid.jp.clip(x, min=0.0, max=1.0).tolist() == [0, 0.5, 1]
    assert fluid.jp.ones is jnp.ones
    check_environment(BraxEnvironment("swimmer"))
