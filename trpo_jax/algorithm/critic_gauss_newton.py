"""Fitting the critic as the policy is improved: Gauss-Newton steps in trust regions."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from trpo_jax.agent.distributions import DiagonalGaussian
from trpo_jax.algorithm.critic import CriticInfo, check_shapes
from trpo_jax.algorithm.masking import explained_variance
from trpo_jax.algorithm.subsampling import subsample_rows
from trpo_jax.solver.fisher import fisher_vector_product
from trpo_jax.solver.flat import all_finite, ravel_if_small
from trpo_jax.solver.line_search import LineSearchOutcome
from trpo_jax.solver.precision import as_floats
from trpo_jax.solver.rows import shares, total
from trpo_jax.solver.trust_region import trust_region_step
from trpo_jax.validation import COUNT, FRACTION, NON_NEGATIVE, POSITIVE, check

PyTree = Any


def fit_critic_gauss_newton(
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
    fraction: float = 1.0,
    **solver_options: Any,
) -> tuple[PyTree, CriticInfo]:
    """Take Gauss-Newton steps of the critic, each within a trust region of its own.

    The critic is read as a Gaussian model of the targets, N(V(s), σ²), with σ² = Σ w
    (target − V)² / Σ w (Schulman et al. 2016, §5). `trust_region_step` then maximises
    −½ Σ w (target − V)² / Σ w within ½ Σ w (V − V_old)² / Σ w ≤ ε σ²: with H = Σ w ∇V
    ∇Vᵀ / Σ w, the Gauss-Newton matrix, the step is x ≈ (H + damping·I)⁻¹ g, shortened
    where the bound lies before it and never lengthened, since the quadratic model has
    its optimum at x. The line search over all rows holds the bound and accepts no worse
    fit. Each step sees all rows, where `fit_critic` takes hundreds of small steps.

    Args:
        key: consumed; chooses the rows of the products.
        apply: parameters and observations `[N, ...]` → values `[N]`.
        params: the critic's parameters, any pytree.
        observation: pytree of `[N, ...]`.
        target: `[N]`.
        weight: `[N]` ≥ 0.
        max_kl: ε > 0 in nats.
        steps: static, ≥ 1, taken one after the other.
        damping: ≥ 0, added to the diagonal of H, in squared units of the value.
        fraction: static, the fraction of the rows in the products, in (0, 1].
        **solver_options: `cg_iterations`, `cg_tolerance`, `backtrack_coefficient` and
            `max_backtracks` of `trust_region_step`.

    Returns:
        The new parameters (unchanged where no step was accepted), and a `CriticInfo`.

    Raises:
        ValueError: when values, targets and weights differ in shape, or a number is out
            of its range.

    Example:
        >>> w, info = fit_critic_gauss_newton(
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
    flat, unflatten = ravel_if_small(params)
    observation = jax.tree.map(jnp.asarray, observation)
    target, weight = as_floats(target, weight)

    def values(flat: PyTree, observation: PyTree = observation) -> jax.Array:
        return apply(unflatten(flat), observation).astype(target.dtype)

    share = shares(weight)

    def mean_square(x: jax.Array) -> jax.Array:
        return total(share * jnp.where(weight > 0, x, 0) ** 2)

    def improve(flat: PyTree, key: jax.Array) -> tuple[PyTree, CriticInfo]:
        before = values(flat)
        check_shapes(before, target, weight)
        variance = mean_square(target - before)
        seen, seen_weight = subsample_rows(key, (observation, weight), fraction)
        rows_seen = seen_weight.reshape(-1)

        def belief(flat: PyTree) -> DiagonalGaussian:
            mean = values(flat, seen).reshape(-1, 1)
            return DiagonalGaussian(mean, jnp.zeros_like(mean))  # σ is in the bound

        flat, info = trust_region_step(
            lambda flat: -0.5 * mean_square(target - values(flat)),
            lambda flat: 0.5 * mean_square(values(flat) - before),
            fisher_vector_product(belief, flat, damping=damping, weight=rows_seen),
            flat,
            max_divergence=jnp.asarray(max_kl, variance.dtype) * variance,
            max_scale=1,
            **solver_options,
        )
        non_finite = jnp.all(info.search.outcome == LineSearchOutcome.NON_FINITE)
        return flat, CriticInfo(
            loss=variance - 2 * info.search.improvement,
            explained_variance=explained_variance(before, target, weight),
            accepted=all_finite((variance, info.gradient_norm))
            & info.cg.finite
            & ~non_finite,
        )

    flat, infos = jax.lax.scan(improve, flat, jax.random.split(key, steps))
    return unflatten(flat), CriticInfo(
        loss=infos.loss[-1],
        explained_variance=infos.explained_variance[0],
        accepted=jnp.all(infos.accepted),
    )
