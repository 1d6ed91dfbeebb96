"""Whatever a simulator returns, arrays of the contract's types come out."""

import dataclasses
import functools
from typing import Any

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from trpo_jax.environments import make_host_environment
from trpo_jax.environments.conversion import convert_observations, convert_space
from trpo_jax.environments.gymnasium import GymnasiumEnvironment
from trpo_jax.environments.host import (
    HostStep,
    SimulatorError,
    copy_exactly,
)
from trpo_jax.environments.host_arrays import first_observation, receive_step
from trpo_jax.environments.spaces import Box, Discrete
from trpo_jax.runs.api import train


@dataclasses.dataclass
class Answers:
    """A simulator that gives a prepared answer."""

    step: Any
    start: Any = ((0.0,), (0.0,))
    observation_space: Any = dataclasses.field(
        default_factory=lambda: Box.uniform((1,))
    )
    name: str = "mine"
    num_envs: int = 2

    def reset(self):
        return self.start

    def receive(self):
        return self.step


PLAIN = HostStep(
    observation=[[1.5], [2.5]],
    next_observation=((0.5,), (2.5,)),
    reward=[1, 2],
    terminated=(0, 1),
    truncated=False,
    valid=True,
)


def test_lists_tuples_and_single_numbers_become_arrays():
    step = receive_step(Answers(PLAIN))
    expected = HostStep([[1.5], [2.5]], [[0.5], [2.5]], [1, 2], [0, 1], [0, 0], [1, 1])
    kinds = ["float32"] * 3 + ["bool"] * 3
    for found, numbers, kind in zip(step, expected, kinds):
        assert isinstance(found, np.ndarray)
        assert found.dtype == kind
        np.testing.assert_array_equal(found, numbers)
    np.testing.assert_array_equal(first_observation(Answers(PLAIN)), [[0], [0]])


@pytest.mark.parametrize("kind", [bool, np.int8, np.int64, np.float16, np.float64])
def test_rewards_of_any_type_become_float32(kind):
    step = receive_step(Answers(PLAIN._replace(reward=np.array([0, 1], kind))))
    assert step.reward.dtype == np.float32
    assert step.reward.tolist() == [0, 1]


def test_nothing_shares_memory_with_the_simulator():
    arrays = [np.zeros((2, 1), np.float32)] * 2 + [np.zeros(2, np.float32)]
    arrays += [np.zeros(2, bool) for _ in range(3)]
    step = receive_step(Answers(HostStep(*arrays)))
    start = first_observation(Answers(PLAIN, arrays[0]))
    for array in arrays:
        array[:] = 1
    assert not any(found.any() for found in (*step, start))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reward": np.zeros(3)}, r"mine: reward must have shape \(2,\); got \(3,\)"),
        ({"reward": np.zeros((2, 1))}, r"reward must have shape \(2,\); got \(2, 1\)"),
        ({"terminated": [[False]] * 2}, r"terminated must have shape \(2,\)"),
        ({"observation": np.zeros(2)}, r"observation must have shape \(2, 1\); got"),
        ({"next_observation": np.zeros((1, 1))}, r"got \(1, 1\)"),
    ],
)
def test_another_shape_is_one_sentence(changes, message):
    with pytest.raises(SimulatorError, match=message):
        receive_step(Answers(PLAIN._replace(**changes)))


@pytest.mark.parametrize(
    ("numbers", "kind"),
    [
        ([0.5], "int32"),
        ([np.nan], "uint8"),
        (np.array([2**40]), "int32"),
        ([-1], "uint8"),
        ([256], "uint8"),
        ([2], "bool"),
    ],
)
def test_whole_numbers_are_not_cut_in_silence(numbers, kind):
    value = numbers[0]
    message = f"mine: observations must be {kind}, as the space says; got {value}"
    with pytest.raises(SimulatorError, match=message):
        copy_exactly("mine", numbers, kind)


@pytest.mark.parametrize(
    ("numbers", "kind"),
    [
        ([3.0, 0.0], "int32"),
        (np.array([3, 200], np.int64), "uint8"),
        (np.array([1, 0], np.int64), "bool"),
        (np.array([0.1, 1e-30]), "float32"),
        (np.array([2**60, 5]), "float32"),
    ],
)
def test_numbers_that_fit_are_taken(numbers, kind):
    found = copy_exactly("mine", numbers, kind)
    assert found.dtype == kind
    assert not np.shares_memory(found, numbers)
    np.testing.assert_allclose(found.astype(float), np.asarray(numbers, float), 1e-7)


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        (gymnasium.spaces.Box(0, 2**60, (1,), np.int64), "float32"),
        (gymnasium.spaces.Box(-(2**31), 2**31 - 1, (1,), np.int64), "int32"),
        (gymnasium.spaces.Box(-(2**31) - 1, 0, (1,), np.int64), "float32"),
        (gymnasium.spaces.Box(0, 2**31, (1,), np.uint64), "float32"),
        (gymnasium.spaces.Box(0, 255, (1,), np.uint64), "int32"),
        (gymnasium.spaces.Box(0, 2**32 - 1, (1,), np.uint32), "uint32"),
        (gymnasium.spaces.Box(0, 1, (1,), np.uint8), "uint8"),
        (gymnasium.spaces.Box(-1, 1, (1,), np.float64), "float32"),
        (gymnasium.spaces.Box(-1, 1, (1,), np.float16), "float16"),
    ],
)
def test_spaces_have_a_type_that_jax_holds_without_being_asked(space, expected):
    assert convert_space("mine", "observation", space).dtype == expected
    converted, convert = convert_observations("mine", space)
    largest = convert(np.stack([space.high, space.low]))
    assert largest.dtype == converted.dtype == expected
    exact = np.stack([space.high, space.low]).astype(float)
    np.testing.assert_allclose(largest.astype(float), exact, rtol=1e-7)


