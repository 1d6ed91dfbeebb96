"""The step of the policy: the surrogate of a batch, within the trust region.

Symbols: θ policy parameters, π policy, δ `max_kl`, F Fisher matrix.
"""

import functools
from typing import Any, NamedTuple

import jax

from trpo_jax.agent.acting import policy_of_rows
from trpo_jax.agent.networks import Agent
from trpo_jax.algorithm.batch import Batch
from trpo_jax.algorithm.fisher_matrix import batch_fisher_product
from trpo_jax.algorithm.joint_batch import join
from trpo_jax.algorithm.joint_update import limit_critic_share, take_extra_epochs
from trpo_jax.algorithm.masking import RowStatistics
from trpo_jax.algorithm.vine_batch import VineBatch
from trpo_jax.config import Config
from trpo_jax.config.algorithm import KL_CONSTRAINTS
from trpo_jax.solver.conjugate_gradient import CGInfo
from trpo_jax.solver.fisher import fisher_quadratic_form
from trpo_jax.solver.flat import ravel_if_small
from trpo_jax.solver.line_search import LineSearchInfo
from trpo_jax.solver.trust_region import trust_region_step

PyTree = Any


class PolicyInfo(NamedTuple):
    """What happened to the policy in an update.

    Attributes:
        status: int32 scalar, a `Status`.
        kl: scalar, KL(π_old ‖ π) in nats, as it was bounded (mean or maximum over the
            states); 0 when no step was taken. In a joint step it is the policy's own
            part of what was bounded, which is in `search`.
        gradient_norm: scalar, the norm of the surrogate's gradient at θ_old.
        cg: the `CGInfo` of the solve.
        search: the `LineSearchInfo` of the line search.
        entropy: scalar, the mean entropy of π_old in nats.
    """

    status: jax.Array
    kl: jax.Array
    gradient_norm: jax.Array
    cg: CGInfo
    search: LineSearchInfo
    entropy: jax.Array


def update_policy(
    key: jax.Array,
    policy_params: PyTree,
    batch: Batch | VineBatch,
    agent: Agent,
    config: Config,
) -> tuple[PyTree, PolicyInfo]:
    """Take one step on the surrogate of a batch, by `config.step_rule`.

    If policy and critic are one network, the step is a joint one: value and auxiliary
    heads are further parts of objective and constraint, see `join`.

    Maximise L(π_θ), eq. 14 or 15 f., subject to KL(π_old ‖ π_θ) ≤ δ on average over the
    states of the batch (Schulman et al. 2015, eq. 12) or in each of them (eq. 11).

    Args:
        key: consumed; chooses the rows of the Fisher products.
        policy_params: θ_old.
        batch: flattened, `[N, ...]`, with normalised observations.
        agent: its policy is improved.
        config: hyper-parameters of this iteration.

    Returns:
        The new parameters, bit for bit θ_old unless `ACCEPTED`, and a `PolicyInfo`.

    Raises:
        ValueError: when the policy's distribution does not lead with the rows.

    Example:
        >>> import jax.numpy as jnp
        >>> from trpo_jax import Box, Discrete, default_agent
        >>> agent = default_agent(Box.uniform((1,)), Discrete(2), hidden_sizes=())
        >>> x, action = jnp.array([[-1.0], [1.0]]), jnp.array([0, 1])
        >>> batch = Batch(x, action, jnp.ones(2), jnp.ones(2), jnp.ones(2))
        >>> params = agent.policy.init(jax.random.key(0), x[0])
        >>> config = Config(standardize_advantage=False)
        >>> _, info = update_policy(jax.random.key(1), params, batch, agent, config)
        >>> int(info.status), bool(info.kl <= config.max_kl)
        (0, True)
    """
    rows: Any = batch
    shared = agent.heads is not None
    apply: Any = functools.partial(policy_of_rows, agent)
    if shared or config.critic_method == "joint":
        rows, apply = join(batch, policy_params, agent, config)
    flat, unflatten = ravel_if_small(policy_params)

    def policy(flat: PyTree, observation: PyTree = rows.observation) -> Any:
        return apply(unflatten(flat), observation)

    old = policy(flat)
    states = RowStatistics(rows.weight)

    def constrained(kl: jax.Array) -> jax.Array:
        return KL_CONSTRAINTS[config.kl_constraint](kl, states)

    def curvature(direction: PyTree) -> jax.Array:
        return constrained(fisher_quadratic_form(policy, flat, direction))

    product = batch_fisher_product(key, policy, flat, rows, config)
    if shared:
        rows = limit_critic_share(policy, flat, rows, product, config)
    objective = rows.surrogate(old, standardize=config.standardize_advantage)
    flat, info = trust_region_step(
        lambda flat: objective(policy(flat)),
        lambda flat: constrained(old.kl(policy(flat))),
        product,
        flat,
        max_divergence=config.max_kl,
        step_rule=config.step_rule,
        step_size=config.step_size,
        curvature=None if config.kl_constraint == "mean" else curvature,
        **config.solver_options,
    )
    params, kl = unflatten(flat), info.search.divergence
    if shared:
        rest = rows, apply, agent, config
        params = take_extra_epochs(key, params, policy_params, *rest)
        kl = constrained(old.policy.kl(policy(ravel_if_small(params)[0]).policy))
    return params, PolicyInfo(
        status=info.status,
        kl=kl,
        gradient_norm=info.gradient_norm,
        cg=info.cg,
        search=info.search,
        entropy=states.mean(old.entropy()),
    )
