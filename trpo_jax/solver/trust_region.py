"""One natural-gradient step within a trust region (Schulman et al. 2015, appendix C).

Symbols: θ parameters, g gradient, F Fisher matrix, x ≈ F⁻¹g, δ `max_divergence`.
"""

import enum
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp

from trpo_jax.solver.conjugate_gradient import CGInfo, cg_solve
from trpo_jax.solver.flat import all_finite, binary_unit
from trpo_jax.solver.line_search import LineSearchInfo, LineSearchOutcome, line_search
from trpo_jax.solver.precision import widen
from trpo_jax.validation import NON_NEGATIVE, POSITIVE, STEP_RULE, StepRule, check

PyTree = Any


class Status(enum.IntEnum):
    """How a step ended; `advice` is a sentence on how to fix it.

    `NON_FINITE_OBSERVATION` and `NON_FINITE_REWARD` are for callers who see the data;
    `trust_region_step` never returns them.
    """

    advice: str

    def __new__(cls, value: int, advice: str = "") -> Self:
        """Attach a sentence of advice to each status."""
        member = int.__new__(cls, value)
        member._value_, member.advice = value, advice
        return member

    ACCEPTED = 0, "No action needed."
    NON_FINITE_GRADIENT = 1, "The gradient is not finite: check the data."
    ZERO_GRADIENT = 2, "The objective is flat here: more or other data may help."
    BAD_CURVATURE = 3, "The curvature is not positive: increase the damping."
    SEARCH_FAILED = 4, "If this happens often, increase the damping or use more data."
    NON_FINITE_OBSERVATION = 5, "Look at the environment at the step that is named."
    NON_FINITE_REWARD = 6, "Look at the environment at the step that is named."
    NON_FINITE_FISHER = 7, "The products with F overflowed: allow smaller steps."
    NON_FINITE_STEP = 8, "Every step tried overflowed: allow smaller steps."


NON_FINITE = tuple(status for status in Status if status.name.startswith("NON_FINITE"))


class TrustRegionInfo(NamedTuple):
    """What happened in a step.

    Attributes:
        status: int32 scalar, a `Status`.
        gradient_norm: scalar, ‖g‖ at the old parameters.
        cg: the `CGInfo` of the solve; policy_gradient solves I x = g.
        search: the `LineSearchInfo` of the line search.
    """

    status: jax.Array
    gradient_norm: jax.Array
    cg: CGInfo
    search: LineSearchInfo


