"""Making Gymnasium's vector environments from a name in its registry."""

import difflib
import functools
import importlib
import signal
import traceback
import warnings
from typing import Any

import gymnasium
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

from trpo_jax.environments.host import SimulatorError


def names() -> list[str]:
    """Return the names in Gymnasium's registry, including the user's own."""
    return list(gymnasium.registry)


def make_vector(
    name: str, num_envs: int, workers: bool, options: dict[str, Any]
) -> VectorEnv:
    """Make a vector environment from a name.

    Args:
        name: a name in Gymnasium's registry, or `module:name`, where importing the
            module registers the environment.
        num_envs: the number of environments.
        workers: whether each environment runs in a process of its own.
        options: keyword arguments of `gymnasium.make`.

    Returns:
        The vector environment, whose `spec` is that of its environments.

    Raises:
        ValueError: if the name is unknown, or if Gymnasium refuses to make it.
        SimulatorError: if the environment's own code raises.
    """
    module, _, name = name.rpartition(":")
    if module:
        importlib.import_module(module)
    if name not in names():
        near = difflib.get_close_matches(name, names(), 1, 0.0)
        raise ValueError(
            f"unknown Gymnasium environment {name!r}; nearest: {near[0]!r}"
        )
    spec = gymnasium.spec(name)
    make = functools.partial(_make_one, spec, options, workers)
    # With a reset in the same step no step is lost, but the last picture of each
    # episode is.
    renders = "render_mode" in options
    mode = AutoresetMode.NEXT_STEP if renders else AutoresetMode.SAME_STEP
    vector: VectorEnv
    try:
        if workers:  # forking a process in which JAX runs can deadlock
            vector = AsyncVectorEnv(
                [make] * num_envs, context="forkserver", autoreset_mode=mode
            )
        else:
            vector = SyncVectorEnv([make] * num_envs, autoreset_mode=mode)
    except gymnasium.error.Error as error:
        raise ValueError(f"gymnasium:{name} cannot be made: {error}") from error
    except (Exception, SystemExit) as error:  # the environment may raise anything
        if renders:
            raise  # whether pictures are needed is for the caller to decide
        stack = "".join(traceback.format_exception(error))
        raise SimulatorError(f"gymnasium:{name} cannot be made\n{stack}") from error
    vector.spec = spec
    return vector


def _make_one(spec: Any, options: dict[str, Any], worker: bool) -> gymnasium.Env:
    if worker:  # only the main process handles an interrupt from the keyboard
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Gymnasium warns of newer versions
        return gymnasium.make(spec, **options)