def test_a_box_of_ones_own_is_treated_the_same():
    wide = Box((2,), (0.0, 0.0), (1.0, 2.0**40), dtype="int64")
    assert wide.dtype == "float32"
    assert Box((1,), (0.0,), (9.0,), dtype=np.int64).dtype == "int32"
    assert Box.uniform((3,)).dtype == "float32"


def test_sizes_and_bounds_of_numpy_are_stored_as_numbers_of_python():
    discrete = Discrete(np.int64(3))
    box = Box([np.int64(2)], np.zeros(2), np.ones(2, np.float32))
    assert type(discrete.n) is int
    assert discrete == Discrete(3)
    assert box == Box((2,), (0.0, 0.0), (1.0, 1.0))
    assert [type(x) for x in (*box.shape, *box.low, *box.high)] == [int] + [float] * 4
    assert hash(box) == hash(Box((2,), (0.0, 0.0), (1.0, 1.0)))


@pytest.mark.parametrize("n", [2.0, "2", None])
def test_a_number_of_actions_is_an_integer(n):
    with pytest.raises(ValueError, match="n must be an integer >= 1"):
        Discrete(n)


class OneArray(gymnasium.Env):
    """Writes every observation, (episode, time), into one array and returns that."""

    observation_space = gymnasium.spaces.Box(0, 99, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self):
        self.array = np.zeros(2, np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.array += [1, -self.array[1]]
        return self.array, {}

    def step(self, action):
        self.array[1] += 1
        return self.array, 1.0, False, bool(self.array[1] == 3), {}


class OneArrayInDict(OneArray):
    """The same in a dictionary."""

    observation_space = gymnasium.spaces.Dict({"a": OneArray.observation_space})

    def reset(self, *, seed=None, options=None):
        return {"a": super().reset(seed=seed)[0]}, {}

    def step(self, action):
        observation, *rest = super().step(action)
        return {"a": observation}, *rest


@pytest.fixture
def registered(monkeypatch):
    registry = dict(gymnasium.registry)
    monkeypatch.setattr(gymnasium.envs.registration, "registry", registry)
    monkeypatch.setattr(gymnasium, "registry", registry)
    for kind in (OneArray, OneArrayInDict):
        gymnasium.register(f"{kind.__name__}-v0", kind)


def final_observations(environment, steps=6):
    environment.reset()
    finals = []
    for _ in range(steps):
        environment.send(np.zeros(environment.num_envs, int))
        step = environment.receive()
        (final,) = jax.tree.leaves(step.next_observation)
        finals += final[step.truncated & step.valid].tolist()
    environment.close()
    return finals


@pytest.mark.parametrize("kind", [OneArray, OneArrayInDict])
def test_trap_a_reset_does_not_write_into_the_final_observation(kind, registered):
    environment = make_host_environment(f"gymnasium:{kind.__name__}-v0", 2)
    assert final_observations(environment) == [[1, 3], [1, 3], [2, 3], [2, 3]]


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_nor_does_it_in_a_vector_environment_of_ones_own(mode):
    environment = GymnasiumEnvironment(
        SyncVectorEnv([OneArray] * 2, autoreset_mode=mode)
    )
    steps = 7 if mode == AutoresetMode.NEXT_STEP else 6
    assert final_observations(environment, steps) == [[1, 3], [1, 3], [2, 3], [2, 3]]


def test_nor_does_it_in_worker_processes(registered):
    environment = GymnasiumEnvironment("OneArray-v0", 2, workers=True)
    assert final_observations(environment) == [[1, 3], [1, 3], [2, 3], [2, 3]]


def test_a_vector_environment_may_return_lists_and_whole_numbers():
    class Odd(SyncVectorEnv):
        def step(self, actions):
            observation, reward, terminated, truncated, info = super().step(actions)
            flags = terminated.astype(int), truncated.tolist()
            return observation, reward.astype(int).tolist(), *flags, info

    environments = [
        GymnasiumEnvironment(kind([OneArray] * 2, autoreset_mode=mode))
        for mode in (AutoresetMode.NEXT_STEP,)
        for kind in (Odd, SyncVectorEnv)
    ]
    found = list(map(functools.partial(final_observations, steps=9), environments))
    assert found[0] == found[1]


class Coin(gymnasium.Env):
    """Shows a coin as 5 or as 2⁴⁰ + 5, whose last 32 bits are the same."""

    observation_space = gymnasium.spaces.Box(0, 2**60, (1,), np.int64)
    action_space = gymnasium.spaces.Discrete(2)

    def _show(self):
        self.side = int(self.np_random.integers(2))
        return np.array([2**40 * self.side + 5])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self._show(), {}

    def step(self, action):
        reward = float(action == self.side)
        self.time += 1
        return self._show(), reward, False, self.time >= 8, {}


def test_whole_numbers_beyond_32_bits_reach_the_policy():
    result = train(
        lambda n, seed: GymnasiumEnvironment(
            SyncVectorEnv([Coin] * n, autoreset_mode=AutoresetMode.SAME_STEP)
        ),
        total_steps=4096, num_envs=4, num_steps=64, max_kl=0.05,
        evaluation_episodes=20, progress=False,
    )  # fmt: skip
    assert result.evaluation["greedy"]["iqm"] >= 7
