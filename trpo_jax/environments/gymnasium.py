"""Gymnasium: any registered environment, or a vector environment of your own."""

import contextlib
import difflib
import functools
import importlib
import multiprocessing
import multiprocessing.connection
import signal
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

from trpo_jax.environments.gymnasium_snapshots import (
    Snapshot,
    can_return,
    from_bytes,
    put_back,
    take_snapshot,
    to_bytes,
)
from trpo_jax.environments.host import (
    HostStep,
    SimulatorError,
    convert_action,
    convert_observations,
    convert_space,
)

_PATIENCE = 5.0  # seconds for a worker to end before it is killed


class GymnasiumEnvironment:
    """A Gymnasium vector environment behind the contract of `environments.host`.

    How the vector environment starts the next episode is read from its metadata
    (`autoreset_mode`), and all three ways lead to the same transitions:

    * next step: the step after an end is the reset, comes back with `valid` False;
    * same step: the final observation is taken from `info["final_obs"]`;
    * disabled: what ended is reset here, with a `reset_mask`.

    Args:
        environment: a name in Gymnasium's registry, also as `module:name`, which
            imports the module first; or a vector environment.
        num_envs: B, for a name.
        seed: of the first environment; the others count on from it.
        workers: for a name: a process for each environment instead of a loop.
        timeout: seconds that a step or a reset in worker processes may take; a vector
            of workers that is wrapped keeps to its own.
        name: for results; its own, or the class of a vector environment, when None.
        max_episode_steps: time limit; what the registry or `spec` says when None.
        options: of `gymnasium.make`, for a name.

    Raises:
        ValueError: for an unknown name, for spaces that are not supported, or when
            Gymnasium cannot make the environment, with its reason.
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
            environment = _make(environment, num_envs, workers, options)
        self._vector = environment
        inner = environment.unwrapped
        self._processes = list(getattr(inner, "processes", []))
        self._pipes = list(getattr(inner, "parent_pipes", []))
        self._seed: int | None = seed % 2**31
        self._timeout = timeout
        self.num_envs = environment.num_envs
        spec = environment.spec
        self.name = f"gymnasium:{name or (spec.id if spec else type(inner).__name__)}"
        self.max_episode_steps = max_episode_steps
        if max_episode_steps is None and spec:
            self.max_episode_steps = spec.max_episode_steps
        self.frames_per_second = environment.metadata.get("render_fps")
        self.observation_space, self._convert = convert_observations(
            self.name, environment.single_observation_space
        )
        self.action_space = convert_space(
            self.name, "action", environment.single_action_space
        )
        self._mode = environment.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        self._resetting = np.zeros(self.num_envs, bool)
        self._last: list[int | None] = [None] * self.num_envs
        self._result: tuple | None = None

    def reset(self) -> np.ndarray:
        """Start an episode everywhere: observations `[B, ...]`.

        Raises:
            SimulatorError: when an environment raises or a worker dies.
        """
        observation, _ = self._reset(seed=self._seed)
        self._seed = None  # the next episodes are other ones
        self._resetting[:] = False
        self._last = [None] * self.num_envs
        return self._convert(observation)

    def send(self, action: np.ndarray) -> None:
        """Hand over the actions `[B, ...]`; without worker processes, step at once.

        Raises:
            SimulatorError: when an environment raises or a worker dies.
        """
        action = convert_action(self.action_space, action)
        action = action.astype(self._vector.single_action_space.dtype)
        if action.ndim == 1:
            self._last = action.tolist()
        if isinstance(self._vector, AsyncVectorEnv):
            self._call(self._vector.step_async, action)
        else:
            self._result = self._call(self._vector.step, action)

    def receive(self) -> HostStep:
        """Wait for what `send` has set off.

        Raises:
            SimulatorError: when an environment raises, or a worker dies or does not
                answer in time.
        """
        result = self._result
        if isinstance(self._vector, AsyncVectorEnv):
            result = self._call(self._vector.step_wait, self._timeout)
        return self._call(self._understand, result)

    def _understand(self, result: tuple) -> HostStep:
        observation, reward, terminated, truncated, info = result
        observation = self._convert(observation)
        ended = terminated | truncated
        for i in np.flatnonzero(ended):
            self._last[i] = None
        valid = np.ones(self.num_envs, bool)
        following = observation
        if self._mode == AutoresetMode.NEXT_STEP:
            valid = ~self._resetting
            self._resetting = ended
        elif ended.any() and self._mode == AutoresetMode.SAME_STEP:
            observation = following.copy()
            for i in np.flatnonzero(ended):
                observation[i] = self._convert(_batch_of_one(info["final_obs"][i]))[0]
        elif ended.any():
            following = observation.copy()
            following[ended] = self.restart(ended)
        return HostStep(
            observation=following,
            next_observation=observation,
            reward=np.array(reward, np.float32),  # no longer the simulator's own
            terminated=np.array(terminated),
            truncated=np.array(truncated),
            valid=valid,
        )

    def restart(self, mask: np.ndarray) -> np.ndarray:
        """Start an episode where `mask` `[B]` says so: observations `[n, ...]`.

        Raises:
            SimulatorError: when an environment raises or a worker dies.
        """
        observation, _ = self._reset(options={"reset_mask": mask})
        self._resetting[mask] = False
        for i in np.flatnonzero(mask):
            self._last[i] = None
        return self._convert(observation)[mask]

    @property
    def can_branch(self) -> bool:
        """Whether the environments can return to a snapshot, see `snapshots`."""
        return (
            isinstance(self._vector, SyncVectorEnv)
            and self._mode == AutoresetMode.SAME_STEP
            and all(map(can_return, self._vector.envs))
        )

    def snapshot(self, i: int) -> Snapshot:
        """Return the state of environment i, to be returned to."""
        return self._call(take_snapshot, self._vector.envs[i], self._last[i])

    def restore(self, i: int, snapshot: Snapshot) -> None:
        """Return environment i to a snapshot."""
        self._call(put_back, self._vector.envs[i], snapshot)
        self._last[i] = snapshot.action

    def save_state(self) -> list[bytes] | None:
        """Return the state of each environment, or None where it cannot be had."""
        if not self.can_branch:
            return None
        snapshots = [self.snapshot(i) for i in range(self.num_envs)]
        # It may be made of something of its own, or be too large.
        with contextlib.suppress(TypeError, ValueError):
            return [to_bytes(snapshot) for snapshot in snapshots]
        return None

    def load_state(self, states: list[bytes]) -> None:
        """Put every environment where it was; `reset` comes first.

        Raises:
            ValueError: when these are not states of such environments.
            SimulatorError: when the simulator refuses them.
        """
        if not self.can_branch:
            raise ValueError(f"{self.name}: the environments have no state to load")
        for i, state in enumerate(states):
            self.restore(i, from_bytes(state))

    def render(self) -> np.ndarray:
        """Return a picture of the first environment, uint8 `[H, W, 3]`.

        It must have been made with `render_mode="rgb_array"`.
        """
        return self._vector.render()[0]

    def close(self) -> None:
        """Let go of the processes, also of those that hang."""
        if not self._processes:
            self._vector.close()
            return
        self._vector.unwrapped.closed = True  # as closing does, without waiting
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
        """Call the simulator; whatever goes wrong there is a `SimulatorError`."""
        with contextlib.ExitStack() as stack:
            said: list = []
            if self._processes:  # whose own tracebacks come as warnings
                said = stack.enter_context(warnings.catch_warnings(record=True))
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
                    raise  # of a call within this one
                if isinstance(error, EOFError | OSError):  # of a pipe: wait for the end
                    ends = [process.sentinel for process in self._processes]
                    multiprocessing.connection.wait(ends, _PATIENCE)
                notes = [str(note.message) for note in said]
                details = [note for note in notes if "Traceback" in note] or [
                    f"worker process {i} ended with exit code {process.exitcode}"
                    for i, process in enumerate(self._processes)
                    if not process.is_alive()
                ]
                details = details or ["".join(traceback.format_exception(error))]
                raise SimulatorError(
                    "\n".join([f"{self.name}: the environment failed", *details])
                ) from error


def names() -> list[str]:
    """Return the environments registered with Gymnasium, with the user's own."""
    return list(gymnasium.registry)


