"""EnvPool: classic control, Box2D, MuJoCo, Atari and more, in C++ threads."""

import ctypes
import difflib
import functools
import pathlib
import shutil
import sys
import tempfile
import warnings
from typing import Any

import numpy as np

from trpo_jax.environments.host import (
    HostStep,
    convert_action,
    convert_observations,
    convert_space,
)


def _all_see_opengl() -> bool:
    return sys.platform == "linux" and hasattr(ctypes.CDLL(None), "eglGetProcAddress")


_OPENGL_CAME_FIRST = "envpool" not in sys.modules and _all_see_opengl()

import envpool  # noqa: E402


class EnvpoolEnvironment:
    """A batch of EnvPool environments behind the contract of `environments.host`.

    After the end of an episode EnvPool's next step starts the following one: it ignores
    the action and returns the observation of the reset with reward 0. That step is no
    transition, and comes back with `valid` False.

    Args:
        name: as registered in EnvPool.
        num_envs: B.
        seed: of the first environment; the others count on from it.
        num_threads: of the simulator; 0 lets EnvPool choose.
        options: of the task, as in `envpool.make_spec(name).config`.

    Raises:
        ValueError: for an unknown name, for spaces that are not supported, or when
            EnvPool cannot make the environment, with its reason.
    """

    def __init__(
        self,
        name: str,
        num_envs: int = 1,
        seed: int = 0,
        *,
        num_threads: int = 0,
        **options: Any,
    ) -> None:
        if name not in names():
            near = difflib.get_close_matches(name, names(), 1, 0.0)
            raise ValueError(
                f"unknown EnvPool environment {name!r}; nearest: {near[0]!r}"
            )
        self.name = f"envpool:{name}"
        self.num_envs = num_envs
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that bounds are float64
                self._pool = envpool.make(
                    name,
                    env_type="gymnasium",
                    num_envs=num_envs,
                    seed=seed % 2**31,
                    num_threads=num_threads,
                    **options,
                )
                spaces = self._pool.observation_space, self._pool.action_space
        except (ImportError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(f"envpool:{name} cannot be made: {error}") from error
        self._ids = np.arange(num_envs, dtype=np.int32)
        self.observation_space, self._convert = convert_observations(
            self.name, spaces[0]
        )
        self.action_space = convert_space(self.name, "action", spaces[1])
        self._action_dtype = spaces[1].dtype
        self.max_episode_steps = int(self._pool.config["max_episode_steps"])
        self.frames_per_second = _frames_per_second(self._pool.config)
        self._resetting = np.zeros(num_envs, bool)

    def reset(self) -> np.ndarray:
        """Start an episode everywhere: observations `[B, ...]`."""
        self._pool.async_reset()
        observation, *_ = self._pool.recv()
        self._resetting[:] = False
        return self._convert(observation)

    def send(self, action: np.ndarray) -> None:
        """Hand over the actions `[B, ...]` and return at once."""
        action = convert_action(self.action_space, action)
        self._pool.send(action.astype(self._action_dtype), self._ids)

    def receive(self) -> HostStep:
        """Wait for what `send` has set off."""
        observation, reward, terminated, truncated, _ = self._pool.recv()
        observation = self._convert(observation)
        valid = ~self._resetting
        self._resetting = terminated | truncated
        return HostStep(
            observation=observation,
            next_observation=observation,
            reward=reward.astype(np.float32),
            terminated=terminated,
            truncated=truncated,
            valid=valid,
        )

    def restart(self, mask: np.ndarray) -> np.ndarray:
        """Start an episode where `mask` `[B]` says so: observations `[n, ...]`."""
        observation, _ = self._pool.reset(self._ids[mask])
        self._resetting[mask] = False
        return self._convert(observation)

    def render(self) -> np.ndarray:
        """Return a picture of the first environment, uint8 `[H, W, 3]`.

        It must have been made with `render_mode="rgb_array"`.

        Raises:
            RuntimeError: when there is none, or no OpenGL that MuJoCo could draw with.
        """
        for kind in type(self._pool).__mro__:
            if kind.__module__.startswith("envpool.mujoco"):
                _let_mujoco_find_opengl(kind.__module__)
        return self._pool.render()[0]

    def close(self) -> None:
        """Let go of the threads."""
        self._pool.close()


def names() -> list[str]:
    """Return the environments that the installed EnvPool has."""
    return envpool.list_all_envs()


def _frames_per_second(config: dict[str, Any]) -> float | None:
    """Return how many steps are a second where EnvPool tells: for Atari's 60 frames."""
    return 60 / config["frame_skip"] if "noop_max" in config else None


@functools.cache
def _let_mujoco_find_opengl(module: str) -> None:
    """Load a copy of the OpenGL library that EnvPool brings, under the usual name.

    Each module of EnvPool with a MuJoCo in it takes, once, `eglGetProcAddress` from
    what is loaded for all to see, else from the first loaded library whose name begins
    with `libEGL.so`. It ends the process if there is none, or another one than it draws
    with: that of EnvPool's wheel, which has another name, or what all saw before.

    Raises:
        RuntimeError: when the module would end the process.
    """
    if _all_see_opengl() and not _OPENGL_CAME_FIRST:
        raise RuntimeError(
            f"another OpenGL is loaded, not that of {module}; draw it in a process of "
            "its own"
        )
    brought = pathlib.Path(envpool.__file__).parents[1] / "envpool.libs"
    for library in brought.glob("libEGL*.so*"):
        with tempfile.TemporaryDirectory() as directory:
            ctypes.CDLL(shutil.copy(library, pathlib.Path(directory) / "libEGL.so"))
