import subprocess
import sys
import types

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import Clock, assert_identical, softmax_agent, step_one

import trpo_jax
from trpo_jax.algorithm.initialization import init
from trpo_jax.algorithm.rollout import collect
from trpo_jax.config import Config
from trpo_jax.environments import (
    SIMULATORS,
    Simulator,
    check_name,
    full_name,
    known_names,
    list_environments,
    lookup,
    make_environment,
    make_host_environment,
    runs_on_host,
)
from trpo_jax.environments.action_repeat import ActionRepeat
from trpo_jax.environments.actions import rescale_action
from trpo_jax.environments.base import Step, check_environment, take_step
from trpo_jax.environments.gymnax import GymnaxEnvironment
from trpo_jax.environments.nested import space_tree
from trpo_jax.environments.spaces import Box, Discrete
from trpo_jax.environments.tabular import TabularEnvironment
from trpo_jax.theory.mdp import ONE_STATE


def types_of(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


def some_action(space):
    def zeros(leaf):
        return jnp.zeros(
            leaf.shape, jnp.float32 if isinstance(leaf, Box) else jnp.int32
        )

    return jax.tree.map(zeros, space_tree(space))


def holds_the_contract(environment):
    @jax.jit
    def live(key):
        keys = jax.random.split(key, 3)
        start = environment.reset(keys[0])
        action = some_action(environment.action_space)
        *going_on, step = step_one(environment, keys[1], keys[2], start[0], action)
        return start, tuple(going_on), step

    start, going_on, step = live(jax.random.key(0))
    space = environment.observation_space
    shapes = jax.tree.map(lambda leaf: leaf.shape, space_tree(space))
    assert jax.tree.map(lambda leaf: leaf.shape, start[1]) == shapes
    assert types_of(going_on) == types_of(start)
    assert types_of((step.env_state, step.observation)) == types_of(start)
    assert types_of(step.reward) == ((), jnp.float32)
    assert types_of(step.terminated) == types_of(step.truncated) == ((), jnp.bool_)
    assert np.isfinite(step.reward)
    assert environment.max_episode_steps >= 1


@pytest.mark.parametrize(
    "name", [n for n in known_names("gymnax") if n != "MNISTBandit-bsuite"]
)
def test_gymnax_environment_holds_the_contract(name):
    holds_the_contract(make_environment(name))


@pytest.mark.parametrize("name", known_names("probe"))
def test_probe_holds_the_contract(name):
    holds_the_contract(make_environment(f"probe:{name}"))


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_the_names_kept_as_data_are_the_simulators_own(simulator):
    pytest.importorskip(SIMULATORS[simulator].package)
    # A newer version may have more; none that is listed may be gone.
    assert set(known_names(simulator)) <= set(lookup.adapter_of(simulator).names())
    assert known_names(simulator)


def test_an_environment_that_downloads_its_data_is_refused():
    with pytest.raises(ValueError, match=r"downloads .* try SimpleBandit-bsuite"):
        make_environment("MNISTBandit-bsuite")


def test_a_name_without_a_simulator_belongs_to_the_first_that_has_it():
    assert check_name("CartPole-v1") == ("gymnax", "CartPole-v1")
    assert check_name("gymnax:CartPole-v1") == ("gymnax", "CartPole-v1")
    assert check_name("envpool:CartPole-v1") == ("envpool", "CartPole-v1")
    assert check_name("gymnasium:CartPole-v1") == ("gymnasium", "CartPole-v1")
    with pytest.raises(ValueError, match="No module named 'nowhere'"):
        check_name("gymnasium:nowhere:CartPole-v1")
    with pytest.raises(ValueError, match="nearest"):
        check_name("gymnasium:json:CartPole-v9")
    assert check_name("Hopper-v4") == ("envpool", "Hopper-v4")
    assert check_name("Taxi-v4") == ("gymnasium", "Taxi-v4")
    assert check_name("probe:action") == ("probe", "action")
    assert full_name("Hopper-v4") == "envpool:Hopper-v4"
    assert make_environment("CartPole-v1").name == "gymnax:CartPole-v1"
    assert make_environment("probe:action").name == "probe:action"


def test_without_the_first_simulator_the_next_one_is_taken(monkeypatch):
    absent_without(monkeypatch, "envpool")
    assert check_name("FrozenLake-v1") == ("gymnasium", "FrozenLake-v1")
    assert not any(name.startswith("envpool:") for name in list_environments())


@pytest.mark.parametrize("name", ["Pong-v5", "envpool:Hopper-v4"])
def test_a_simulator_that_is_not_installed_is_named_with_its_extra(monkeypatch, name):
    absent_without(monkeypatch, "envpool")
    with pytest.raises(
        ValueError,
        match=rf"'{name}' needs envpool, .*: pip install 'trpo-jax\[envpool\]'",
    ):
        check_name(name)


def absent_without(monkeypatch, package):
    installed = lookup._installed
    monkeypatch.setattr(
        lookup, "_installed", lambda name: name != package and installed(name)
    )


def test_a_new_simulator_needs_an_adapter_and_a_line_in_the_table(monkeypatch):
    adapter = types.ModuleType("trpo_jax.environments.fake")
    adapter.names = lambda: ["CartPole-v1", "Walk-v0", "Run-v0"]
    adapter.FakeEnvironment = lambda name: f"made {name}"
    monkeypatch.setitem(SIMULATORS, "fake", Simulator("fake_package", extra=False))
    with pytest.raises(
        ValueError, match=r"'fake:Run-v0' needs .* install fake_package"
    ):
        check_name("fake:Run-v0")
    assert known_names("fake") == ()

    monkeypatch.setitem(SIMULATORS, "fake", Simulator("trpo_jax"))
    # The adapter is not imported for a name that an earlier simulator has.
    assert full_name("CartPole-v1") == "gymnax:CartPole-v1"
    monkeypatch.setitem(sys.modules, adapter.__name__, adapter)
    assert known_names("fake") == tuple(adapter.names())
    assert full_name("Walk-v0") == full_name("fake:Walk-v0") == "fake:Walk-v0"
    assert list_environments("fake:*-v0") == ["fake:Walk-v0", "fake:Run-v0"]
    assert make_environment("fake:CartPole-v1") == "made CartPole-v1"
    with pytest.raises(ValueError, match="'fake:Rum-v0'; nearest: 'fake:Run-v0'"):
        check_name("fake:Rum-v0")

    adapter.make_batch = lambda name, num_envs, seed: (name, num_envs, seed)
    simulator = Simulator("trpo_jax", on_host=True, maker="make_batch")
    monkeypatch.setitem(SIMULATORS, "fake", simulator)
    assert make_host_environment("fake:Run-v0", 3, 5) == ("Run-v0", 3, 5)


def test_who_steps_an_environment():
    assert runs_on_host("envpool:CartPole-v1")
    assert not runs_on_host("CartPole-v1")
    with pytest.raises(ValueError, match="runs on the host; use make_host_environment"):
        make_environment("Hopper-v4")
    with pytest.raises(ValueError, match="compiled programs; use make_environment"):
        make_host_environment("CartPole-v1")


def test_environments_are_listed_by_a_part_or_a_pattern_of_their_name():
    everything = list_environments()
    assert len(everything) == len(set(everything)) > 1000
    assert list_environments("cartpole-V1")[:2] == [
        "gymnax:CartPole-v1",
        "envpool:CartPole-v1",
    ]
    assert list_environments("gymnax:*MinAtar") == [
        f"gymnax:{name}" for name in known_names("gymnax") if name.endswith("-MinAtar")
    ]
    assert list_environments("Hopper-v?") == [
        name for name in everything if name.rpartition(":")[2].startswith("Hopper-v")
    ]
    assert list_environments("nothing has this name") == []


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("cartpole-v1", "CartPole-v1"),
        ("CartPole", "CartPole-v1"),
        ("gymnax:Pendulum-v0", "gymnax:Pendulum-v1"),
        ("probe:discont", "probe:discount"),
        ("Hoper-v4", "Hopper-v4"),
        ("envpool:Hoper-v4", "envpool:Hopper-v4"),
        ("gymnasium:Taxi-v9", "gymnasium:Taxi-v4"),
        ("cartpol", "CartPole-v1"),
        ("Hopper", "Hopper-v5"),
        ("hopper-v9", "Hopper-v5"),
        ("PongNoFrameskip-v4", "Pong-v5"),
        ("ALE/Pong-v5", "Pong-v5"),
    ],
)
def test_an_unknown_name_is_refused_with_one_that_exists(wrong, nearest):
    with pytest.raises(ValueError, match=f"unknown environment '{wrong}'") as error:
        make_environment(wrong)
    suggestion = str(error.value).rsplit("nearest: ", 1)[1].strip("'")
    check_name(suggestion)  # as it stands, prefix and all
    assert suggestion == nearest


