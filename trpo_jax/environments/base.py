"""The contract between the library and an accelerated environment.

An environment is pure and single: no batch axis, no hidden state, no reset of its own.
`collect` batches it with `vmap` and starts a new episode when one ends. A snapshot is
the `env_state`, an ordinary pytree.
"""

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from trpo_jax.environments.spaces import Space

PyTree = Any


class Step(NamedTuple):
    """What one step of an environment gives.

    Attributes:
        env_state: the state arrived in.
        observation: of that state, also when the episode just ended there.
        reward: float32 scalar.
        terminated: bool scalar, the state is absorbing.
        truncated: bool scalar, the episode was cut off, as by a time limit.
    """

    env_state: PyTree
    observation: PyTree
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array


class Environment(Protocol):
    """A simulator as two pure functions.

    Attributes:
        name: as in `make_environment`.
        observation_space: of one observation.
        action_space: of one action. Where a `Box` is bounded, `step` takes actions in
            units of the box, ±1 at the bounds, and clips what lies beyond.
        max_episode_steps: no episode is longer, or None when there is no limit.
    """

    name: str
    observation_space: Space
    action_space: Space
    max_episode_steps: int | None

    def reset(self, key: jax.Array) -> tuple[PyTree, PyTree]:
        """Start an episode: `(env_state, observation)`; `key` is consumed."""

    def step(self, key: jax.Array, env_state: PyTree, action: PyTree) -> Step:
        """Take one action; never resets. `key` is consumed."""


def step_and_reset(
    environment: Environment,
    step_key: jax.Array,
    reset_key: jax.Array,
    env_state: PyTree,
    action: PyTree,
) -> tuple[PyTree, PyTree, Step]:
    """Take one step and, if it ended the episode, start a fresh one.

    Args:
        environment: a single environment.
        step_key: consumed by the step.
        reset_key: consumed by the reset, if there is one.
        env_state: the state to act in.
        action: one action.

    Returns:
        The state and the observation to act on next, and the `Step` itself, whose
        observation is the final one of an episode that ended.
    """
    step = environment.step(step_key, env_state, action)
    ended = step.terminated | step.truncated
    fresh = environment.reset(reset_key)
    env_state, observation = jax.tree.map(
        lambda new, old: jnp.where(ended, new, old),
        fresh,
        (step.env_state, step.observation),
    )
    return env_state, observation, step
