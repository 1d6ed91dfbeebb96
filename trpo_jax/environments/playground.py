"""Environments of MuJoCo Playground (https://playground.mujoco.org)."""

import warnings
from collections.abc import Mapping
from typing import Any

from trpo_jax.environments.lookup import unknown
from trpo_jax.environments.mjx_state import MjxEnvironment, made_quietly
from trpo_jax.validation import COUNT, check

# Dependencies of Playground warn that they are no longer maintained.
with warnings.catch_warnings(action="ignore"):
    from mujoco_playground import dm_control_suite, locomotion, manipulation, registry
    from mujoco_playground._src import mjx_env


class PlaygroundEnvironment(MjxEnvironment):
    """An environment of MuJoCo Playground as an `Environment`.

    It does without the wrappers of Playground's training code, which reset by
    themselves, and computes the physics in JAX, where Playground prefers Warp. Reaching
    the `episode_length` of the configuration truncates an episode, and Playground's own
    `done` terminates it. In the control suite `done` always means that the simulation
    has diverged: the final observation and reward then are not finite.

    Of a dictionary of observations with an entry `"state"` only this entry is left,
    because the others, such as `"privileged_state"`, contain what a policy must not
    see.

    Locomotion and manipulation need the robot models of MuJoCo Menagerie in the
    directory where Playground looks for them. They are never downloaded.

    Args:
        name: a name in Playground.
        options: settings of the environment's configuration, for example
            `episode_length=500`. Its `action_repeat` only affects Playground's training
            code; use that of `Config`.

    Raises:
        ValueError: if the environment is unknown, or cannot be made with these options.
    """

    def __init__(self, name: str, **options: Any) -> None:
        if name not in names():
            raise unknown("Playground environment", name, names())
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
            simulator = registry.load(name, config, options)
            implementation = simulator.mjx_model.impl.value
            if implementation != "jax":
                raise ValueError(f"impl must be 'jax'; got {implementation!r}")
            self._wrap(simulator)
        self.max_episode_steps = config.get("episode_length")
        if self.max_episode_steps is not None:
            check("episode_length", self.max_episode_steps, COUNT)

    @staticmethod
    def _select(observation: Any) -> Any:
        if isinstance(observation, Mapping) and "state" in observation:
            return {"state": observation["state"]}
        return observation


def names() -> list[str]:
    """Return the names of the environments in the installed Playground."""
    suites = dm_control_suite, locomotion, manipulation
    return [name for suite in suites for name in suite.ALL_ENVS]