@pytest.mark.parametrize(
    ("far", "command"),
    [
        ("zzz", "trpo-jax envs"),
        ("gymnax:zzz", "trpo-jax envs 'gymnax:*'"),
    ],
)
def test_a_name_that_is_near_none_is_refused_with_how_to_list_them(far, command):
    with pytest.raises(ValueError, match="unknown environment") as error:
        check_name(far)
    assert str(error.value) == f"unknown environment {far!r}; list them with: {command}"


def test_a_class_in_the_place_of_an_instance_is_named():
    message = r"^got the class MakesNothing; pass an instance: MakesNothing\(\)$"
    for call in (check_environment, trpo_jax.train):
        with pytest.raises(ValueError, match=message):
            call(MakesNothing)
    with pytest.raises(ValueError, match=r"got the class Empty; .*: Empty\(\)$"):
        trpo_jax.train(type("Empty", (), {}))


class MakesNothing:
    """An environment only by what it has; nothing of it is called."""

    name, max_episode_steps = "nothing", None
    observation_space = action_space = None
    reset = step = None


@pytest.mark.parametrize("empty", ["", "probe:", "envpool:"])
def test_an_empty_name_is_said_to_be_missing(empty):
    with pytest.raises(ValueError, match=f"name is missing in '{empty}'"):
        make_environment(empty)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("gym", "nearest: 'gymnasium', known: "),
        ("gymnx", "nearest: 'gymnax', known: "),
        ("mujoco_playground", "nearest: 'playground', known: "),
        ("unity", "known: "),
    ],
)
def test_an_unknown_simulator_is_refused_with_those_that_exist(wrong, hint):
    message = f"unknown simulator {wrong!r} in '{wrong}:Task'; {hint}gymnax, envpool"
    with pytest.raises(ValueError, match=f"^{message}"):
        check_name(f"{wrong}:Task")


