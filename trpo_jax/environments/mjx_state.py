"""Code shared by brax and MuJoCo Playground, whose states have the same structure."""

import contextlib
import io
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from trpo_jax.environments.base import PyTree, Step
from trpo_jax.environments.host import Parts
from trpo_jax.environments.spaces import Box, rescale_action

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


def flatten(observation: PyTree) -> jax.Array:
    """Return all arrays of an observation as one float32 vector, sorted by their keys.

    >>> flatten({"b": jnp.zeros((2, 1)), "a": jnp.ones(1)}).tolist()
    [1.0, 0.0, 0.0]
    """
    leaves = jax.tree.leaves(observation)
    return jnp.concatenate([jnp.asarray(x, jnp.float32).ravel() for x in leaves])


def _parts_of(observation: PyTree) -> Parts:
    """Return the description of an observation, an array or a dictionary of arrays."""
    if isinstance(observation, Mapping):
        return {key: _parts_of(part) for key, part in sorted(observation.items())}
    return Box.uniform(observation.shape)


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

    def _observe(self, observation: PyTree) -> jax.Array:
        return flatten(self._select(observation))

    def _wrap(self, simulator: Any) -> None:
        self.simulator = simulator
        self.action_space = Box.uniform((simulator.action_size,), -1.0, 1.0)
        env_state, observation = jax.eval_shape(self.reset, jax.random.key(0))
        self.observation_space = Box.uniform(observation.shape)
        self.observation_parts = _parts_of(self._select(env_state.simulator.obs))

    def reset(self, key: jax.Array) -> tuple[SimulatorState, jax.Array]:
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
