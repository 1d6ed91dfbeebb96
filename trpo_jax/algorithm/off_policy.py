"""Learning from data that another policy collected: an older one, or an unrelated one.

β is the behaviour policy that acted, π_old the current one, around which the trust
region stays. Behaviour log-probabilities come with the data (`Rollout.log_prob`); the
result is a `Batch`, and the same `update_from_batch` follows.

Shapes: `T` time steps lead, `...` are any further axes.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp

from trpo_jax.agent.acting import policy_along
from trpo_jax.agent.memory import Memory
from trpo_jax.agent.networks import Agent
from trpo_jax.algorithm.batch import Batch
from trpo_jax.algorithm.estimation import bootstrap_values
from trpo_jax.algorithm.rollout import Rollout
from trpo_jax.algorithm.state import TrainState
from trpo_jax.config import Config
from trpo_jax.solver.precision import as_floats
from trpo_jax.validation import NON_NEGATIVE, check

PyTree = Any

_LARGEST_LOG_RATIO = 40.0  # beyond it a row has all of the weight, or none


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
    vₜ − V(sₜ) = ρₜ δₜ + γ cₜ (vₜ₊₁ − V(sₜ₊₁))   (Espeholt et al. 2018, eq. 1)
    Âₜ = δₜ + γ λ (vₜ₊₁ − V(sₜ₊₁))

    The recursion is cut at the end of an episode, as in `advantages`, to which it
    reduces when β = π and the clips are at least 1. Â is the advantage of the action
    taken; its own ratio belongs to the surrogate. ρ̄ decides whose value is learnt (π's
    if it is ∞, else that of a policy between β and π), c̄ how far corrections reach.

    Args:
        log_ratio: `[T, ...]` log π(a|s) − log β(a|s).
        reward: `[T, ...]` reward of each transition, also as integers or booleans.
        value: `[T, ...]` V of the observation acted on.
        next_value: `[T, ...]` V of the observation the transition led to.
        terminated: `[T, ...]` bool, the next state is absorbing: its value is 0.
        truncated: `[T, ...]` bool, the episode was cut off here.
        discount: γ in [0, 1].
        gae_lambda: λ in [0, 1].
        rho_clip: ρ̄ > 0.
        trace_clip: c̄ > 0.

    Returns:
        Advantages and value targets v, both `[T, ...]` in units of reward.

    Raises:
        ValueError: when shapes differ; nothing is broadcast.

    Example:
        If ρ̄ ≥ 2, a step that π takes twice as often moves the target twice as far.

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
    log_ratio, reward, value, next_value = as_floats(
        log_ratio, reward, value, next_value
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

    def backward(following: jax.Array, step: Any) -> tuple[jax.Array, Any]:
        correction, delta, onward, trace = step
        beyond = onward * following
        gain = correction + trace * beyond
        return gain, (delta + beyond, gain)

    start = jnp.zeros_like(delta[0])
    steps = correction, delta, onward, trace
    _, (advantage, gain) = jax.lax.scan(backward, start, steps, reverse=True, unroll=8)
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
    is the batch's `importance_ratio`; the trust region stays around π_old. States come
    from β, as in all off-policy policy gradients. Where β is π_old, the batch is that
    of `estimate_advantages`. Neither can be differentiated in reverse; `v_trace` can.

    Args:
        state: its policy is π_old; its critic and normaliser are used.
        rollout: leading axes `[T, B]`; its `log_prob` is β's.
        agent: policy and critic.
        config: `discount`, `gae_lambda` and `bootstrap_truncated` are used.
        rho_clip: ρ̄ of `v_trace`.
        trace_clip: c̄ of `v_trace`.
        importance_clip: the largest π_old/β in the surrogate. Over the states of β the
            gradient is unbiased when all three clips are ∞, λ is 1 and episodes end
            within the rollout, or when this clip is ∞, λ is 0 and the critic is
            perfect. Ratios beyond e^±40 count as e^±40.

    Returns:
        A `Batch`.

    Example:
        Update a policy from the rollout of an earlier one::

            batch = estimate_off_policy_advantages(state, rollout, agent, config)
            state, info = update_from_batch(state, batch, agent, config)
            state = update_statistics(state, rollout, config)
    """
    rollout, transitions = bootstrap_values(state, rollout, agent, config)
    policy = policy_along(
        agent, state, rollout.observation, rollout.memory, rollout.first
    )
    new, old = as_floats(policy.log_prob(rollout.action), rollout.log_prob)
    log_ratio = new - old
    # β may take actions that π never takes, with ratios beyond any float.
    log_ratio = jnp.where(
        rollout.weight > 0,
        jnp.clip(log_ratio, -_LARGEST_LOG_RATIO, _LARGEST_LOG_RATIO),
        0,
    )
    advantage, value_target = v_trace(
        log_ratio,
        **transitions._asdict(),
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
        value=transitions.value,
        importance_ratio=jnp.minimum(importance_clip, jnp.exp(log_ratio)),
        memory=rollout.memory,
        first=rollout.first,
    )


