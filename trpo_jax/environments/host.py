"""The contract between the library and a simulator that runs on the host.

Such a simulator is batched and has a state of its own: numpy arrays in, numpy arrays
out, `B` environments at a time. `collect_on_host` drives it and fills the same
`Rollout` that accelerated environments fill, so that one `update` serves both.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from trpo_jax.environments.spaces import Box, Discrete, Space, rescale_action

LARGEST_STATE = 2**20  # bytes of an environment in a checkpoint


class HostStep(NamedTuple):
    """What one step of a batch of environments gives; `B` leads.

    Attributes:
        observation: `[B, ...]` to act on next; where `next_observation` is a final one
            and the reset takes no step, of the episode that follows.
        next_observation: `[B, ...]` where the action led; after an end the final
            observation of the episode, never the one after the reset.
        reward: `[B]` float32.
        terminated: `[B]` bool, the state arrived in is absorbing.
        truncated: `[B]` bool, the episode was cut off.
        valid: `[B]` bool; False where the simulator spent this step on starting an
            episode and ignored the action: not a transition.
    """

    observation: np.ndarray
    next_observation: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    valid: np.ndarray


class HostEnvironment(Protocol):
    """`B` environments that are stepped together by the host.

    Stepping is in two halves, so that one batch simulates while the policy thinks about
    another.

    A vine needs three members more: `can_branch`, true when `snapshot(i)` gives the
    whole state of environment i and `restore(i, snapshot)` puts it into any environment
    of the run, not just its own; `valid` must then be True always.

    A checkpoint keeps the state of simulators that have two more: `save_state()`, which
    returns at most `LARGEST_STATE` bytes for each environment, or None when they cannot
    be had, and `load_state(states)`, called after `reset`. Others start new episodes
    when a run goes on.

    Attributes:
        name: with its simulator, as `envpool:Hopper-v4`.
        observation_space: of one observation.
        action_space: of one action. Where a `Box` is bounded, `send` takes actions in
            units of the box, ±1 at the bounds, and clips what lies beyond.
        max_episode_steps: no episode is longer, or None when that is not known.
        num_envs: B.
    """

    name: str
    observation_space: Space
    action_space: Space
    max_episode_steps: int | None
    num_envs: int

    def reset(self) -> np.ndarray:
        """Start an episode everywhere: observations `[B, ...]`."""

    def send(self, action: np.ndarray) -> None:
        """Hand over the actions `[B, ...]` and return at once."""

    def receive(self) -> HostStep:
        """Wait for what `send` has set off.

        Raises:
            SimulatorError: when the simulator raises, dies or does not answer.
        """

    def restart(self, mask: np.ndarray) -> np.ndarray:
        """Start an episode where `mask` `[B]` says so, between two steps.

        Returns:
            Observations of those `[n, ...]`, in order.
        """

    def close(self) -> None:
        """Let go of threads and processes."""


MakeHost = Callable[[int, int], HostEnvironment]
"""`make(num_envs, seed)`: what `train` takes for simulators of your own.

It makes as many environments as it is asked for, the i-th with the seed `seed + i`:
then a run does not depend on how many simulators its environments are divided among.
"""


def check_host_environment(environment: HostEnvironment, num_envs: int) -> None:
    """Refuse simulators that are not what `make(num_envs, seed)` was to make.

    Raises:
        ValueError: with what is missing, or with the number of environments there are.
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
    """A simulator raised, died or did not answer; the cause is attached."""


def convert_action(space: Space, action: np.ndarray) -> np.ndarray:
    """Turn the actions of a policy into those of a simulator.

    Args:
        space: of one action.
        action: `[B]` of a `Discrete` space, `[B, A]` of a `Box` with A numbers.

    Returns:
        Integers as they are; `[B, *space.shape]` float64, in which simulators compute,
        rescaled to the bounds of the box.
    """
    if isinstance(space, Discrete):
        return action
    return rescale_action(space, action.reshape(-1, *space.shape).astype(np.float64))


def convert_space(name: str, role: str, space: Any) -> Space:
    """Return a space of Gymnasium as one of ours; float64 becomes float32.

    Raises:
        ValueError: when it is neither a `Box` nor a `Discrete` that starts at 0.
    """
    kind = type(space).__name__
    if kind == "Discrete" and int(getattr(space, "start", 0)) == 0:
        return Discrete(int(space.n))
    if kind == "Box":
        low, high = (
            tuple(np.asarray(bound, float).ravel().tolist())
            for bound in (space.low, space.high)
        )
        dtype = np.dtype(space.dtype).name
        return Box(
            tuple(space.shape), low, high, "float32" if dtype == "float64" else dtype
        )
    raise ValueError(
        f"{name}: {role} space {space} is not supported; it must be a Box or a "
        "Discrete that starts at 0" + ", or a Dict of those" * (role == "observation")
    )


def convert_observations(
    name: str, space: Any
) -> tuple[Space, Callable[[Any], np.ndarray]]:
    """Return a space for the observations of a simulator, and what brings them there.

    Boxes and integers stay as they are, images too; only float64 becomes float32. A
    dictionary, nested or not, becomes one vector: keys in alphabetical order, integers
    one-hot.

    Args:
        name: of the environment, for messages.
        space: of one observation, as Gymnasium describes it.

    Returns:
        The space, and a function from a batch of the simulator's observations to an
        array `[B, *space.shape]` that is no longer the simulator's own.

    Raises:
        ValueError: for other spaces.
    """
    if type(space).__name__ != "Dict":
        converted = convert_space(name, "observation", space)
        dtype = converted.dtype if isinstance(converted, Box) else np.int32
        return converted, lambda observation: np.array(observation, dtype)
    parts = {
        key: _as_vectors(*convert_observations(f"{name}[{key!r}]", part))
        for key, part in sorted(space.spaces.items())
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
        one_hot = np.eye(space.n, dtype=np.float32)
        return Box.uniform((space.n,), 0, 1), lambda x: one_hot[convert(x)]

    def flatten(observation: Any) -> np.ndarray:
        return convert(observation).reshape(-1, math.prod(space.shape))

    return Box((math.prod(space.shape),), space.low, space.high), flatten
