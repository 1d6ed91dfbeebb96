"""MuJoCo Playground behind the contract, held against it stepped by hand."""

import functools
import subprocess
import types

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

pytest.importorskip("mujoco_playground")


from trpo_jax import train
from trpo_jax.environments.base import check_environment
from trpo_jax.environments.description import describe_environment
from trpo_jax.environments.observations import ObservationReader
from trpo_jax.environments.playground import (
    PlaygroundEnvironment,
    dm_control_suite,
    mjx_env,
    names,
    registry,
)
from trpo_jax.environments.spaces import Box, Dict

KEY = jax.random.key(0)
REAL, LIMIT = "PendulumSwingup", 5


class Robot(mjx_env.MjxEnv):
    """Cheap, and every reset can be told from every other.

    Observation: name in [100, 200], drawn at the reset, and time; and something that
    only the simulator knows. Reward: the action. A simulation pushed below −0.9 breaks
    down.
    """

    action_size = 1
    mj_model = xml_path = None

    @property
    def mjx_model(self):
        return types.SimpleNamespace(impl=types.SimpleNamespace(value=self.impl))

    def __init__(self, config, config_overrides=None):
        super().__init__(config, config_overrides)
        self.impl, self.entry = self._config.impl, self._config.entry

    def _observe(self, data):
        return {"privileged_state": jnp.full(3, 5.0), self.entry: data}

    def reset(self, key):
        key, name_key = jax.random.split(key)
        name = jax.random.uniform(name_key, minval=100, maxval=200)
        data = jnp.stack([name, jnp.zeros(())])
        zero = jnp.zeros(())
        return mjx_env.State(
            data, self._observe(data), zero, zero, {"time": 0.0}, {"rng": key}
        )

    def step(self, state, action):
        data = state.data + jnp.where(action < -0.9, jnp.nan, jnp.array([0.0, 1.0]))
        done = jnp.isnan(data).any().astype(float)
        state.metrics["time"] = data[1]
        state.info["rng"] = jax.random.split(state.info["rng"])[0]
        return state.replace(
            data=data,
            obs=self._observe(data),
            reward=action[0] + 0 * data[0],
            done=done,
        )


def configuration():
    return mjx_env.config_dict.create(
        ctrl_dt=0.1, sim_dt=0.1, episode_length=3, impl="warp", entry="state"
    )


@pytest.fixture(autouse=True, scope="module")
def world():
    """Playground under the usual promotion, which it needs, and with one task more."""
    load = registry.load
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(dm_control_suite._envs, "Robot", Robot)
        patch.setitem(dm_control_suite._cfgs, "Robot", configuration)
        patch.setattr(registry, "load", lambda *a, **k: Relaxed(load(*a, **k)))
        yield


@functools.cache
def robot():
    return PlaygroundEnvironment("Robot")


@functools.cache
def real():
    return PlaygroundEnvironment(REAL, episode_length=LIMIT)


ACTIONS = np.linspace(-1, 0.8, LIMIT, dtype=np.float32)[:, None]


@functools.cache
def played():
    """Two episodes with the same actions: by the adapter, and by hand."""
    raw = registry.load(REAL, config_overrides={"impl": "jax"})
    return play_twice(real(), raw, ACTIONS, jax.random.split(KEY))


def test_it_is_what_playground_does_by_hand():
    (first, steps), (expected_first, expected) = played()
    assert_close(first, expected_first)
    assert_close((steps.observation, steps.reward), expected[:2])
    np.testing.assert_array_equal(steps.terminated, expected[2] > 0)


def test_the_time_limit_truncates_and_shows_where_the_episode_ended():
    (first, steps), (_, (observation, _, _)) = played()
    np.testing.assert_array_equal(steps.truncated, [[False] * 4 + [True]] * 2)
    assert not steps.terminated.any()
    assert_close(steps.observation[:, -1], observation[:, -1])
    assert np.abs(steps.observation[:, -1] - first).max() > 0.01


def test_different_keys_give_different_resets():
    (first, _), _ = played()
    assert np.abs(first[0] - first[1]).max() > 1e-3
    _, observation = jax.vmap(robot().reset)(jax.random.split(KEY, 50))
    assert len(np.unique(observation["state"], axis=0)) == 50


@pytest.mark.parametrize("environment", [robot, real])
def test_the_contract_is_held(environment):
    check_environment(environment())
    assert_nothing_is_weakly_typed(environment())