def test_the_adapter_itself_refuses_an_unknown_name():
    with pytest.raises(ValueError, match=r"'CartPole-v9'; nearest: 'CartPole-v1'"):
        GymnaxEnvironment("CartPole-v9")


def test_a_space_that_is_not_supported_is_refused(monkeypatch):
    class Odd:
        def observation_space(self, params):
            return gymnax.environments.spaces.Dict({})

    monkeypatch.setattr(gymnax, "make", lambda name: (Odd(), None))
    with pytest.raises(
        ValueError, match=r"Catch-bsuite: observation space Dict: .* at least one"
    ):
        GymnaxEnvironment("Catch-bsuite")


def test_checking_a_name_imports_no_simulator():
    code = (
        "import sys; from trpo_jax.environments import check_name;"
        "check_name('CartPole-v1'); sys.exit(bool({'gymnax', 'jax'} & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_reset_happens_only_at_the_end_and_the_final_observation_is_kept():
    clock = Clock()
    start, _ = clock.reset(jax.random.key(0))
    for time in (1, 2, 3):
        state, to_act_on, step = step_one(
            clock, jax.random.key(1), jax.random.key(2), start, jnp.int32(0)
        )
        assert step.observation.tolist() == [start.name, time]
        if time < 3:
            assert_identical((state, to_act_on), (step.env_state, step.observation))
        start = state
    assert_identical((state, to_act_on), clock.reset(jax.random.key(2)))
    assert float(to_act_on[0]) != float(step.observation[0])


def test_different_keys_give_different_resets():
    for environment in (Clock(), make_environment("CartPole-v1")):
        keys = jax.random.split(jax.random.key(0), 50)
        _, observation = jax.vmap(environment.reset)(keys)
        assert len(np.unique(observation, axis=0)) == 50


def test_a_time_limit_truncates_and_does_not_terminate():
    _, params = gymnax.make("Pendulum-v1")
    pendulum = GymnaxEnvironment("Pendulum-v1", params.replace(max_steps_in_episode=3))
    assert pendulum.max_episode_steps == 3
    state, _ = pendulum.reset(jax.random.key(0))
    flags = []
    for _ in range(3):
        step = jax.jit(pendulum.step)(jax.random.key(1), state, jnp.zeros(1))
        state = step.env_state
        flags.append((bool(step.terminated), bool(step.truncated)))
    assert flags == [(False, False), (False, False), (False, True)]


def test_a_fall_terminates_and_does_not_truncate():
    cartpole = make_environment("CartPole-v1")
    state, _ = cartpole.reset(jax.random.key(0))
    advance = jax.jit(cartpole.step)
    for _ in range(30):
        step = advance(jax.random.key(1), state, jnp.int32(1))
        state = step.env_state
        if step.terminated:
            break
    assert bool(step.terminated)
    assert not step.truncated
    assert abs(float(step.observation[2])) > np.deg2rad(12)  # the final observation


def test_one_unit_of_action_is_the_bound_of_the_space():
    # Pendulum's torque lies within ±2: full action is torque 2, and more is clipped.
    pendulum = make_environment("Pendulum-v1")
    simulator, params = gymnax.make("Pendulum-v1")
    state, _ = pendulum.reset(jax.random.key(0))
    key = jax.random.key(1)
    advance = jax.jit(pendulum.step)
    full, beyond, half = (
        advance(key, state, jnp.array([action])) for action in (1.0, 7.0, 0.5)
    )
    assert_identical(full.observation, beyond.observation)
    raw = jax.jit(lambda torque: simulator.step_env(key, state, torque, params)[0])
    np.testing.assert_allclose(full.observation, raw(jnp.array([2.0])), rtol=1e-6)
    np.testing.assert_allclose(half.observation, raw(jnp.array([1.0])), rtol=1e-6)


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ([-1.0, -1.0], [0.0, -4.0]),
        ([0.0, 0.0], [0.5, 0.0]),
        ([1.0, 1.0], [1.0, 4.0]),
        ([-9.0, 9.0], [0.0, 4.0]),
        ([0.5, -0.5], [0.75, -2.0]),
    ],
)
def test_rescaled_action(action, expected):
    space = Box((2,), low=(0.0, -4.0), high=(1.0, 4.0))
    assert rescale_action(space, jnp.array(action)).tolist() == expected


