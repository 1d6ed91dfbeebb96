"""The surrogate objective of a single path (Schulman et al. 2015, eq. 14)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from trpo_jax.algorithm.masking import RowStatistics

Distribution = Any


def single_path_surrogate(
    log_prob: Callable[[Distribution], jax.Array],
    old: Distribution,
    advantage: jax.Array,
    weight: jax.Array,
) -> Callable[[Distribution], jax.Array]:
    """Return L(π) = Σᵢ wᵢ π(aᵢ|sᵢ)/π_old(aᵢ|sᵢ) Âᵢ / Σᵢ wᵢ (eq. 14), in units of Â.

    L takes a distribution of all rows, as does `log_prob`, which returns the
    log-probabilities `[N]` of the actions. Â `[N]` has already been multiplied by
    π_old/β where another policy β chose the action; w is `[N]` ≥ 0. The ratio is
    exactly 1 at π_old, since numerator and denominator are then computed by the same
    operations. Actions of probability 0 under π_old, as off-policy data may hold,
    contribute nothing.

    Example:
        >>> from trpo_jax import Categorical
        >>> coin = Categorical(jnp.zeros((2, 2)))
        >>> action, advantage = jnp.array([0, 1]), jnp.array([1.0, 3.0])
        >>> surrogate = single_path_surrogate(
        ...     lambda policy: policy.log_prob(action), coin, advantage, jnp.ones(2))
        >>> float(surrogate(coin))  # the mean advantage, as every ratio is 1
        2.0
    """
    old_log_prob = log_prob(old)
    possible = jnp.isfinite(old_log_prob)
    mean = RowStatistics(weight).mean

    def surrogate(policy: Distribution) -> jax.Array:
        new_log_prob = jnp.where(possible, log_prob(policy), 0)
        ratio = jnp.exp(new_log_prob - jnp.where(possible, old_log_prob, 0))
        return mean(jnp.where(possible, ratio, 0) * advantage)

    return surrogate
