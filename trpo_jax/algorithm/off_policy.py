"""Learning from data that another policy collected: stale, or foreign.

β is the behaviour policy that acted, π_old the current one, around which the trust
region stays. Behaviour log-probabilities travel with the data (`Rollout.log_prob`);
what is made of them is a `Batch`, and the same `update` follows.

Shapes: `T` time steps lead, `...` are any further axes.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp

from trpo_jax.agent.networks import Agent
from trpo_jax.agent.normalization import normalize_observation
from trpo_jax.algorithm.batch import Batch
from trpo_jax.algorithm.estimation import value_rollout
from trpo_jax.algorithm.rollout import Rollout
from trpo_jax.algorithm.state import TrainState
from trpo_jax.config import Config
from trpo_jax.validation import NON_NEGATIVE, check

PyTree = Any

_FAR = 40.0  # largest |log π/β|: such a row has the weight of all, or none


def v_trace(
    log_ratio: jax.Array,
    reward: jax.Array,
    value: jax.Array,
    next_value: jax.Array,
    terminated: jax.Array,
    truncated: jax.Array,
    *,
    discount: float | jax.Array,
    gae_lambda: float | jax.Array = 1.0,
    rho_clip: float | jax.Array = 1.0,
    trace_clip: float | jax.Array = 1.0,
) -> tuple[jax.Array, jax.Array]:
    """Estimate advantages and values of π from trajectories of β (V-trace).

    ρₜ = min(ρ̄, π/β),  cₜ = λ min(c̄, π/β)
    δₜ = rₜ + γ (1 − terminatedₜ) V(sₜ₊₁) − V(sₜ)
    vₜ − V(sₜ) = ρₜ δₜ + γ cₜ (vₜ₊₁ − V(sₜ₊₁))   (Espeholt et al. 2018, eq. 1, remark 1)
    Âₜ = δₜ + γ λ (vₜ₊₁ − V(sₜ₊₁))

    The recursion is cut at the end of an episode, as in `advantages`, which this is
    when β = π and the clips are at least 1. Â is the advantage of the action taken; its
    own ratio belongs to the surrogate. ρ̄ decides what is learnt (the value of π when
    it is ∞, of a policy between β and π otherwise), c̄ how far back it is seen.

    Args:
        log_ratio: `[T, ...]` log π(a|s) − log β(a|s).
        reward: `[T, ...]` reward of each transition.
        value: `[T, ...]` V of the observation acted on.
        next_value: `[T, ...]` V of the observation the transition led to.
        terminated: `[T, ...]` bool, the successor is absorbing and worth nothing.
        truncated: `[T, ...]` bool, the episode was cut off here.
        discount: γ in [0, 1].
        gae_lambda: λ in [0, 1].
        rho_clip: ρ̄ > 0.
        trace_clip: c̄ > 0.

    Returns:
        Advantages `[T, ...]` and value targets v `[T, ...]`, in units of reward.

    Raises:
        ValueError: when shapes differ; nothing is broadcast.

    Example:
        A step that π takes twice as often as β moves the target twice as far, if ρ̄
        lets it.

        >>> end, no = jnp.array([True]), jnp.array([False])
        >>> one, nothing = jnp.ones(1), jnp.zeros(1)
        >>> _, target = v_trace(jnp.log(2 * one), one, nothing, nothing, end, no,
        ...                     discount=0.9, rho_clip=jnp.inf)
        >>> target.tolist()
        [2.0]
    """
    chex.assert_equal_shape(
        [log_ratio, reward, value, next_value, terminated, truncated],
        custom_message="log_ratio, reward, value, next_value and both flags must have "
        "one shape",
        exception_type=ValueError,
    )
    discount, gae_lambda, rho_clip, trace_clip = (
        jnp.asarray(x, reward.dtype)
        for x in (discount, gae_lambda, rho_clip, trace_clip)
    )
    ratio = jnp.exp(log_ratio)
    delta = reward + discount * jnp.where(terminated, 0, next_value) - value
    correction = jnp.minimum(rho_clip, ratio) * delta
    onward = jnp.where(terminated | truncated, 0, discount * gae_lambda)
    trace = jnp.minimum(trace_clip, ratio)

    def backward(following: jax.Array, step: tuple) -> tuple[jax.Array, jax.Array]:
        correction, delta, onward, trace = step
        beyond = onward * following
        return correction + trace * beyond, (
            delta + beyond,
            correction + trace * beyond,
        )

    _, (advantage, gain) = jax.lax.scan(
        backward,
        jnp.zeros_like(delta[0]),
        (correction, delta, onward, trace),
        reverse=True,
        unroll=8,
    )
    return advantage, value + gain


def estimate_off_policy_advantages(
    state: TrainState,
    rollout: Rollout,
    agent: Agent,
    config: Config,
    *,
    rho_clip: float | jax.Array = 1.0,
    trace_clip: float | jax.Array = 1.0,
    importance_clip: float | jax.Array = jnp.inf,
) -> Batch:
    """Turn transitions of any policy into a `Batch` for the current one.

    The surrogate becomes E_β[π_θ/β Â] = E_β[(π_old/β) (π_θ/π_old) Â], whose first ratio
    is the batch's `importance`; the trust region stays around π_old. States come from
    β, as everywhere in off-policy policy gradients. Where β is π_old, this is
    `estimate_advantages`; like that it cannot be differentiated in reverse, and
    `v_trace` can.

    Args:
        state: its policy is π_old; its critic and normaliser are used.
        rollout: leading axes `[T, B]`; `log_prob` is β's.
        agent: policy and critic.
        config: discount and λ.
        rho_clip: ρ̄ of `v_trace`.
        trace_clip: c̄ of `v_trace`.
        importance_clip: largest π_old/β in the surrogate. For states of β, the gradient
            is unbiased when all three are ∞, λ is 1 and episodes end within the
            rollout, or with λ = 0 and a perfect critic when this one is. Ratios beyond
            e^±40 count as that.

    Returns:
        A `Batch`.

    Example:
        A policy that is updated from the rollouts of an earlier one::

            batch = estimate_off_policy_advantages(state, rollout, agent, config)
            state, info = update(state, batch, agent, config)
            state = absorb_statistics(state, rollout, config)
    """
    rollout, *arguments = value_rollout(state, rollout, agent, config)
    policy = agent.policy.apply(
        state.policy_params,
        normalize_observation(state.normalizer, rollout.observation),
    )
    log_ratio = policy.log_prob(rollout.action) - rollout.log_prob
    # Foreign data may hold what π never does, and a ratio beyond what floats hold.
    log_ratio = jnp.where(rollout.weight > 0, jnp.clip(log_ratio, -_FAR, _FAR), 0)
    advantage, value_target = v_trace(
        log_ratio,
        *arguments,
        discount=config.discount,
        gae_lambda=config.gae_lambda,
        rho_clip=rho_clip,
        trace_clip=trace_clip,
    )
    importance_clip = jnp.asarray(importance_clip, log_ratio.dtype)
    return Batch(
        observation=rollout.observation,
        action=rollout.action,
        advantage=advantage,
        value_target=value_target,
        weight=rollout.weight,
        importance=jnp.minimum(importance_clip, jnp.exp(log_ratio)),
    )


def shrink_max_kl(
    config: Config, staleness: int | jax.Array, *, rate: float | jax.Array = 1.0
) -> Config:
    """Return the configuration with δ / (1 + rate · staleness).

    The older the data, the less a step on them is to be trusted; but smaller steps
    learn more slowly. In `benchmarks/stale_policies.py` they help corrected batches on
    CartPole-v1 and cost a good part of the return on Pendulum-v1.

    Args:
        config: of the run.
        staleness: updates between the policy that acted and the current one, ≥ 0.
        rate: ≥ 0; 0 changes nothing.

    Example:
        >>> float(shrink_max_kl(Config(max_kl=0.03), 2).max_kl)
        0.01
    """
    check("rate", rate, NON_NEGATIVE)
    if isinstance(staleness, jax.Array):
        staleness = staleness.astype(jnp.result_type(float))
    return dataclasses.replace(config, max_kl=config.max_kl / (1 + rate * staleness))


def combine(batches: Sequence[Batch], weights: Sequence[float | jax.Array]) -> Batch:
    """Join batches along time, each with a weight of its own.

    Args:
        batches: with the same shapes beyond the first axis.
        weights: one a batch, ≥ 0: what a row of it counts. Relative only.

    Returns:
        A `Batch` `[ΣT, B]`; where `importance` was None it is 1.

    Raises:
        ValueError: when there are not as many weights as batches, or none.
    """
    if len(batches) != len(weights) or not batches:
        raise ValueError(
            "weights must be as many as batches, and at least one; got "
            f"{len(batches)} batches and {len(weights)} weights"
        )
    filled = [
        batch.replace(
            weight=batch.weight * jnp.asarray(weight, batch.weight.dtype),
            importance=jnp.ones_like(batch.weight)
            if batch.importance is None
            else batch.importance,
        )
        for batch, weight in zip(batches, weights, strict=True)
    ]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *filled)
