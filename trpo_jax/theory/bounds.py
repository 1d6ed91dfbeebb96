"""The lower bounds of sections 2 and 3 of Schulman et al. 2015.

Shapes: `S` states, `A` actions; a policy is `[S, A]`, rows that sum to 1.
Symbols: η expected return, ρ discounted visitation, L local approximation of η,
C penalty coefficient, ε largest advantage.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trpo_jax.theory.mdp import (  # noqa: F401, two are for the examples
    EVEN,
    MDP,
    ONE_STATE,
    advantage,
    expected_return,
    visitation,
)

BETTER: Any = np.array([[0.75, 0.25]], np.float32)
"""The new policy of the examples."""


def local_return(mdp: MDP, policy: jax.Array, new: jax.Array) -> jax.Array:
    """Return L_π(π̃) = η(π) + Σₛ ρ_π(s) Σₐ π̃(a|s) A_π(s, a) (eq. 3).

    It keeps the visitation of π, and so agrees with η(π̃) to first order at π̃ = π.

    Args:
        mdp: the process.
        policy: π `[S, A]`.
        new: π̃ `[S, A]`.

    Returns:
        A scalar, in units of reward.

    Example:
        >>> float(local_return(ONE_STATE, EVEN, BETTER))
        1.5
    """
    return expected_return(mdp, policy) + local_gain(mdp, policy, new)


def local_gain(mdp: MDP, policy: jax.Array, new: jax.Array) -> jax.Array:
    """Return L_π(π̃) − η(π), without the rounding error of a difference.

    Args:
        mdp: the process.
        policy: π `[S, A]`.
        new: π̃ `[S, A]`.

    Returns:
        A scalar, in units of reward.

    Example:
        >>> float(local_gain(ONE_STATE, EVEN, BETTER))
        0.5
    """
    gain = (new - policy) * advantage(mdp, policy)  # the mean under π is 0
    return visitation(mdp, policy) @ jnp.sum(gain, axis=1)


def total_variation(policy: jax.Array, new: jax.Array) -> jax.Array:
    """Return D_TV(π ‖ π̃) = ½ Σₐ |π − π̃| in every state.

    Args:
        policy: π `[S, A]`.
        new: π̃ `[S, A]`.

    Returns:
        `[S]`, in [0, 1].

    Example:
        >>> total_variation(EVEN, BETTER).tolist()
        [0.25]
    """
    return jnp.sum(jnp.abs(policy - new), axis=1) / 2


def kl(policy: jax.Array, new: jax.Array) -> jax.Array:
    """Return KL(π ‖ π̃) in every state.

    Σ p log(p/q) is computed as Σ p (x − log(1 + x)) with x = q/p − 1, whose terms are
    not negative: nothing cancels where the policies are close, as those of Algorithm 1
    are. The rows of both policies must sum to 1.

    Args:
        policy: π `[S, A]`.
        new: π̃ `[S, A]`.

    Returns:
        `[S]`, in nats.

    Example:
        >>> print(round(float(kl(EVEN, BETTER)[0]), 4))  # ½ log(2/3) + ½ log 2
        0.1438
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
    """Return C = 4 ε γ / (1 − γ)², ε = maxₛₐ |A_π(s, a)| (Theorem 1).

    Args:
        mdp: the process.
        policy: π `[S, A]`.

    Returns:
        A scalar, in units of reward for each nat.

    Example:
        >>> float(penalty_coefficient(ONE_STATE, EVEN))  # 4 · ½ · ½ / ¼
        4.0
    """
    largest = jnp.max(jnp.abs(advantage(mdp, policy)))
    return 4 * largest * mdp.discount / (1 - mdp.discount) ** 2


def lower_bound(mdp: MDP, policy: jax.Array, new: jax.Array) -> jax.Array:
    """Return L_π(π̃) − C maxₛ KL(π ‖ π̃) ≤ η(π̃) (eq. 9).

    Args:
        mdp: the process.
        policy: π `[S, A]`.
        new: π̃ `[S, A]`.

    Returns:
        A scalar, in units of reward.

    Example:
        >>> bool(lower_bound(ONE_STATE, EVEN, BETTER) <= 1.5)  # η(π̃)
        True
    """
    return expected_return(mdp, policy) + guaranteed_gain(mdp, policy, new)


def total_variation_bound(mdp: MDP, policy: jax.Array, new: jax.Array) -> jax.Array:
    """Return L_π(π̃) − C maxₛ D_TV(π ‖ π̃)² ≤ η(π̃) (Theorem 1, eq. 8).

    Args:
        mdp: the process.
        policy: π `[S, A]`.
        new: π̃ `[S, A]`.

    Returns:
        A scalar, in units of reward.

    Example:
        >>> float(total_variation_bound(ONE_STATE, EVEN, BETTER))  # 1.5 − 4/16
        1.25
    """
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
        policy: π `[S, A]`.
        other: π′ `[S, A]`.
        share: α in [0, 1].

    Returns:
        A scalar, in units of reward.

    Example:
        >>> float(mixture_bound(ONE_STATE, EVEN, BETTER, 1.0))  # 1.5 − 2 · ¼ · ½ / ¼
        0.5
    """
    mixture = (1 - share) * policy + share * other
    penalty = mixture_coefficient(mdp, policy, other) * share**2
    return local_return(mdp, policy, mixture) - penalty


def mixture_coefficient(mdp: MDP, policy: jax.Array, other: jax.Array) -> jax.Array:
    """Return 2 ε γ / (1 − γ)² of eq. 6, ε = maxₛ |Σₐ π′(a|s) A_π(s, a)|.

    Args:
        mdp: the process.
        policy: π `[S, A]`.
        other: π′ `[S, A]`.

    Returns:
        A scalar, in units of reward.

    Example:
        >>> float(mixture_coefficient(ONE_STATE, EVEN, BETTER))
        1.0
    """
    largest = jnp.max(jnp.abs(jnp.sum(other * advantage(mdp, policy), axis=1)))
    return 2 * largest * mdp.discount / (1 - mdp.discount) ** 2


def guaranteed_gain(mdp: MDP, policy: jax.Array, new: jax.Array) -> jax.Array:
    """Return L_π(π̃) − η(π) − C maxₛ KL(π ‖ π̃) ≤ η(π̃) − η(π) (eq. 9).

    Args:
        mdp: the process.
        policy: π `[S, A]`.
        new: π̃ `[S, A]`.

    Returns:
        A scalar, in units of reward.

    Example:
        >>> float(guaranteed_gain(ONE_STATE, EVEN, EVEN))
        0.0
    """
    penalty = penalty_coefficient(mdp, policy) * jnp.max(kl(policy, new))
    return local_gain(mdp, policy, new) - penalty
