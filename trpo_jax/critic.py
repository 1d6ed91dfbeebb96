"""Fitting the value function: minibatch regression on the value targets."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

PyTree = Any


class CriticInfo(NamedTuple):
    """What happened in a fit; scalars.

    Attributes:
        loss: mean squared error over the last epoch, in squared units of the target.
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
        return jnp.sum(share * (x - jnp.sum(share * x)) ** 2)

    total = variance(target)
    varied = total > 0
    unexplained = variance(target - value) / jnp.where(varied, total, 1)
    return jnp.where(varied, 1 - unexplained, 0)


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
    learning_rate: float | jax.Array,
    epochs: int,
    minibatch_size: int,
) -> tuple[PyTree, PyTree, CriticInfo]:
    """Minimise Σᵢ wᵢ (V(sᵢ) − targetᵢ)² / Σᵢ wᵢ by minibatch gradient descent.

    Rows are shuffled once, and every epoch starts at another row of that order, so that
    minibatches differ from epoch to epoch at the price of a single sort. Rows that do not
    fill a minibatch sit the epoch out. If anything in the result is not finite, parameters
    and optimiser state come back unchanged.

    Args:
        key: consumed.
        apply: parameters and observations `[N, ...]` → values `[N]`.
        params: of the critic.
        optimizer: an optax transformation that yields *directions* of unit step size,
            e.g. `optax.scale_by_adam()`.
        optimizer_state: its state.
        observation: pytree of `[N, ...]`.
        target: `[N]`.
        weight: `[N]` ≥ 0.
        learning_rate: step size, may be traced.
        epochs: static, ≥ 0.
        minibatch_size: static; more than N means N.

    Returns:
        Parameters, optimiser state, and a `CriticInfo`.
    """
    total = target.shape[0]
    size = min(minibatch_size, total)
    batches = total // size
    before = apply(params, observation)

    def loss_of(params: PyTree, batch: tuple) -> jax.Array:
        observation, target, weight = batch
        error = jnp.where(weight > 0, apply(params, observation) - target, 0)
        mass = jnp.sum(weight)
        return jnp.sum(weight * error**2) / jnp.where(mass > 0, mass, 1)

    def descend(carry: tuple, batch: tuple) -> tuple[tuple, jax.Array]:
        params, optimizer_state = carry
        loss, gradient = jax.value_and_grad(loss_of)(params, batch)
        direction, optimizer_state = optimizer.update(gradient, optimizer_state, params)
        params = jax.tree.map(
            lambda p, d: p - jnp.asarray(learning_rate, p.dtype) * d, params, direction
        )
        return (params, optimizer_state), loss

    def epoch(carry: tuple, offset: jax.Array) -> tuple[tuple, jax.Array]:
        rolled = jax.tree.map(
            lambda leaf: jnp.roll(leaf, offset, axis=0)[: batches * size].reshape(
                batches, size, *leaf.shape[1:]
            ),
            shuffled,
        )
        carry, losses = jax.lax.scan(descend, carry, rolled)
        return carry, jnp.mean(losses)

    shuffle_key, offset_key = jax.random.split(key)
    order = jax.random.permutation(shuffle_key, total)
    shuffled = jax.tree.map(
        lambda leaf: leaf[order], (observation, target, weight.astype(target.dtype))
    )
    offsets = jax.random.randint(offset_key, (epochs,), 0, total)
    fitted, losses = jax.lax.scan(epoch, (params, optimizer_state), offsets)

    accepted = all_finite(fitted)
    params, optimizer_state = jax.tree.map(
        lambda new, old: jnp.where(accepted, new, old),
        fitted,
        (params, optimizer_state),
    )
    return (
        params,
        optimizer_state,
        CriticInfo(
            loss=losses[-1] if epochs else jnp.zeros((), target.dtype),
            explained_variance=explained_variance(before, target, weight),
            accepted=accepted,
        ),
    )


def all_finite(tree: PyTree) -> jax.Array:
    """Return whether every number in a pytree is finite, a bool scalar."""
    leaves = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]
    return jnp.all(jnp.stack(leaves))