def test_an_action_without_bounds_is_left_alone():
    space = Box((2,), low=(0.0, -np.inf), high=(1.0, np.inf))
    assert rescale_action(space, jnp.array([9.0, -9.0])).tolist() == [1, -9]


def test_spaces():
    box = Box.uniform((2, 3), -1, 1)
    assert box.low == (-1.0,) * 6
    assert box.bounded
    assert not Box.uniform((2,)).bounded
    assert not Box((2,), (0.0, 0.0), (1.0, np.inf)).bounded
    assert len({box, Box.uniform((2, 3), -1, 1), Discrete(2), Discrete(2)}) == 2


def play(name, actions, seed=0):
    """Take actions from a reset: first observation, then a list of steps."""
    probe = make_environment(f"probe:{name}")
    state, observation = probe.reset(jax.random.key(seed))
    steps = []
    for action in actions:
        steps.append(probe.step(jax.random.key(0), state, action))
        state = steps[-1].env_state
    return float(observation[0]), steps


def rewards(steps):
    return [float(step.reward) for step in steps]


def ends(steps):
    return [(bool(step.terminated), bool(step.truncated)) for step in steps]


ON, TERMINATED, TRUNCATED = (False, False), (True, False), (False, True)
ZERO = jnp.int32(0)


def test_probe_value_pays_one_and_ends():
    _, steps = play("value", [ZERO])
    assert (rewards(steps), ends(steps)) == ([1], [TERMINATED])


def test_probe_observation_pays_what_it_shows():
    shown = set()
    for seed in range(10):
        observation, steps = play("observation", [ZERO], seed)
        assert (rewards(steps), ends(steps)) == ([observation], [TERMINATED])
        shown.add(observation)
    assert shown == {-1.0, 1.0}


def test_probe_discount_pays_after_two_steps():
    first, steps = play("discount", [ZERO, ZERO])
    assert first == 0
    assert [float(step.observation[0]) for step in steps] == [1, 2]
    assert (rewards(steps), ends(steps)) == ([0, 1], [ON, TERMINATED])


def test_probe_truncation_would_go_on_for_ever():
    # From the observation 1 every step pays 1 and leads to 1: V(1) = 1 + γ V(1).
    first, steps = play("truncation", [ZERO] * 3)
    assert first == 0
    assert [float(step.observation[0]) for step in steps] == [1, 1, 1]
    assert (rewards(steps), ends(steps)) == ([0, 1, 1], [ON, ON, TRUNCATED])


def test_probe_action_prefers_zero():
    assert rewards(play("action", [jnp.int32(0)])[1]) == [1]
    assert rewards(play("action", [jnp.int32(1)])[1]) == [-1]


def test_probe_policy_wants_the_action_of_the_sign():
    for seed in range(10):
        observation, steps = play("policy", [jnp.int32(1)], seed)
        assert rewards(steps) == [observation]
        _, steps = play("policy", [jnp.int32(0)], seed)
        assert rewards(steps) == [-observation]


