"""Environments of the gymnax package (https://github.com/RobertTLange/gymnax)."""

import contextlib
import importlib
import sys
import types
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from trpo_jax.environments.actions import convert_action
from trpo_jax.environments.base import PyTree, Step, check_environment
from trpo_jax.environments.conversion import convert_space, types_of
from trpo_jax.environments.lookup import unknown
from trpo_jax.environments.nested import map_nested, space_tree


class _OnDemand(types.ModuleType):
    """A placeholder that imports its module when an attribute is used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked by the import system
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


@contextlib.contextmanager
def _imported_on_demand(*names: str) -> Iterator[None]:
    """Postpone importing these modules, inside the block, until they are used.

    A package comes before its modules.
    """
    absent = {name: _OnDemand(name) for name in names if name not in sys.modules}
    sys.modules.update(absent)
    for name, module in absent.items():
        package, _, last = name.rpartition(".")
        if package in absent:
            setattr(absent[package], last, module)
    try:
        yield
    finally:
        for name, module in absent.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


# gymnax imports its plotting libraries at once, which would take seconds.
_PLOTTING = "matplotlib", "matplotlib.colors", "matplotlib.pyplot", "seaborn"
with _imported_on_demand(*_PLOTTING):
    import gymnax


class GymnaxEnvironment:
    """A gymnax environment as an `Environment`.

    It calls `step_env`, which neither resets nor hides the final observation. With None
    the parameters are gymnax's defaults. An unknown name, a space of another kind than
    `convert_space` takes, or an environment that gymnax cannot step in double
    precision, is a `ValueError`.
    """

    def __init__(self, name: str, params: Any = None) -> None:
        if name not in names():
            raise unknown("gymnax environment", name, names())
        self.name = f"gymnax:{name}"
        self.simulator, default_params = gymnax.make(name)
        self._params = default_params if params is None else params
        self.observation_space = convert_space(
            name, "observation", self.simulator.observation_space(self._params)
        )
        acted = self.simulator.action_space(self._params)
        self.action_space = convert_space(name, "action", acted)
        self.action_dtype = types_of(acted)
        tree = space_tree(self.action_space)
        self._action_types = map_nested(lambda leaf: leaf.dtype, tree)
        limit: int | None = int(self._params.max_steps_in_episode)
        self.max_episode_steps = limit
        if jnp.result_type(float) == jnp.float64:
            try:
                check_environment(self)
            except TypeError as error:
                reason = " ".join(str(error).split())
                raise ValueError(
                    f"{self.name} needs jax_enable_x64=False: with it, gymnax raises "
                    f"{reason}"
                ) from error

    def reset(self, key: jax.Array) -> tuple[PyTree, PyTree]:
        """Start an episode, see `Environment.reset`."""
        observation, env_state = self.simulator.reset_env(key, self._params)
        return jax.tree.map(jnp.asarray, (env_state, observation))

    def step(self, key: jax.Array, env_state: PyTree, action: jax.Array) -> Step:
        """Take one action, see `Environment.step`."""
        action = convert_action(self.action_space, action, self._action_types, ())
        observation, after, reward, terminated, _ = self.simulator.step_env(
            key, env_state, action, self._params
        )
        truncated = self.simulator.is_truncated(after, self._params)
        return Step(
            # In some environments a step changes the type of a counter.
            env_state=jax.tree.map(
                lambda new, old: jnp.asarray(new).astype(old.dtype), after, env_state
            ),
            observation=observation,
            reward=jnp.reshape(reward, ()).astype(jnp.float32),
            terminated=jnp.reshape(terminated, ()).astype(bool),
            truncated=jnp.reshape(truncated, ()).astype(bool),
        )


def names() -> list[str]:
    """Return the names of the environments in the installed gymnax."""
    return list(gymnax.registered_envs)
