"""What one network learns when policy, value and anything else share it.

The network is read as a product of beliefs: the policy π(a|s), a Gaussian N(V(s), σ²)
of the value target, and the distribution of each auxiliary head. Each part but the
policy has a weight w = δ/ε, so that Σ w KL ≤ δ lets it move by ε nats.

Shapes: `N` rows lead.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from trpo_jax.agent.acting import heads_of_rows
from trpo_jax.agent.distributions import DiagonalGaussian
from trpo_jax.agent.networks import Agent, check_one_value_per_row
from trpo_jax.algorithm.batch import Batch
from trpo_jax.algorithm.masking import RowStatistics
from trpo_jax.algorithm.sequences import draw_rows
from trpo_jax.algorithm.vine_batch import VineBatch
from trpo_jax.config import Config
from trpo_jax.solver.flat import binary_unit
from trpo_jax.solver.precision import as_floats
from trpo_jax.solver.rows import largest

PyTree = Any
Distribution = Any

SMALLEST_STD = 1e-15  # of a value target: 1/σ² must not overflow
VALUE = "value"


class JointBelief(struct.PyTreeNode):
    """The policy, and what else a network believes, as one distribution.

    Its divergence and its Fisher matrix are those of the parts, weighted and added up:
    F = F_π + Σ w Fᵢ.

    Attributes:
        policy: the distribution of actions.
        others: by name, the distributions of everything else.
        weight: by name, `[N]`, the same w in each row.
    """

    policy: Distribution
    others: dict[str, Distribution]
    weight: dict[str, jax.Array]

    def entropy(self) -> jax.Array:
        """Return the entropy of the policy in nats, `[N]`."""
        return self.policy.entropy()

    def kl(self, other: "JointBelief") -> jax.Array:
        """Return KL of the policy + Σ w KL of the other parts in nats, `[N]`."""
        kl = self.policy.kl(other.policy)
        for name, weight in self.weight.items():
            kl = kl + weight * self.others[name].kl(other.others[name])
        return kl

    def fisher_product(self, tangent: "JointBelief") -> "JointBelief":
        """Multiply each part by its own Fisher matrix and its weight."""

        def weighted(name: str) -> Distribution:
            product = self.others[name].fisher_product(tangent.others[name])
            return jax.tree.map(
                lambda x: jnp.expand_dims(self.weight[name], range(1, x.ndim)) * x,
                product,
            )

        return JointBelief(
            policy=self.policy.fisher_product(tangent.policy),
            others={name: weighted(name) for name in self.others},
            weight=jax.tree.map(jnp.zeros_like, self.weight),
        )


class JointBatch(struct.PyTreeNode):
    """A batch that asks the whole network; it answers what `Batch` does.

    Attributes:
        policy_batch: what the policy learns from, `[N]`.
        target: by name, pytrees of `[N, ...]`: what happened, for everything else.
        share: scalar in [0, 1] by which the gain of everything else counts, or None for
            1, see `limit_critic_share`.
    """

    policy_batch: Batch
    target: dict[str, PyTree]
    share: jax.Array | None = None

    @property
    def observation(self) -> PyTree:
        """The normalised observations."""
        return self.policy_batch.observation

    @property
    def weight(self) -> jax.Array:
        """How much each row counts."""
        return self.policy_batch.weight

    def fisher_fraction(self, config: Config) -> float:
        """Return the fraction of the rows in the Fisher products."""
        return self.policy_batch.fisher_fraction(config)

    def draw(self, key: jax.Array, fraction: float) -> "JointBatch":
        """Return a fraction of the rows, see `draw_rows`; the share is not kept."""
        return draw_rows(key, self.replace(share=None), fraction)

    def log_prob(self, belief: JointBelief) -> jax.Array:
        """Return the log-probabilities of action and targets, `[N, 1 + parts]`."""
        columns = [self.policy_batch.log_prob(belief.policy)]
        columns += [belief.others[k].log_prob(x) for k, x in self.target.items()]
        return jnp.stack(as_floats(*columns), axis=-1)

    def action_weight(self, belief: JointBelief) -> jax.Array:
        """Return how much each of these counts, `[N, 1 + parts]`."""
        columns = [self.policy_batch.action_weight()]
        columns += [belief.weight[name] for name in self.target]
        return jnp.stack(as_floats(*columns), axis=-1)

    def surrogate(
        self, old: JointBelief, *, standardize: bool
    ) -> Callable[[JointBelief], jax.Array]:
        """Return the policy's surrogate + share · Σ w (gain of the log-likelihood)."""
        of_policy = self.policy_batch.surrogate(old.policy, standardize=standardize)
        share: Any = 1 if self.share is None else self.share

        def surrogate(belief: JointBelief) -> jax.Array:
            return of_policy(belief.policy) + share * self.fit(old, belief)

        return surrogate

    def fit(self, old: JointBelief, belief: JointBelief) -> jax.Array:
        """Return Σ w (mean log-likelihood of the targets − that of the old belief)."""
        mean = RowStatistics(self.weight).mean
        gains = [
            belief.weight[k]
            * (belief.others[k].log_prob(x) - old.others[k].log_prob(x))
            for k, x in self.target.items()
        ]
        return mean(sum(gains[1:], gains[0]))


