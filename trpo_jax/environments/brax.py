"""Environments of the brax package (https://github.com/google/brax)."""

import contextlib
import difflib
import io
import types
import warnings
from typing import Any

import jax
import jax.numpy as jnp

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

# Packages that brax needs warn that they are no longer kept up, and MuJoCo prints that
# it misses Warp.
with (
    warnings.catch_warnings(action="ignore"),
    contextlib.redirect_stdout(io.StringIO()),
):
    from brax import envs, fluid

BACKENDS = ("generalized", "positional", "spring", "mjx")


class _Numpy(types.ModuleType):
    """`jax.numpy` whose `clip` still takes the bound that brax 0.14 names `a_min`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(jnp, name)

    @staticmethod
    def clip(*args: Any, a_min: Any = None, **bounds: Any) -> jax.Array:
        return jnp.clip(*args, **bounds if a_min is None else {"min": a_min, **bounds})


# JAX has dropped that name, and without this nothing swims.
fluid.jp = _Numpy("jax.numpy")


class BraxEnvironment:
    """A brax environment behind the contract of `trpo_jax.environments.base`.

    It is the bare environment, without the wrappers that `brax.envs.create` puts around
    it: these reset by themselves, to one cached state, and hide the final observation.
    The time limit is theirs, counted here; reaching it truncates, and brax's own `done`
    terminates. Actions in [−1, 1] are scaled to the actuators by brax, where they have
    another range; what lies beyond is clipped here, as not all of brax does.
    Observations are vectors; a dictionary becomes one, its entries sorted by name.

    Args:
        name: as registered in brax, with a physics backend if wanted: `"ant@spring"`.
        backend: the same, apart from the name: `"generalized"`, `"positional"`,
            `"spring"` or `"mjx"`. When None brax chooses, and all its environments
            choose `"generalized"`.
        max_episode_steps: the default is that of `brax.envs.create`.
        options: of the environment's class, as `terminate_when_unhealthy=False`.

    Raises:
        ValueError: for an unknown name or backend, or for an environment that does not
            run on this backend, with these options or with the installed packages.
    """

    def __init__(
        self,
        name: str,
        backend: str | None = None,
        *,
        max_episode_steps: int = 1000,
        **options: Any,
    ) -> None:
        task, at, suffix = name.partition("@")
        if task not in names():
            near = difflib.get_close_matches(task, names(), 1, 0.0)
            raise ValueError(f"unknown brax environment {task!r}; nearest: {near[0]!r}")
        if at and backend not in (None, suffix):
            raise ValueError(
                f"backend must be None or that of the name, {suffix!r}; got {backend!r}"
            )
        backend = suffix if at else backend
        if backend is not None:
            if backend not in BACKENDS:
                raise ValueError(
                    f"backend must be one of {', '.join(BACKENDS)}; got {backend!r}"
                )
            options["backend"] = backend
        check("max_episode_steps", max_episode_steps, COUNT)
        self.name = f"brax:{task}@{backend}" if backend else f"brax:{task}"
        self.max_episode_steps = max_episode_steps
        with made_quietly(self.name):
            self.simulator = envs.get_environment(task, **options)
            self.action_space = Box.uniform((self.simulator.action_size,), -1.0, 1.0)
            self.observation_space = observation_space(self.simulator, flatten)

    def reset(self, key: jax.Array) -> tuple[PyTree, jax.Array]:
        """Start an episode: `(env_state, observation)`."""
        return reset_simulator(self.simulator, flatten, key)

    def step(self, key: jax.Array, env_state: PyTree, action: jax.Array) -> Step:
        """Take one action; never resets. The physics is deterministic."""
        del key
        return step_simulator(
            self.simulator, flatten, self.max_episode_steps, env_state, action
        )


def names() -> list[str]:
    """Return the environments that the installed brax has, without backends.

    Example:
        >>> "ant" in names()
        True
    """
    return sorted(envs._envs)
