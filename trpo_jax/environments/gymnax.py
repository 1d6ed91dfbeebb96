"""Environments of the gymnax package (https://github.com/RobertTLange/gymnax)."""

import contextlib
import difflib
import importlib
import sys
import types
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trpo_jax.environments.base import Step
from trpo_jax.environments.spaces import Box, Discrete, Space, rescale_action

PyTree = Any


class _OnDemand(types.ModuleType):
    """Stands for a module until something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


@contextlib.contextmanager
def _imported_on_demand(*names: str) -> Iterator[None]:
    """Let what is imported inside put off importing these modules."""
    absent = [name for name in names if name not in sys.modules]
    sys.modules.update({name: _OnDemand(name) for name in absent})
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


# gymnax imports what it needs for drawing pictures at once, which takes seconds.
with _imported_on_demand("matplotlib.pyplot", "seaborn"):
    import gymnax


class GymnaxEnvironment:
    """A gymnax environment behind the contract of `trpo_jax.environments.base`.

    It steps through `step_env`, which neither resets nor hides the final observation.
    Continuous actions arrive in units of the action space: ±1 is the bound where the
    box is bounded, and anything beyond is clipped.

    Args:
        name: as registered in gymnax.
        params: its parameters; the default ones when None.

    Raises:
        ValueError: for an unknown name or spaces other than `Box` and `Discrete`.
    """

    def __init__(self, name: str, params: Any = None) -> None:
        if name not in names():
            near = difflib.get_close_matches(name, names(), 1, 0.0)
            raise ValueError(
                f"unknown gymnax environment {name!r}; nearest: {near[0]!r}"
            )
        self.name = f"gymnax:{name}"
        self.simulator, default_params = gymnax.make(name)
        self._params = default_params if params is None else params
        self.observation_space = _convert_space(
            name, "observation", self.simulator.observation_space(self._params)
        )
        self.action_space = _convert_space(
            name, "action", self.simulator.action_space(self._params)
        )
        self.max_episode_steps = int(self._params.max_steps_in_episode)

    def reset(self, key: jax.Array) -> tuple[PyTree, PyTree]:
        """Start an episode: `(env_state, observation)`."""
        observation, env_state = self.simulator.reset_env(key, self._params)
        return jax.tree.map(jnp.asarray, (env_state, observation))

    def step(self, key: jax.Array, env_state: PyTree, action: jax.Array) -> Step:
        """Take one action; never resets."""
        if isinstance(self.action_space, Box):
            action = rescale_action(self.action_space, action)
        observation, after, reward, terminated, _ = self.simulator.step_env(
            key, env_state, action, self._params
        )
        return Step(
            # Some environments change the type of a counter as they go.
            env_state=jax.tree.map(
                lambda new, old: jnp.asarray(new).astype(old.dtype), after, env_state
            ),
            observation=observation,
            reward=jnp.reshape(reward, ()).astype(jnp.float32),
            terminated=jnp.reshape(terminated, ()).astype(bool),
            truncated=jnp.reshape(
                self.simulator.is_truncated(after, self._params), ()
            ).astype(bool),
        )


def names() -> list[str]:
    """Return the environments that the installed gymnax has."""
    return list(gymnax.registered_envs)


def _convert_space(name: str, role: str, space: Any) -> Space:
    if isinstance(space, gymnax.environments.spaces.Discrete):
        return Discrete(int(space.n))
    if isinstance(space, gymnax.environments.spaces.Box):
        shape = tuple(space.shape)
        low, high = (
            tuple(np.broadcast_to(np.asarray(bound, float), shape).ravel().tolist())
            for bound in (space.low, space.high)
        )
        return Box(shape, low, high, jnp.dtype(space.dtype).name)
    raise ValueError(
        f"{name}: {role} space {type(space).__name__} is not supported; "
        "it must be a Box or a Discrete"
    )
