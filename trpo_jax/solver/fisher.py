"""Products with the Fisher information matrix, without ever forming it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from trpo_jax.solver.precision import as_floats, widen
from trpo_jax.solver.rows import shares
from trpo_jax.validation import NON_NEGATIVE, check

PyTree = Any


def fisher_vector_product(
    apply: Callable[[PyTree], Any],
    params: PyTree,
    *,
    damping: float | jax.Array = 0.0,
    weight: jax.Array | None = None,
) -> Callable[[PyTree], PyTree]:
    """Return v ↦ (F + damping·I) v, F the Fisher matrix averaged over rows.

    F = Σᵢ wᵢ Jᵢᵀ Mᵢ Jᵢ / Σᵢ wᵢ, where Jᵢ is the Jacobian of row i's distribution
    parameters and Mᵢ the metric of the distribution itself (Schulman et al. 2015,
    appendix C.1). The network is linearised once, here; a product is then one linear
    pass forward and one back. Unlike the second derivative of a sampled KL it is
    symmetric positive semi-definite by construction, and needs no second derivatives.

    Args:
        apply: parameters → the distribution of all rows (the leading axis), any pytree
            of floating-point arrays with a `fisher_product(tangent)`; observations are
            closed over. Those of half precision are taken as float32.
        params: the point at which F is taken; any pytree of floating-point arrays.
        damping: ≥ 0, added to the diagonal.
        weight: `[N]` ≥ 0, one for each row; all rows count the same without it.

    Returns:
        A function from a pytree like `params` to a pytree like `params`.

    Raises:
        ValueError: when arrays of the distribution differ in their number of rows, the
            weights are not one for each row, or the damping is negative.

    Example:
        >>> from trpo_jax import DiagonalGaussian
        >>> apply = lambda m: DiagonalGaussian(m[None], jnp.zeros((1, 2)))
        >>> product = fisher_vector_product(apply, jnp.zeros(2), damping=0.5)
        >>> product(jnp.array([1.0, 2.0])).tolist()
        [1.5, 3.0]
    """
    check("damping", damping, NON_NEGATIVE)
    distribution, push_forward = jax.linearize(lambda p: widen(apply(p)), params)
    pull_back = jax.linear_transpose(push_forward, params)
    rows = _rows_of(distribution)
    if weight is not None and weight.shape != rows:
        raise ValueError(f"weight must have shape {rows}; got {weight.shape}")

    def average(leaf: jax.Array, like: jax.Array) -> jax.Array:
        if weight is None:
            return leaf.astype(like.dtype) / leaf.shape[0]
        share = shares(*as_floats(weight)).astype(like.dtype)
        return leaf.astype(like.dtype) * jax.lax.expand_dims(share, range(1, leaf.ndim))

    def product(vector: PyTree) -> PyTree:
        tangent = push_forward(vector)  # J v
        cotangent = distribution.fisher_product(tangent)  # M J v
        (result,) = pull_back(jax.tree.map(average, cotangent, tangent))  # Jᵀ M J v
        return jax.tree.map(
            lambda f, v: f + jnp.asarray(damping, v.dtype) * v, result, vector
        )

    return product


def empirical_fisher_vector_product(
    log_prob: Callable[[PyTree], jax.Array],
    params: PyTree,
    *,
    action_weight: jax.Array,
    damping: float | jax.Array = 0.0,
    weight: jax.Array | None = None,
) -> Callable[[PyTree], PyTree]:
    """Return v ↦ (F̂ + damping·I) v, F̂ the mean outer product of the scores.

    F̂ = Σᵢ wᵢ Σₖ uᵢₖ ∇log π(aᵢₖ|sᵢ) ∇log π(aᵢₖ|sᵢ)ᵀ / Σᵢ wᵢ is the empirical Fisher
    matrix, which Schulman et al. 2015 (§6) compare with the analytic one of
    `fisher_vector_product`.

    Args:
        log_prob: parameters → log-probabilities of the actions, `[N]` or `[N, K]`.
        params: the point at which F̂ is taken; any pytree of floating-point arrays.
        action_weight: u ≥ 0, like the log-probabilities: 1 for the only action of a
            row, or what each of several contributes to the sum of its row.
        damping: ≥ 0, added to the diagonal.
        weight: `[N]` ≥ 0, one for each row; all rows count the same without it.

    Returns:
        A function from a pytree like `params` to a pytree like `params`.

    Raises:
        ValueError: as `fisher_vector_product`.

    Example:
        >>> slopes = jnp.array([1.0, 3.0])
        >>> product = empirical_fisher_vector_product(
        ...     lambda x: slopes * x, jnp.float32(0.0), action_weight=jnp.ones(2))
        >>> float(product(jnp.float32(1.0)))  # (1² + 3²) / 2
        5.0
    """

    def scores(params: PyTree) -> _Scores:
        value = log_prob(params)
        return _Scores(value, jnp.asarray(action_weight, value.dtype))

    return fisher_vector_product(scores, params, damping=damping, weight=weight)


class _Scores(NamedTuple):
    """Log-probabilities of sampled actions, standing in for a distribution."""

    log_prob: jax.Array
    action_weight: jax.Array

    def fisher_product(self, tangent: "_Scores") -> "_Scores":
        return _Scores(
            self.action_weight * tangent.log_prob, jnp.zeros_like(self.action_weight)
        )


def fisher_quadratic_form(
    apply: Callable[[PyTree], Any], params: PyTree, vector: PyTree
) -> jax.Array:
    """Return vᵀ Fᵢ v = (Jᵢ v)ᵀ Mᵢ (Jᵢ v) for every row i.

    Half of it is KL(π_θ ‖ π_{θ+v}) in that row, to second order.

    Args:
        apply: parameters → distribution of all rows, as in `fisher_vector_product`.
        params: the point at which F is taken; any pytree of floating-point arrays.
        vector: v, like `params`.

    Returns:
        `[N]`; for a step v, twice its KL in nats to second order.

    Raises:
        ValueError: when arrays of the distribution differ in their number of rows.

    Example:
        >>> from trpo_jax import DiagonalGaussian
        >>> apply = lambda m: DiagonalGaussian(m[:, None], jnp.zeros((2, 1)))
        >>> fisher_quadratic_form(apply, jnp.zeros(2), jnp.array([1.0, 3.0])).tolist()
        [1.0, 9.0]
    """
    distribution, tangent = jax.jvp(lambda p: widen(apply(p)), (params,), (vector,))
    _rows_of(distribution)
    cotangent = distribution.fisher_product(tangent)
    products = jax.tree.map(
        lambda t, c: jnp.sum(t * c, axis=range(1, t.ndim)), tangent, cotangent
    )
    return jax.tree.reduce(jnp.add, products)


def _rows_of(distribution: Any) -> tuple[int, ...]:
    """Return `(N,)`; refuse arrays that differ in their number of rows."""
    rows = {leaf.shape[:1] for leaf in jax.tree.leaves(distribution)}
    if len(rows) != 1 or rows == {()}:
        raise ValueError(
            "every array of the distribution must have the rows on its leading axis; "
            f"got leading axes {sorted(rows)}: broadcast the smaller ones"
        )
    return rows.pop()
