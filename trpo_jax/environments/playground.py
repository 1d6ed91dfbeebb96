"""Environments of MuJoCo Playground (https://playground.mujoco.org)."""

import difflib
import warnings
from collections.abc import Mapping
from typing import Any

import jax

from trpo_jax.environments.base import Step
from trpo_jax.environments.mjx_state import (
    flatten,
    made_quietly,
    observation_space,
    reset_simulator,
    step_simulator,
)
from trpo_jax.environments.spaces import Box
from trpo_jax.validation import COUNT, check

PyTree = Any

# Dependencies of Playground warn that they are no longer maintained.
with warnings.catch_warnings(action="ignore"):
    from mujoco_playground import (
        dm_control_suite,
        locomotion,
        manipulation,
        registry,
    )
    from mujoco_playground._src import mjx_env


class PlaygroundEnvironment:
    """An environment of MuJoCo Playground as an `Environment`.

    It does without the wrappers of Playground's training code, which reset by
    themselves, and computes the physics in JAX, where Playground prefers Warp. Reaching
    the `episode_length` of the configuration truncates an episode, and Playground's own
    `done` terminates it. In the control suite `done` always means that the simulation
    has diverged: the final observation and reward then are not finite. Actions are
    clipped to [−1, 1]; Playground scales them to the range of the actuators.

    Observations are vectors. Of a dictionary with an entry `"state"` only this entry is
    used, because the others, such as `"privileged_state"`, contain what a policy must
    not see. Any other dictionary becomes one vector, with its entries sorted by name.

    Locomotion and manipulation need the robot models of MuJoCo Menagerie in the
    directory where Playground looks for them. They are never downloaded.

    Args:
        name: a name in Playground.
        options: settings of the environment's configuration, for example
            `episode_length=500`. Its `action_repeat` only affects Playground's training
            code; use that of `Config`.

    Raises:
        ValueError: if the name is unknown, its robot models are missing, or it does not
            run with these options or the installed packages.
    """

    def __init__(self, name: str, **options: Any) -> None:
        if name not in names():
            near = difflib.get_close_matches(name, names(), 1, 0.0)
            raise ValueError(
                f"unknown Playground environment {name!r}; nearest: {near[0]!r}"
            )
        menagerie = mjx_env.MENAGERIE_PATH
        if name not in dm_control_suite.ALL_ENVS and not menagerie.exists():
            raise ValueError(
                f"{name} needs the robot models of mujoco_menagerie, which trpo-jax "
                f"does not download; put them into {menagerie}, or try CheetahRun"
            )
        self.name = f"playground:{name}"
        with made_quietly(self.name):
            config = registry.get_default_config(name)
            if "impl" in config:
                config.impl = "jax"
            self.simulator = registry.load(name, config, options)
            implementation = self.simulator.mjx_model.impl.value
            if implementation != "jax":
                raise ValueError(f"impl must be 'jax'; got {implementation!r}")
            self.action_space = Box.uniform((self.simulator.action_size,), -1.0, 1.0)
            self.observation_space = observation_space(self.simulator, _observe)
        self.max_episode_steps: int | None = config.get("episode_length")
        if self.max_episode_steps is not None:
            check("episode_length", self.max_episode_steps, COUNT)

    def reset(self, key: jax.Array) -> tuple[PyTree, jax.Array]:
        """Start an episode, see `Environment.reset`."""
        return reset_simulator(self.simulator, _observe, key)

    def step(self, key: jax.Array, env_state: PyTree, action: jax.Array) -> Step:
        """Take one action, see `Environment.step`; the state has its own key."""
        del key
        return step_simulator(
            self.simulator, _observe, self.max_episode_steps, env_state, action
        )


def names() -> list[str]:
    """Return the names of the environments in the installed Playground.

    Example:
        >>> "CartpoleBalance" in names()
        True
    """
    return [
        name
        for suite in (dm_control_suite, locomotion, manipulation)
        for name in suite.ALL_ENVS
    ]


def _observe(observation: PyTree) -> jax.Array:
    if isinstance(observation, Mapping) and "state" in observation:
        observation = observation["state"]
    return flatten(observation)
