"""What an update learns from, however it was collected.

`Batch` and `VineBatch` answer the same questions, so that one update serves every way
of collecting data. Shapes: when a batch is made, `[T, B]` time steps and environments
lead; inside an update, `N` rows.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from trpo_jax.agent.memory import Memory
from trpo_jax.agent.normalization import Normalizer
from trpo_jax.algorithm.advantages import standardize as standardized
from trpo_jax.algorithm.sequences import (
    draw_rows,
    flatten_rows,
    normalized,
    sequences_of,
)
from trpo_jax.algorithm.surrogate import single_path_surrogate
from trpo_jax.config import Config

PyTree = Any
Distribution = Any


class Batch(struct.PyTreeNode):
    """One action in every state.

    Attributes:
        observation: pytree of `[T, B, ...]`, not normalised.
        action: pytree of `[T, B, ...]`.
        advantage: `[T, B]`.
        value_target: `[T, B]`, what the critic is fitted to.
        weight: `[T, B]` ≥ 0, how much a state counts; rows of weight 0 are ignored.
        value: `[T, B]`, the critic's values before its fit, or None when not known.
        importance_ratio: `[T, B]`, π_old/β of the action where another policy β chose
            it, or None where π_old itself did.
        memory: `Memory` `[B, ...]` of policy and critic before the first row.
        first: `[T, B]` bool, whether an episode begins with this row; None for agents
            without a memory. With one, the batch is learnt from in whole sequences.
        auxiliary: by name, pytrees of `[T, B, ...]`: what auxiliary heads of a shared
            network are to predict, or None without such heads.
    """

    observation: PyTree
    action: PyTree
    advantage: jax.Array
    value_target: jax.Array
    weight: jax.Array
    value: jax.Array | None = None
    importance_ratio: jax.Array | None = None
    memory: Memory = Memory()
    first: jax.Array | None = None
    auxiliary: dict[str, PyTree] | None = None

    def flatten(self) -> "Batch":
        """Return the batch with one leading axis `[N]`, zeros in rows of weight 0.

        For agents with a memory, the observations become `Sequences`.
        """
        sequences = None if self.first is None else sequences_of(self)
        rest = self if sequences is None else self.replace(memory=Memory(), first=None)
        return flatten_rows(rest, self.weight, sequences)

    def normalize(self, normalizer: Normalizer) -> "Batch":
        """Return the batch with normalised observations."""
        return self.replace(observation=normalized(normalizer, self.observation))

    @property
    def critic_batch(self) -> "Batch":
        """The batch that the critic is fitted to: this one."""
        return self

    def fisher_fraction(self, config: Config) -> float:
        """Return the fraction of the rows in the Fisher products."""
        return config.fraction_in_products(self.weight.size)

    def draw(self, key: jax.Array, fraction: float) -> "Batch":
        """Return a fraction of the rows, once flattened, see `draw_rows`."""
        return draw_rows(key, self, fraction)

    def log_prob(self, policy: Distribution) -> jax.Array:
        """Return log π(a|s) of the actions, in the shape of `weight`."""
        return policy.log_prob(self.action)

    def action_weight(self, policy: Distribution | None = None) -> jax.Array:
        """Return how much each action counts, like `weight`: π_old/β, otherwise 1."""
        del policy
        if self.importance_ratio is None:
            return jnp.ones_like(self.weight)
        return self.importance_ratio

    def surrogate(
        self, old: Distribution, *, standardize: bool
    ) -> Callable[[Distribution], jax.Array]:
        """Return the function to maximise, see `single_path_surrogate`."""
        advantage = self.advantage
        if standardize:
            advantage = standardized(advantage, self.weight)
        if self.importance_ratio is not None:
            advantage = self.importance_ratio * advantage
        return single_path_surrogate(self.log_prob, old, advantage, self.weight)
