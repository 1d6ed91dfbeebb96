"""The surrogate objective of the vine (Schulman et al. 2015, eq. 15 and 16).

Shapes: `N` states lead, then `K` actions tried in each.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from trpo_jax.algorithm.masking import RowStatistics
from trpo_jax.solver.rows import largest

Distribution = Any


def vine_action_weights(
    log_prob: jax.Array, proposal_log_prob: jax.Array, *, every_action: bool
) -> jax.Array:
    """Return what each tried action contributes to the expectation under a policy.

    π(aₖ|s) where all actions were tried (eq. 15); otherwise the self-normalised
    importance weight (π(aₖ|s)/q(aₖ|s)) / Σⱼ π(aⱼ|s)/q(aⱼ|s) (eq. 16) for actions drawn
    from a proposal q. Log-probabilities and weights are `[..., K]`; with either formula
    the weights sum to 1 over K.

    Example:
        >>> log_prob = jnp.log(jnp.array([0.2, 0.6]))
        >>> weight = vine_action_weights(log_prob, jnp.zeros(2), every_action=False)
        >>> print(f"{weight[0]:.2f} {weight[1]:.2f}")
        0.25 0.75
    """
    if every_action:
        return jnp.exp(log_prob)
    logits = log_prob - proposal_log_prob
    possible = jnp.any(jnp.isfinite(logits), axis=-1, keepdims=True)
    return jax.nn.softmax(jnp.where(possible, logits, 0), axis=-1)


def vine_surrogate(
    action_weight: Callable[[Distribution], jax.Array],
    old: Distribution,
    action_value: jax.Array,
    weight: jax.Array,
    *,
    standardize: bool,
) -> Callable[[Distribution], jax.Array]:
    """Return L(π) = Σₙ wₙ Σₖ uₙₖ(π) (Q̂ₙₖ − V̂ₙ) / Σₙ wₙ (eq. 15 and 16).

    L takes a distribution of all rows, as does `action_weight`, which returns the
    weights u `[N, K]` of `vine_action_weights`. Q̂ is `[N, K]`, w `[N]` ≥ 0. V̂ₙ, the
    mean of Q̂ under π_old, keeps sums small and changes no gradient, since the weights
    uₙₖ sum to 1 over k. Actions that π_old never takes do not count. L is in units of
    Q̂, or without a unit when `standardize` divides the advantages by their root mean
    square; as in the function of that name, values that differ by rounding alone count
    as equal.

    Example:
        >>> from trpo_jax import Categorical
        >>> coin = Categorical(jnp.zeros((1, 2)))
        >>> surrogate = vine_surrogate(
        ...     lambda policy: jax.nn.softmax(policy.logits), coin,
        ...     jnp.array([[1.0, 3.0]]), jnp.ones(1), standardize=False)
        >>> better = Categorical(jnp.log(jnp.array([[0.25, 0.75]])))
        >>> print(f"{surrogate(coin):.1f} {surrogate(better):.1f}")
        0.0 0.5
    """
    old_weight = action_weight(old)
    action_value = jnp.where(old_weight > 0, action_value, 0)
    value = jnp.sum(old_weight * action_value, axis=-1, keepdims=True)
    advantage = jnp.where(old_weight > 0, action_value - value, 0)
    square = jnp.sum(old_weight * advantage**2, axis=-1)
    mean = RowStatistics(weight).mean
    deviation = jnp.sqrt(mean(square))
    scale = largest(jnp.abs(action_value))
    equal = deviation <= 32 * jnp.finfo(deviation.dtype).eps * scale
    advantage = jnp.where(equal, 0, advantage)
    if standardize:
        advantage = advantage / jnp.where(equal, 1, deviation)

    def surrogate(policy: Distribution) -> jax.Array:
        return mean(jnp.sum(action_weight(policy) * advantage, axis=-1))

    return surrogate
