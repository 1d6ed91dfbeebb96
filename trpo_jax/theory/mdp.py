"""Finite Markov decision processes, and the values of their policies, solved exactly.

Pure functions of a process and a policy: `jit`, `vmap` over both, `grad` of values. Use
float64 (`jax_enable_x64`) to see inequalities hold to the last digits.

Shapes: `S` states, `A` actions; a policy is `[S, A]`, rows that sum to 1.
Symbols: η expected return, ρ discounted visitation.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct


class MDP(struct.PyTreeNode):
    """A finite Markov decision process.

    An absorbing state of reward 0 is the end of an episode.

    Attributes:
        transition: `[S, A, S]`, P(s′ | s, a).
        reward: `[S, A]`, the expected reward.
        initial: `[S]`, P(s₀).
        discount: γ in [0, 1).
    """

    transition: jax.Array
    reward: jax.Array
    initial: jax.Array
    discount: float | jax.Array


_NUMBERS: Any = [[[1], [1]]], [[1, 0]], [1], 0.5
_ARRAYS: Any = [np.array(x, np.float32) for x in _NUMBERS]
ONE_STATE = MDP(*_ARRAYS)
"""The process of the examples: action 0 earns 1, action 1 nothing, γ = ½."""
EVEN: Any = np.array([[0.5, 0.5]], np.float32)
"""The policy of the examples: both actions alike."""


def random_mdp(
    key: jax.Array, num_states: int, num_actions: int, discount: float | jax.Array
) -> MDP:
    """Draw a process: transitions and start from Dirichlet(½), rewards from N(0, 1).

    Args:
        key: consumed.
        num_states: S.
        num_actions: A.
        discount: γ in [0, 1).

    Returns:
        An `MDP`.

    Example:
        >>> random_mdp(jax.random.key(0), 4, 3, 0.5).transition.shape
        (4, 3, 4)
    """
    transition_key, reward_key, initial_key = jax.random.split(key, 3)
    half = jnp.full(num_states, 0.5)
    return MDP(
        transition=jax.random.dirichlet(
            transition_key, half, (num_states, num_actions)
        ),
        reward=jax.random.normal(reward_key, (num_states, num_actions)),
        initial=jax.random.dirichlet(initial_key, half),
        discount=discount,
    )


def state_value(mdp: MDP, policy: jax.Array) -> jax.Array:
    """Return V_π, the solution of V = r_π + γ P_π V.

    Args:
        mdp: the process.
        policy: π `[S, A]`.

    Returns:
        `[S]`, in units of reward.

    Example:
        >>> state_value(ONE_STATE, EVEN).tolist()  # ½ + ½ V
        [1.0]
    """
    reward = jnp.sum(policy * mdp.reward, axis=1)
    return jnp.linalg.solve(_one_minus_discounted_chain(mdp, policy), reward)


def action_value(mdp: MDP, policy: jax.Array) -> jax.Array:
    """Return Q_π = r + γ P V_π.

    Args:
        mdp: the process.
        policy: π `[S, A]`.

    Returns:
        `[S, A]`, in units of reward.

    Example:
        >>> action_value(ONE_STATE, EVEN).tolist()
        [[1.5, 0.5]]
    """
    return mdp.reward + mdp.discount * mdp.transition @ state_value(mdp, policy)


def advantage(mdp: MDP, policy: jax.Array) -> jax.Array:
    """Return A_π = Q_π − V_π, whose mean under π is 0 in every state.

    Args:
        mdp: the process.
        policy: π `[S, A]`.

    Returns:
        `[S, A]`, in units of reward.

    Example:
        >>> advantage(ONE_STATE, EVEN).tolist()
        [[0.5, -0.5]]
    """
    q = action_value(mdp, policy)
    return q - jnp.sum(policy * q, axis=1, keepdims=True)


def visitation(mdp: MDP, policy: jax.Array) -> jax.Array:
    """Return ρ_π(s) = Σₜ γᵗ P(sₜ = s).

    Args:
        mdp: the process.
        policy: π `[S, A]`.

    Returns:
        `[S]`, with sum 1 / (1 − γ).

    Example:
        >>> visitation(ONE_STATE, EVEN).tolist()
        [2.0]
    """
    return jnp.linalg.solve(_one_minus_discounted_chain(mdp, policy).T, mdp.initial)


def expected_return(mdp: MDP, policy: jax.Array) -> jax.Array:
    """Return η(π), the expected discounted return from the start (§2).

    Args:
        mdp: the process.
        policy: π `[S, A]`.

    Returns:
        A scalar, in units of reward.

    Example:
        >>> float(expected_return(ONE_STATE, EVEN))
        1.0
    """
    return mdp.initial @ state_value(mdp, policy)


def _one_minus_discounted_chain(mdp: MDP, policy: jax.Array) -> jax.Array:
    """Return I − γ P_π, `[S, S]`."""
    chain = jnp.einsum("sa,sat->st", policy, mdp.transition)
    return jnp.eye(len(chain), dtype=chain.dtype) - mdp.discount * chain
