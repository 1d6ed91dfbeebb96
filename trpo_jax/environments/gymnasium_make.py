"""Making Gymnasium's vector environments from a name in its registry."""

import contextlib
import copy
import functools
import importlib
import multiprocessing
import signal
import traceback
import warnings
from typing import Any

import gymnasium
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

from trpo_jax.environments.host import SimulatorError
from trpo_jax.environments.lookup import unknown


def names() -> list[str]:
    """Return the names in Gymnasium's registry, including the user's own."""
    return list(gymnasium.registry)


def make_vector(
    name: str, num_envs: int, workers: bool, options: dict[str, Any]
) -> VectorEnv:
    """Make a vector environment, whose `spec` is that of its environments.

    The name is one in Gymnasium's registry, or `module:name`, where importing the
    module registers the environment. With `workers` each environment runs in a process
    of its own. The options are keyword arguments of `gymnasium.make`. What Gymnasium
    refuses is a `ValueError`; what the environment's own code raises, a
    `SimulatorError`.
    """
    module, _, name = name.rpartition(":")
    if module:
        importlib.import_module(module)
    if name not in names():
        raise unknown("Gymnasium environment", name, names())
    spec = gymnasium.spec(name)
    make = functools.partial(_make_one, spec, options, workers)
    # With a reset in the same step no step is lost, but the last picture of each
    # episode is.
    renders = "render_mode" in options
    mode = AutoresetMode.NEXT_STEP if renders else AutoresetMode.SAME_STEP
    vector: VectorEnv
    try:
        if workers:  # forking a process in which JAX runs can deadlock
            known = multiprocessing.get_all_start_methods()
            context = "forkserver" if "forkserver" in known else "spawn"  # on Windows
            vector = AsyncVectorEnv(
                [make] * num_envs, context=context, autoreset_mode=mode
            )
        else:
            with contextlib.ExitStack() as to_close:  # if a later one cannot be made

                def make_here() -> gymnasium.Env:
                    one = make()
                    to_close.callback(one.close)
                    return one

                vector = SyncVectorEnv([make_here] * num_envs, autoreset_mode=mode)
                to_close.pop_all()
    except gymnasium.error.Error as error:
        raise ValueError(f"gymnasium:{name} cannot be made: {error}") from error
    except (Exception, SystemExit) as error:  # the environment may raise anything
        if renders:
            raise  # whether pictures are needed is for the caller to decide
        stack = "".join(traceback.format_exception(error))
        raise SimulatorError(f"gymnasium:{name} cannot be made\n{stack}") from error
    vector.spec = spec
    return vector


class CopiedObservation(gymnasium.ObservationWrapper):
    """Copies observations, for environments that write them into one array.

    Where the step that ends an episode also resets, Gymnasium keeps the final
    observation while the reset writes the next one.
    """

    def observation(self, observation: Any) -> Any:
        """Return a copy."""
        return copy.deepcopy(observation)


def _make_one(spec: Any, options: dict[str, Any], worker: bool) -> gymnasium.Env:
    if worker:  # only the main process handles an interrupt from the keyboard
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    with warnings.catch_warnings(action="ignore"):  # Gymnasium warns of newer versions
        made = gymnasium.make(spec, **options)
    return CopiedObservation(made) if worker else made
