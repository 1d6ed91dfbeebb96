"""The conjugate gradient method on pytrees."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from trpo_jax.solver.flat import ravel, ravel_into
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
        breakdown: bool, whether the solve ended because pᵀ A p was not in (0, ∞).
        finite: bool, whether every product was finite.
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
    tolerance: float | jax.Array = 1e-10,
) -> tuple[PyTree, CGInfo]:
    """Solve A x = b for a symmetric positive-definite A known only through v ↦ A v.

    αₖ = rₖᵀrₖ / pₖᵀApₖ,  xₖ₊₁ = xₖ + αₖpₖ,  rₖ₊₁ = rₖ − αₖApₖ
    (Hestenes & Stiefel 1952)

    The solve starts from zero, so that the same b gives the same x and every iterate is
    a direction of ascent. It works on one flat vector: an iteration is a handful of
    operations, however many leaves there are. Unlike `jax.scipy.sparse.linalg.cg` it
    reports its residual, and where the curvature is not positive or not finite it stops
    and returns the last good iterate (zero, if that was the first).

    Args:
        matvec: v ↦ A v, from a pytree like `b` to a pytree like `b`.
        b: any pytree of floating-point arrays.
        iterations: static, the largest number of products.
        tolerance: the solve stops when ‖r‖ ≤ tolerance · ‖b‖.

    Returns:
        x, like `b`, and a `CGInfo`.

    Raises:
        ValueError: when `iterations` or `tolerance` is negative.

    Example:
        >>> x, info = cg_solve(lambda v: 2.0 * v, jnp.array([2.0, 4.0]))
        >>> x.tolist(), int(info.iterations), float(info.residual)
        ([1.0, 2.0], 1, 0.0)
    """
    check("iterations", iterations, COUNT_OR_ZERO)
    check("tolerance", tolerance, NON_NEGATIVE)
    flat_b, unflatten = ravel(b)
    rr_start = jnp.vdot(flat_b, flat_b)
    target = jnp.asarray(tolerance, rr_start.dtype) ** 2 * rr_start

    def unfinished(carry: Any) -> jax.Array:
        k, _, _, _, rr, breakdown, _ = carry
        return (k < iterations) & (rr > target) & ~breakdown

    def iterate(carry: Any) -> Any:
        k, x, r, p, rr, _, _ = carry
        product = ravel_into(p, matvec(unflatten(p)))
        curvature = jnp.vdot(p, product)
        alpha = rr / curvature
        next_r = r - alpha * product
        next_rr = jnp.vdot(next_r, next_r)
        sound = (curvature > 0) & jnp.isfinite(alpha) & jnp.isfinite(next_rr)
        return (
            k + sound.astype(k.dtype),
            jnp.where(sound, x + alpha * p, x),
            jnp.where(sound, next_r, r),
            next_r + (next_rr / rr) * p,
            jnp.where(sound, next_rr, rr),
            ~sound,
            jnp.isfinite(curvature),
        )

    no, yes = jnp.bool_(False), jnp.bool_(True)
    start = jnp.int32(0), jnp.zeros_like(flat_b), flat_b, flat_b, rr_start, no, yes
    k, x, r, _, rr, breakdown, finite = jax.lax.while_loop(unfinished, iterate, start)
    nothing = rr_start == 0
    return unflatten(x), CGInfo(
        iterations=k,
        residual=jnp.where(nothing, 0, jnp.sqrt(rr / jnp.where(nothing, 1, rr_start))),
        curvature=jnp.vdot(x, flat_b - r),  # A x = b − r, no further product
        breakdown=breakdown,
        finite=finite,
    )
