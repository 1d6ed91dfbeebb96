"""Hyper-parameters that change in the course of a run."""

import dataclasses

import jax
import jax.numpy as jnp

from trpo_jax.config import Config


def scheduled(config: Config, iteration: int | jax.Array) -> Config:
    """Return the hyper-parameters of an iteration, with schedules evaluated.

    `max_kl` and `critic_learning_rate` change with `iteration`, the updates done so
    far. A `final_` value without `schedule_iterations` raises a ValueError.

    Example:
        >>> config = Config(max_kl=0.02, final_max_kl=0.01, schedule_iterations=10)
        >>> [round(float(scheduled(config, i).max_kl), 3) for i in (0, 5, 10, 99)]
        [0.02, 0.015, 0.01, 0.01]
    """
    changes = {}
    for name in ("max_kl", "critic_learning_rate"):
        start, final = getattr(config, name), getattr(config, f"final_{name}")
        if final is None:
            continue
        if config.schedule_iterations is None:
            raise ValueError(
                f"schedule_iterations must be given with final_{name}: the number of "
                "iterations after which it is reached"
            )
        progress = jnp.minimum(iteration / config.schedule_iterations, 1)
        changes[name] = start * (1 + (final / start - 1) * progress)
    return dataclasses.replace(config, **changes) if changes else config
