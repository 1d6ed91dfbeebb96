"""The conjugate gradient method on pytrees."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

PyTree = Any


class CGInfo(NamedTuple):
    """What happened in a solve; every field is a scalar array.

    Attributes:
        iterations: int32, products that contributed to the solution.
        residual: ‖b − A x‖ / ‖b‖ as carried by the recursion; 0 when b is 0.
        curvature: xᵀ A x of the solution returned.
        breakdown: bool, the solve stopped at a direction with pᵀ A p ≤ 0 or not finite.
    """

    iterations: jax.Array
    residual: jax.Array
    curvature: jax.Array
    breakdown: jax.Array


def tree_vdot(a: PyTree, b: PyTree) -> jax.Array:
    """Return the inner product of two pytrees of the same structure, a scalar."""
    return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, a, b)))


def cg_solve(
    matvec: Callable[[PyTree], PyTree],
    b: PyTree,
    *,
    iterations: int = 10,
    tolerance: float | jax.Array = 1e-10,
) -> tuple[PyTree, CGInfo]:
    """Solve A x = b for a symmetric positive-definite A known only through v ↦ A v.

    αₖ = rₖᵀrₖ / pₖᵀApₖ,  xₖ₊₁ = xₖ + αₖpₖ,  rₖ₊₁ = rₖ − αₖApₖ   (Hestenes & Stiefel 1952)

    It starts from zero, so that the same b gives the same x, and every iterate is a
    direction of ascent. Unlike `jax.scipy.sparse.linalg.cg` it reports its residual, and
    at a direction of non-positive or non-finite curvature it stops and returns the last
    sound iterate (zero, if that was the first).

    Args:
        matvec: the product with A.
        b: any pytree of floating-point arrays.
        iterations: static, the largest number of products.
        tolerance: stop when ‖r‖ ≤ tolerance · ‖b‖.

    Returns:
        x like `b`, and a `CGInfo`.

    Example:
        >>> x, info = cg_solve(lambda v: 2.0 * v, jnp.array([2.0, 4.0]))
        >>> x.tolist(), int(info.iterations), float(info.residual)
        ([1.0, 2.0], 1, 0.0)
    """
    rr_start = tree_vdot(b, b)
    target = jnp.asarray(tolerance, rr_start.dtype) ** 2 * rr_start

    def unfinished(carry: tuple) -> jax.Array:
        k, _, _, _, rr, breakdown = carry
        return (k < iterations) & (rr > target) & ~breakdown

    def iterate(carry: tuple) -> tuple:
        k, x, r, p, rr, _ = carry
        product = matvec(p)
        curvature = tree_vdot(p, product)
        alpha = rr / curvature
        next_r = _add(r, -alpha, product)
        next_rr = tree_vdot(next_r, next_r)
        sound = (curvature > 0) & jnp.isfinite(alpha) & jnp.isfinite(next_rr)
        moved = (
            k + 1,
            _add(x, alpha, p),
            next_r,
            _add(next_r, next_rr / rr, p),
            next_rr,
        )
        kept = jax.tree.map(lambda new, old: jnp.where(sound, new, old), moved, carry[:5])
        return *kept, ~sound

    zero = jax.tree.map(jnp.zeros_like, b)
    start = (jnp.int32(0), zero, b, b, rr_start, jnp.bool_(False))
    k, x, r, _, rr, breakdown = jax.lax.while_loop(unfinished, iterate, start)
    return x, CGInfo(
        iterations=k,
        residual=jnp.where(rr_start == 0, 0, jnp.sqrt(rr / jnp.where(rr_start == 0, 1, rr_start))),
        curvature=tree_vdot(x, _add(b, -1, r)),  # A x = b − r, no further product
        breakdown=breakdown,
    )


def _add(x: PyTree, scale: jax.Array | float, y: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: a + jnp.asarray(scale, a.dtype) * b, x, y)
