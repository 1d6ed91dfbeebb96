"""Bring your own network: two pairs of plain functions, no network library.

A network consists of `init(key, observation) -> params` and `apply(params,
observation)`, which accepts observations with any leading axes. The policy returns a
distribution and the critic returns values; their parameters are two separate pytrees of
any structure.
"""

import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from trpo_jax import Agent, Categorical, Network, train

SMALL = os.environ.get("TRPO_JAX_BUDGET") == "small"
HIDDEN = 32


def network(outputs: int, head: Callable[[jax.Array], Any]) -> Network:
    """Return a network with one hidden layer, whose outputs go through `head`."""

    def init(key: jax.Array, observation: jax.Array) -> dict[str, jax.Array]:
        scale = observation.size**-0.5
        return {
            "inward": scale * jax.random.normal(key, (observation.size, HIDDEN)),
            "bias": jnp.zeros(HIDDEN),
            "outward": jnp.zeros((HIDDEN, outputs)),
        }

    def apply(params: dict[str, jax.Array], observation: jax.Array) -> Any:
        hidden = jnp.tanh(observation @ params["inward"] + params["bias"])
        return head(hidden @ params["outward"])

    return Network(init, apply)


agent = Agent(
    policy=network(2, Categorical),  # logits [..., 2]
    critic=network(1, lambda out: out[..., 0]),  # values [...]
)
steps = 50_000 if SMALL else 100_000
result = train("CartPole-v1", agent=agent, total_steps=steps, progress=False)
print(f"CartPole-v1, {steps} steps; the highest possible return is 500")
print(f"return of the greedy policy: {result.evaluation['greedy']['iqm']:.0f}")
