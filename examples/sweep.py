"""Sweep a hyper-parameter: every radius of the trust region and every seed at once.

The numbers in a `Config` are pytree leaves, so `vmap` over one of them is a sweep: one
compiled program trains and judges all runs. What is static, such as `num_steps`, would
need a program of its own for each value.
"""

import dataclasses
import os

import jax
import jax.numpy as jnp

from trpo_jax import Config, evaluate, init, make_environment, mlp_agent, train_step
from trpo_jax.plotting import bootstrap_interval, interquartile_mean

SMALL = os.environ.get("TRPO_JAX_BUDGET") == "small"
ITERATIONS = 15 if SMALL else 40
SEEDS = 4 if SMALL else 16

environment = make_environment("CartPole-v1")
agent = mlp_agent(
    environment.observation_space, environment.action_space, hidden_sizes=(32, 32)
)
base = Config(num_envs=8, num_steps=128, critic_learning_rate=5e-3, critic_epochs=4)


def run(key: jax.Array, max_kl: jax.Array) -> jax.Array:
    """Train one agent and return its mean return over 20 episodes."""
    config = dataclasses.replace(base, max_kl=max_kl)
    train_key, evaluation_key = jax.random.split(key)
    state = jax.lax.fori_loop(
        0,
        ITERATIONS,
        lambda _, state: train_step(state, environment, agent, config)[0],
        init(train_key, environment, agent, config),
    )
    played = evaluate(
        evaluation_key,
        environment,
        agent,
        state.policy_params,
        state.normalizer,
        episodes=20,
    )
    return jnp.mean(played.episode_return)


radii = jnp.array([0.0003, 0.001, 0.003, 0.01, 0.03, 0.1])
keys = jax.random.split(jax.random.key(0), SEEDS)
over_seeds = jax.vmap(run, in_axes=(0, None))
scores = jax.jit(jax.vmap(over_seeds, in_axes=(None, 0)))(keys, radii)
print(f"CartPole-v1 after {ITERATIONS * base.batch_size} steps, {SEEDS} seeds each")
for radius, score in zip(radii, scores):
    low, high = bootstrap_interval(score)
    print(
        f"max_kl {radius:<6.4g}  {interquartile_mean(score):5.1f} [{low:.0f}, {high:.0f}]"
    )