def _make(
    name: str, num_envs: int, workers: bool, options: dict[str, Any]
) -> VectorEnv:
    module, _, name = name.rpartition(":")
    if module:
        importlib.import_module(module)
    if name not in names():
        near = difflib.get_close_matches(name, names(), 1, 0.0)
        raise ValueError(
            f"unknown Gymnasium environment {name!r}; nearest: {near[0]!r}"
        )
    spec = gymnasium.spec(name)
    make = functools.partial(_make_one, spec, options, workers)
    # No step is lost in the same step, but the last picture of an episode is.
    drawn = "render_mode" in options
    mode = {
        "autoreset_mode": AutoresetMode.NEXT_STEP if drawn else AutoresetMode.SAME_STEP
    }
    try:
        if workers:  # a fork of a process with JAX in it can hang
            vector = AsyncVectorEnv([make] * num_envs, context="forkserver", **mode)
        else:
            vector = SyncVectorEnv([make] * num_envs, **mode)
    except gymnasium.error.Error as error:
        raise ValueError(f"gymnasium:{name} cannot be made: {error}") from error
    except (Exception, SystemExit) as error:  # of the user's own
        if drawn:
            raise  # it may do without a picture
        said = "".join(traceback.format_exception(error))
        raise SimulatorError(f"gymnasium:{name} cannot be made\n{said}") from error
    vector.spec = spec
    return vector


def _make_one(spec: Any, options: dict[str, Any], worker: bool) -> gymnasium.Env:
    if worker:  # an interrupt from the keyboard is for the one that waits for them
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is a newer version
        return gymnasium.make(spec, **options)


def _batch_of_one(observation: Any) -> Any:
    if isinstance(observation, dict):
        return {key: _batch_of_one(part) for key, part in observation.items()}
    return np.asarray(observation)[None]