def test_probe_continuous_is_best_at_half_the_observation():
    for seed in range(4):
        observation, steps = play("continuous", [jnp.array([0.5])], seed)
        assert rewards(steps) == [0 if observation > 0 else -1]
        _, steps = play("continuous", [jnp.array([-0.5])], seed)
        assert rewards(steps) == [-1 if observation > 0 else 0]


class Sound:
    """An environment that keeps the contract, to be broken in one place at a time."""

    name = "sound"
    observation_space = Box.uniform((2,))
    action_space = Discrete(2)
    max_episode_steps = None

    def reset(self, key):
        return jnp.zeros(2), jnp.zeros(2)

    def step(self, key, env_state, action):
        return Step(env_state, env_state, jnp.float32(0), jnp.bool_(0), jnp.bool_(0))


def broken(**parts):
    """Return a `Sound` environment with other attributes, or another part of a step."""
    attributes = {k: v for k, v in parts.items() if hasattr(Sound, k)}
    fields = {k: v for k, v in parts.items() if k in Step._fields}

    def step(self, key, env_state, action):
        return Sound.step(self, key, env_state, action)._replace(**fields)

    return type("Broken", (Sound,), {"step": step, **attributes})()


@jax.tree_util.register_pytree_node_class
class Mute:
    """A state of the user's that prints as its address."""

    def __init__(self, *leaves):
        self.leaves = leaves

    def tree_flatten(self):
        return self.leaves, None

    @classmethod
    def tree_unflatten(cls, _, leaves):
        return cls(*leaves)


class Muted(Sound):
    action_space = Box.uniform((2, 3))

    def __init__(self, after=2):
        self._after = after

    def reset(self, key):
        return Mute(jnp.zeros(2)), jnp.zeros(2)

    def step(self, key, env_state, action):
        step = Sound().step(key, jnp.zeros(2), action + jnp.zeros((2, 3)))
        return step._replace(env_state=Mute(jnp.zeros(self._after)))


def test_states_are_compared_by_their_arrays_not_by_how_they_print():
    check_environment(Muted())
    with pytest.raises(ValueError, match="env_state as reset does"):
        check_environment(Muted(after=3))


def test_actions_arrive_in_the_shape_of_the_box():
    environment = Muted()
    state, _ = environment.reset(jax.random.key(0))
    keys = jax.random.split(jax.random.key(0))
    step_one(environment, *keys, state, jnp.zeros(6))


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1", "probe:observation"])
def test_what_keeps_the_contract_passes_the_check(name):
    check_environment(make_environment(name))
    check_environment(make_environment(name, action_repeat=3))
    check_environment(Sound())


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (3, "an environment must have 'name'"),
        (broken(max_episode_steps=0), "max_episode_steps must be .*; got 0"),
        (broken(max_episode_steps="20"), "max_episode_steps must be .*; got '20'"),
        (
            broken(observation_space=Box.uniform((5,))),
            r"shape \(5,\); got float32\[2\]",
        ),
        (broken(observation=jnp.zeros(3)), r"observation as reset does.*float32\[3\]"),
        (broken(env_state=(jnp.zeros(2), 0)), "env_state as reset does"),
        (broken(reward=jnp.zeros(1)), r"reward must be a float scalar.*\[1\]"),
        (broken(reward=jnp.int32(1)), "reward must be a float scalar; got int32"),
        (broken(terminated=jnp.float32(0)), "terminated must be a bool scalar"),
        (broken(truncated=jnp.zeros(2, bool)), "truncated must be a bool scalar"),
        (broken(step=lambda *_: (1, 2)), "step must return a trpo_jax.Step"),
    ],
)
def test_an_environment_that_breaks_the_contract_is_refused(environment, message):
    with pytest.raises(ValueError, match=message):
        check_environment(environment)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Discrete(0), "n must be an integer >= 1; got 0"),
        (lambda: Box.uniform((-1,)), "shape must not be negative"),
        (lambda: Box.uniform((2,), 1.0, -1.0), "low must be <= high"),
        (lambda: Box((2,), (0.0,), (1.0,)), "one number per element, 2; got 1 and 1"),
    ],
)
def test_a_space_that_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("repeat", [0, -1, "2", 1.5])
def test_actions_are_held_a_whole_number_of_times(repeat):
    with pytest.raises(ValueError, match="action_repeat must be an integer >= 1"):
        make_environment("CartPole-v1", action_repeat=repeat)


