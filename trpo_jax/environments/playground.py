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

# Packages that it needs warn that they are no longer kept up.
with warnings.catch_warnings(action="ignore"):
    from mujoco_playground import (
        dm_control_suite,
        locomotion,
        manipulation,
        registry,
    )
    from mujoco_playground._src import mjx_env


class PlaygroundEnvironment:
    """An environment of MuJoCo Playground behind the contract of `environments.base`.

    It is the bare environment, without the wrappers of Playground's training code,
    which reset by themselves, and always the implementation of the physics in JAX: the
    other one, in Warp, is Playground's default. Reaching the `episode_length` of the
    configuration truncates, and Playground's own `done` terminates. Where that is set
    because the simulation broke down (a position or velocity that is not a number, in
    the control suite the only reason), the final reward and observation are not numbers
    either. Actions in [−1, 1] are scaled to the actuators by Playground; what lies
    beyond is clipped here.

    Observations are vectors. Where they come as a dictionary with an entry `"state"`,
    they are that entry, which is what a policy may see: the others, as
    `"privileged_state"`, hold what only a simulator knows. Any other dictionary becomes
    one vector, its entries sorted by name.

    Locomotion and manipulation need the robot models of MuJoCo Menagerie where
    Playground keeps them. It would clone them when they are missing; nothing here uses
    the network.

    Args:
        name: as registered in Playground.
        options: of the environment's configuration, as `episode_length=500`. Its
            `action_repeat` is for Playground's training code: use that of `Config`.

    Raises:
        ValueError: for an unknown name, one whose robot models are missing, or one that
            does not run with these options or with the installed packages.
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
                f"{name} needs the robot models of mujoco_menagerie, and nothing here "
                f"uses the network: put them into {menagerie} yourself, or try "
                "CheetahRun"
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
        """Start an episode: `(env_state, observation)`."""
        return reset_simulator(self.simulator, _observe, key)

    def step(self, key: jax.Array, env_state: PyTree, action: jax.Array) -> Step:
        """Take one action; never resets. The environment keeps a key in its state."""
        del key
        return step_simulator(
            self.simulator, _observe, self.max_episode_steps, env_state, action
        )


def names() -> list[str]:
    """Return the environments that the installed Playground has.

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
