"""The Fisher matrix of an update, averaged over rows of its batch."""

from collections.abc import Callable
from typing import Any

import jax

from trpo_jax.config import Config
from trpo_jax.solver.fisher import (
    empirical_fisher_vector_product,
    fisher_vector_product,
)

PyTree = Any


def batch_fisher_product(
    key: jax.Array,
    policy: Callable[[PyTree, PyTree], Any],
    params: PyTree,
    batch: Any,
    config: Config,
) -> Callable[[PyTree], PyTree]:
    """Return v ↦ (F + damping·I) v over the rows that `config.fisher_fraction` draws.

    The policy maps parameters and observations to a distribution; the batch, `[N, ...]`
    with normalised observations, is of any kind. F is that of the distributions or of
    the scores of the actions, by `config.fisher`.
    """
    drawn = batch.draw(key, batch.fisher_fraction(config))

    def drawn_policy(params: PyTree) -> Any:
        return policy(params, drawn.observation)

    if config.fisher == "empirical":
        return empirical_fisher_vector_product(
            lambda params: drawn.log_prob(drawn_policy(params)),
            params,
            action_weight=drawn.action_weight(drawn_policy(params)),
            damping=config.cg_damping,
            weight=drawn.weight,
        )
    return fisher_vector_product(
        drawn_policy, params, damping=config.cg_damping, weight=drawn.weight
    )