def join(
    batch: Batch | VineBatch, params: PyTree, agent: Agent, config: Config
) -> tuple[JointBatch, Callable[[PyTree, PyTree], JointBelief]]:
    """Return a batch for the whole network, and the network as a joint belief.

    σ² is the weighted mean of (target − V)² at θ_old, and w is `max_kl` / ε.

    Args:
        batch: flattened, `[N, ...]`, with normalised observations.
        params: θ_old.
        agent: its `heads` are applied.
        config: hyper-parameters of this iteration.

    Returns:
        A `JointBatch`, and parameters and observations → `JointBelief`.

    Raises:
        ValueError: for a vine, an agent without heads, another critic method, or heads
            and targets that do not fit together.

    Example:
        >>> from trpo_jax import Box, Discrete, default_agent
        >>> agent = default_agent(Box.uniform((1,)), Discrete(2), shared_trunk=True)
        >>> x, zero = jnp.array([[-1.0], [1.0]]), jnp.zeros(2)
        >>> batch = Batch(x, jnp.array([0, 1]), zero, jnp.array([3.0, 4.0]), zero + 1)
        >>> params = agent.policy.init(jax.random.key(0), x[0])
        >>> config = Config(critic_method="joint", critic_max_kl=0.5, max_kl=0.01)
        >>> joint, apply = join(batch, params, agent, config)
        >>> apply(params, x).weight["value"].tolist(), joint.target["value"].shape
        ([0.0..., 0.0...], (2, 1))
    """
    _require_heads(agent, config)
    if not isinstance(batch, Batch):
        raise ValueError(
            "a network that policy and critic share needs a Batch; got "
            f"{type(batch).__name__}, whose critic learns from other states"
        )
    targets = dict(batch.auxiliary or {})
    if targets.keys() != agent.auxiliary_max_kl.keys():
        raise ValueError(
            f"Batch.auxiliary must have targets for {sorted(agent.auxiliary_max_kl)}, "
            f"the heads in auxiliary_max_kl; got {sorted(targets)}"
        )
    value = heads_of_rows(agent, params, batch.observation).value
    check_one_value_per_row(value, batch.weight.shape)
    log_std = _log_std(value, batch.value_target, batch.weight)
    delta = jnp.asarray(config.max_kl, log_std.dtype)
    radii = {VALUE: config.critic_radius, **agent.auxiliary_max_kl}
    weights = {k: delta / jnp.asarray(x, delta.dtype) for k, x in radii.items()}

    def apply(params: PyTree, observation: PyTree) -> JointBelief:
        out = heads_of_rows(agent, params, observation)
        mean = out.value.astype(log_std.dtype)[:, None]
        belief = DiagonalGaussian(mean, jnp.full_like(mean, log_std))
        rows = mean.shape[0]
        return JointBelief(
            policy=out.policy,
            others={VALUE: belief, **{k: out.auxiliary[k] for k in targets}},
            weight={k: jnp.full(rows, w, mean.dtype) for k, w in weights.items()},
        )

    target = {VALUE: batch.value_target[:, None], **targets}
    return JointBatch(batch.replace(auxiliary=None), target), apply


def _require_heads(agent: Agent, config: Config) -> None:
    if agent.heads is None:
        raise ValueError(
            "critic_method joint is for agents whose policy and critic are one network "
            "(shared_trunk, shared_agent); this agent has two"
        )
    if config.critic_method != "joint":
        raise ValueError(
            "critic_method must be joint for an agent whose policy and critic are one "
            f"network; got {config.critic_method}"
        )


def _log_std(value: jax.Array, target: jax.Array, weight: jax.Array) -> jax.Array:
    """Return log σ of the value targets, as far as they can be told from rounding."""
    target, value, weight = as_floats(target, value, weight)
    mean = RowStatistics(weight).mean
    error = jnp.where(weight > 0, target - value, 0)
    unit = binary_unit(largest(jnp.abs(error)))
    std = unit * jnp.sqrt(mean((error / unit) ** 2))
    size = largest(jnp.abs(jnp.where(weight > 0, target, 0)))
    rounding = 32 * jnp.finfo(std.dtype).eps * size
    return jnp.log(jnp.maximum(jnp.maximum(std, rounding), SMALLEST_STD))
