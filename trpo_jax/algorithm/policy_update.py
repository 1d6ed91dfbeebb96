"""One step of a policy within a trust region (Schulman et al. 2015, §6, appendix C).

Symbols: θ policy parameters, Â advantages, δ `max_kl`, F Fisher matrix, g gradient.
"""

import enum
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from trpo_jax.agent.distributions import Scores
from trpo_jax.algorithm.batch import Batch, VineBatch
from trpo_jax.algorithm.masking import mean_over
from trpo_jax.algorithm.subsampling import subsample_rows
from trpo_jax.config import Config
from trpo_jax.solver.conjugate_gradient import CGInfo, cg_solve, no_solve
from trpo_jax.solver.fisher import fisher_vector_product, row_curvature
from trpo_jax.solver.flat import all_finite, as_vector
from trpo_jax.solver.line_search import LineSearchInfo, Verdict, full_step, line_search

PyTree = Any


class Status(enum.IntEnum):
    """How the policy's step ended.

    Those that name something not finite go together. Observations and rewards are
    blamed by `Metrics` only, which has seen the data; with `NON_FINITE_STEP` the KL or
    the surrogate was not finite wherever the search looked.
    """

    ACCEPTED = 0
    NON_FINITE_GRADIENT = 1
    ZERO_GRADIENT = 2
    BAD_CURVATURE = 3
    SEARCH_FAILED = 4
    NON_FINITE_OBSERVATION = 5
    NON_FINITE_REWARD = 6
    NON_FINITE_FISHER = 7
    NON_FINITE_STEP = 8


NON_FINITE = tuple(status for status in Status if status.name.startswith("NON_FINITE"))


class PolicyInfo(NamedTuple):
    """What happened to the policy; scalars, and the infos of the parts.

    Attributes:
        status: int32, a `Status`.
        kl: divergence of the step taken, nats; 0 when none was.
        gradient_norm: ‖g‖ of the surrogate at θ_old.
        cg: of the solve.
        search: of the line search.
    """

    status: jax.Array
    kl: jax.Array
    gradient_norm: jax.Array
    cg: CGInfo
    search: LineSearchInfo


def improve_policy(
    key: jax.Array,
    apply: Callable[[PyTree, PyTree], Any],
    params: PyTree,
    rows: Batch | VineBatch,
    config: Config,
) -> tuple[PyTree, PolicyInfo]:
    """Take one step on the sample surrogate of a batch, by `config.method`.

    Args:
        key: consumed; chooses the rows of the Fisher products.
        apply: policy parameters and observations `[N, ...]` → distribution.
        params: θ_old.
        rows: leading axis `[N]`, observations as the policy sees them.
        config: of the run.

    Returns:
        New parameters (bit for bit the old ones unless accepted), and a `PolicyInfo`.
    """
    flat, unflatten = as_vector(params)

    def act(flat: PyTree, observation: PyTree = rows.observation) -> Any:
        return apply(unflatten(flat), observation)

    old = act(flat)
    objective = rows.surrogate(old, standardized=config.standardize_advantage)

    def surrogate(flat: PyTree) -> jax.Array:
        return objective(act(flat))

    def divergence(flat: PyTree) -> jax.Array:
        return over_rows(old.kl(act(flat)))

    mean = mean_over(rows.weight)

    def over_rows(x: jax.Array) -> jax.Array:
        if config.divergence == "max_kl":
            return jnp.max(jnp.where(rows.weight > 0, x, 0))
        return mean(x)

    def curvature(direction: PyTree) -> jax.Array:
        return over_rows(row_curvature(act, flat, direction))

    some = subsample_rows(key, rows, rows.fraction_in_products(config))

    def of_some(flat: PyTree) -> Any:
        policy = act(flat, some.observation)
        if config.fisher == "empirical":
            share = jax.lax.stop_gradient(some.share(policy))
            return Scores(some.log_prob(policy), share)
        return policy

    product = fisher_vector_product(
        of_some, flat, damping=config.cg_damping, weight=some.weight
    )
    flat, info = trust_region_step(
        surrogate,
        divergence,
        product,
        flat,
        config,
        curvature=curvature if config.divergence == "max_kl" else None,
    )
    return unflatten(flat), info


