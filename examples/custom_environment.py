"""Bring your own environment: two pure functions and four attributes.

The task: keep a mass that gravity pulls down close to height 0. `reset` and `step` know
one environment only; batching, starting again and compilation are the library's. The
contract stands in trpo_jax/environments/base.py; `trpo_jax.check_environment` says
where an environment breaks it, and `train` asks it first.
"""

import os

import jax
import jax.numpy as jnp

from trpo_jax import Box, Step, train

SMALL = os.environ.get("TRPO_JAX_BUDGET") == "small"


class Hover:
    """State: height, velocity and time; action: thrust in [-1, 1]."""

    name = "hover"
    observation_space = Box.uniform((2,))
    action_space = Box.uniform((1,), -1.0, 1.0)
    max_episode_steps = 100

    def reset(self, key: jax.Array) -> tuple[tuple, jax.Array]:
        """Start at rest, somewhere between -1 and 1."""
        height = jax.random.uniform(key, (), minval=-1.0, maxval=1.0)
        return (height, jnp.float32(0), jnp.int32(0)), jnp.stack([height, 0.0])

    def step(self, key: jax.Array, env_state: tuple, action: jax.Array) -> Step:
        """Move on by 0.1 s; out of reach is an end, 100 steps are a time limit."""
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
print(f"hover, {steps} steps, at most 100")
print(f"return before training: {result.metrics.episode_return[0, 0]:.1f}")
print(f"return of the greedy policy: {result.evaluation['greedy']['iqm']:.1f}")
