"""Code shared by brax and MuJoCo Playground, whose states have the same structure."""

import contextlib
import io
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from trpo_jax.environments.actions import rescale_action
from trpo_jax.environments.base import PyTree, Step
from trpo_jax.environments.spaces import Box, Dict, Space

with contextlib.redirect_stdout(io.StringIO()):  # it prints that Warp is missing
    import mujoco


class SimulatorState(NamedTuple):
    """The simulator's own state, and the number of steps in the episode so far."""

    simulator: PyTree
    time: jax.Array


@contextlib.contextmanager
def made_quietly(name: str) -> Iterator[None]:
    """Silence warnings while an environment is made, and report errors in one line.

    MuJoCo would print warnings about the models in its own packages and leave a log
    file in the working directory. Anything raised inside the block becomes a
    `ValueError`: what the options do not explain comes from incompatible versions of
    the installed packages.
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


def _space_of(observation: PyTree) -> Space:
    """Return the space of an observation, an array or a dictionary of arrays."""
    if isinstance(observation, Mapping):
        return Dict({key: _space_of(part) for key, part in observation.items()})
    return Box.uniform(observation.shape)


def _as_floats(observation: PyTree) -> PyTree:
    """Return dictionaries, whatever mappings they were, of float32 arrays."""
    if isinstance(observation, Mapping):
        return {key: _as_floats(part) for key, part in observation.items()}
    return jnp.asarray(observation, jnp.float32)


class MjxEnvironment:
    """An `Environment` made of one of brax or MuJoCo Playground without wrappers.

    A subclass sets `name` and `max_episode_steps`, and calls `_wrap`. Actions are
    clipped to [−1, 1]; the simulator scales them to the range of its actuators.
    """

    name: str
    max_episode_steps: int | None
    expensive_reset = True  # it simulates, see `algorithm.stepping`

    @staticmethod
    def _select(observation: PyTree) -> PyTree:
        """Return the part of an observation that the policy sees."""
        return observation

    def _observe(self, observation: PyTree) -> PyTree:
        return _as_floats(self._select(observation))

    def _wrap(self, simulator: Any) -> None:
        self.simulator = simulator
        self.action_space = Box.uniform((simulator.action_size,), -1.0, 1.0)
        _, observation = jax.eval_shape(self.reset, jax.random.key(0))
        self.observation_space = _space_of(observation)

    def reset(self, key: jax.Array) -> tuple[SimulatorState, PyTree]:
        """Start an episode, see `Environment.reset`; nothing is weakly typed."""
        state = self.simulator.reset(key)
        state = jax.tree.map(lambda x: jnp.asarray(x, jnp.asarray(x).dtype), state)
        return SimulatorState(state, jnp.int32(0)), self._observe(state.obs)

    def step(self, key: jax.Array, env_state: PyTree, action: jax.Array) -> Step:
        """Take one action, see `Environment.step`; the key has no effect."""
        del key
        # The simulator writes into the dictionaries of the state that it receives.
        copy = jax.tree.map(lambda leaf: leaf, env_state.simulator)
        action = rescale_action(self.action_space, action, jnp.result_type(float))
        after = jax.tree.map(
            lambda new, old: jnp.asarray(new, old.dtype),
            self.simulator.step(copy, action),
            env_state.simulator,
        )
        time, limit = env_state.time + 1, self.max_episode_steps
        return Step(
            env_state=SimulatorState(after, time),
            observation=self._observe(after.obs),
            reward=after.reward.astype(jnp.float32),
            terminated=after.done.astype(bool),
            truncated=jnp.bool_(False) if limit is None else time >= limit,
        )
