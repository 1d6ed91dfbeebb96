"""Fitting the value function: minibatch regression on the value targets."""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from trpo_jax.algorithm.subsampling import golden_stride, random_start
from trpo_jax.solver.flat import all_finite, overwritten

PyTree = Any

LARGEST_PIECE = 16_384  # rows; what is computed of more leaves the caches of a CPU


class CriticInfo(NamedTuple):
    """What happened in a fit; scalars.

    Attributes:
        loss: mean squared error over the last epoch, or after a step of
            `improve_critic`, in squared units of the target.
        explained_variance: of the targets by the values *before* the fit.
        accepted: bool; False when the fit gave a number that is not finite and was
            thrown away.
    """

    loss: jax.Array
    explained_variance: jax.Array
    accepted: jax.Array


def explained_variance(
    value: jax.Array, target: jax.Array, weight: jax.Array | None = None
) -> jax.Array:
    """Return 1 − Var[target − value] / Var[target], a scalar.

    1 is a perfect critic, 0 is as good as a constant, negative is worse. Constant
    targets have no variance to explain: the result is then 0.

    Example:
        >>> float(explained_variance(jnp.array([1.0, 2.0]), jnp.array([1.0, 2.0])))
        1.0
    """
    weight = jnp.ones_like(target) if weight is None else weight.astype(target.dtype)
    share = weight / jnp.sum(weight)

    def variance(x: jax.Array) -> jax.Array:
        x = jnp.where(share > 0, x, 0)
        centred = jnp.where(share > 0, x - jnp.sum(share * x), 0)
        return jnp.sum(share * centred**2)

    total = variance(target)
    varied = total > 0
    unexplained = variance(target - value) / jnp.where(varied, total, 1)
    return jnp.where(varied, 1 - unexplained, 0)


def init_critic_optimizer(
    optimizer: optax.GradientTransformation, params: PyTree
) -> PyTree:
    """Return the optimiser's first state, for the parameters as one flat vector.

    Args:
        optimizer: as in `fit_critic`.
        params: of the critic, any pytree.

    Example:
        >>> params = {"w": jnp.zeros((2, 3)), "b": jnp.zeros(3)}
        >>> init_critic_optimizer(optax.scale_by_adam(), params).mu.shape
        (9,)
    """
    return optimizer.init(ravel_pytree(params)[0])


