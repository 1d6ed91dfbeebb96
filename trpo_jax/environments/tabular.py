"""A finite Markov decision process as an environment."""

import jax
import jax.numpy as jnp

from trpo_jax.environments.base import PyTree, Step
from trpo_jax.environments.spaces import Discrete
from trpo_jax.theory import MDP


class TabularEnvironment:
    """A `trpo_jax.theory.MDP` as an `Environment`.

    The reward of a step is its expectation. With `geometric` an episode terminates with
    probability 1 − γ at every step; the states of its steps are then distributed as the
    discounted visitation ρ_π (up to its sum), and the mean undiscounted return is η(π).
    Otherwise no episode terminates. If given, `max_episode_steps` is the time limit.

    Example:
        >>> from trpo_jax import theory
        >>> mdp = theory.random_mdp(jax.random.key(0), 4, 3, 0.9)
        >>> environment = TabularEnvironment(mdp)
        >>> environment.observation_space.n, environment.action_space.n
        (4, 3)
    """

    name = "tabular"

    def __init__(
        self, mdp: MDP, *, geometric: bool = False, max_episode_steps: int | None = None
    ) -> None:
        self.observation_space, self.action_space = map(Discrete, mdp.reward.shape)
        self.max_episode_steps = max_episode_steps
        self._mdp, self._geometric = jax.tree.map(jnp.asarray, mdp), geometric

    def reset(self, key: jax.Array) -> tuple[PyTree, jax.Array]:
        """Start an episode; the `env_state` is `(state, time)`."""
        state = _draw(key, self._mdp.initial)
        return (state, jnp.int32(0)), state

    def step(self, key: jax.Array, env_state: PyTree, action: jax.Array) -> Step:
        """Take one action, see `Environment.step`."""
        state, time = env_state
        state_key, end_key = jax.random.split(key)
        after = _draw(state_key, self._mdp.transition[state, action])
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


def _draw(key: jax.Array, probabilities: jax.Array) -> jax.Array:
    return jax.random.categorical(key, jnp.log(probabilities)).astype(jnp.int32)
