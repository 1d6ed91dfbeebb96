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

# Dependencies of brax warn that they are no longer maintained, and MuJoCo prints that
# Warp is missing.
with (
    warnings.catch_warnings(action="ignore"),
    contextlib.redirect_stdout(io.StringIO()),
):
    from brax import envs, fluid

BACKENDS = ("generalized", "positional", "spring", "mjx")


class _Numpy(types.ModuleType):
    """`jax.numpy` with a `clip` that accepts `a_min`, the name that brax 0.14 uses."""

    def __getattr__(self, name: str) -> Any:
        return getattr(jnp, name)

    @staticmethod
    def clip(*args: Any, a_min: Any = None, **bounds: Any) -> jax.Array:
        return jnp.clip(*args, **bounds if a_min is None else {"min": a_min, **bounds})


# JAX has removed `a_min`, and brax needs it to simulate a fluid.
fluid.jp = _Numpy("jax.numpy")


class BraxEnvironment:
    """A brax environment as an `Environment`.

    It does without the wrappers of `brax.envs.create`, which reset every episode to the
    same cached state and hide the final observation. Reaching the time limit truncates
    an episode, and brax's own `done` terminates it. Actions are clipped to [−1, 1];
    brax scales them to the range of the actuators. Observations are vectors; a
    dictionary becomes one vector, with its entries sorted by name.

    Args:
        name: a name in brax, which may end in a physics backend: `"ant@spring"`.
        backend: the physics backend, unless the name has one: `"generalized"`,
            `"positional"`, `"spring"` or `"mjx"`. With None brax chooses, and all its
            environments choose `"generalized"`.
        max_episode_steps: the time limit; the default is that of `brax.envs.create`.
        options: arguments of the environment's class, for example
            `terminate_when_unhealthy=False`.

    Raises:
        ValueError: if the name or the backend is unknown, or if the environment does
            not run with this backend, these options or the installed packages.
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
                f"backend must be None or the one in the name, {suffix!r}; got "
                f"{backend!r}"
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
        """Start an episode, see `Environment.reset`."""
        return reset_simulator(self.simulator, flatten, key)

    def step(self, key: jax.Array, env_state: PyTree, action: jax.Array) -> Step:
        """Take one action, see `Environment.step`; the key has no effect."""
        del key
        return step_simulator(
            self.simulator, flatten, self.max_episode_steps, env_state, action
        )


def names() -> list[str]:
    """Return the names of the environments in the installed brax.

    Example:
        >>> "ant" in names()
        True
    """
    return sorted(envs._envs)
