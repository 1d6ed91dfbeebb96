"""A network of your own with a memory, on a task that cannot be solved without one.

The environment shows a sign once, and asks for it at the end of the episode. `apply`
is given whole sequences, the memory before them, and where episodes begin; `recur` runs
the cell along time and begins anew there.
"""

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trpo_jax import Agent, Box, Categorical, Discrete, Network, Step, recur, train

SMALL = os.environ.get("TRPO_JAX_BUDGET") == "small"
LENGTH = 5 if SMALL else 10  # steps of an episode
WIDTH = 16  # of the memory


class Recall:
    """See ±1 at first and 0 afterwards; the last action is to name the sign."""

    name, max_episode_steps = "recall", LENGTH
    observation_space, action_space = Box.uniform((2,), -1, 1), Discrete(2)

    def reset(self, key: jax.Array) -> tuple[Any, jax.Array]:
        """Draw the sign and show it."""
        sign = jax.random.rademacher(key, (), jnp.float32)
        return (sign, jnp.int32(0)), jnp.stack([sign, 0.0])

    def step(self, key: jax.Array, env_state: Any, action: jax.Array) -> Step:
        """Show whether the next action is the last; reward it."""
        sign, time = env_state
        over = time == LENGTH - 1
        reward = jnp.where(over, sign * (2.0 * action - 1.0), 0.0)
        asks = (time == LENGTH - 2).astype(jnp.float32)
        observation = jnp.stack([jnp.float32(0.0), asks])
        return Step((sign, time + 1), observation, reward, over, jnp.bool_(False))


def elman(outputs: int) -> Network:
    """Return a network with h' = tanh(A h + B x), whose outputs are C h'."""

    def init(key: jax.Array, observation: jax.Array) -> dict[str, jax.Array]:
        again, inward, outward = jax.random.split(key, 3)
        scale = WIDTH**-0.5
        return {
            "again": scale * jax.random.normal(again, (WIDTH, WIDTH)),
            "inward": jax.random.normal(inward, (observation.size, WIDTH)),
            "outward": 0.1 * scale * jax.random.normal(outward, (WIDTH, outputs)),
        }

    def apply(
        params: dict[str, jax.Array],
        observation: jax.Array,  # [T, B, ...]
        memory: jax.Array,  # [B, WIDTH], before the first of them
        first: jax.Array,  # [T, B], where an episode begins
    ) -> tuple[Any, jax.Array]:
        def cell(h: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
            h = jnp.tanh(h @ params["again"] + x @ params["inward"])
            return h, h  # the output, and the next memory

        h, memory = recur(cell, memory, observation, first, jnp.zeros(WIDTH))
        out = h @ params["outward"]
        return (Categorical(out) if outputs > 1 else out[..., 0]), memory

    return Network(init, apply, initial_memory=lambda: jnp.zeros(WIDTH))


agent = Agent(policy=elman(2), critic=elman(1))
options = {"num_envs": 32, "num_steps": 40, "max_kl": 0.03}
steps = 40_000 if SMALL else 150_000
result = train(Recall(), agent=agent, total_steps=steps, progress=False, **options)
returns = np.asarray(result.evaluation["greedy"]["iqm"])
print(f"{LENGTH} steps; knowing the sign gives 1, guessing 0")
print(f"return of the greedy policy with a memory: {returns:.2f}")
