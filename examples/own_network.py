"""Bring your own network: two pairs of plain functions, no network library.

A network is `init(key, observation) -> params` and `apply(params, observation)`, for
observations with any leading axes. The policy returns a distribution, the critic values;
their parameters are two separate pytrees of any structure. Here the policy has one
hidden layer and the critic is linear in products of observations.
"""

import os

import jax
import jax.numpy as jnp

from trpo_jax import Agent, Categorical, Network, train

SMALL = os.environ.get("TRPO_JAX_BUDGET") == "small"
HIDDEN, ACTIONS = 16, 2


def init_policy(key: jax.Array, observation: jax.Array) -> dict[str, jax.Array]:
    """Start with no preference between the actions."""
    inward = jax.random.normal(key, (observation.size, HIDDEN)) / observation.size**0.5
    return {
        "in": inward,
        "bias": jnp.zeros(HIDDEN),
        "out": jnp.zeros((HIDDEN, ACTIONS)),
    }


def apply_policy(params: dict[str, jax.Array], observation: jax.Array) -> Categorical:
    """Map `[..., D]` to a distribution over the actions."""
    hidden = jnp.tanh(observation @ params["in"] + params["bias"])
    return Categorical(hidden @ params["out"])


def init_critic(key: jax.Array, observation: jax.Array) -> jax.Array:
    """Start with a value of zero everywhere."""
    del key
    return jnp.zeros((observation.size + 1) ** 2)


def apply_critic(params: jax.Array, observation: jax.Array) -> jax.Array:
    """Map `[..., D]` to values `[...]`."""
    x = jnp.concatenate([observation, jnp.ones_like(observation[..., :1])], axis=-1)
    products = x[..., :, None] * x[..., None, :]
    return products.reshape(*x.shape[:-1], -1) @ params


agent = Agent(Network(init_policy, apply_policy), Network(init_critic, apply_critic))
steps = 30_000 if SMALL else 100_000
result = train("CartPole-v1", agent=agent, total_steps=steps, progress=False)
print(f"CartPole-v1, {steps} steps, at best 500")
print(f"return of the greedy policy: {result.evaluation['greedy']['iqm']:.0f}")
