"""The contract of simulators that Python steps on the host.

Such a simulator steps a batch of `B` environments, keeps their state to itself, and
takes and returns numpy arrays. `collect_on_host` fills the same `Rollout` with it that
`collect` fills with a compiled environment, so the same `update` serves both.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from trpo_jax.environments.spaces import (
    Box,
    Discrete,
    Space,
    convert_space,
    rescale_action,
)

Parts = Space | dict[str, "Parts"]
"""The observations of a simulator: a space, or a dictionary of spaces."""

LARGEST_STATE = 2**20  # bytes per environment in a checkpoint


class HostStep(NamedTuple):
    """The result of one step of a batch of environments.

    Attributes:
        observation: `[B, ...]` the observations to act on next. If an episode has ended
            and its environment was reset at once, this is the first observation of the
            next episode.
        next_observation: `[B, ...]` the observations after the action. If an episode
            has ended, this is its final observation.
        reward: `[B]` float32, the rewards.
        terminated: `[B]` bool, whether the state after the action is absorbing.
        truncated: `[B]` bool, whether the episode was cut off.
        valid: `[B]` bool, False if the simulator ignored the action and used this step
            to start an episode; such a step is no transition.
    """

    observation: np.ndarray
    next_observation: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    valid: np.ndarray


class HostEnvironment(Protocol):
    """A batch of `B` environments that Python steps together.

    A step has two halves, `send` and `receive`, so that one batch can simulate while
    the policy computes the actions of another.

    A vine needs three more members: `snapshot(i)` returns the whole state of
    environment i, `restore(i, snapshot)` puts it into any environment of the run, and
    `can_branch` says whether both work. `HostStep.valid` must then always be True.

    With two more members a checkpoint keeps the state of the simulator: `save_state()`
    returns at most `LARGEST_STATE` bytes for each environment, or None if there is no
    state to save, and `load_state(states)` is called after `reset`. Without them a
    resumed run starts new episodes.

    Two optional attributes describe the simulator to `load_policy(run).act`:
    `action_dtype`, the name of the type of its actions, if that is not the type of
    `action_space`, and `observation_parts`, the result of `describe_observations`, if
    its observations are dictionaries.

    Attributes:
        name: the name with the simulator, such as `envpool:Hopper-v4`.
        observation_space: the space of one observation.
        action_space: the space of one action. `send` takes the numbers of a policy; in
            a `Box` it turns them into actions as `convert_action` does.
        max_episode_steps: the length of the longest episode, or None if unknown.
        num_envs: the batch size B.

    Example:
        >>> from trpo_jax import make_host_environment
        >>> environment = make_host_environment("gymnasium:CartPole-v1", num_envs=2)
        >>> observation = environment.reset()
        >>> environment.send(np.array([0, 1]))
        >>> environment.receive().reward.tolist()
        [1.0, 1.0]
        >>> environment.close()
    """

    name: str
    observation_space: Space
    action_space: Space
    max_episode_steps: int | None
    num_envs: int

    def reset(self) -> np.ndarray:
        """Start an episode in every environment; return observations `[B, ...]`."""

    def send(self, action: np.ndarray) -> None:
        """Start a step with the actions `[B, ...]`, without waiting for its result."""

    def receive(self) -> HostStep:
        """Wait for the step that `send` has started and return its result.

        Raises:
            SimulatorError: if the simulator raises, dies or does not answer.
        """

    def restart(self, mask: np.ndarray) -> np.ndarray:
        """Start an episode, between two steps, in the n environments of a `[B]` mask.

        The result is their first observations `[n, ...]`, in order.
        """

    def close(self) -> None:
        """End the threads and processes of the simulator."""


MakeHost = Callable[[int, int], HostEnvironment]
"""The type of `make(num_envs, seed)`, which `train` takes for your own simulators.

