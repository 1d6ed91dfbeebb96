"""Fitting the value function as the policy is improved: a step in a trust region."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from trpo_jax.agent.distributions import DiagonalGaussian
from trpo_jax.algorithm.critic import CriticInfo, check_shapes, explained_variance
from trpo_jax.algorithm.subsampling import subsample_rows
from trpo_jax.solver.conjugate_gradient import cg_solve
from trpo_jax.solver.fisher import fisher_vector_product
from trpo_jax.solver.flat import all_finite, as_vector
from trpo_jax.solver.line_search import Verdict, line_search
from trpo_jax.validation import COUNT, FRACTION, NON_NEGATIVE, POSITIVE, check

PyTree = Any


def improve_critic(
    key: jax.Array,
    apply: Callable[[PyTree, PyTree], jax.Array],
    params: PyTree,
    observation: PyTree,
    target: jax.Array,
    weight: jax.Array,
    *,
    max_kl: float | jax.Array,
    steps: int = 1,
    damping: float | jax.Array = 0.1,
    iterations: int = 10,
    tolerance: float | jax.Array = 1e-5,
    fraction: float = 1.0,
    shrink: float | jax.Array = 0.8,
    max_backtracks: int = 10,
) -> tuple[PyTree, CriticInfo]:
    """Take Gauss-Newton steps of the critic, each within a trust region.

    The critic is read as a belief in the targets, N(V(s), σ²) with σ² = Σ w (target −
    V)² / Σ w (Schulman et al. 2016, §5). With H = Σ w ∇V ∇Vᵀ / Σ w, the Fisher matrix
    but for σ², and g = Σ w (target − V) ∇V / Σ w the step is x ≈ (H + damping·I)⁻¹ g by
    conjugate gradients, shortened where its KL in the quadratic model, xᵀ(H +
    damping·I) x / 2σ², is above the bound: never lengthened, since the model has its
    optimum at x (they go to the bound always). A line search over all rows then holds
    the bound and lets no fit get worse. A step looks at all rows at once, where
    `fit_critic` takes hundreds of small ones in a row.

    Args:
        key: consumed; chooses the rows of the products.
        apply: parameters and observations `[N, ...]` → values `[N]`.
        params: of the critic.
        observation: pytree of `[N, ...]`.
        target: `[N]`.
        weight: `[N]` ≥ 0.
        max_kl: ε > 0, in nats: Σ w (V_new − V)² / 2σ² Σ w ≤ ε.
        steps: static, ≥ 1, one after the other, each from where the last one led.
        damping: ≥ 0, added to the diagonal of H, squared units of the value.
        iterations: static, products of a solve at most.
        tolerance: of `cg_solve`.
        fraction: static, of the rows in the products, in (0, 1].
        shrink: in (0, 1), by which the search shortens a step that it refuses.
        max_backtracks: static, shortened steps tried after the first.

    Returns:
        Parameters (as they were, where no step was good or finite), and a `CriticInfo`.

    Raises:
        ValueError: when values, targets and weights differ in shape, or a number is out
            of its range.

    Example:
        >>> w, info = improve_critic(
        ...     jax.random.key(0), lambda w, x: w * x, jnp.zeros(1),
        ...     jnp.ones(4), jnp.full(4, 3.0), jnp.ones(4), max_kl=10.0, damping=0.0,
        ... )
        >>> bool(jnp.allclose(w, 3.0)), float(info.loss) < 1e-6
        (True, True)
    """
    check("max_kl", max_kl, POSITIVE)
    check("damping", damping, NON_NEGATIVE)
    check("steps", steps, COUNT)
    check("fraction", fraction, FRACTION)
    flat, unflatten = as_vector(params)
    observation, target = jax.tree.map(jnp.asarray, (observation, target))
    weight = jnp.asarray(weight, target.dtype)

    def values(flat: PyTree, observation: PyTree = observation) -> jax.Array:
        return apply(unflatten(flat), observation).astype(target.dtype)

    mass = jnp.sum(weight)
    share = weight / jnp.where(mass > 0, mass, 1)

    def mean_square(x: jax.Array) -> jax.Array:
        return jnp.sum(share * jnp.where(weight > 0, x, 0) ** 2)

    def improve(flat: PyTree, key: jax.Array) -> tuple[PyTree, CriticInfo]:
        before, pull_back = jax.vjp(values, flat)
        check_shapes(before, target, weight)
        variance = mean_square(target - before)
        error = jnp.where(weight > 0, target - before, 0)
        (gradient,) = pull_back(share * error)
        seen, counts = subsample_rows(key, (observation, weight), fraction)

        def belief(flat: PyTree) -> DiagonalGaussian:
            mean = values(flat, seen)[:, None]
            return DiagonalGaussian(mean, jnp.zeros_like(mean))  # σ cancels in F⁻¹ g

        product = fisher_vector_product(belief, flat, damping=damping, weight=counts)
        step, info = cg_solve(
            product, gradient, iterations=iterations, tolerance=tolerance
        )
        radius = 2 * jnp.asarray(max_kl, variance.dtype) * variance
        bound = jnp.sqrt(radius / info.curvature)
        inside = jnp.minimum((1 - 1e-4) * bound, 1)  # rounding must not decide
        scale = jnp.where(info.curvature > 0, inside, 0)
        flat, search = line_search(
            lambda flat: -mean_square(target - values(flat)),
            lambda flat: mean_square(values(flat) - before),
            flat,
            jax.tree.map(lambda x: scale.astype(x.dtype) * x, step),
            max_divergence=radius,
            shrink=shrink,
            max_steps=max_backtracks,
        )
        broken = jnp.all(search.verdict == Verdict.NON_FINITE)
        return flat, CriticInfo(
            loss=variance - search.improvement,
            explained_variance=explained_variance(before, target, weight),
            accepted=all_finite((variance, gradient)) & info.finite & ~broken,
        )

    flat, infos = jax.lax.scan(improve, flat, jax.random.split(key, steps))
    return unflatten(flat), CriticInfo(
        loss=infos.loss[-1],
        explained_variance=infos.explained_variance[0],
        accepted=jnp.all(infos.accepted),
    )
