"""What an update learns from, however it was collected.

Both kinds of batch answer the same questions, so that one update serves all ways of
getting data. Shapes: `[T, B]` time steps and environments lead when a batch is made
(`[M, B]` states of a vine, `K` actions tried in each), rows `[N]` inside an update.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from trpo_jax.algorithm.advantages import standardize
from trpo_jax.algorithm.masking import mean_over, only_valid
from trpo_jax.config import Config

PyTree = Any


@struct.dataclass
class Batch:
    """One action in every state.

    Attributes:
        observation: pytree of `[T, B, ...]`, not normalised.
        action: pytree of `[T, B, ...]`.
        advantage: `[T, B]`.
        value_target: `[T, B]`, what the critic learns.
        weight: `[T, B]` ≥ 0, of a state.
        importance: `[T, B]` π_old/β of the action where another policy β chose it, or
            None where the policy itself did.
    """

    observation: PyTree
    action: PyTree
    advantage: jax.Array
    value_target: jax.Array
    weight: jax.Array
    importance: jax.Array | None = None

    def rows(self) -> "Batch":
        """Return the batch with one leading axis, and zeros in rows of weight 0."""
        return _rows(self, self.weight)

    @property
    def lesson(self) -> "Batch":
        """What the critic learns from: the batch itself."""
        return self

    def fraction_in_products(self, config: Config) -> float:
        """Return the fraction of the rows in the Fisher products."""
        return config.fraction_in_products(self.weight.size)

    def log_prob(self, policy: Any) -> jax.Array:
        """Return log π(a|s), `[T, B]`, of the actions under a distribution."""
        return policy.log_prob(self.action)

    def share(self, old: Any) -> jax.Array:
        """Return what an action counts beside others, `[T, B]`: π_old/β, else 1."""
        del old
        return (
            jnp.ones_like(self.weight) if self.importance is None else (self.importance)
        )

    def surrogate(self, old: Any, *, standardized: bool) -> Callable[[Any], jax.Array]:
        """Return the function L: distribution of all rows → scalar, to be maximised.

        L = Σ w (π/π_old) (π_old/β) Â / Σ w   (Schulman et al. 2015, eq. 14)

        Its ratio is exactly 1 at π_old.

        Args:
            old: π_old for every row.
            standardized: standardise the advantages first.
        """
        advantage = self.advantage
        if standardized:
            advantage = standardize(advantage, self.weight)
        if self.importance is not None:
            advantage = self.importance * advantage
        old_log_prob = self.log_prob(old)
        possible = jnp.isfinite(old_log_prob)  # another policy's action may not be
        mean = mean_over(self.weight)

        def surrogate(policy: Any) -> jax.Array:
            log_prob = jnp.where(possible, self.log_prob(policy), 0)
            ratio = jnp.exp(log_prob - jnp.where(possible, old_log_prob, 0))
            gain = jnp.where(possible, ratio, 0) * advantage
            return mean(gain)

        return surrogate


@struct.dataclass
class VineBatch:
    """Several actions in every state, each with an estimate of its value.

    Attributes:
        observation: pytree of `[M, B, ...]`, not normalised.
        action: pytree of `[M, B, K, ...]`.
        action_value: `[M, B, K]`, Q̂ of each action.
        proposal_log_prob: `[M, B, K]`, log q(a|s) of the proposal it was drawn from.
        weight: `[M, B]` ≥ 0, of a state.
        lesson: what the critic learns from: the trunk, as a `Batch` `[T, B]`.
        every_action: static; the K actions are all that there are.
    """

    observation: PyTree
    action: PyTree
    action_value: jax.Array
    proposal_log_prob: jax.Array
    weight: jax.Array
    lesson: Batch
    every_action: bool = struct.field(pytree_node=False, default=False)

    def rows(self) -> "VineBatch":
        """Return the batch with one leading axis, and zeros in rows of weight 0."""
        alone = _rows(self.replace(lesson=None), self.weight)
        return alone.replace(lesson=self.lesson.rows())

    def fraction_in_products(self, config: Config) -> float:
        """Return the fraction of the rows in the Fisher products.

        It is one of all states that were visited, of which far fewer branch: as many
        rows as on a single path, as long as there are so many.
        """
        visited, branching = self.lesson.weight.size, self.weight.size
        return min(1.0, config.fraction_in_products(visited) * visited / branching)

    def log_prob(self, policy: Any) -> jax.Array:
        """Return log π(aₖ|s), `[M, B, K]`, of the actions under a distribution."""
        axis = self.weight.ndim
        return jax.vmap(policy.log_prob, in_axes=axis, out_axes=axis)(self.action)

    def share(self, policy: Any) -> jax.Array:
        """Return the part of a policy's probability that each action stands for.

        π(aₖ|s) where all actions were tried; otherwise the self-normalised importance
        weight (π(aₖ|s)/q(aₖ|s)) / Σⱼ π(aⱼ|s)/q(aⱼ|s) (eq. 16). `[M, B, K]`, with sum 1
        over K either way.
        """
        log_prob = self.log_prob(policy)
        if self.every_action:
            return jnp.exp(log_prob)
        logits = log_prob - self.proposal_log_prob
        possible = jnp.any(jnp.isfinite(logits), axis=-1, keepdims=True)
        return jax.nn.softmax(jnp.where(possible, logits, 0), axis=-1)

    def surrogate(self, old: Any, *, standardized: bool) -> Callable[[Any], jax.Array]:
        """Return the function L: distribution of all rows → scalar, to be maximised.

        L = Σₙ wₙ Σₖ share(aₖ|sₙ) (Q̂ₙₖ − V̂ₙ) / Σₙ wₙ   (Schulman et al. 2015, eq. 15 f.)

        V̂ₙ, the mean of Q̂ under π_old, changes no gradient, since shares sum to 1; it
        keeps sums small. As in `standardize`, values that differ by no more than
        rounding are equal, and actions that a policy never takes do not count.

        Args:
            old: π_old for every row.
            standardized: give the advantages a mean square of 1.
        """
        share = self.share(old)
        action_value = jnp.where(share > 0, self.action_value, 0)
        value = jnp.sum(share * action_value, axis=-1, keepdims=True)
        advantage = jnp.where(share > 0, action_value - value, 0)
        square = jnp.sum(share * advantage**2, axis=-1)
        mean = mean_over(self.weight)
        deviation = jnp.sqrt(mean(square))
        largest = jnp.max(jnp.abs(action_value))
        flat = deviation <= 32 * jnp.finfo(deviation.dtype).eps * largest
        advantage = jnp.where(flat, 0, advantage)
        if standardized:
            advantage = advantage / jnp.where(flat, 1, deviation)

        def surrogate(policy: Any) -> jax.Array:
            gain = jnp.sum(self.share(policy) * advantage, axis=-1)
            return mean(gain)

        return surrogate


def _rows(batch: PyTree, weight: jax.Array) -> PyTree:
    """Join the two leading axes; a NaN in a row of weight 0 must reach no gradient."""
    return jax.tree.map(
        lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), only_valid(weight > 0, batch)
    )
