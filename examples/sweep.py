"""Sweep the radius of the trust region, with several seeds, in one compiled program.

The numbers in a `Config` are pytree leaves, so that `jax.vmap` over one of them is a
sweep. Static values such as `num_steps` need a new program for each value.
"""

import dataclasses
import os

import jax
import jax.numpy as jnp

from trpo_jax import (
    Config,
    bootstrap_interval,
    default_agent,
    evaluate,
    init,
    interquartile_mean,
    make_environment,
    train_step,
)

SMALL = os.environ.get("TRPO_JAX_BUDGET") == "small"
ITERATIONS, SEEDS = (10, 8) if SMALL else (10, 32)

world = make_environment("CartPole-v1")
agent = default_agent(
    world.observation_space, world.action_space, hidden_sizes=(32, 32)
)
base = Config(num_envs=8, num_steps=128, critic_learning_rate=5e-3, critic_epochs=4)


def run(key: jax.Array, max_kl: jax.Array) -> jax.Array:
    """Train one agent and return its mean return over 20 episodes."""
    config = dataclasses.replace(base, max_kl=max_kl)
    key, evaluation_key = jax.random.split(key)
    state = jax.lax.fori_loop(
        0,
        ITERATIONS,
        lambda _, state: train_step(state, world, agent, config)[0],
        init(key, world, agent, config),
    )
    policy = (agent, state.policy_params, state.normalizer)
    played = evaluate(evaluation_key, world, *policy, episodes=20, greedy=False)
    return jnp.mean(played.episode_return)


radii = jnp.array([0.0001, 0.001, 0.01, 0.1, 1.0])
keys = jax.random.split(jax.random.key(0), SEEDS)
over_seeds = jax.vmap(run, in_axes=(0, None))
scores = jax.jit(jax.vmap(over_seeds, in_axes=(None, 0)))(keys, radii)

print(f"CartPole-v1 after {ITERATIONS * base.batch_size} steps, {SEEDS} seeds each:")
print("the interquartile mean of the return, and its 95 % interval")
for radius, score in zip(radii, scores):
    low, high = bootstrap_interval(score)
    print(
        f"max_kl {radius:<6.4g} {interquartile_mean(score):5.0f} {low:5.0f} {high:5.0f}"
    )
