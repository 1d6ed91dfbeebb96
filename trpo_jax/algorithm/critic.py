"""Fitting the value function: minibatch regression on the value targets."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from trpo_jax.agent.networks import check_one_value_per_row
from trpo_jax.algorithm.masking import explained_variance
from trpo_jax.algorithm.subsampling import golden_stride, random_start
from trpo_jax.solver.flat import all_finite, ravel, ravel_into
from trpo_jax.solver.precision import as_floats, widen
from trpo_jax.solver.rows import anywhere, total
from trpo_jax.validation import COUNT, COUNT_OR_ZERO, check

PyTree = Any

LARGEST_PIECE = 16_384  # rows; activations of more do not fit into a CPU's cache


class CriticInfo(NamedTuple):
    """What happened in a fit of the critic; every field is a scalar.

    Attributes:
        loss: mean squared error over the last epoch, or after the last step of
            `fit_critic_gauss_newton`, in squared units of the target.
        explained_variance: the `explained_variance` of the values *before* the fit.
        accepted: bool; False when a number was not finite: such a fit, or such a
            Gauss-Newton step, is discarded.
    """

    loss: jax.Array
    explained_variance: jax.Array
    accepted: jax.Array


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

    Minibatches walk through the rows in golden-ratio strides from a random start: each
    is spread evenly over the batch, and no time goes into sorting a permutation. If the
    batch does not divide evenly, the remaining rows are skipped in this epoch and
    others in the next. Gradients of more than 16,384 rows are summed over equal
    pieces. If the result is not finite, or no row has a weight, parameters and
    optimiser state come back unchanged.

    Args:
        key: consumed.
        apply: parameters and observations `[N, ...]` → values `[N]`.
        params: the critic's parameters, any pytree.
        optimizer: an element-wise optax transformation that returns directions of unit
            step size, such as `optax.scale_by_adam()`.
        optimizer_state: its state for the parameters as one vector, from
            `optax.flatten(optimizer).init(params)` or an earlier fit; for parameters of
            half precision it is that of the same numbers in float32.
        observation: pytree of `[N, ...]`.
        target: `[N]`.
        weight: `[N]` ≥ 0.
        value: `[N]`, the values before the fit, if known, for the explained variance.
        learning_rate: the step size; may be traced.
        epochs: static, ≥ 0, the number of passes over the rows.
        minibatch_size: static; more than N means N.

    Returns:
        Parameters, optimiser state, and a `CriticInfo`.

    Raises:
        ValueError: when values, targets and weights differ in shape, there are no
            rows, or a number is out of its range.

    Example:
        >>> apply = lambda w, x: w * x
        >>> optimizer = optax.identity()  # plain gradient descent
        >>> w, _, info = fit_critic(
        ...     jax.random.key(0), apply, jnp.zeros(1), optimizer,
        ...     optax.flatten(optimizer).init(jnp.zeros(1)),
        ...     jnp.ones(4), jnp.full(4, 3.0), jnp.ones(4),
        ...     learning_rate=0.25, epochs=20, minibatch_size=4,
        ... )
        >>> bool(jnp.allclose(w, 3.0))
        True
    """
    check("epochs", epochs, COUNT_OR_ZERO)
    check("minibatch_size", minibatch_size, COUNT)
    check("the number of rows", number := target.shape[0], COUNT)
    size = min(minibatch_size, number)
    pieces = -(-size // LARGEST_PIECE)
    size -= size % pieces
    before = apply(params, observation) if value is None else value
    check_shapes(before, target, weight)
    flat, unflatten = ravel(params)
    before, target, weight = as_floats(before, target, weight)
    starts, stride_path = minibatches(key, number, size, epochs)

    def loss_of(params: PyTree, rows: jax.Array, mass: jax.Array) -> jax.Array:
        x, y, w = jax.tree.map(lambda leaf: leaf[rows], (observation, target, weight))
        error = jnp.where(w > 0, widen(apply(params, x)) - y, 0)
        return total(w * error**2) / jnp.where(mass > 0, mass, 1)

    def loss_and_gradient(params: PyTree, rows: jax.Array) -> tuple[jax.Array, PyTree]:
        mass = total(weight[rows])
        of_rows = jax.value_and_grad(loss_of)
        if pieces == 1:
            return of_rows(params, rows, mass)
        each = jax.lax.map(
            lambda rows: of_rows(params, rows, mass), rows.reshape(pieces, -1)
        )
        return jax.tree.map(lambda x: jnp.sum(x, axis=0), each)

    def descend(carry: Any, start: jax.Array) -> tuple[Any, jax.Array]:
        flat, optimizer_state = carry
        rows = (start + stride_path) % number
        loss, gradient = loss_and_gradient(unflatten(flat), rows)
        gradient = ravel_into(flat, gradient)
        direction, optimizer_state = optimizer.update(gradient, optimizer_state, flat)
        flat = flat - jnp.asarray(learning_rate, flat.dtype) * direction
        return (flat, optimizer_state), loss

    fitted, losses = jax.lax.scan(descend, (flat, optimizer_state), starts)
    finite = all_finite(fitted)
    taken = finite & anywhere(weight > 0)  # momentum would move on without a row
    flat, optimizer_state = jax.tree.map(
        lambda new, old: jnp.where(taken, new, old), fitted, (flat, optimizer_state)
    )
    last_epoch = losses[-(number // size) :]
    info = CriticInfo(
        loss=jnp.mean(last_epoch) if epochs else jnp.zeros((), target.dtype),
        explained_variance=explained_variance(before, target, weight),
        accepted=finite,
    )
    return unflatten(flat), optimizer_state, info


def minibatches(
    key: jax.Array, number: int, size: int, epochs: int
) -> tuple[jax.Array, np.ndarray]:
    """Return the first row of every minibatch, and how its rows go on from there.

    Minibatch b of epoch e has the rows (first + e + (b · size + i) · stride) mod N,
    i < size, where b counts on from epoch to epoch.
    """
    batches, stride = number // size, golden_stride(number)
    path = (np.arange(size) * stride % number).astype(np.int32)
    b = np.arange(epochs * batches)
    starts = ((b * size * stride + b // batches) % number).astype(np.int32)
    return jnp.asarray(starts) + random_start(key, number), path


def check_shapes(value: jax.Array, target: jax.Array, weight: jax.Array) -> None:
    """Refuse, by a ValueError, values and weights of another shape than the target."""
    check_one_value_per_row(value, target.shape)
    if weight.shape != target.shape:
        raise ValueError(f"weight must have shape {target.shape}; got {weight.shape}")
