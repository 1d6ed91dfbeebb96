"""Environments of the brax package (https://github.com/google/brax)."""

import contextlib
import io
import types
import warnings
from typing import Any, Literal

import jax
import jax.numpy as jnp

from trpo_jax.environments.lookup import unknown
from trpo_jax.environments.mjx_state import MjxEnvironment, made_quietly
from trpo_jax.validation import COUNT, check, one_of, optional

# Dependencies of brax warn that they are no longer maintained, and MuJoCo prints that
# Warp is missing.
with (
    warnings.catch_warnings(action="ignore"),
    contextlib.redirect_stdout(io.StringIO()),
):
    from brax import envs, fluid

BACKEND = optional(one_of(Literal["generalized", "positional", "spring", "mjx"]))


class _Numpy(types.ModuleType):
    """`jax.numpy` with a `clip` that accepts `a_min`, the name that brax 0.14 uses."""

    def __getattr__(self, name: str) -> Any:
        return getattr(jnp, name)

    @staticmethod
    def clip(*args: Any, a_min: Any = None, **bounds: Any) -> jax.Array:
        return jnp.clip(*args, **bounds if a_min is None else {"min": a_min, **bounds})


# JAX has removed `a_min`, and brax needs it to simulate a fluid.
fluid.jp = _Numpy("jax.numpy")


class BraxEnvironment(MjxEnvironment):
    """A brax environment as an `Environment`.

    It does without the wrappers of `brax.envs.create`, which reset every episode to the
    same cached state and hide the final observation. Reaching the time limit truncates
    an episode, and brax's own `done` terminates it. Observations are vectors; a
    dictionary becomes one vector, with its entries sorted by name.

    Args:
        name: a name in brax, which may end in a physics backend: `"ant@spring"`.
        backend: `"generalized"`, `"positional"`, `"spring"` or `"mjx"`. With None brax
            uses that in the name, or else chooses; so far always `"generalized"`.
        max_episode_steps: the time limit; the default is that of `brax.envs.create`.
        options: arguments of the environment's class, for example
            `terminate_when_unhealthy=False`.

    Raises:
        ValueError: if the environment is unknown, or cannot be made with these options.
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
            raise unknown("brax environment", task, names())
        if at and backend not in (None, suffix):
            raise ValueError(
                f"backend must be None or the one in the name, {suffix!r}; got "
                f"{backend!r}"
            )
        backend = suffix if at else backend
        check("backend", backend, BACKEND)
        if backend is not None:
            options["backend"] = backend
        check("max_episode_steps", max_episode_steps, COUNT)
        self.name = f"brax:{task}@{backend}" if backend else f"brax:{task}"
        self.max_episode_steps = max_episode_steps
        with made_quietly(self.name):
            self._wrap(envs.get_environment(task, **options))


def names() -> list[str]:
    """Return the names of the environments in the installed brax."""
    return sorted(envs._envs)
