"""From a policy's numbers to actions: the oracle is one number at a time, in Python."""

import fractions
import itertools
import math

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trpo_jax import train
from trpo_jax.environments.actions import convert_action, rescale_action
from trpo_jax.environments.base import shaped
from trpo_jax.environments.conversion import convert_space
from trpo_jax.environments.gymnasium import GymnasiumEnvironment
from trpo_jax.environments.spaces import Box, Dict, Discrete

INF = math.inf
pytestmark = pytest.mark.usefixtures("quick_compilation")
NUMBERS = (-9.0, -1.0, -0.6, -0.25, 0.0, 0.3, 0.999, 1.0, 9.0)
BOUNDS = {
    "unit": (-1.0, 1.0),
    "one sided": (0.0, 1.0),
    "far away": (1000.0, 1000.5),
    "squashed": (0.25, 0.25),
    "no upper": (0.0, INF),
    "no lower": (-INF, 0.5),
    "none": (-INF, INF),
    "huge": (-3e38, 3e38),
    "huge and one sided": (0.0, 3e38),
}


def expected(number, low, high):
    """The meaning of a policy's number, as docs/simulators.md says it."""
    if math.isfinite(low) and math.isfinite(high):
        low, high = fractions.Fraction(low), fractions.Fraction(high)
        part = (fractions.Fraction(max(-1.0, min(1.0, number))) + 1) / 2
        return float(low + part * (high - low))
    return max(low, min(high, number))


@pytest.mark.parametrize("name", BOUNDS)
def test_a_number_becomes_what_the_bounds_say(name):
    low, high = BOUNDS[name]
    box, numbers = Box.uniform((1,), low, high), np.array(NUMBERS)[:, None]
    right = np.array([expected(x, low, high) for x in NUMBERS])
    by_host = convert_action(box, numbers.astype(np.float32), "float32")
    compiled = jax.jit(lambda x: rescale_action(box, x))(jnp.float32(numbers))
    for result in (by_host, np.asarray(compiled)):
        assert result.dtype == np.float32
        assert (result >= low).all() and (result <= high).all()
        np.testing.assert_allclose(result[:, 0], right, rtol=1e-6, atol=1e-7)
        if math.isfinite(low) and math.isfinite(high):
            ends = [result[NUMBERS.index(x), 0] for x in (-9.0, -1.0, 1.0, 9.0)]
            assert ends == [low, low, high, high]


def test_every_element_follows_its_own_bounds():
    pairs = list(BOUNDS.values())
    box = Box((len(pairs),), *map(tuple, zip(*pairs, strict=True)))
    for number in NUMBERS:
        result = convert_action(box, np.full((1, len(pairs)), number), "float64")
        right = [expected(number, low, high) for low, high in pairs]
        np.testing.assert_allclose(result[0], right, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "uint64", "bool"])
def test_integers_are_rounded_to_the_nearest(dtype):
    low, high = (0, 1) if dtype == "bool" else (-3, 4) if dtype[0] == "i" else (2, 9)
    box = Box.uniform((1,), low, high)
    numbers = np.linspace(-1.2, 1.2, 97)[:, None]
    result = convert_action(box, numbers, dtype)
    assert result.dtype == dtype
    exact = np.array([expected(x, low, high) for x in numbers[:, 0].tolist()])
    assert (np.abs(result[:, 0].astype(float) - exact) <= 0.5).all()
    assert set(result[:, 0].tolist()) == set(range(low, high + 1))


@pytest.mark.parametrize("dtype", ["int8", "int32", "uint32", "int64", "uint64"])
def test_the_largest_integers_do_not_overflow(dtype):
    limits = np.iinfo(dtype)
    box = Box.uniform((1,), float(limits.min), float(limits.max))
    ends = convert_action(box, np.array([[-5.0], [5.0]]), dtype)[:, 0].tolist()
    assert ends[0] == limits.min
    assert math.nextafter(limits.max, 0) <= ends[1] <= limits.max
    if limits.bits <= 32:  # in float32
        ends = rescale_action(box, jnp.array([-5.0, 5.0]), dtype).tolist()
        assert ends[0] == limits.min
        assert limits.max - 256 <= ends[1] <= limits.max