It makes `num_envs` environments; environment i must have the seed `seed + i`, so that
the results do not depend on how many simulators share the environments of a run.
"""


def check_host_environment(environment: HostEnvironment, num_envs: int) -> None:
    """Check the result of `make(num_envs, seed)`.

    It is a `ValueError` if it lacks a member of `HostEnvironment`, or has another
    number of environments.
    """
    methods = ("reset", "send", "receive", "restart", "close")
    parts = (*HostEnvironment.__annotations__, *methods)
    missing = [part for part in parts if not hasattr(environment, part)]
    kind = type(environment).__name__
    if missing:
        raise ValueError(f"{kind} lacks {', '.join(missing)}; see HostEnvironment")
    if environment.num_envs != num_envs:
        raise ValueError(
            f"make(num_envs={num_envs}, seed) gave a {kind} of {environment.num_envs} "
            "environments"
        )


class SimulatorError(Exception):
    """The error of a simulator that raised, died or did not answer."""


def copy_exactly(name: str, numbers: Any, dtype: Any) -> np.ndarray:
    """Return a copy of numbers as another type, as floats rounded, otherwise exactly.

    Integers or booleans that would change are a `SimulatorError` with the name of the
    environment.

    Example:
        >>> copy_exactly("mine", [3, 4], "uint8").tolist()
        [3, 4]
    """
    numbers, kind = np.asarray(numbers), np.dtype(dtype)
    with np.errstate(invalid="ignore"):  # it is found below
        copy = np.array(numbers, kind)
    exact = kind.kind in "fV" or np.can_cast(numbers.dtype, kind)
    if not exact and (changed := copy != numbers).any():
        raise SimulatorError(
            f"{name}: observations must be {kind.name}, as the space says; got "
            f"{numbers[changed].flat[0]}: correct the bounds or the type of the space"
        )
    return copy


def convert_action(
    space: Space,
    action: np.ndarray,
    dtype: Any = None,
    leading: tuple[int, ...] | None = None,
) -> np.ndarray:
    """Turn the actions of a policy into those of a simulator, of the type `dtype`.

    The `[B]` integers of a `Discrete` space keep their values. The `[B, A]` numbers of
    a `Box` with A elements become `[B, *space.shape]`; `rescale_action` says what they
    mean. They are computed in float64, as simulators compute. The leading axes are
    those of the action, `[B]`, unless others are given.
    """
    if isinstance(space, Discrete):
        return action if dtype is None else action.astype(dtype)
    leading = action.shape[:1] if leading is None else leading
    action = action.reshape(*leading, *space.shape).astype(np.float64)
    if dtype is None:
        dtype = np.float64 if np.dtype(space.dtype).kind == "f" else space.dtype
    return rescale_action(space, action, dtype)


def describe_observations(name: str, space: Any) -> Parts:
    """Return the observation space of a simulator in plain Python.

    A dictionary of spaces, nested or not, becomes a dictionary of `Box` and `Discrete`.
    What `convert_observations` refuses is refused.

    Example:
        >>> import gymnasium
        >>> describe_observations("mine", gymnasium.spaces.Discrete(3))
        Discrete(n=3)
    """
    if isinstance(space, Box | Discrete):
        return space
    if not isinstance(space, dict) and type(space).__name__ != "Dict":
        return convert_space(name, "observation", space)
    parts = space if isinstance(space, dict) else space.spaces
    return {
        key: describe_observations(f"{name}[{key!r}]", part)
        for key, part in sorted(parts.items())
    }


def convert_observations(
    name: str, space: Any
) -> tuple[Space, Callable[[Any], np.ndarray]]:
    """Convert the observation space of a simulator, or its description.

    Boxes, including images, and integers keep their shape, and their type as far as
    `Box` does. A dictionary, nested or not, becomes one vector, with its keys in
    alphabetical order and its integers one-hot. Any other space, also a `Discrete` that
    does not start at 0, is a `ValueError` with the name of the environment.

    The results are the space, and a function that converts a batch of the simulator's
    observations into a new array `[B, *space.shape]`, see `copy_exactly`.
    """
    described = describe_observations(name, space)
    if not isinstance(described, dict):
        dtype = described.dtype if isinstance(described, Box) else np.int32
        return described, lambda observation: copy_exactly(name, observation, dtype)
    parts = {
        key: _as_vectors(*convert_observations(f"{name}[{key!r}]", part))
        for key, part in described.items()
    }

    def concatenate(observation: Any) -> np.ndarray:
        columns = [convert(observation[key]) for key, (_, convert) in parts.items()]
        return np.concatenate(columns, axis=1, dtype=np.float32)

    boxes = [box for box, _ in parts.values()]
    low = sum((box.low for box in boxes), ())
    high = sum((box.high for box in boxes), ())
    return Box((len(low),), low, high), concatenate


def _as_vectors(
    space: Space, convert: Callable[[Any], np.ndarray]
) -> tuple[Box, Callable[[Any], np.ndarray]]:
    if isinstance(space, Discrete):
        numbers = np.arange(space.n)
        box = Box.uniform((space.n,), 0, 1)
        return box, lambda x: (convert(x)[:, None] == numbers).astype(np.float32)
    box = Box((math.prod(space.shape),), space.low, space.high)
    return box, lambda x: convert(x).reshape(-1, *box.shape)
