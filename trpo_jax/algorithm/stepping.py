"""Stepping a batch of environments: random keys, new episodes, truncations.

Shapes: `B` environments lead.
"""

import functools
from typing import Any

import jax
import numpy as np

from trpo_jax.algorithm.masking import compute_where, where_rows
from trpo_jax.environments.base import Environment, Step, take_step

PyTree = Any


def env_keys(
    key: jax.Array, env_index: jax.Array, shape: tuple[int, ...] = ()
) -> jax.Array:
    """Return random keys `[*shape, B]` that follow from each environment's own number.

    An environment draws the same numbers wherever it is in a batch, and however the
    environments are divided among devices. The key is consumed.

    Example:
        >>> import jax.numpy as jnp
        >>> four = env_keys(jax.random.key(0), jnp.arange(4), (2,))
        >>> last = env_keys(jax.random.key(0), jnp.array([3]), (2,))
        >>> four.shape, bool((four[:, 3:] == last).all())
        ((2, 4), True)
    """

    def of_one(i: jax.Array) -> jax.Array:
        own = jax.random.fold_in(key, i)
        return jax.random.split(own, shape) if shape else own

    return jax.vmap(of_one, out_axes=len(shape))(env_index)


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
    step_all = jax.vmap(functools.partial(take_step, environment))
    step = step_all(step_keys, env_state, action)
    if truncate is not None:
        step = step._replace(truncated=step.truncated | truncate)
    ended = step.terminated | step.truncated
    current = step.env_state, step.observation
    reset = jax.vmap(environment.reset)
    if getattr(environment, "expensive_reset", False):
        return *compute_where(ended, reset, reset_keys, current), step
    return *where_rows(ended, reset(reset_keys), current), step


def due_truncations(
    t: Any,
    episode_length: Any,
    *,
    iteration: Any,
    num_steps: int,
    stagger_starts: bool,
    time_limit: int,
    max_episode_steps: int | None,
) -> Any:
    """Return which episodes step t truncates besides the environment's own limit.

    Environments that start together and run to the same time limit stay in lockstep for
    ever, and every batch then shows one slice of the episode. `stagger_starts` ends
    whatever episode is under way in environment i after (i + 1)/B of the limit, once a
    run, which spreads the starts evenly.

    Step t counts from 0 within this rollout, and each of the `iteration` earlier ones
    had `num_steps` steps. `episode_length` `[B]` counts the steps before this one; a
    `time_limit` of 0 sets no limit. The result is `[B]` bool, or None when nothing is
    ever truncated here. NumPy and JAX arrays work alike.

    Example:
        >>> due_truncations(
        ...     49, np.zeros(4), iteration=0, num_steps=50, stagger_starts=True,
        ...     time_limit=0, max_episode_steps=200).tolist()
        [True, False, False, False]
    """
    due = []
    if time_limit:
        due.append(episode_length + 1 >= time_limit)
    if stagger_starts:
        batch, limit = len(episode_length), time_limit or max_episode_steps or 0
        ends = np.array([(i + 1) * limit // batch for i in range(batch)])
        due.append(ends == iteration * num_steps + t + 1)
    return functools.reduce(lambda a, b: a | b, due) if due else None