def shrink_max_kl(
    config: Config, staleness: int | jax.Array, *, rate: float | jax.Array = 1.0
) -> Config:
    """Return the configuration with δ / (1 + rate · staleness).

    The older the data, the less a step on them can be trusted; but smaller steps learn
    more slowly. In `benchmarks/stale_policies.py` this helps corrected batches on
    CartPole-v1 and costs a good part of the return on Pendulum-v1.

    Args:
        config: the hyper-parameters.
        staleness: updates between the policy that acted and the current one, ≥ 0.
        rate: ≥ 0; 0 changes nothing.

    Returns:
        A `Config` with a smaller `max_kl`.

    Raises:
        ValueError: when `rate` is negative.

    Example:
        >>> float(shrink_max_kl(Config(max_kl=0.03), 2).max_kl)
        0.01
    """
    check("rate", rate, NON_NEGATIVE)
    if isinstance(staleness, jax.Array):
        staleness = staleness.astype(jnp.result_type(float))
    max_kl: Any = config.max_kl / (1 + rate * staleness)
    return dataclasses.replace(config, max_kl=max_kl)


def concatenate_batches(
    batches: Sequence[Batch], weights: Sequence[float | jax.Array]
) -> Batch:
    """Concatenate batches along time, each with a weight of its own.

    For agents with a memory, whose sequences must not be joined, they are put side by
    side, along the environments, and have to be equally long.

    Args:
        batches: with the same shapes beyond the first axis.
        weights: what a row of each batch counts, ≥ 0; only their ratios matter.

    Returns:
        A `Batch` `[ΣT, B]`; where `importance_ratio` was None it is 1, and `value` is
        None unless all batches have it.

    Raises:
        ValueError: when there are no batches, or not as many weights as batches.

    Example:
        ::

            batch = concatenate_batches([fresh, stale], [1.0, 0.5])
            state, info = update_from_batch(state, batch, agent, config)
    """
    if len(batches) != len(weights) or not batches:
        raise ValueError(
            "weights must be as many as batches, and at least one; got "
            f"{len(batches)} batches and {len(weights)} weights"
        )
    valued = all(batch.value is not None for batch in batches)
    filled = [
        batch.replace(
            weight=batch.weight * jnp.asarray(weight, batch.weight.dtype),
            value=batch.value if valued else None,
            importance_ratio=batch.action_weight(),
        )
        for batch, weight in zip(batches, weights, strict=True)
    ]
    if filled[0].first is None:
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *filled)
    memory = jax.tree.map(lambda *x: jnp.concatenate(x), *(b.memory for b in filled))
    rest = [batch.replace(memory=Memory()) for batch in filled]
    side_by_side = jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), *rest)
    return side_by_side.replace(memory=memory)