@pytest.mark.parametrize("entry", ["state", "other"])
def test_a_dictionary_is_what_the_policy_sees_without_what_it_must_not(entry):
    environment = PlaygroundEnvironment("Robot", entry=entry)
    described = describe_environment(environment, own=False)
    env_state, shown = environment.reset(KEY)
    seen = env_state.simulator.obs
    assert set(seen) == {"privileged_state", entry}
    assert set(shown) == (set(seen) if entry == "other" else {"state"})
    read, _ = ObservationReader(described.observation_space)(seen)
    for name, array in shown.items():
        np.testing.assert_array_equal(read[name], array)
        np.testing.assert_array_equal(array, seen[name])


def test_spaces_and_limit():
    assert real().name == f"playground:{REAL}"
    assert real().action_space == Box.uniform((1,), -1, 1)
    assert real().observation_space == Box.uniform((3,))
    assert real().max_episode_steps == LIMIT
    assert robot().max_episode_steps == configuration().episode_length


def test_physics_is_that_of_jax_whatever_playground_prefers():
    assert registry.get_default_config(REAL).impl == "warp"
    assert real().simulator.mjx_model.impl.value == "jax"
    assert robot().simulator.impl == "jax"
    with pytest.raises(ValueError, match="impl must be 'jax'; got 'warp'"):
        PlaygroundEnvironment("Robot", impl="warp")


def test_a_policy_sees_the_entry_that_is_meant_for_it():
    observation, steps = play(robot(), [[0.0]])
    assert robot().observation_space == Dict({"state": Box.uniform((2,))})
    assert steps[0].observation["state"].tolist() == [float(observation["state"][0]), 1]


def test_without_such_an_entry_it_sees_all_of_them():
    environment = PlaygroundEnvironment("Robot", entry="a")
    parts = {"a": Box.uniform((2,)), "privileged_state": Box.uniform((3,))}
    assert environment.observation_space == Dict(parts)
    observation, _ = play(environment, [])
    assert observation["a"].tolist()[1:] == [0]
    assert observation["privileged_state"].tolist() == [5, 5, 5]


def test_a_simulation_that_breaks_down_terminates_and_time_truncates():
    _, steps = play(robot(), [[0.0], [0.0], [0.0]])
    assert [bool(step.terminated) for step in steps] == [False] * 3
    assert [bool(step.truncated) for step in steps] == [False, False, True]
    _, (step,) = play(robot(), [[-1.0]])
    assert bool(step.terminated)
    assert not step.truncated
    assert np.isnan(step.observation["state"]).all()
    _, (*_, step) = play(robot(), [[0.0], [0.0], [-1.0]])
    assert bool(step.terminated)
    assert bool(step.truncated)


def test_an_action_beyond_the_bounds_is_clipped():
    _, steps = play(robot(), [[0.5], [7.0]])
    assert [float(step.reward) for step in steps] == [0.5, 1]


def test_a_step_leaves_the_state_it_starts_from_as_it_was():
    assert_a_step_leaves_its_state(robot())


def test_a_reset_happens_only_at_the_end_and_the_final_observation_is_kept():
    assert_resets_only_at_the_end(robot())


def test_it_trains():
    result = train(
        real(),
        total_steps=256,
        num_envs=8,
        num_steps=16,
        evaluation_episodes=2,
        progress=False,
    )
    assert result.plan.environment == f"playground:{REAL}"
    assert is_finite(result.state.policy_params)
    assert (np.asarray(result.metrics.kl) > 0).any()
    assert 0 <= result.evaluation["greedy"]["iqm"] <= LIMIT


def test_names_are_those_that_playground_knows_now():
    assert "Robot" in names()  # registered by a user
    assert set(registry.ALL_ENVS) <= set(names())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("CartpolBalance", {}, "'CartpolBalance'; nearest: 'CartpoleBalance'"),
        ("", {}, "unknown Playground environment ''; list them with: trpo-jax envs"),
        ("Robot", {"episode_length": 0}, "episode_length must be .*; got 0"),
        ("Robot", {"colour": 3}, "playground:Robot cannot be made .*colour"),
    ],
)
def test_what_does_not_exist_is_refused_in_one_line(name, options, message):
    with pytest.raises(ValueError, match=message) as error:
        PlaygroundEnvironment(name, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["Go1JoystickFlatTerrain", "PandaPickCube"])
def test_robots_that_would_be_downloaded_are_refused(monkeypatch, tmp_path, name):
    def clone(*args, **kwargs):
        pytest.fail("it uses the network")

    monkeypatch.setattr(subprocess, "Popen", clone)
    monkeypatch.setattr(mjx_env, "MENAGERIE_PATH", tmp_path / "menagerie")
    with pytest.raises(ValueError, match=f"^{name} needs .* try CheetahRun$"):
        PlaygroundEnvironment(name)


def test_making_an_environment_says_nothing_and_leaves_no_file(
    capfd, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    PlaygroundEnvironment("CheetahRun")
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())