def trust_region_step(
    surrogate: Callable[[PyTree], jax.Array],
    divergence: Callable[[PyTree], jax.Array],
    product: Callable[[PyTree], PyTree],
    params: PyTree,
    config: Config,
    *,
    curvature: Callable[[PyTree], jax.Array] | None = None,
) -> tuple[PyTree, PolicyInfo]:
    """Maximise a surrogate within divergence ≤ δ by one natural-gradient step.

    x ≈ F⁻¹ g by conjugate gradients, full step √(2δ / xᵀF x) x, then backtracking
    (Schulman et al. 2015, §6 and appendix C). It knows neither rollouts nor networks.

    Without the search it is the natural policy gradient (Kakade 2002), and without F
    the plain one (`config.method`): θ + β x or θ + β g, β the step size given, or as
    above where it is 0. Nothing then bounds the divergence; refused are only steps that
    are not finite, move nothing, or have no positive curvature.

    Args:
        surrogate: to be maximised, parameters → scalar.
        divergence: from the old policy, parameters → scalar.
        product: v ↦ F v at `params`.
        params: θ_old.
        config: of the run.
        curvature: x ↦ xᵀF x of the divergence to be bounded, where that is not the one
            of `product`.

    Returns:
        New parameters (bit for bit the old ones unless accepted), and a `PolicyInfo`.

    Example:
        Uphill along (3, 4), with |x|² / 2 as the divergence and F = I: a step of length
        √(2δ) = 0.2 in the direction (0.6, 0.8).

        >>> slope = jnp.array([3.0, 4.0])
        >>> x, info = trust_region_step(
        ...     lambda x: slope @ x, lambda x: x @ x / 2, lambda v: v, jnp.zeros(2),
        ...     Config(max_kl=0.02),
        ... )
        >>> print(f"{x[0]:.2f} {x[1]:.2f}", Status(int(info.status)).name)
        0.12 0.16 ACCEPTED
    """
    gradient = jax.grad(surrogate)(params)
    gradient_norm = optax.tree.norm(gradient)
    if config.method == "policy_gradient":
        direction, cg_info = gradient, no_solve(product, gradient)
    else:
        direction, cg_info = cg_solve(
            product,
            gradient,
            iterations=config.cg_iterations,
            tolerance=config.cg_tolerance,
        )
    bend = cg_info.curvature if curvature is None else curvature(direction)
    solved = (bend > 0) & jnp.isfinite(bend) & all_finite(direction)
    scale = jnp.sqrt(
        2 * jnp.asarray(config.max_kl, bend.dtype) / jnp.where(solved, bend, 1)
    )
    if config.method != "trpo":
        fixed = jnp.asarray(config.step_size, bend.dtype)
        scale = jnp.where(fixed > 0, fixed, scale)
    step = jax.tree.map(
        lambda x: jnp.where(solved, scale.astype(x.dtype) * x, 0), direction
    )
    if config.method == "trpo":
        params, search_info = line_search(
            surrogate,
            divergence,
            params,
            step,
            max_divergence=config.max_kl,
            shrink=config.backtrack_coefficient,
            max_steps=config.max_backtracks,
        )
    else:
        params, search_info = full_step(surrogate, divergence, params, step)
    status = jnp.select(
        [
            search_info.accepted,
            ~jnp.isfinite(gradient_norm),
            gradient_norm == 0,
            ~solved & ~(cg_info.finite & jnp.isfinite(bend)),
            ~solved,
            jnp.all(search_info.verdict == Verdict.NON_FINITE),
        ],
        [
            Status.ACCEPTED,
            Status.NON_FINITE_GRADIENT,
            Status.ZERO_GRADIENT,
            Status.NON_FINITE_FISHER,
            Status.BAD_CURVATURE,
            Status.NON_FINITE_STEP,
        ],
        Status.SEARCH_FAILED,
    ).astype(jnp.int32)
    return params, PolicyInfo(
        status=status,
        kl=search_info.divergence,
        gradient_norm=gradient_norm,
        cg=cg_info,
        search=search_info,
    )
