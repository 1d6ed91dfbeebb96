"""The conjugate gradient method on pytrees."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from trpo_jax.solver.flat import binary_unit, ravel, ravel_into
from trpo_jax.validation import COUNT_OR_ZERO, NON_NEGATIVE, check

PyTree = Any


class CGInfo(NamedTuple):
    """What happened in a solve; every field is a scalar.

    Attributes:
        iterations: int32, the number of products that contributed to the solution.
        residual: ‖b − A x‖ / ‖b‖ as carried by the recursion; 0 when b is 0. Near the
            rounding level (1e-7 in float32) it keeps falling although the true residual
            does not.
        curvature: xᵀ A x of the solution.
        breakdown: bool, whether the solve stopped before a direction p whose curvature
            pᵀ A p was not positive, or too small or too large for the precision.
        finite: bool, whether every pᵀ A p was finite.
    """

    iterations: jax.Array
    residual: jax.Array
    curvature: jax.Array
    breakdown: jax.Array
    finite: jax.Array


def cg_solve(
    matvec: Callable[[PyTree], PyTree],
    b: PyTree,
    *,
    iterations: int = 10,
    tolerance: float | jax.Array = 1e-5,
) -> tuple[PyTree, CGInfo]:
    """Solve A x = b for a symmetric positive-definite A known only through v ↦ A v.

    αₖ = rₖᵀrₖ / pₖᵀApₖ,  xₖ₊₁ = xₖ + αₖpₖ,  rₖ₊₁ = rₖ − αₖApₖ
    (Hestenes & Stiefel 1952)

    The solve starts from zero, so that the same b gives the same x, and bᵀ xₖ > 0 for
    every iterate k ≥ 1. It works on one flat vector: an iteration is a handful of
    operations, however many leaves there are. Unlike `jax.scipy.sparse.linalg.cg` it
    reports its residual. Before a direction in which A is not positive, or singular to
    rounding, it stops with a breakdown and returns the last good iterate. It cannot be
    differentiated in reverse.

    Args:
        matvec: v ↦ A v, from a pytree like `b` to a pytree like `b`.
        b: any pytree of floating-point arrays.
        iterations: static, the largest number of products.
        tolerance: the solve stops when ‖r‖ ≤ tolerance · ‖b‖.

    Returns:
        x, like `b`, and a `CGInfo`. A b that is not finite gives x = 0 and a residual
        of NaN.

    Raises:
        ValueError: when `iterations` or `tolerance` is negative, or `matvec` returns
            arrays of other shapes than those of `b`.

    Example:
        >>> x, info = cg_solve(lambda v: 2.0 * v, jnp.array([2.0, 4.0]))
        >>> x.tolist(), int(info.iterations), float(info.residual)
        ([1.0, 2.0], 1, 0.0)
    """
    check("iterations", iterations, COUNT_OR_ZERO)
    check("tolerance", tolerance, NON_NEGATIVE)
    flat_b, unflatten = ravel(b)
    unit = binary_unit(flat_b)
    flat_b = flat_b / unit
    start_rr = jnp.vdot(flat_b, flat_b)
    target = jnp.asarray(tolerance, start_rr.dtype) ** 2 * start_rr
    eps = jnp.finfo(start_rr.dtype).eps

    def unfinished(carry: Any) -> jax.Array:
        k, _, _, _, rr, _, breakdown, _ = carry
        return (k < iterations) & (rr > target) & ~breakdown

    def iterate(carry: Any) -> Any:
        k, x, r, p, rr, steepest, _, _ = carry
        product = ravel_into(p, _checked(matvec(unflatten(p)), b))
        curvature = jnp.vdot(p, product)
        slope = curvature / jnp.vdot(p, p)  # at most the largest eigenvalue of A
        steepest = jnp.maximum(steepest, slope)
        alpha = rr / curvature
        next_r = r - alpha * product
        next_rr = jnp.vdot(next_r, next_r)
        # Where the condition number of A is below 1/eps, slope > eps · λ_max and
        # ‖r‖ ≤ √(1/eps) ‖b‖: what breaks either bound is rounding, not A.
        bounded = jnp.isfinite(alpha) & (eps * next_rr <= start_rr)
        sound = (slope > eps * steepest) & bounded
        return (
            k + sound.astype(k.dtype),
            jnp.where(sound, x + alpha * p, x),
            jnp.where(sound, next_r, r),
            next_r + (next_rr / rr) * p,
            jnp.where(sound, next_rr, rr),
            steepest,
            ~sound,
            jnp.isfinite(curvature),
        )

    no, yes, nothing = jnp.bool_(False), jnp.bool_(True), jnp.zeros_like(flat_b)
    start = jnp.int32(0), nothing, flat_b, flat_b, start_rr, 0 * start_rr, no, yes
    end = jax.lax.while_loop(unfinished, iterate, start)
    k, x, r, _, rr, _, breakdown, finite = end
    return unflatten(unit * x), CGInfo(
        iterations=k,
        residual=jnp.sqrt(rr / jnp.where(start_rr == 0, 1, start_rr)),
        curvature=unit**2 * jnp.vdot(x, flat_b - r),  # A x = b − r, no more products
        breakdown=breakdown,
        finite=finite,
    )


def _checked(product: PyTree, b: PyTree) -> PyTree:
    """Return a product, or raise a ValueError if its shapes are not those of b."""
    found, expected = (jax.tree.map(jnp.shape, tree) for tree in (product, b))
    if found != expected:
        raise ValueError(f"matvec must return shapes {expected}; got {found}")
    return product
