"""Bring your own environment: two pure functions and four attributes.

The task is to keep a mass, which gravity pulls down, close to height 0. `reset` and
`step` handle a single environment; the library batches it, starts new episodes and
compiles it. The contract is described in trpo_jax/environments/base.py. The function
`trpo_jax.check_environment` reports where an environment breaks it; `train` calls it
before anything else.
"""

import os

import jax
import jax.numpy as jnp

from trpo_jax import Box, Step, train

SMALL = os.environ.get("TRPO_JAX_BUDGET") == "small"


class Hover:
    """The state is height, velocity and time; the action is a thrust in [-1, 1]."""

    name = "hover"
    observation_space = Box.uniform((2,))
    action_space = Box.uniform((1,), -1.0, 1.0)
    max_episode_steps = 100

    def reset(self, key: jax.Array) -> tuple[tuple, jax.Array]:
        """Start at rest, at a random height between -1 and 1."""
        height = jax.random.uniform(key, (), minval=-1.0, maxval=1.0)
        return (height, jnp.float32(0), jnp.int32(0)), jnp.stack([height, 0.0])

    def step(self, key: jax.Array, env_state: tuple, action: jax.Array) -> Step:
        """Simulate 0.1 s; end beyond a height of 2, truncate after 100 steps."""
        del key
        height, velocity, time = env_state
        velocity += 0.1 * (2 * jnp.clip(action[0], -1, 1) - 1)
        height += 0.1 * velocity
        return Step(
            env_state=(height, velocity, time + 1),
            observation=jnp.stack([height, velocity]),
            reward=1 - jnp.minimum(jnp.abs(height), 1),
            terminated=jnp.abs(height) > 2,
            truncated=time + 1 >= self.max_episode_steps,
        )


steps = 40_000 if SMALL else 200_000
result = train(Hover(), total_steps=steps, hidden_sizes=(32, 32), progress=False)
print(f"hover, {steps} steps; the highest possible return is 100")
print(f"return before training: {result.metrics.episode_return[0, 0]:.1f}")
print(f"return of the greedy policy: {result.evaluation['greedy']['iqm']:.1f}")