@pytest.mark.parametrize(
    ("leading", "shape"),
    list(itertools.product([(1,), (3,)], [(0,), (2, 0), (2, 3), ()])),
)
def test_actions_get_the_shape_of_the_box(leading, shape):
    box = Box.uniform(shape, -2.0, 2.0)
    numbers = np.zeros((*leading, math.prod(shape)), np.float32)
    assert convert_action(box, numbers, "float32").shape == (*leading, *shape)


def test_largest_numbers_of_a_type_are_no_bounds():
    for dtype in (np.float32, np.float64):
        top = np.finfo(dtype).max
        space = gymnasium.spaces.Box(np.array([-top, 0], dtype), top, (2,), dtype)
        free = convert_space("x", "action", space)
        assert free.low == (-INF, 0.0)
        assert free.high == (INF, INF)
    seen = convert_space("x", "observation", space)  # they only describe these
    assert not any(map(math.isinf, seen.low + seen.high))


class Odd(gymnasium.Env):
    """It only takes actions of its space."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)

    def __init__(self, space):
        self.action_space = space

    def reset(self, *, seed=None, options=None):
        self.time = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.time += 1
        return np.zeros(2, np.float32), 1.0, self.time == 4, False, {}


SPACES = {
    "half bounded": gymnasium.spaces.Box(0, np.inf, (2,), np.float32),
    "mixed": gymnasium.spaces.Box(
        np.array([0, -np.inf, -1]), np.array([np.inf, 3, 0.1]), dtype=np.float64
    ),
    "integers": gymnasium.spaces.Box(-3, 3, (2,), np.int32),
    "long integers": gymnasium.spaces.Box(0, 2**40, (1,), np.int64),
    "bytes": gymnasium.spaces.Box(0, 255, (2, 2), np.uint8),
    "squashed": gymnasium.spaces.Box(0.3, 0.3, (1,), np.float32),
    "empty": gymnasium.spaces.Box(-1, 1, (0,), np.float32),
    "huge": gymnasium.spaces.Box(-3e38, 3e38, (1,), np.float32),
    "half precision": gymnasium.spaces.Box(-0.1, 0.7, (1,), np.float16),
    "integers of 32 bits": gymnasium.spaces.Discrete(3, dtype=np.int32),
}


@pytest.mark.parametrize("name", SPACES)
def test_a_run_only_takes_actions_of_the_space(name):
    def make(num_envs, seed):
        mode = gymnasium.vector.AutoresetMode.SAME_STEP
        one = [lambda: Odd(SPACES[name])] * num_envs
        vector = gymnasium.vector.SyncVectorEnv(one, autoreset_mode=mode)
        return GymnasiumEnvironment(vector, seed=seed)

    result = train(
        make, total_steps=64, num_envs=2, num_steps=16, evaluation_episodes=2,
        hidden_sizes=(4,), progress=False,
    )  # fmt: skip
    assert result.evaluation["greedy"]["mean_per_seed"] == [4.0]
    assert np.isfinite(result.metrics.critic_loss).all()


def test_a_compiled_environment_gets_the_shape_of_its_box():
    class Two:
        action_space = Box.uniform((2, 1), -1, 1)

    assert shaped(Two(), jnp.zeros(2)).shape == (2, 1)


def test_spaces_become_plain_python():
    inner = gymnasium.spaces.Dict(b=gymnasium.spaces.Discrete(3))
    box = gymnasium.spaces.Box(0, 1, (2,), np.float64)
    converted = convert_space("x", "action", gymnasium.spaces.Dict(z=box, a=inner))
    expected = Dict({"a": Dict({"b": Discrete(3)}), "z": Box.uniform((2,), 0, 1)})
    assert converted == expected
    assert list(converted.spaces) == ["a", "z"]
    assert convert_space("x", "action", converted) == converted
    two = gymnasium.spaces.Dict(b=gymnasium.spaces.Text(3))
    with pytest.raises(ValueError, match=r"x\['c'\]\['b'\]: action space Text is not"):
        convert_space("x", "action", gymnasium.spaces.Dict(c=two))
