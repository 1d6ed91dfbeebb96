"""The contract of simulators that Python steps on the host.

Such a simulator steps a batch of `B` environments, keeps their state to itself, and
takes and returns numpy arrays. `collect_on_host` fills the same `Rollout` with it that
`collect` fills with a compiled environment, so the same `update` serves both.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from trpo_jax.environments.nested import Nested
from trpo_jax.environments.spaces import Space

LARGEST_STATE = 2**20  # bytes per environment in a checkpoint


class HostStep(NamedTuple):
    """The result of one step of a batch of environments.

    Attributes:
        observation: the observations to act on next, in the structure of their space:
            an array `[B, ...]`, or a dictionary or a tuple of those. If an episode has
            ended and its environment was reset at once, this is the first observation
            of the next episode.
        next_observation: the observations after the action, likewise. If an episode has
            ended, this is its final observation.
        reward: `[B]` float32, the rewards.
        terminated: `[B]` bool, whether the state after the action is absorbing.
        truncated: `[B]` bool, whether the episode was cut off.
        valid: `[B]` bool, False if the simulator ignored the action and used this step
            to start an episode; such a step is no transition.
    """

    observation: Nested
    next_observation: Nested
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

    The optional attribute `action_dtype` tells `load_policy(run).act` the name of the
    type of the simulator's actions, if that is not the type of `action_space`; where
    actions are dictionaries or tuples, so is it.

    Attributes:
        name: the name with the simulator, such as `envpool:Hopper-v4`.
        observation_space: the space of one observation. In a `Dict` or a `Tuple`,
            observations are dictionaries or tuples of arrays that lead with B.
        action_space: the space of one action, likewise. `send` takes the numbers of a
            policy and turns them into actions as `convert_action` does: integers count
            from 0, and ±1 is at the bounds of a `Box`.
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

    def reset(self) -> Nested:
        """Start an episode in every environment; return observations `[B, ...]`."""

    def send(self, action: Nested) -> None:
        """Start a step with the actions `[B, ...]`, without waiting for its result."""

    def receive(self) -> HostStep:
        """Wait for the step that `send` has started and return its result.

        Raises:
            SimulatorError: if the simulator raises, dies or does not answer.
        """

    def restart(self, mask: np.ndarray) -> Nested:
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