def trust_region_step(
    objective: Callable[[PyTree], jax.Array],
    divergence: Callable[[PyTree], jax.Array],
    matvec: Callable[[PyTree], PyTree],
    params: PyTree,
    *,
    max_divergence: float | jax.Array,
    step_rule: StepRule = "trust_region",
    step_size: float | jax.Array = 0.0,
    max_scale: float | jax.Array | None = None,
    curvature: Callable[[PyTree], jax.Array] | None = None,
    cg_iterations: int = 10,
    cg_tolerance: float | jax.Array = 1e-5,
    backtrack_coefficient: float | jax.Array = 0.8,
    max_backtracks: int = 10,
) -> tuple[PyTree, TrustRegionInfo]:
    """Maximise an objective within divergence ≤ δ by one natural-gradient step.

    Conjugate gradients give x ≈ F⁻¹g; with "trust_region" the full step is
    √(2δ / xᵀF x) x, whose divergence is δ in the quadratic model; backtracking then
    makes both conditions hold (Schulman et al. 2015, §6 and appendix C).

    Two other rules leave the line search out: "natural_gradient" (Kakade 2002) steps to
    θ + β x, "policy_gradient" to θ + β g. Nothing bounds the divergence then; the step
    is refused only if it is not finite, moves nothing, or has no positive curvature.
    None of them can be differentiated in reverse.

    Args:
        objective: the function to maximise, parameters → scalar.
        divergence: the distance from `params`, parameters → scalar ≥ 0.
        matvec: v ↦ F v at `params`, such as from `fisher_vector_product`.
        params: θ_old, any pytree of floating-point arrays.
        max_divergence: δ > 0, in units of `divergence` (nats when it is a KL).
        step_rule: static, "trust_region", "natural_gradient" or "policy_gradient".
        step_size: β of the other two rules; 0 scales the step as in the trust region.
        max_scale: > 0; a step without a β is at most this multiple of x, and goes at
            most 1 − 1e-4 of the way to the bound. 1 suits a quadratic objective, whose
            optimum is x; None sets no limit.
        curvature: x ↦ xᵀF x for scaling the step, if it differs from that of `matvec`,
            such as the largest over rows instead of their mean.
        cg_iterations: static, the largest number of products in the solve.
        cg_tolerance: the relative residual at which the solve stops.
        backtrack_coefficient: α in (0, 1), see `line_search`.
        max_backtracks: static, see `line_search`.

    Returns:
        The new parameters (bit for bit the old ones unless the status is `ACCEPTED`),
        and a `TrustRegionInfo`.

    Raises:
        ValueError: for an unknown rule or a number out of its range.

    Example:
        Uphill along (3, 4), with |x|² / 2 as the divergence and F = I: a step of length
        √(2δ) = 0.2 in the direction (0.6, 0.8).

        >>> slope = jnp.array([3.0, 4.0])
        >>> x, info = trust_region_step(
        ...     lambda x: slope @ x, lambda x: x @ x / 2, lambda v: v, jnp.zeros(2),
        ...     max_divergence=0.02,
        ... )
        >>> print(f"{x[0]:.2f} {x[1]:.2f}", Status(int(info.status)).name)
        0.12 0.16 ACCEPTED
    """
    check("step_rule", step_rule, STEP_RULE)
    check("max_divergence", max_divergence, POSITIVE)
    check("step_size", step_size, NON_NEGATIVE)
    gradient = jax.grad(objective)(params)
    unit = binary_unit(gradient)  # x and its scale below are those of g / unit
    gradient = jax.tree.map(lambda g: g / unit.astype(g.dtype), gradient)
    norm = jnp.sqrt(_vdot(gradient, gradient))
    if step_rule == "policy_gradient":  # solve with I; F still decides the length
        direction, cg_info = cg_solve(lambda v: v, gradient, iterations=1)
        curvature = curvature or (lambda x: _vdot(x, matvec(x)))
    else:
        direction, cg_info = cg_solve(
            matvec, gradient, iterations=cg_iterations, tolerance=cg_tolerance
        )
    xFx = cg_info.curvature if curvature is None else curvature(direction)
    solved = (xFx > 0) & jnp.isfinite(xFx) & all_finite(direction)
    radius = 2 * jnp.asarray(max_divergence, xFx.dtype)
    scale = jnp.sqrt(radius / jnp.where(solved, xFx, 1))
    if max_scale is not None:  # exact models reach the bound: keep rounding inside it
        check("max_scale", max_scale, POSITIVE)
        scale = jnp.minimum((1 - 1e-4) * scale, unit * max_scale)
    searched = step_rule == "trust_region"
    if not searched:
        fixed = jnp.asarray(step_size, xFx.dtype)
        scale = jnp.where(fixed > 0, unit * fixed, scale)
    step = jax.tree.map(
        lambda x: jnp.where(solved, scale.astype(x.dtype) * x, 0), direction
    )
    params, search = line_search(
        objective,
        divergence,
        params,
        step,
        max_divergence=max_divergence if searched else jnp.inf,
        backtrack_coefficient=backtrack_coefficient,
        max_backtracks=max_backtracks if searched else 0,
        require_improvement=searched,
    )
    non_finite_product = ~(cg_info.finite & jnp.isfinite(xFx))
    status = _status(search, norm, solved, non_finite_product)
    cg_info = cg_info._replace(curvature=unit**2 * cg_info.curvature)
    return params, TrustRegionInfo(status, unit * norm, cg_info, search)


def _status(
    search: LineSearchInfo,
    gradient_norm: jax.Array,
    solved: jax.Array,
    non_finite_product: jax.Array,
) -> jax.Array:
    conditions = {  # the first that holds is the status
        Status.ACCEPTED: search.accepted,
        Status.NON_FINITE_GRADIENT: ~jnp.isfinite(gradient_norm),
        Status.ZERO_GRADIENT: gradient_norm == 0,
        Status.NON_FINITE_FISHER: ~solved & non_finite_product,
        Status.BAD_CURVATURE: ~solved,
        Status.NON_FINITE_STEP: jnp.all(search.outcome == LineSearchOutcome.NON_FINITE),
    }
    status = jnp.select([*conditions.values()], [*conditions], Status.SEARCH_FAILED)
    return status.astype(jnp.int32)


def _vdot(left: PyTree, right: PyTree) -> jax.Array:
    products = jax.tree.map(lambda a, b: jnp.sum(a * b), *widen((left, right)))
    return jax.tree.reduce(jnp.add, products)
