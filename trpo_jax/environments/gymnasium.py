"""Gymnasium: any registered environment, or a vector environment of your own."""

import contextlib
import multiprocessing
import multiprocessing.connection
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

from trpo_jax.environments.actions import convert_action
from trpo_jax.environments.conversion import convert_space, types_of
from trpo_jax.environments.gymnasium_make import CopiedObservation, make_vector, names
from trpo_jax.environments.gymnasium_observations import GymnasiumObservations
from trpo_jax.environments.gymnasium_snapshots import (
    Snapshot,
    can_return,
    from_bytes,
    put_back,
    take_snapshot,
    to_bytes,
)
from trpo_jax.environments.host import HostStep, SimulatorError
from trpo_jax.environments.nested import Nested, map_nested, rows_of, write_rows
from trpo_jax.environments.spaces import Discrete

__all__ = ["GymnasiumEnvironment", "names"]

_PATIENCE = 5.0  # seconds that a worker has to end before it is killed


class GymnasiumEnvironment:
    """A Gymnasium vector environment as a `HostEnvironment`.

    All values of `autoreset_mode` in its metadata lead to the same transitions. If the
    next step is the reset, its `valid` is False. If the same step resets, the final
    observation comes from `info["final_obs"]`. If none does, this class resets. With
    resets in the same step, the environments of an `AsyncVectorEnv` of your own must
    not write into the array of their final observation; others may.

    If `info` has an `action_mask` after a reset, observations are dictionaries with the
    keys `"observation"` and `"action_mask"`, and the policy obeys the mask.

    Args:
        environment: a vector environment, a name in Gymnasium's registry, or
            `module:name`, where importing the module registers the environment.
        num_envs: the batch size B, for a name.
        seed: the seed of the first environment; environment i has `seed + i`.
        workers: whether each environment has a process of its own, for a name.
        timeout: the seconds that a step or a reset in worker processes may take; a
            wrapped vector environment keeps its own limit.
        name: the name for results; None means the name in the registry, or the class of
            the vector environment.
        max_episode_steps: the time limit; None means the one in the registry.
        options: keyword arguments of `gymnasium.make`, for a name.

    Raises:
        ValueError: if Gymnasium cannot make the environment, or a space is unsupported.
        SimulatorError: if the environment's own code raises.
    """

    def __init__(
        self,
        environment: str | VectorEnv,
        num_envs: int = 1,
        seed: int = 0,
        *,
        workers: bool = False,
        timeout: float = 60.0,
        name: str | None = None,
        max_episode_steps: int | None = None,
        **options: Any,
    ) -> None:
        if isinstance(environment, str):
            if max_episode_steps is not None:
                options["max_episode_steps"] = max_episode_steps
            name = name or environment
            environment = make_vector(environment, int(num_envs), workers, options)
        self._vector: Any = environment  # not every kind has `envs`
        inner = environment.unwrapped
        if isinstance(inner, SyncVectorEnv):
            inner.envs = [CopiedObservation(each) for each in inner.envs]
        self._processes = list(getattr(inner, "processes", []))
        self._pipes = list(getattr(inner, "parent_pipes", []))
        self._seed: int | None = int(seed) % 2**31
        self._timeout = timeout
        self.num_envs = environment.num_envs
        spec = environment.spec
        self.name = f"gymnasium:{name or (spec.id if spec else type(inner).__name__)}"
        self.max_episode_steps = max_episode_steps
        if max_episode_steps is None and spec:
            self.max_episode_steps = spec.max_episode_steps
        self.frames_per_second = environment.metadata.get("render_fps")
        observed = environment.single_observation_space
        acted = environment.single_action_space
        try:
            self.action_space = convert_space(self.name, "action", acted)
            self._observe = GymnasiumObservations(
                self.name, self.num_envs, observed, self.action_space
            )
            self._first: tuple | None = None  # the result of a reset still to come
            if self._observe.undecided:
                self._first = self._reset(seed=self._seed)
                self._observe.look_for_masks(self._first[1])
        except (ValueError, SimulatorError):
            self.close()
            raise
        self.observation_space = self._observe.space
        self.action_dtype = types_of(acted)
        self._mode = environment.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        self._resetting = np.zeros(self.num_envs, bool)
        self._last = np.full(self.num_envs, None)  # the actions of the last step
        self._result: tuple | None = None

    def reset(self) -> Nested:
        """Start an episode in every environment, see `HostEnvironment.reset`."""
        observation, info = self._first or self._reset(seed=self._seed)
        self._first = None
        self._seed = None  # a second reset must not repeat the same episodes
        self._resetting[:] = False
        self._last[:] = None
        return self._observe(observation, info)

    def send(self, action: Nested) -> None:
        """Start a step, see `HostEnvironment.send`; finish it if there are no workers.

        A `SimulatorError` of an environment may therefore be raised here already.
        """
        action = convert_action(self.action_space, action, self.action_dtype)
        if isinstance(self.action_space, Discrete):
            self._last = action.astype(object)
        if isinstance(self._vector, AsyncVectorEnv):
            self._call(self._vector.step_async, action)
        else:
            self._result = self._call(self._vector.step, action)

    def receive(self) -> HostStep:
        """Return the step that `send` has started, see `HostEnvironment.receive`."""
        result = self._result
        if isinstance(self._vector, AsyncVectorEnv):
            result = self._call(self._vector.step_wait, self._timeout)
        return self._call(self._as_host_step, result)

    def _as_host_step(self, result: tuple) -> HostStep:
        observation, reward, terminated, truncated, info = result
        observation = self._observe(observation, info)  # copied: arrays are reused
        terminated, truncated = np.array(terminated, bool), np.array(truncated, bool)
        ended = terminated | truncated
        self._last[ended] = None
        valid = np.ones(self.num_envs, bool)
        following = observation
        if self._mode == AutoresetMode.NEXT_STEP:
            valid = ~self._resetting
            self._resetting = ended
        elif ended.any() and self._mode == AutoresetMode.SAME_STEP:
            observation = map_nested(np.copy, following)
            last = info.get("final_info", {})
            for i in np.flatnonzero(ended).tolist():
                final = self._observe.of_one(i, info["final_obs"][i], last)
                write_rows(observation, slice(i, i + 1), final)
        elif ended.any():
            following = map_nested(np.copy, observation)
            write_rows(following, ended, self.restart(ended))
        return HostStep(
            observation=following,
            next_observation=observation,
            reward=np.array(reward, np.float32),
            terminated=terminated,
            truncated=truncated,
            valid=valid,
        )

    def restart(self, mask: np.ndarray) -> Nested:
        """Start an episode in some environments, see `HostEnvironment.restart`."""
        observation, info = self._reset(options={"reset_mask": mask})
        self._resetting[mask] = False
        self._last[mask] = None
        return rows_of(self._observe(observation, info), mask)

    @property
    def can_branch(self) -> bool:
        """Whether the environments can return to a snapshot, see `HostEnvironment`."""
        return (
            isinstance(self._vector, SyncVectorEnv)
            and self._mode == AutoresetMode.SAME_STEP
            and all(map(can_return, self._vector.envs))
        )

    def snapshot(self, i: int) -> Snapshot:
        """Return a snapshot of environment i."""
        return self._call(take_snapshot, self._vector.envs[i], self._last[i])

    def restore(self, i: int, snapshot: Snapshot) -> None:
        """Put environment i into the state of a snapshot."""
        self._call(put_back, self._vector.envs[i], snapshot)
        self._last[i] = snapshot.action

    def save_state(self) -> list[bytes] | None:
        """Return the state of each environment, or None if the simulator has none."""
        if not self.can_branch:
            return None
        snapshots = [self.snapshot(i) for i in range(self.num_envs)]
        # A state may contain objects that cannot be written, or be too large.
        with contextlib.suppress(TypeError, ValueError):
            return [to_bytes(snapshot) for snapshot in snapshots]
        return None

    def load_state(self, states: list[bytes]) -> None:
        """Restore what `save_state` has returned; call `reset` before.

        States of other environments are a `ValueError`; a state that the simulator
        itself refuses is a `SimulatorError`.
        """
        if not self.can_branch:
            raise ValueError(f"{self.name} cannot load the state of an environment")
        for i, state in enumerate(states):
            self.restore(i, from_bytes(state))

    def render(self) -> np.ndarray:
        """Return a picture of the first environment, uint8 `[H, W, 3]`.

        This needs the option `render_mode="rgb_array"`.
        """
        return self._vector.render()[0]

    def close(self) -> None:
        """End the worker processes, even those that hang."""
        if not self._processes:
            self._vector.close()
            return
        self._vector.unwrapped.closed = True  # what close() does, without waiting
        for process in self._processes:
            if process.is_alive():
                process.terminate()
        until = time.monotonic() + _PATIENCE
        for process in self._processes:
            process.join(max(until - time.monotonic(), 0))
            if process.is_alive():
                process.kill()
                process.join()
        for pipe in self._pipes:
            if pipe is not None:
                pipe.close()

    def _reset(self, **kwargs: Any) -> tuple:
        if not isinstance(self._vector, AsyncVectorEnv):
            return self._call(self._vector.reset, **kwargs)
        self._call(self._vector.reset_async, **kwargs)
        return self._call(self._vector.reset_wait, self._timeout)

    def _call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call the simulator and turn whatever it raises into a `SimulatorError`."""
        with contextlib.ExitStack() as stack:
            caught: list = []
            if self._processes:  # Gymnasium passes on their tracebacks as warnings
                caught = stack.enter_context(warnings.catch_warnings(record=True))
                warnings.simplefilter("always")
            try:
                return function(*args, **kwargs)
            except multiprocessing.TimeoutError as error:
                raise SimulatorError(
                    f"{self.name}: no answer for {self._timeout:g} seconds"
                ) from error
            except SystemExit as error:
                raise SimulatorError(
                    f"{self.name}: the environment called sys.exit({error.code!r})"
                ) from error
            except Exception as error:
                if isinstance(error, SimulatorError) and "Traceback" in str(error):
                    raise  # it comes from a call inside this one
                if isinstance(error, EOFError | OSError):  # a worker is about to end
                    ends = [process.sentinel for process in self._processes]
                    multiprocessing.connection.wait(ends, _PATIENCE)
                notes = [str(note.message) for note in caught]
                details = [note for note in notes if "Traceback" in note] or [
                    f"worker process {i} ended with exit code {process.exitcode}"
                    for i, process in enumerate(self._processes)
                    if not process.is_alive()
                ]
                details = details or ["".join(traceback.format_exception(error))]
                raise SimulatorError(
                    "\n".join([f"{self.name}: the environment failed", *details])
                ) from error
