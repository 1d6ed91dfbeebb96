"""What the critic says of a rollout.

Shapes: `T` time steps, `B` environments, `N` = T·B rows.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from trpo_jax.agent.networks import Agent
from trpo_jax.agent.normalization import normalize_observation, scale_reward
from trpo_jax.algorithm.masking import only_valid
from trpo_jax.algorithm.rollout import Rollout
from trpo_jax.algorithm.state import TrainState
from trpo_jax.config import Config

PyTree = Any

_PASSES = 16  # that all rows take; where few are wanted, a pass costs a sixteenth


class Valuation(NamedTuple):
    """What estimators of advantages take; all but the first are `[T, B]`.

    Attributes:
        rollout: with zeros in rows of weight 0, at which episodes end; only where the
            action led is as it was, and not looked at there.
        reward: scaled.
        value: of what was acted on; 0 in rows of weight 0.
        next_value: of where the action led; says nothing where `terminated`.
        terminated: as the configuration wants time limits to count.
        truncated: as the rollout has it.
    """

    rollout: Rollout
    reward: jax.Array
    value: jax.Array
    next_value: jax.Array
    terminated: jax.Array
    truncated: jax.Array


def value_rollout(
    state: TrainState, rollout: Rollout, agent: Agent, config: Config
) -> Valuation:
    """Value a rollout by the critic, whatever rows of weight 0 hold.

    Args: as of `estimate_advantages`.

    Raises:
        ValueError: when the critic's values do not have the shape of the rewards.
    """
    rollout = jax.tree.map(jnp.asarray, rollout)  # the host's are of numpy
    valid = rollout.weight > 0
    rollout = rollout.replace(
        reward=jnp.where(valid, rollout.reward, 0),
        log_prob=jnp.where(valid, rollout.log_prob, 0),
        action=only_valid(valid, rollout.action),
        observation=only_valid(valid, rollout.observation),
        terminated=rollout.terminated | ~valid,
    )

    def value(observation: PyTree) -> jax.Array:
        observation = normalize_observation(state.normalizer, observation)
        return agent.critic.apply(state.critic_params, observation)

    here = value(rollout.observation)
    if here.shape != rollout.reward.shape:
        raise ValueError(
            "the critic must return one value a row: got shape "
            f"{here.shape} for rewards of {rollout.reward.shape}"
        )
    here = jnp.where(valid, here, 0)
    ended = rollout.terminated | rollout.truncated
    terminated = rollout.terminated if config.bootstrap_truncated else ended
    # Where an episode goes on, what was led to is acted on next, and has its value.
    same = jax.tree.map(
        lambda led_to, acted_on: jnp.all(
            led_to[:-1] == acted_on[1:], axis=range(2, led_to.ndim)
        ),
        rollout.next_observation,
        rollout.observation,
    )
    known = functools.reduce(jnp.logical_and, jax.tree.leaves(same), valid[1:])
    known = jnp.concatenate([known, jnp.zeros_like(valid[:1])])
    return Valuation(
        rollout=rollout,
        reward=scale_reward(state.normalizer, rollout.reward),
        value=here,
        next_value=value_wanted(
            jnp.roll(here, -1, axis=0),
            ~(terminated | known),
            value,
            rollout.next_observation,
        ),
        terminated=terminated,
        truncated=rollout.truncated,
    )


def value_wanted(
    values: jax.Array,
    wanted: jax.Array,
    value: Callable[[PyTree], jax.Array],
    observation: PyTree,
) -> jax.Array:
    """Put in the values of the few rows that are wanted.

    They are looked for and valued a sixteenth of all rows at a time, until none is
    left: as a rule once, for the last step of each environment.

    Args:
        values: `[T, B]`.
        wanted: `[T, B]` bool.
        value: observations `[n, ...]` → `[n]`.
        observation: pytree of `[T, B, ...]`.

    Returns:
        `[T, B]`, those not wanted as they were.

    Example:
        >>> wanted = jnp.array([[True, False, True]])
        >>> x = jnp.array([[1.0, 2.0, 3.0]])
        >>> value_wanted(jnp.zeros((1, 3)), wanted, lambda x: 2 * x, x).tolist()
        [[2.0, 0.0, 6.0]]
    """
    shape = values.shape
    size = max(shape[1], -(-values.size // _PASSES))
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), observation)

    def some(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        values, wanted = carry
        (rows,) = jnp.nonzero(wanted, size=size, fill_value=wanted.size)
        found = value(jax.tree.map(lambda x: x.at[rows].get(mode="clip"), flat))
        return (
            values.at[rows].set(found, mode="drop"),
            wanted.at[rows].set(False, mode="drop"),
        )

    start = values.reshape(-1), wanted.reshape(-1)
    filled, _ = jax.lax.while_loop(lambda carry: jnp.any(carry[1]), some, start)
    return filled.reshape(shape)
