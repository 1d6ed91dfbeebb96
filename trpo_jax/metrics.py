"""One iteration in a few numbers."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from trpo_jax.critic import CriticInfo
from trpo_jax.rollout import Rollout
from trpo_jax.trust_region import PolicyInfo


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
        critic_loss: mean squared error, in squared units of the scaled reward.
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


def summarize(rollout: Rollout, info: UpdateInfo) -> Metrics:
    """Reduce one iteration to its `Metrics`."""
    ended = (rollout.terminated | rollout.truncated) & (rollout.weight > 0)
    episodes = jnp.sum(ended)

    def mean_at_end(x: jax.Array) -> jax.Array:
        total = jnp.sum(jnp.where(ended, x, 0)).astype(jnp.float32)
        return total / episodes.astype(jnp.float32)

    metrics = Metrics(
        episodes=episodes,
        episode_return=mean_at_end(rollout.episode_return),
        episode_length=mean_at_end(rollout.episode_length),
        status=info.policy.status,
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
    )
    return jax.tree.map(lambda x: x.astype(jnp.float32), metrics)
