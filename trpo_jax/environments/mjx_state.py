"""What brax and MuJoCo Playground share: simulators whose states are built alike."""

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from trpo_jax.environments.base import Step
from trpo_jax.environments.spaces import Box

with contextlib.redirect_stdout(io.StringIO()):  # it prints that it misses Warp
    import mujoco

PyTree = Any


class SimulatorState(NamedTuple):
    """State of an episode in brax or MuJoCo Playground.

    Attributes:
        simulator: the simulator's own state.
        time: int32, steps taken in this episode.
    """

    simulator: PyTree
    time: jax.Array


@contextlib.contextmanager
def made_quietly(name: str) -> Iterator[None]:
    """Make an environment inside: it warns of nothing and fails in one line.

    MuJoCo would warn about the models of its own packages on standard error, and leave
    a file in the working directory.

    Raises:
        ValueError: whatever goes wrong inside; what is not the caller's fault comes
            from packages that do not fit together.
    """
    listener = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda text: None)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(
            f"{name} cannot be made with these options and the packages installed "
            f"here; {reason}"
        ) from error
    finally:
        mujoco.set_mju_user_warning(listener)


def flatten(observation: PyTree) -> jax.Array:
    """Return all of an observation as one vector, dictionaries in order of their keys.

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
    """Return the space of what `observe` makes of the simulator's observations."""
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
        observe: makes a vector of its observation.
        key: consumed.

    Returns:
        The state, free of weak types, and the observation.
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
    """Take one step in units of [−1, 1]; never resets.

    Args:
        simulator: as in `reset_simulator`.
        observe: as in `reset_simulator`.
        limit: steps after which an episode is truncated, or None.
        env_state: left as it is.
        action: clipped.
    """
    # Simulators write into the dictionaries of the state that they are given.
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
