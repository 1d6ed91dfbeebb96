"""A finite Markov decision process to act in, whose every answer is known."""

from typing import Any

import jax
import jax.numpy as jnp

from trpo_jax.environments.base import Step
from trpo_jax.environments.spaces import Discrete
from trpo_jax.theory import MDP

PyTree = Any


class TabularEnvironment:
    """A `trpo_jax.theory.MDP` behind the contract of `trpo_jax.environments.base`.

    The reward of a step is the expected one. Episodes never end by themselves, or, if
    geometric, with probability 1 − γ at every step: what is then met is distributed as
    the discounted visitation ρ_π (up to its sum), and undiscounted returns have the
    mean η(π).

    Args:
        mdp: the process.
        geometric: end an episode with probability 1 − γ a step.
        max_episode_steps: truncate longer episodes, or None.

    Example:
        >>> from trpo_jax import tabular
        >>> mdp = tabular.random_mdp(jax.random.key(0), 4, 3, 0.9)
        >>> environment = TabularEnvironment(mdp)
        >>> environment.observation_space.n, environment.action_space.n
        (4, 3)
    """

    name = "tabular"

    def __init__(
        self,
        mdp: MDP,
        *,
        geometric: bool = False,
        max_episode_steps: int | None = None,
    ) -> None:
        states, actions = mdp.reward.shape
        self.observation_space = Discrete(states)
        self.action_space = Discrete(actions)
        self.max_episode_steps = max_episode_steps
        self._mdp = mdp
        self._geometric = geometric

    def reset(self, key: jax.Array) -> tuple[PyTree, jax.Array]:
        """Start an episode: `((state, time), state)`."""
        state = jax.random.categorical(key, jnp.log(self._mdp.initial))
        state = state.astype(jnp.int32)
        return (state, jnp.int32(0)), state

    def step(self, key: jax.Array, env_state: PyTree, action: jax.Array) -> Step:
        """Take one action; never resets."""
        state, time = env_state
        state_key, end_key = jax.random.split(key)
        after = jax.random.categorical(
            state_key, jnp.log(self._mdp.transition[state, action])
        ).astype(jnp.int32)
        terminated, truncated = jnp.bool_(False), jnp.bool_(False)
        if self._geometric:
            terminated = jax.random.uniform(end_key) >= self._mdp.discount
        if self.max_episode_steps is not None:
            truncated = time + 1 >= self.max_episode_steps
        return Step(
            env_state=(after, time + 1),
            observation=after,
            reward=self._mdp.reward[state, action].astype(jnp.float32),
            terminated=terminated,
            truncated=truncated,
        )