def test_a_module_is_imported_before_its_environment_is_looked_up(
    tmp_path, monkeypatch
):
    (tmp_path / "my_environments.py").write_text(
        "import gymnasium\n"
        "entry = 'gymnasium.envs.classic_control.cartpole:CartPoleEnv'\n"
        "gymnasium.register('Mine-v0', entry, max_episode_steps=9)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    name = "gymnasium:my_environments:Mine-v0"
    assert full_name(name) == name
    environment = make_host_environment(name, 2, 0)
    assert environment.name == name
    assert environment.max_episode_steps == 9
    environment.close()


class Recording:
    """Pays what it was told to, and writes the type of the action into its state."""

    name, max_episode_steps = "recording", None
    observation_space = Box.uniform((1,))

    def __init__(self, action_space, reward):
        self.action_space, self.reward, self.types = action_space, reward, []

    def reset(self, key):
        return jnp.float32(0), jnp.zeros(1)

    def step(self, key, env_state, action):
        self.types.append((action.dtype, action.shape))
        return Step(env_state, jnp.zeros(1), self.reward, False, jnp.bool_(False))


@pytest.mark.parametrize(
    ("space", "action", "expected"),
    [
        (Discrete(3), jnp.uint8(2), (jnp.int32, ())),
        (Discrete(3), 2, (jnp.int32, ())),
        (Box.uniform((2, 1)), jnp.ones(2, jnp.bfloat16), (jnp.float32, (2, 1))),
        (Box.uniform((2,)), np.ones(2), (jnp.float32, (2,))),
    ],
)
def test_actions_have_the_type_that_the_check_promises(space, action, expected):
    environment = Recording(space, jnp.float32(1))
    check_environment(environment)
    take_step(environment, jax.random.key(0), jnp.float32(0), action)
    assert environment.types == [expected] * 2


REWARDS = [True, 1, np.float64(1), jnp.bool_(True), jnp.uint8(1), jnp.bfloat16(1)]


@pytest.mark.parametrize("reward", REWARDS, ids=repr)
def test_rewards_of_a_held_action_are_added_as_floats(reward):
    """Three times True is 3."""
    environment = ActionRepeat(Recording(Discrete(2), reward), 3)
    step = take_step(environment, jax.random.key(0), jnp.float32(0), jnp.int32(0))
    assert types_of(step.reward) == ((), jnp.float32)
    assert types_of(step.terminated) == types_of(step.truncated) == ((), jnp.bool_)
    assert float(step.reward) == 3


@pytest.mark.parametrize("reward", REWARDS, ids=repr)
def test_rewards_of_any_type_are_collected_as_float32(reward):
    environment, agent = Recording(Discrete(2), reward), softmax_agent()
    config = Config(num_envs=2)
    state = init(jax.random.key(0), environment, agent, config)
    state, rollout = collect(state, environment, agent, num_steps=3)
    assert rollout.reward.dtype == rollout.episode_return.dtype == jnp.float32
    assert rollout.reward.tolist() == [[1, 1]] * 3
    assert state.episode_return.tolist() == [3, 3]


def test_a_process_may_consist_of_arrays_of_numpy():
    environment = TabularEnvironment(ONE_STATE, max_episode_steps=5)
    env_state, _ = environment.reset(jax.random.key(0))
    step = jax.jit(environment.step)(jax.random.key(1), env_state, jnp.int32(0))
    assert float(step.reward) == 1


def test_a_time_limit_of_numpy_is_a_number():
    environment = Recording(Discrete(2), jnp.float32(1))
    environment.max_episode_steps = np.int64(7)
    check_environment(environment)
    made = make_environment("CartPole-v1", action_repeat=np.int64(2))
    assert (made.max_episode_steps, type(made.max_episode_steps)) == (250, int)


@pytest.mark.parametrize("name", ["gymnasium:CartPole-v1", "envpool:CartPole-v1"])
def test_simulators_take_sizes_and_seeds_of_numpy(name):
    first = []
    for kind in (int, np.int64):
        environment = make_host_environment(name, kind(2), kind(3))
        first.append(environment.reset())
        environment.close()
    np.testing.assert_array_equal(*first)


def test_what_gymnax_cannot_step_in_double_precision_is_one_sentence(x64):
    usual = jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow")
    with usual[0], usual[1], pytest.raises(ValueError, match="jax_enable_x64") as error:
        make_environment("DiscountingChain-bsuite")
    assert "\n" not in str(error.value)
