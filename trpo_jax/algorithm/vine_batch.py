"""What an update learns from when several actions were tried in every state.

Shapes: `[M, B]` states lead, then `K` actions tried in each; in an update, `N` rows.
"""

from collections.abc import Callable
from typing import Any

import jax
from flax import struct

from trpo_jax.agent.normalization import Normalizer
from trpo_jax.algorithm.batch import Batch
from trpo_jax.algorithm.sequences import (
    draw_rows,
    flatten_rows,
    normalized,
    sequences_of,
)
from trpo_jax.algorithm.vine_surrogate import vine_action_weights, vine_surrogate
from trpo_jax.config import Config

PyTree = Any
Distribution = Any


class VineBatch(struct.PyTreeNode):
    """Several actions in every state, each with an estimate of its value.

    Attributes:
        observation: pytree of `[M, B, ...]`, not normalised.
        action: pytree of `[M, B, K, ...]`.
        action_value: `[M, B, K]`, Q̂ of each action.
        proposal_log_prob: `[M, B, K]`, log q(a|s) of the proposal that drew it.
        weight: `[M, B]` ≥ 0, how much a state counts; rows of weight 0 are ignored.
        critic_batch: the batch that the critic is fitted to: the trunk, `[T, B]`.
        every_action: static; the K actions are all that there are.
        time: `[M, B]` int32, the states' rows in the trunk, from which their
            distributions follow for agents with a memory; None for others.
    """

    observation: PyTree
    action: PyTree
    action_value: jax.Array
    proposal_log_prob: jax.Array
    weight: jax.Array
    critic_batch: Batch
    every_action: bool = struct.field(pytree_node=False, default=False)
    time: jax.Array | None = None

    def flatten(self) -> "VineBatch":
        """Return the batch with one leading axis `[N]`, zeros in rows of weight 0."""
        states, trunk = self.replace(critic_batch=None, time=None), self.critic_batch
        whole = None if self.time is None else sequences_of(trunk, self.time.T)
        states = flatten_rows(states, self.weight, whole)
        return states.replace(critic_batch=trunk.flatten())

    def normalize(self, normalizer: Normalizer) -> "VineBatch":
        """Return the batch with normalised observations."""
        return self.replace(
            observation=normalized(normalizer, self.observation),
            critic_batch=self.critic_batch.normalize(normalizer),
        )

    def fisher_fraction(self, config: Config) -> float:
        """Return the fraction of the rows in the Fisher products.

        The configured fraction is one of all visited states, of which few branch: as
        many rows enter as on a single path, if there are so many.
        """
        visited, branching = self.critic_batch.weight.size, self.weight.size
        return min(1.0, config.fraction_in_products(visited) * visited / branching)

    def draw(self, key: jax.Array, fraction: float) -> "VineBatch":
        """Return a fraction of the states, without the trunk, see `draw_rows`."""
        return draw_rows(key, self.replace(critic_batch=None), fraction)

    def log_prob(self, policy: Distribution) -> jax.Array:
        """Return log π(aₖ|s) of the actions, `[..., K]`."""
        axis = self.weight.ndim
        return jax.vmap(policy.log_prob, in_axes=axis, out_axes=axis)(self.action)

    def action_weight(self, policy: Distribution) -> jax.Array:
        """Return the probability that each action stands for, `vine_action_weights`."""
        return vine_action_weights(
            self.log_prob(policy),
            self.proposal_log_prob,
            every_action=self.every_action,
        )

    def surrogate(
        self, old: Distribution, *, standardize: bool
    ) -> Callable[[Distribution], jax.Array]:
        """Return the function to maximise, see `vine_surrogate`."""
        return vine_surrogate(
            self.action_weight,
            old,
            self.action_value,
            self.weight,
            standardize=standardize,
        )
