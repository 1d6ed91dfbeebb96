"""Stepping a batch of environments, and starting new episodes where one has ended.

Shapes: `B` environments lead.
"""

from typing import Any

import jax

from trpo_jax.algorithm.masking import compute_where, where_rows
from trpo_jax.environments.base import Environment, Step, shaped

PyTree = Any

_PASSES = 16  # a pass resets a sixteenth of the environments: few end at the same time


def step_and_reset(
    environment: Environment,
    step_keys: jax.Array,
    reset_keys: jax.Array,
    env_state: PyTree,
    action: PyTree,
    truncate: jax.Array | None = None,
) -> tuple[PyTree, PyTree, Step]:
    """Take one step in every environment; start a new episode where one has ended.

    The keys are `[B]`, and `truncate` `[B]` marks episodes to truncate besides. The
    results are the states and observations to act on next, and the `Step`, whose
    observation is the final one of an episode that ended.

    All environments are reset at every step, and most of it is thrown away, which is
    cheap for simple ones. An environment with the attribute `expensive_reset` is reset
    only where an episode has ended; the numbers are the same.
    """

    def one(key: jax.Array, env_state: PyTree, action: PyTree) -> Step:
        return environment.step(key, env_state, shaped(environment, action))

    step = jax.vmap(one)(step_keys, env_state, action)
    if truncate is not None:
        step = step._replace(truncated=step.truncated | truncate)
    ended = step.terminated | step.truncated
    current = step.env_state, step.observation
    reset = jax.vmap(environment.reset)
    if getattr(environment, "expensive_reset", False):
        size = -(-ended.size // _PASSES)
        return *compute_where(ended, reset, reset_keys, current, size=size), step
    return *where_rows(ended, reset(reset_keys), current), step
