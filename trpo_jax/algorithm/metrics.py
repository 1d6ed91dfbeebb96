"""One iteration in a few numbers."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from trpo_jax.algorithm.critic import CriticInfo
from trpo_jax.algorithm.estimation import usable_rows
from trpo_jax.algorithm.masking import finite_rows
from trpo_jax.algorithm.policy_update import PolicyInfo
from trpo_jax.algorithm.rollout import Rollout
from trpo_jax.solver.rows import total
from trpo_jax.solver.trust_region import Status


class UpdateInfo(NamedTuple):
    """What happened in an update.

    Attributes:
        policy: a `PolicyInfo`.
        critic: a `CriticInfo`.
    """

    policy: PolicyInfo
    critic: CriticInfo


class Metrics(NamedTuple):
    """One iteration in a few numbers, all float32 scalars.

    Attributes:
        episodes: number of episodes that ended in this iteration.
        episode_return: their mean return, of those whose rewards were finite; NaN when
            there were none.
        episode_length: their mean length in actions; NaN when none ended.
        status: a `Status`.
        kl: KL(π_old ‖ π) of the policy that the update led to, in nats; 0 when it did
            not change.
        joint_kl: what `max_kl` bounded, in nats. If policy and critic are one network,
            the KL of the policy and the weighted one of everything else; otherwise kl.
        improvement: the surrogate's gain by the step taken; 0 when none was.
        backtracks: number of candidates rejected before the last one tried.
        step_fraction: the fraction αʲ of the full step taken; 0 when none was.
        entropy: mean entropy of the policy that acted, in nats.
        gradient_norm: norm of the surrogate's gradient.
        cg_iterations: number of conjugate gradient iterations in the solution.
        cg_residual: the residual of the solve, relative to the gradient.
        explained_variance: the `explained_variance` of the critic before its fit.
        critic_loss: mean squared error over the last epoch, or after the last
            Gauss-Newton step, in squared units of the scaled reward.
        critic_accepted: 1, or 0 when the critic's fit was discarded because a number
            was not finite.
        unusable: number of transitions left out because a number was not finite.
        fault_step: the step of this iteration, counted from 0, with the first
            observation or reward that is not finite; -1 if there is none.
        fault_environment: the environment of that step, counted from 0; otherwise -1.
    """

    episodes: jax.Array
    episode_return: jax.Array
    episode_length: jax.Array
    status: jax.Array
    kl: jax.Array
    joint_kl: jax.Array
    improvement: jax.Array
    backtracks: jax.Array
    step_fraction: jax.Array
    entropy: jax.Array
    gradient_norm: jax.Array
    cg_iterations: jax.Array
    cg_residual: jax.Array
    explained_variance: jax.Array
    critic_loss: jax.Array
    critic_accepted: jax.Array
    unusable: jax.Array
    fault_step: jax.Array
    fault_environment: jax.Array


_COUNTS = "episodes status backtracks cg_iterations critic_accepted unusable"
INTEGER_COLUMNS = frozenset([*_COUNTS.split(), "fault_step", "fault_environment"])


def summarize(rollout: Rollout, info: UpdateInfo) -> Metrics:
    """Reduce the rollout `[T, B]` and the update of one iteration to its `Metrics`.

    When bad data made the step fail, the status names the observation or the reward.
    """
    ended = (rollout.terminated | rollout.truncated) & (rollout.weight > 0)
    episodes = total(ended)

    counted = ended & jnp.isfinite(rollout.episode_return)

    def mean_at_end(x: jax.Array) -> jax.Array:
        summed = total(jnp.where(counted, x, 0).astype(jnp.float32))
        return summed / total(counted).astype(jnp.float32)

    status, step, environment = _fault(rollout, info.policy.status)
    metrics = Metrics(
        episodes=episodes,
        episode_return=mean_at_end(rollout.episode_return),
        episode_length=mean_at_end(rollout.episode_length),
        status=status,
        kl=info.policy.kl,
        joint_kl=info.policy.search.divergence,
        improvement=info.policy.search.improvement,
        backtracks=info.policy.search.backtracks,
        step_fraction=info.policy.search.step_fraction,
        entropy=info.policy.entropy,
        gradient_norm=info.policy.gradient_norm,
        cg_iterations=info.policy.cg.iterations,
        cg_residual=info.policy.cg.residual,
        explained_variance=info.critic.explained_variance,
        critic_loss=info.critic.loss,
        critic_accepted=info.critic.accepted,
        unusable=total((rollout.weight > 0) & ~usable_rows(rollout)),
        fault_step=step,
        fault_environment=environment,
    )
    return jax.tree.map(lambda x: x.astype(jnp.float32), metrics)


def _fault(
    rollout: Rollout, status: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return the status, which names bad data if any, and the first bad row's place."""
    valid = rollout.weight > 0
    shown = rollout.observation, rollout.next_observation
    observation = valid & ~finite_rows(shown, valid.shape)
    reward = valid & ~jnp.isfinite(rollout.reward)
    rows = (observation | reward).ravel()
    any_row, first = jnp.any(rows), jnp.argmax(rows).astype(jnp.int32)
    step, environment = jnp.divmod(first, jnp.int32(valid.shape[1]))
    failed = (status != Status.ACCEPTED) & any_row
    cause = jnp.where(
        observation.ravel()[first],
        jnp.int32(Status.NON_FINITE_OBSERVATION),
        jnp.int32(Status.NON_FINITE_REWARD),
    )
    return (
        jnp.where(failed, cause, status),
        jnp.where(any_row, step, -1),
        jnp.where(any_row, environment, -1),
    )
