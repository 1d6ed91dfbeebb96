"""Code shared by brax and MuJoCo Playground, whose states have the same structure."""

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from trpo_jax.environments.base import Step
from trpo_jax.environments.spaces import Box

with contextlib.redirect_stdout(io.StringIO()):  # it prints that Warp is missing
    import mujoco

PyTree = Any


class SimulatorState(NamedTuple):
    """The state of an episode in brax or MuJoCo Playground.

    Attributes:
        simulator: the simulator's own state.
        time: the number of steps taken in this episode, an int32 scalar.
    """

    simulator: PyTree
    time: jax.Array


@contextlib.contextmanager
def made_quietly(name: str) -> Iterator[None]:
    """Silence warnings while an environment is made, and report errors in one line.

    MuJoCo would print warnings about the models in its own packages and leave a log
    file in the working directory.

    Args:
        name: the name of the environment, for error messages.

    Raises:
        ValueError: if anything is raised inside the block. What the options do not
            explain comes from incompatible versions of the installed packages.
    """
    listener = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda text: None)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(
            f"{name} cannot be made with these options and the installed packages: "
            f"{reason}"
        ) from error
    finally:
        mujoco.set_mju_user_warning(listener)


def flatten(observation: PyTree) -> jax.Array:
    """Return all arrays of an observation as one vector, in the order of their keys.

    Args:
        observation: a pytree of arrays.

    Returns:
        A float32 vector.

    Example:
        >>> flatten({"b": jnp.zeros((2, 1)), "a": jnp.ones(1)}).tolist()
        [1.0, 0.0, 0.0]
    """
    parts = [
        jnp.ravel(jnp.asarray(leaf, jnp.float32))
        for leaf in jax.tree.leaves(observation)
    ]
    return jnp.concatenate(parts)


def observation_space(simulator: Any, observe: Callable[[PyTree], jax.Array]) -> Box:
    """Return the unbounded box of a simulator's observations after `observe`.

    Args:
        simulator: as in `reset_simulator`.
        observe: as in `reset_simulator`.
    """
    shapes = jax.eval_shape(
        lambda key: observe(simulator.reset(key).obs), jax.random.key(0)
    )
    return Box.uniform(shapes.shape)


def reset_simulator(
    simulator: Any, observe: Callable[[PyTree], jax.Array], key: jax.Array
) -> tuple[SimulatorState, jax.Array]:
    """Start an episode.

    Args:
        simulator: an environment of brax or MuJoCo Playground, without wrappers.
        observe: converts its observations into vectors.
        key: a random key, which is consumed.

    Returns:
        The state, without weak types, and the observation.
    """
    state = jax.tree.map(
        lambda leaf: jnp.asarray(leaf, jnp.asarray(leaf).dtype), simulator.reset(key)
    )
    return SimulatorState(state, jnp.int32(0)), observe(state.obs)


def step_simulator(
    simulator: Any,
    observe: Callable[[PyTree], jax.Array],
    limit: int | None,
    env_state: SimulatorState,
    action: jax.Array,
) -> Step:
    """Take one step, without resetting when the episode ends.

    Args:
        simulator: as in `reset_simulator`.
        observe: as in `reset_simulator`.
        limit: the number of steps after which an episode is truncated, or None.
        env_state: the state to act in.
        action: one action, which is clipped to [−1, 1].

    Returns:
        The `Step`.
    """
    # The simulator writes into the dictionaries of the state that it receives.
    copy = jax.tree.map(lambda leaf: leaf, env_state.simulator)
    after = jax.tree.map(
        lambda new, old: jnp.asarray(new, old.dtype),
        simulator.step(copy, jnp.clip(action, -1, 1)),
        env_state.simulator,
    )
    time = env_state.time + 1
    return Step(
        env_state=SimulatorState(after, time),
        observation=observe(after.obs),
        reward=after.reward.astype(jnp.float32),
        terminated=after.done.astype(bool),
        truncated=jnp.bool_(False) if limit is None else time >= limit,
    )
