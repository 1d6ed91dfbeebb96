"""The bounds of sections 2 and 3 of Schulman et al. 2015, and steps that obey them.

Functions of a finite process and a policy, as in `mdp`; `grad` sees the steps that
search for a multiplier as constants.

Shapes: `S` states, `A` actions; a policy is `[S, A]`, rows that sum to 1.
Symbols: η expected return, ρ discounted visitation, L local approximation of η,
C penalty coefficient, ε largest advantage.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from trpo_jax.theory.kl_projection import (
    LOG_RANGE,
    bisect,
    gap_of,
    multiplier,
    tilt_of_kl,
    tilt_of_multiplier,
    tilted,
)
from trpo_jax.theory.mdp import MDP, advantage, expected_return, visitation

_COARSE_HALVINGS = 40  # of the KL of Algorithm 1, where the objective is flat
_LOG_MAX_KL = 4.0  # a step of Algorithm 1 is sought up to e^4 = 55 nats


def local_return(mdp: MDP, policy: jax.Array, new: jax.Array) -> jax.Array:
    """Return L_π(π̃) = η(π) + Σₛ ρ_π(s) Σₐ π̃(a|s) A_π(s, a) (eq. 3).

    It keeps the visitation of π, and so agrees with η(π̃) to first order at π̃ = π.

    Args:
        mdp: the process.
        policy: π.
        new: π̃.
    """
    return expected_return(mdp, policy) + local_gain(mdp, policy, new)


def local_gain(mdp: MDP, policy: jax.Array, new: jax.Array) -> jax.Array:
    """Return L_π(π̃) − η(π), without the rounding of a difference.

    Args: as of `local_return`.
    """
    gain = (new - policy) * advantage(mdp, policy)  # of which that of π is 0
    return visitation(mdp, policy) @ jnp.sum(gain, axis=1)


def total_variation(policy: jax.Array, new: jax.Array) -> jax.Array:
    """Return D_TV(π ‖ π̃) = ½ Σₐ |π − π̃| in every state, `[S]`."""
    return jnp.sum(jnp.abs(policy - new), axis=1) / 2


def kl(policy: jax.Array, new: jax.Array) -> jax.Array:
    """Return KL(π ‖ π̃) in nats in every state, `[S]`.

    Σ p log(p/q) as Σ p (x − log(1 + x)) with x = q/p − 1, whose terms are not negative:
    nothing cancels where the policies are close, as those of Algorithm 1 are. Both rows
    must sum to 1.
    """
    possible = policy > 0
    old = jnp.where(possible, policy, 1)
    x = jnp.where(possible, (new - policy) / old, 0)
    near = x > -0.5
    log = jnp.where(
        near,
        jnp.log1p(jnp.where(near, x, 0)),
        jnp.log(jnp.where(near, 1, new) / old),  # however small
    )
    terms = jnp.where(possible, policy * (x - log), new)
    return jnp.sum(terms, axis=1)


def penalty_coefficient(mdp: MDP, policy: jax.Array) -> jax.Array:
    """Return C = 4 ε γ / (1 − γ)², ε = maxₛₐ |A_π(s, a)| (Theorem 1)."""
    largest = jnp.max(jnp.abs(advantage(mdp, policy)))
    return 4 * largest * mdp.discount / (1 - mdp.discount) ** 2


def lower_bound(mdp: MDP, policy: jax.Array, new: jax.Array) -> jax.Array:
    """Return L_π(π̃) − C maxₛ KL(π ‖ π̃) ≤ η(π̃) (eq. 9).

    Args: as of `local_return`.

    Example:
        >>> mdp = random_mdp(jax.random.key(0), 4, 3, 0.5)
        >>> old, new = jax.random.dirichlet(jax.random.key(1), jnp.ones(3), (2, 4))
        >>> bool(lower_bound(mdp, old, new) <= expected_return(mdp, new))
        True
    """
    return expected_return(mdp, policy) + _guaranteed_gain(mdp, policy, new)


def total_variation_bound(mdp: MDP, policy: jax.Array, new: jax.Array) -> jax.Array:
    """Return L_π(π̃) − C maxₛ D_TV(π ‖ π̃)² ≤ η(π̃) (Theorem 1, eq. 8)."""
    distance = jnp.max(total_variation(policy, new))
    penalty = penalty_coefficient(mdp, policy) * distance**2
    return local_return(mdp, policy, new) - penalty


def mixture_bound(
    mdp: MDP, policy: jax.Array, other: jax.Array, share: float | jax.Array
) -> jax.Array:
    """Return L_π(π̃) − 2 ε γ / (1 − γ)² α² ≤ η(π̃), π̃ = (1 − α) π + α π′ (eq. 6).

    ε = maxₛ |Σₐ π′(a|s) A_π(s, a)| (Kakade & Langford 2002, in the form of the paper).

    Args:
        mdp: the process.
        policy: π.
        other: π′.
        share: α in [0, 1].
    """
    mixture = (1 - share) * policy + share * other
    penalty = mixture_coefficient(mdp, policy, other) * share**2
    return local_return(mdp, policy, mixture) - penalty


def mixture_coefficient(mdp: MDP, policy: jax.Array, other: jax.Array) -> jax.Array:
    """Return 2 ε γ / (1 − γ)² of eq. 6, ε = maxₛ |Σₐ π′(a|s) A_π(s, a)|."""
    largest = jnp.max(jnp.abs(jnp.sum(other * advantage(mdp, policy), axis=1)))
    return 2 * largest * mdp.discount / (1 - mdp.discount) ** 2


class Improvement(NamedTuple):
    """What a step promised.

    Attributes:
        local_gain: L_π(π̃) − η(π).
        guaranteed_gain: lower bound of η(π̃) − η(π); ≥ 0 where the step has one.
        max_kl: maxₛ KL(π ‖ π̃), nats.
        mean_kl: its mean over ρ_π, nats.
    """

    local_gain: jax.Array
    guaranteed_gain: jax.Array
    max_kl: jax.Array
    mean_kl: jax.Array


def conservative_policy_iteration(
    mdp: MDP, policy: jax.Array
) -> tuple[jax.Array, Improvement]:
    """Mix π with its greedy policy as far as eq. 6 gains most (Kakade & Langford 2002).

    L_π grows by α 𝔸, 𝔸 = Σₛ ρ_π(s) maxₐ A_π(s, a), and the penalty by c α²: the best
    mixture is α = min(1, 𝔸 / 2c). It never makes η smaller.

    Args:
        mdp: the process.
        policy: π.

    Returns:
        π̃, and an `Improvement`, whose `guaranteed_gain` is by eq. 6.
    """
    values = advantage(mdp, policy)
    greedy = jax.nn.one_hot(jnp.argmax(values, axis=1), values.shape[1])
    greedy = greedy.astype(policy.dtype)
    gain = visitation(mdp, policy) @ jnp.max(values, axis=1)
    coefficient = mixture_coefficient(mdp, policy, greedy)
    safe = jnp.where(coefficient > 0, coefficient, 1)
    share = jnp.where(coefficient > 0, jnp.clip(gain / (2 * safe), 0, 1), 1)
    new = (1 - share) * policy + share * greedy
    guaranteed = share * gain - coefficient * share**2
    return new, _improvement(mdp, policy, new, guaranteed)


def algorithm_1(mdp: MDP, policy: jax.Array) -> tuple[jax.Array, Improvement]:
    """Take the step of Algorithm 1: maximise L_π(π̃) − C maxₛ KL(π ‖ π̃), to optimality.

    Let d be the largest KL allowed in a state. L_π is a sum over states, so each one
    maximises Σₐ q(a) A(a) subject to KL(p ‖ q) ≤ d on its own, p its row of π. Setting
    the derivative of the Lagrangian to zero, A(a) + μ p(a)/q(a) = ν, gives the rational
    tilt

        q(a) = μ p(a) / (ν − A(a)),   ν > maxₐ A(a),   μ = 1 / Σₐ p(a) / (ν − A(a)),

    with one multiplier: KL(p ‖ q) falls from ∞ to 0 as ν goes from maxₐ A to ∞, and a
    bisection finds the ν of d. The gain of a state is concave in d with slope μ, so
    that the best d solves Σₛ ρ_π(s) μₛ(d) = C: one more bisection. η never decreases
    (§3).

    Args:
        mdp: the process.
        policy: π, positive everywhere.

    Returns:
        π̃, and an `Improvement`, whose `guaranteed_gain` is by eq. 9.

    Example:
        >>> mdp = random_mdp(jax.random.key(0), 4, 3, 0.5)
        >>> policy = jnp.full((4, 3), 1 / 3)
        >>> better, info = algorithm_1(mdp, policy)
        >>> gain = expected_return(mdp, better) - expected_return(mdp, policy)
        >>> bool(gain >= info.guaranteed_gain > 0)
        True
    """
    gap, weight = gap_of(advantage(mdp, policy)), visitation(mdp, policy)
    coefficient = penalty_coefficient(mdp, policy)

    def slope_exceeds_penalty(log_kl: jax.Array) -> jax.Array:
        tilt = tilt_of_kl(policy, gap, jnp.exp(log_kl))
        return weight @ multiplier(policy, gap, tilt) > coefficient

    lowest = jnp.full((), -LOG_RANGE, policy.dtype)
    log_kl = bisect(slope_exceeds_penalty, lowest, _LOG_MAX_KL, _COARSE_HALVINGS)
    new = tilted(policy, gap, tilt_of_kl(policy, gap, jnp.exp(log_kl)))
    return new, _improvement(mdp, policy, new, _guaranteed_gain(mdp, policy, new))


def trust_region(
    mdp: MDP,
    policy: jax.Array,
    max_kl: float | jax.Array,
    *,
    divergence: str = "mean_kl",
) -> tuple[jax.Array, Improvement]:
    """Maximise L_π(π̃) within KL(π ‖ π̃) ≤ δ, to optimality (§4, eq. 11 and 12).

    The tilt of `algorithm_1`. With the maximum over states each has its own multiplier,
    found from δ; with the mean over ρ_π all share one, found from the mean.

    Args:
        mdp: the process.
        policy: π, positive everywhere.
        max_kl: δ in nats.
        divergence: `"max_kl"` over states (eq. 11) or `"mean_kl"` under ρ_π (eq. 12).

    Returns:
        π̃, and an `Improvement`; nothing bounds η(π̃) unless δ is small, and
        `guaranteed_gain`, by eq. 9, is usually negative.
    """
    gap, weight = gap_of(advantage(mdp, policy)), visitation(mdp, policy)
    if divergence == "max_kl":
        tilt = tilt_of_kl(policy, gap, max_kl)
    elif divergence == "mean_kl":

        def within(cheapness: jax.Array) -> jax.Array:  # log 1/μ
            tilt = tilt_of_multiplier(policy, gap, -cheapness)
            distance = kl(policy, tilted(policy, gap, tilt))
            return weight @ distance <= max_kl * jnp.sum(weight)

        lowest = jnp.full((), -LOG_RANGE, policy.dtype)
        tilt = tilt_of_multiplier(policy, gap, -bisect(within, lowest, LOG_RANGE))
    else:
        raise ValueError(
            f"divergence must be 'mean_kl' or 'max_kl'; got {divergence!r}"
        )
    new = tilted(policy, gap, tilt)
    return new, _improvement(mdp, policy, new, _guaranteed_gain(mdp, policy, new))


def _guaranteed_gain(mdp: MDP, policy: jax.Array, new: jax.Array) -> jax.Array:
    """Return L_π(π̃) − η(π) − C maxₛ KL(π ‖ π̃)."""
    penalty = penalty_coefficient(mdp, policy) * jnp.max(kl(policy, new))
    return local_gain(mdp, policy, new) - penalty


def _improvement(
    mdp: MDP, policy: jax.Array, new: jax.Array, guaranteed_gain: jax.Array
) -> Improvement:
    weight, distance = visitation(mdp, policy), kl(policy, new)
    return Improvement(
        local_gain=local_gain(mdp, policy, new),
        guaranteed_gain=guaranteed_gain,
        max_kl=jnp.max(distance),
        mean_kl=weight @ distance / jnp.sum(weight),
    )
