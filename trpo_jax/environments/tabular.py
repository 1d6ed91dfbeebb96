"""A finite Markov decision process as an environment."""

from typing import Any

import jax
import jax.numpy as jnp

from trpo_jax.environments.base import Step
from trpo_jax.environments.spaces import Discrete
from trpo_jax.theory import MDP

PyTree = Any


class TabularEnvironment:
    """A `trpo_jax.theory.MDP` as an `Environment`.

    The reward of a step is its expectation. With `geometric` an episode terminates with
    probability 1 − γ at every step; the states of its steps are then distributed as the
    discounted visitation ρ_π (up to its sum), and the mean undiscounted return is η(π).
    Otherwise no episode terminates.

    Args:
        mdp: the decision process.
        geometric: whether an episode terminates with probability 1 − γ at every step.
        max_episode_steps: the time limit, or None.

    Example:
        >>> from trpo_jax import theory
        >>> mdp = theory.random_mdp(jax.random.key(0), 4, 3, 0.9)
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
        """Start an episode; the `env_state` is `(state, time)`."""
        state = jax.random.categorical(key, jnp.log(self._mdp.initial))
        state = state.astype(jnp.int32)
        return (state, jnp.int32(0)), state

    def step(self, key: jax.Array, env_state: PyTree, action: jax.Array) -> Step:
        """Take one action, see `Environment.step`."""
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
