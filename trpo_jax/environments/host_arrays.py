"""What simulators on the host return, as arrays that they cannot write into."""

from typing import Any

import numpy as np

from trpo_jax.environments.host import (
    HostEnvironment,
    HostStep,
    SimulatorError,
    copy_exactly,
)
from trpo_jax.environments.nested import Nested, walk


def first_observation(environment: HostEnvironment) -> Nested:
    """Start an episode in every environment; return a copy of the observations.

    See `receive_step`, also for the errors.
    """
    return _observations(environment, environment.reset())


def receive_step(environment: HostEnvironment) -> HostStep:
    """Wait for a step; return copies of its arrays, of the types of a `HostStep`.

    A simulator may write its next step into the arrays that it has returned, and may
    return lists or numbers of other types; one flag or reward stands for all
    environments. An array of another shape, or observations that the type of the space
    cannot hold, are a `SimulatorError`.
    """
    step = environment.receive()
    following = _observations(environment, step.observation)
    final = following
    if step.next_observation is not step.observation:
        final = _observations(environment, step.next_observation)
    shape = (environment.num_envs,)

    def rows(name: str, kind: type) -> np.ndarray:
        array: Any = np.array(getattr(step, name), kind)
        array = np.full(shape, array) if array.ndim == 0 else array
        return _require_shape(environment, name, array, shape)

    return HostStep(
        following,
        final,
        reward=rows("reward", np.float32),
        terminated=rows("terminated", bool),
        truncated=rows("truncated", bool),
        valid=rows("valid", bool),
    )


def _observations(environment: HostEnvironment, observation: Any) -> Nested:
    name = environment.name

    def read(what: str, space: Any, observation: Any) -> np.ndarray:
        array = copy_exactly(name, observation, space.dtype)
        shape = (environment.num_envs, *space.shape)
        return _require_shape(environment, what, array, shape)

    try:
        return walk(read, environment.observation_space, observation)
    except ValueError as error:
        raise SimulatorError(f"{name}: {error}") from error


def _require_shape(
    environment: HostEnvironment, name: str, array: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    if array.shape != shape:
        raise SimulatorError(
            f"{environment.name}: {name} must have shape {shape}; got {array.shape}"
        )
    return array
