"""EnvPool: classic control, Box2D, MuJoCo, Atari and more, in C++ threads."""

import difflib
from typing import Any

import envpool
import numpy as np

from trpo_jax.environments.host import (
    HostStep,
    convert_action,
    convert_observations,
    convert_space,
)


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
            self._pool = envpool.make(
                name,
                env_type="gymnasium",
                num_envs=num_envs,
                seed=seed % 2**31,
                num_threads=num_threads,
                **options,
            )
        except (ImportError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(f"envpool:{name} cannot be made: {error}") from error
        self._ids = np.arange(num_envs, dtype=np.int32)
        self.observation_space, self._convert = convert_observations(
            self.name, self._pool.observation_space
        )
        self.action_space = convert_space(self.name, "action", self._pool.action_space)
        self._action_dtype = self._pool.action_space.dtype
        self.max_episode_steps = int(self._pool.config["max_episode_steps"])
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

    def close(self) -> None:
        """Let go of the threads."""
        self._pool.close()


def names() -> list[str]:
    """Return the environments that the installed EnvPool has."""
    return envpool.list_all_envs()
