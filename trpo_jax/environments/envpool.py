"""EnvPool: classic control, Box2D, MuJoCo, Atari and more, in C++ threads."""

import ctypes
import functools
import pathlib
import shutil
import sys
import tempfile
import warnings
from typing import Any

import numpy as np

from trpo_jax.environments.actions import convert_action
from trpo_jax.environments.conversion import (
    convert_observations,
    convert_space,
    types_of,
)
from trpo_jax.environments.host import HostStep
from trpo_jax.environments.lookup import unknown
from trpo_jax.environments.nested import Nested


def _all_see_opengl() -> bool:
    return sys.platform == "linux" and hasattr(ctypes.CDLL(None), "eglGetProcAddress")


_OPENGL_CAME_FIRST = "envpool" not in sys.modules and _all_see_opengl()

import envpool  # noqa: E402


class EnvpoolEnvironment:
    """A batch of EnvPool environments as a `HostEnvironment`.

    After the end of an episode EnvPool uses one step to start the next: it ignores the
    action and returns the observation of the reset with reward 0. This step is no
    transition; its `valid` is False.

    Environment i has the seed `seed + i`. With 0 threads EnvPool chooses their number.
    The options are the settings of the task, see `envpool.make_spec(name).config`.
    What EnvPool cannot make, or a space that is not supported, is a `ValueError`.
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
            raise unknown("EnvPool environment", name, names())
        self.name = f"envpool:{name}"
        self.num_envs = num_envs = int(num_envs)
        try:
            with warnings.catch_warnings(action="ignore"):  # about float64 bounds
                self._pool: Any = envpool.make(
                    name,
                    env_type="gymnasium",
                    num_envs=num_envs,
                    seed=int(seed) % 2**31,
                    num_threads=int(num_threads),
                    **options,
                )
                observed, acted = self._pool.observation_space, self._pool.action_space
        except (ImportError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(f"envpool:{name} cannot be made: {error}") from error
        self._ids = np.arange(num_envs, dtype=np.int32)
        self.observation_space, self._convert = convert_observations(
            self.name, observed
        )
        self.action_space = convert_space(self.name, "action", acted)
        self.action_dtype = types_of(acted)
        self.max_episode_steps = int(self._pool.config["max_episode_steps"])
        self.frames_per_second = _frames_per_second(self._pool.config)
        self._resetting = np.zeros(num_envs, bool)

    def reset(self) -> Nested:
        """Start an episode in every environment, see `HostEnvironment.reset`."""
        self._pool.async_reset()
        observation, *_ = self._pool.recv()
        self._resetting[:] = False
        return self._convert(observation)

    def send(self, action: Nested) -> None:
        """Start a step, see `HostEnvironment.send`."""
        action = convert_action(self.action_space, action, self.action_dtype)
        self._pool.send(action, self._ids)

    def receive(self) -> HostStep:
        """Return the step that `send` has started, see `HostEnvironment.receive`."""
        observation, reward, *flags, _ = self._pool.recv()
        observation = self._convert(observation)
        terminated, truncated = (np.array(flag, bool) for flag in flags)  # copied
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

    def restart(self, mask: np.ndarray) -> Nested:
        """Start an episode in some environments, see `HostEnvironment.restart`."""
        observation, _ = self._pool.reset(self._ids[mask])
        self._resetting[mask] = False
        return self._convert(observation)

    def render(self) -> np.ndarray:
        """Return a picture of the first environment, uint8 `[H, W, 3]`.

        This needs the option `render_mode="rgb_array"`. If EnvPool has no picture, or
        no OpenGL that can draw it, that is a `RuntimeError`.
        """
        for kind in type(self._pool).__mro__:
            if kind.__module__.startswith("envpool.mujoco"):
                _let_mujoco_find_opengl(kind.__module__)
        return self._pool.render()[0]

    def close(self) -> None:
        """End the threads."""
        self._pool.close()


def names() -> list[str]:
    """Return the names of the environments in the installed EnvPool."""
    return envpool.list_all_envs()


def _frames_per_second(config: dict[str, Any]) -> float | None:
    """Return the steps per second of an Atari game, which has 60 frames per second."""
    return 60 / config["frame_skip"] if "noop_max" in config else None


@functools.cache
def _let_mujoco_find_opengl(module: str) -> None:
    """Load a copy of the OpenGL library in EnvPool's wheel under its usual name.

    Every module of EnvPool that contains MuJoCo looks up `eglGetProcAddress` once:
    among the global symbols of the process, or else in the first loaded library whose
    name begins with `libEGL.so`. It ends the process if there is none, or if it finds
    another OpenGL than the one it draws with. That one is in the wheel, under another
    name, unless another OpenGL was global when EnvPool was imported. A module that
    would end the process is refused with a `RuntimeError`.
    """
    if _all_see_opengl() and not _OPENGL_CAME_FIRST:
        raise RuntimeError(
            f"another OpenGL than that of {module} is already loaded; render in a new "
            "process"
        )
    brought = pathlib.Path(envpool.__file__).parents[1] / "envpool.libs"
    for library in brought.glob("libEGL*.so*"):
        with tempfile.TemporaryDirectory() as directory:
            ctypes.CDLL(shutil.copy(library, f"{directory}/libEGL.so"))
