"""Repeating each action for several steps of the simulator."""

import jax
import jax.numpy as jnp

from trpo_jax.environments.base import Environment, PyTree, Step, take_step
from trpo_jax.environments.spaces import Space


class ActionRepeat:
    """An environment whose step is `repeat` steps of another with the same action.

    Noise that is independent from step to step averages out. Repeated for a few steps
    it explores further, which helps with sparse rewards (the frame skip of Mnih et al.
    2015). The rewards are summed; no step is taken after the end of an episode.
    """

    def __init__(self, environment: Environment, repeat: int) -> None:
        self.environment = environment
        self.repeat = repeat
        self.name: str = environment.name
        self.observation_space: Space = environment.observation_space
        self.action_space: Space = environment.action_space
        self.expensive_reset = getattr(environment, "expensive_reset", False)
        limit = environment.max_episode_steps
        self.max_episode_steps = None if limit is None else -(-limit // repeat)

    def reset(self, key: jax.Array) -> tuple[PyTree, PyTree]:
        """Start an episode, see `Environment.reset`."""
        return self.environment.reset(key)

    def step(self, key: jax.Array, env_state: PyTree, action: PyTree) -> Step:
        """Take an action `repeat` times, or until the episode ends."""
        first_key, *keys = jax.random.split(key, self.repeat)
        step = take_step(self.environment, first_key, env_state, action)

        def again(step: Step, key: jax.Array) -> tuple[Step, None]:
            over = step.terminated | step.truncated
            after = take_step(self.environment, key, step.env_state, action)
            after = after._replace(reward=step.reward + after.reward)
            kept = jax.tree.map(lambda a, b: jnp.where(over, a, b), step, after)
            return kept, None

        step, _ = jax.lax.scan(again, step, jnp.stack(keys))
        return step
