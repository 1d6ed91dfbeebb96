"""From a rollout to a batch: the critic's values, then advantages and value targets.

Shapes: `T` time steps, `B` environments, `N` = T·B rows.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from trpo_jax.agent.acting import predict_value, values_along
from trpo_jax.agent.networks import Agent, check_one_value_per_row
from trpo_jax.agent.normalization import scale_reward
from trpo_jax.algorithm.advantages import advantages
from trpo_jax.algorithm.batch import Batch
from trpo_jax.algorithm.masking import (
    all_in_row,
    compute_where,
    finite_rows,
    only_valid,
)
from trpo_jax.algorithm.rollout import Rollout
from trpo_jax.algorithm.state import TrainState
from trpo_jax.config import Config

PyTree = Any


class Transitions(NamedTuple):
    """What estimators of advantages take; every field is `[T, B]`.

    Attributes:
        reward: scaled.
        value: V of the observation acted on; 0 in rows of weight 0.
        next_value: V(next_observation); undefined where `terminated`.
        terminated: with time limits counted as `config.bootstrap_truncated` says.
        truncated: as in the rollout.
    """

    reward: jax.Array
    value: jax.Array
    next_value: jax.Array
    terminated: jax.Array
    truncated: jax.Array


def estimate_advantages(
    state: TrainState, rollout: Rollout, agent: Agent, config: Config
) -> Batch:
    """Turn a rollout of the current policy into a `Batch`.

    The critic values the observations, rewards are scaled, and `advantages` does the
    rest. Rows of weight 0 are ignored whatever they hold, and so is a transition with a
    number that is not finite: the recursion is cut there. It does continue over the
    seams of a rollout that was concatenated along time, so truncate the last row of
    each piece.

    Because the missing values are filled in by a loop of unknown length
    (`compute_where`), this cannot be differentiated in reverse; `advantages` can.

    Args:
        state: its critic and normaliser are used.
        rollout: leading axes `[T, B]`.
        agent: its critic computes the values.
        config: `discount`, `gae_lambda` and `bootstrap_truncated` are used.

    Returns:
        A `Batch`; advantages and targets are in units of the scaled reward.

    Raises:
        ValueError: when the critic's values do not have the shape of the rewards.

    Example:
        You can change the batch before `update_from_batch` learns from it::

            state, rollout = collect(state, environment, agent, num_steps=128)
            batch = estimate_advantages(state, rollout, agent, config)
            bonus = my_novelty(batch.observation)
            batch = batch.replace(advantage=batch.advantage + bonus)
            state, info = update_from_batch(state, batch, agent, config)
            state = update_statistics(state, rollout, config)
    """
    rollout, transitions = bootstrap_values(state, rollout, agent, config)
    advantage, value_target = advantages(
        **transitions._asdict(), discount=config.discount, gae_lambda=config.gae_lambda
    )
    return Batch(
        observation=rollout.observation,
        action=rollout.action,
        advantage=advantage,
        value_target=value_target,
        weight=rollout.weight,
        value=transitions.value,
        memory=rollout.memory,
        first=rollout.first,
    )


def bootstrap_values(
    state: TrainState, rollout: Rollout, agent: Agent, config: Config
) -> tuple[Rollout, Transitions]:
    """Let the critic value a rollout `[T, B]`, whatever rows of weight 0 hold.

    The value of where an action led is that of the next row, if that row acts on the
    same observation; the few others are computed from `next_observation`. The rollout
    is returned with zeros in rows that are not usable, whose weight is now 0 and where
    its episodes now end (`next_observation` is left as it was). Values not `[T, B]`
    raise a ValueError.
    """
    rollout = jax.tree.map(jnp.asarray, rollout)  # NumPy, if collected on the host
    valid = usable_rows(rollout)
    names = ["action", "log_prob", "reward"]
    if not agent.remembers:  # `replay` has its own way, which is that of acting
        names.append("observation")
    cleaned = only_valid(valid, {name: getattr(rollout, name) for name in names})
    rollout = rollout.replace(
        **cleaned,
        weight=jnp.where(valid, rollout.weight, 0),
        terminated=rollout.terminated | ~valid,
    )
    value, memory = values_along(
        agent, state, rollout.observation, rollout.memory, rollout.first
    )
    check_one_value_per_row(value, rollout.reward.shape)
    value = jnp.where(valid, value, 0)
    ended = rollout.terminated | rollout.truncated
    terminated = rollout.terminated if config.bootstrap_truncated else ended
    led_to, acted_on = rollout.next_observation, rollout.observation
    same = jax.tree.map(lambda a, b: a[:-1] == b[1:], led_to, acted_on)
    known = valid[1:] & all_in_row(same, valid[1:].shape)
    if rollout.first is not None:
        known = known & ~rollout.first[1:]
    missing = ~(terminated | jnp.pad(known, ((0, 1), (0, 0))))
    next_value = compute_where(
        missing.reshape(-1),
        lambda inputs: predict_value(agent, state, *inputs)[0],
        jax.tree.map(
            lambda x: x.reshape(-1, *x.shape[2:]), (rollout.next_observation, memory)
        ),
        jnp.roll(value, -1, axis=0).reshape(-1),
    ).reshape(value.shape)
    return rollout, Transitions(
        reward=scale_reward(state.normalizer, rollout.reward),
        value=value,
        next_value=next_value,
        terminated=terminated,
        truncated=rollout.truncated,
    )


def usable_rows(rollout: Rollout) -> jax.Array:
    """Return which rows can be learnt from, `[T, B]` bool.

    They have a weight, and their observations and reward are finite; that of a terminal
    state need not be.
    """
    shape = rollout.reward.shape
    led_to = rollout.terminated | finite_rows(rollout.next_observation, shape)
    sound = finite_rows((rollout.observation, rollout.reward), shape) & led_to
    return (rollout.weight > 0) & sound