def fit_critic(
    key: jax.Array,
    apply: Callable[[PyTree, PyTree], jax.Array],
    params: PyTree,
    optimizer: optax.GradientTransformation,
    optimizer_state: PyTree,
    observation: PyTree,
    target: jax.Array,
    weight: jax.Array,
    *,
    value: jax.Array | None = None,
    learning_rate: float | jax.Array,
    epochs: int,
    minibatch_size: int,
) -> tuple[PyTree, PyTree, CriticInfo]:
    """Minimise Σᵢ wᵢ (V(sᵢ) − targetᵢ)² / Σᵢ wᵢ by minibatch gradient descent.

    The rows are walked through in golden-ratio strides from a random start: every
    minibatch is spread evenly over the batch, and no time goes into sorting a random
    permutation. Rows that do not fill a minibatch sit the epoch out, other ones in the
    next. Gradients of more than 16,384 rows are summed over equal pieces of that at
    most. If anything in the result is not finite, or no row has a weight, parameters
    and optimiser state come back unchanged.

    Args:
        key: consumed.
        apply: parameters and observations `[N, ...]` → values `[N]`.
        params: of the critic.
        optimizer: an optax transformation that yields *directions* of unit step size,
            e.g. `optax.scale_by_adam()`.
        optimizer_state: its state, for the parameters as one flat vector; see
            `init_critic_optimizer`.
        observation: pytree of `[N, ...]`.
        target: `[N]`.
        weight: `[N]` ≥ 0.
        value: `[N]`, values of these parameters, where they are known already: only
            `explained_variance` wants them.
        learning_rate: step size, may be traced.
        epochs: static, ≥ 0.
        minibatch_size: static; more than N means N.

    Returns:
        Parameters, optimiser state, and a `CriticInfo`.

    Raises:
        ValueError: when values, targets and weights differ in shape.

    Example:
        >>> apply = lambda w, x: w * x
        >>> optimizer = optax.identity()  # plain gradient descent
        >>> w, _, info = fit_critic(
        ...     jax.random.key(0), apply, jnp.zeros(1), optimizer,
        ...     init_critic_optimizer(optimizer, jnp.zeros(1)),
        ...     jnp.ones(4), jnp.full(4, 3.0), jnp.ones(4),
        ...     learning_rate=0.25, epochs=20, minibatch_size=4,
        ... )
        >>> bool(jnp.allclose(w, 3.0))
        True
    """
    total = target.shape[0]
    size = min(minibatch_size, total)
    pieces = -(-size // LARGEST_PIECE)
    size -= size % pieces
    before = apply(params, observation) if value is None else value
    check_shapes(before, target, weight)
    batches = total // size
    flat, unflatten = ravel_pytree(params)
    weight = weight.astype(target.dtype)

    # Minibatch b of epoch e has the rows (first + e + (b · size + i) · stride) mod N,
    # where b counts on from epoch to epoch.
    stride = golden_stride(total)
    within = (np.arange(size) * stride % total).astype(np.int32)
    b = np.arange(epochs * batches)
    starts = ((b * size * stride + b // batches) % total).astype(np.int32)
    starts = starts + random_start(key, total)

    def loss_of(params: PyTree, rows: jax.Array, mass: jax.Array) -> jax.Array:
        x, y, w = jax.tree.map(lambda leaf: leaf[rows], (observation, target, weight))
        error = jnp.where(w > 0, apply(params, x) - y, 0)
        return jnp.sum(w * error**2) / jnp.where(mass > 0, mass, 1)

    def loss_and_gradient(params: PyTree, rows: jax.Array) -> tuple[jax.Array, PyTree]:
        mass = jnp.sum(weight[rows])
        of_rows = jax.value_and_grad(loss_of)
        if pieces == 1:
            return of_rows(params, rows, mass)
        each = jax.lax.map(
            lambda rows: of_rows(params, rows, mass), rows.reshape(pieces, -1)
        )
        return jax.tree.map(lambda x: jnp.sum(x, axis=0), each)

    def descend(carry: tuple, start: jax.Array) -> tuple[tuple, jax.Array]:
        flat, optimizer_state = carry
        loss, gradient = loss_and_gradient(unflatten(flat), (start + within) % total)
        gradient = overwritten(flat, gradient)
        direction, optimizer_state = optimizer.update(gradient, optimizer_state, flat)
        flat = flat - jnp.asarray(learning_rate, flat.dtype) * direction
        return (flat, optimizer_state), loss

    fitted, losses = jax.lax.scan(descend, (flat, optimizer_state), starts)
    accepted = all_finite(fitted)
    learnt = accepted & jnp.any(weight > 0)  # momentum would go on without a row
    flat, optimizer_state = jax.tree.map(
        lambda new, old: jnp.where(learnt, new, old), fitted, (flat, optimizer_state)
    )
    last_epoch = losses[-batches:]
    return (
        unflatten(flat),
        optimizer_state,
        CriticInfo(
            loss=jnp.mean(last_epoch) if epochs else jnp.zeros((), target.dtype),
            explained_variance=explained_variance(before, target, weight),
            accepted=accepted,
        ),
    )


def check_shapes(value: jax.Array, target: jax.Array, weight: jax.Array) -> None:
    """Refuse a critic that does not return one value a row."""
    chex.assert_equal_shape(
        [value, target, weight],
        custom_message="the critic must return one value a row, like target and weight",
        exception_type=ValueError,
    )
