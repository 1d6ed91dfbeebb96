"""The seeds of a run, and its random keys: independent ones for each purpose."""

import enum

import jax
import numpy as np

from trpo_jax.runs.plan import Plan

_APART = 1_000_003  # between the simulators of two agents: more than one ever has


class KeyPurpose(enum.IntEnum):
    """What a key is used for. The numbers are part of the reproducible results."""

    TRAINING = 0
    FINAL_EVALUATION = 1
    EVALUATION = 2
    RENDERING = 3


def run_key(seed: int | jax.Array, purpose: KeyPurpose) -> jax.Array:
    """Return the typed key of an agent for one purpose, independent of all others."""
    return jax.random.fold_in(jax.random.key(seed), int(purpose))


def seeds_of(plan: Plan) -> np.ndarray:
    """Return the seed of each agent, `[K]` uint32."""
    return (plan.run.seed + np.arange(plan.run.seeds)).astype(np.uint32)


def training_seed(seed: int) -> int:
    """Return the seed of the first simulator on the host that trains an agent."""
    return seed * _APART


def evaluation_seed(seed: int) -> int:
    """Return the seed of the first simulator that evaluates: none of the training's."""
    return seed * _APART + 500_009


def restart_seed(seed: int, iteration: int) -> int:
    """Return a seed for a resumed run, with which no earlier episode is repeated."""
    return int(np.random.SeedSequence([seed, iteration]).generate_state(1)[0]) // 2
