"""One iteration in a few numbers."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from trpo_jax.algorithm.critic import CriticInfo
from trpo_jax.algorithm.policy_update import PolicyInfo, Status
from trpo_jax.algorithm.rollout import Rollout


class UpdateInfo(NamedTuple):
    """What happened in an update.

    Attributes:
        policy: a `PolicyInfo`.
        critic: a `CriticInfo`.
        entropy: scalar, mean entropy of π_old in nats.
    """

    policy: PolicyInfo
    critic: CriticInfo
    entropy: jax.Array


class Metrics(NamedTuple):
    """One iteration in a few numbers, float32 scalars all.

    Attributes:
        episodes: that ended in this iteration.
        episode_return: mean over those, NaN when there were none.
        episode_length: likewise, in actions.
        status: a `Status`.
        kl: nats, of the step taken.
        improvement: of the surrogate.
        backtracks: of the last try of the line search, whether or not it was taken.
        step_size: αʲ of the step taken, 0 when none was.
        entropy: nats, of the policy that acted.
        gradient_norm: of the surrogate.
        cg_iterations: whose steps entered the solution.
        cg_residual: relative to the gradient.
        explained_variance: of the value targets, by the critic before its fit.
        critic_loss: mean squared error over the last epoch, or after the last step in a
            trust region, in squared units of the scaled reward.
        fault_step: where the first observation or reward that is not finite came up, in
            steps of this iteration from 0; -1 if there is none.
        fault_environment: its environment, from 0; -1 if there is none.
    """

    episodes: jax.Array
    episode_return: jax.Array
    episode_length: jax.Array
    status: jax.Array
    kl: jax.Array
    improvement: jax.Array
    backtracks: jax.Array
    step_size: jax.Array
    entropy: jax.Array
    gradient_norm: jax.Array
    cg_iterations: jax.Array
    cg_residual: jax.Array
    explained_variance: jax.Array
    critic_loss: jax.Array
    fault_step: jax.Array
    fault_environment: jax.Array


def summarize(rollout: Rollout, info: UpdateInfo) -> Metrics:
    """Reduce one iteration to its `Metrics`."""
    ended = (rollout.terminated | rollout.truncated) & (rollout.weight > 0)
    episodes = jnp.sum(ended)

    def mean_at_end(x: jax.Array) -> jax.Array:
        total = jnp.sum(jnp.where(ended, x, 0)).astype(jnp.float32)
        return total / episodes.astype(jnp.float32)

    status, step, environment = _fault(rollout, info.policy.status)
    metrics = Metrics(
        episodes=episodes,
        episode_return=mean_at_end(rollout.episode_return),
        episode_length=mean_at_end(rollout.episode_length),
        status=status,
        kl=info.policy.kl,
        improvement=info.policy.search.improvement,
        backtracks=info.policy.search.backtracks,
        step_size=info.policy.search.step_size,
        entropy=info.entropy,
        gradient_norm=info.policy.gradient_norm,
        cg_iterations=info.policy.cg.iterations,
        cg_residual=info.policy.cg.residual,
        explained_variance=info.critic.explained_variance,
        critic_loss=info.critic.loss,
        fault_step=step,
        fault_environment=environment,
    )
    return jax.tree.map(lambda x: x.astype(jnp.float32), metrics)


def _fault(
    rollout: Rollout, status: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return the status, with what is to blame, and the first bad row, or -1 twice."""
    counts = rollout.weight > 0

    def bad(leaf: jax.Array) -> jax.Array:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return jnp.zeros(counts.shape, bool)
        return counts & jnp.any(~jnp.isfinite(leaf), axis=range(2, leaf.ndim))

    leaves = jax.tree.leaves((rollout.observation, rollout.next_observation))
    observation = functools.reduce(jnp.logical_or, map(bad, leaves))
    reward = bad(rollout.reward)
    rows = (observation | reward).ravel()
    any_row, first = jnp.any(rows), jnp.argmax(rows).astype(jnp.int32)
    step, environment = jnp.divmod(first, jnp.int32(counts.shape[1]))
    stopped = (status != Status.ACCEPTED) & any_row
    blamed = jnp.where(
        observation.ravel()[first],
        jnp.int32(Status.NON_FINITE_OBSERVATION),
        jnp.int32(Status.NON_FINITE_REWARD),
    )
    return (
        jnp.where(stopped, blamed, status),
        jnp.where(any_row, step, -1),
        jnp.where(any_row, environment, -1),
    )
