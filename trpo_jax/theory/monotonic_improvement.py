"""Steps that never make a policy worse (Schulman et al. 2015, sections 2 and 3).

`grad` sees the bisections that search for a multiplier as constants.

Shapes: `S` states, `A` actions; a policy is `[S, A]`, rows that sum to 1.
Symbols: η expected return, ρ discounted visitation, L local approximation of η,
C penalty coefficient, ε largest advantage.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from trpo_jax.theory.bounds import (
    guaranteed_gain,
    kl,
    local_gain,
    mixture_coefficient,
    penalty_coefficient,
)
from trpo_jax.theory.kl_projection import (
    LOG_RANGE,
    bisect,
    gap_of,
    multiplier,
    tilt_of_kl,
    tilt_of_multiplier,
    tilted,
)
from trpo_jax.theory.mdp import (  # noqa: F401, two are for the examples
    EVEN,
    MDP,
    ONE_STATE,
    advantage,
    visitation,
)

_COARSE_HALVINGS = 40  # halvings for the KL of Algorithm 1: its objective is flat
_LOG_MAX_KL = 4.0  # Algorithm 1 looks for steps of up to e^4 = 55 nats


class Improvement(NamedTuple):
    """The gain that a step promises, and how far it goes.

    Attributes:
        local_gain: L_π(π̃) − η(π).
        guaranteed_gain: a lower bound of η(π̃) − η(π); ≥ 0 where the step has one.
        max_kl: maxₛ KL(π ‖ π̃) in nats.
        mean_kl: the mean of the KL under ρ_π, in nats.
    """

    local_gain: jax.Array
    guaranteed_gain: jax.Array
    max_kl: jax.Array
    mean_kl: jax.Array


def conservative_policy_iteration(
    mdp: MDP, policy: jax.Array
) -> tuple[jax.Array, Improvement]:
    """Mix π with its greedy policy by the share that maximises the bound of eq. 6.

    L_π grows by α 𝔸, 𝔸 = Σₛ ρ_π(s) maxₐ A_π(s, a), and the penalty by c α²: the best
    share is α = min(1, 𝔸 / 2c) (Kakade & Langford 2002). η never decreases.

    Args:
        mdp: the process.
        policy: π `[S, A]`.

    Returns:
        π̃, and an `Improvement`, whose `guaranteed_gain` is by eq. 6.

    Example:
        >>> better, info = conservative_policy_iteration(ONE_STATE, EVEN)
        >>> better.tolist()  # 𝔸 = 1, c = 2: α = ¼ of "always 0"
        [[0.625, 0.375]]
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
    maximises Σₐ q(a) A(a) subject to KL(p ‖ q) ≤ d on its own, where p is its row of π.
    Setting the derivative of the Lagrangian to zero, A(a) + μ p(a)/q(a) = ν, gives the
    rational tilt

        q(a) = μ p(a) / (ν − A(a)),   ν > maxₐ A(a),   μ = 1 / Σₐ p(a) / (ν − A(a)),

    with one multiplier: KL(p ‖ q) falls from ∞ to 0 as ν goes from maxₐ A to ∞, and a
    bisection finds the ν of d. The gain of a state is concave in d with slope μ, so
    the best d solves Σₛ ρ_π(s) μₛ(d) = C: one more bisection. η never decreases (§3).

    Args:
        mdp: the process.
        policy: π `[S, A]`, positive everywhere.

    Returns:
        π̃, and an `Improvement`, whose `guaranteed_gain` is by eq. 9.

    Example:
        >>> better, info = algorithm_1(ONE_STATE, EVEN)
        >>> bool(info.local_gain >= info.guaranteed_gain > 0)
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
    return new, _improvement(mdp, policy, new, guaranteed_gain(mdp, policy, new))


def trust_region(
    mdp: MDP,
    policy: jax.Array,
    max_kl: float | jax.Array,
    *,
    kl_constraint: str = "mean",
) -> tuple[jax.Array, Improvement]:
    """Maximise L_π(π̃) within KL(π ‖ π̃) ≤ δ, to optimality (§4, eq. 11 and 12).

    The solution is the tilt of `algorithm_1`. With the maximum over states each state
    has its own multiplier, found from δ; with the mean under ρ_π all share one.

    Args:
        mdp: the process.
        policy: π `[S, A]`, positive everywhere.
        max_kl: δ in nats.
        kl_constraint: what δ bounds: the "max" over states (eq. 11), or the "mean"
            under ρ_π (eq. 12).

    Returns:
        π̃, and an `Improvement`; nothing bounds η(π̃) unless δ is small, and
        `guaranteed_gain`, by eq. 9, is usually negative.

    Raises:
        ValueError: for another constraint.

    Example:
        >>> _, info = trust_region(ONE_STATE, EVEN, 0.1)
        >>> print(round(float(info.mean_kl), 3))
        0.1
    """
    gap, weight = gap_of(advantage(mdp, policy)), visitation(mdp, policy)
    if kl_constraint == "max":
        tilt = tilt_of_kl(policy, gap, max_kl)
    elif kl_constraint == "mean":

        def within(cheapness: jax.Array) -> jax.Array:  # log 1/μ
            tilt = tilt_of_multiplier(policy, gap, -cheapness)
            distance = kl(policy, tilted(policy, gap, tilt))
            return weight @ distance <= max_kl * jnp.sum(weight)

        lowest = jnp.full((), -LOG_RANGE, policy.dtype)
        tilt = tilt_of_multiplier(policy, gap, -bisect(within, lowest, LOG_RANGE))
    else:
        raise ValueError(
            f"kl_constraint must be 'mean' or 'max'; got {kl_constraint!r}"
        )
    new = tilted(policy, gap, tilt)
    return new, _improvement(mdp, policy, new, guaranteed_gain(mdp, policy, new))


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
