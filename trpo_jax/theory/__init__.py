"""Sections 2 and 3 of the paper, computed exactly on finite decision processes."""

from trpo_jax.theory.bounds import (
    guaranteed_gain,
    kl,
    local_gain,
    local_return,
    lower_bound,
    mixture_bound,
    mixture_coefficient,
    penalty_coefficient,
    total_variation,
    total_variation_bound,
)
from trpo_jax.theory.mdp import (
    MDP,
    action_value,
    advantage,
    expected_return,
    random_mdp,
    state_value,
    visitation,
)
from trpo_jax.theory.monotonic_improvement import (
    Improvement,
    algorithm_1,
    conservative_policy_iteration,
    trust_region,
)

# fmt: off
__all__ = [
    "MDP", "Improvement", "action_value", "advantage", "algorithm_1",
    "conservative_policy_iteration", "expected_return", "guaranteed_gain", "kl",
    "local_gain", "local_return", "lower_bound", "mixture_bound", "mixture_coefficient",
    "penalty_coefficient", "random_mdp", "state_value", "total_variation",
    "total_variation_bound", "trust_region", "visitation",
]
# fmt: on
