"""Running statistics of observations and rewards, frozen while an iteration runs.

Shapes: `T` time steps, `B` environments, `...` the shape of one observation.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from trpo_jax.agent.moments import (
    CLIP,
    Moments,
    init_moments,
    inverse_deviation,
    normalize,
    update_moments,
)
from trpo_jax.environments.nested import space_tree
from trpo_jax.environments.spaces import ACTION_MASK, Box

PyTree = Any


def normalized_leaves(space: Any) -> PyTree:
    """Return which leaves of a space are normalised: a pytree of bool.

    Those are the boxes, of floats or of integers, except pictures (`Box.is_image`),
    whose unit is known, and an `action_mask`. Integers of discrete spaces have no mean:
    the networks see them one-hot. Of a space of the user's own nothing is known, and
    nothing normalised.

    Example:
        >>> from trpo_jax import Box, Dict, Discrete
        >>> normalized_leaves(Dict({"place": Box.uniform((2,)), "room": Discrete(3)}))
        {'place': True, 'room': False}
    """
    tree = space_tree(space)
    leaves = jax.tree.map(
        lambda leaf: isinstance(leaf, Box) and not leaf.is_image, tree
    )
    if isinstance(tree, dict) and ACTION_MASK in tree:
        leaves[ACTION_MASK] = jax.tree.map(lambda leaf: False, tree[ACTION_MASK])
    return leaves


class Normalizer(struct.PyTreeNode):
    """The running statistics that scale what the networks see.

    Attributes:
        observation: pytree of `Moments`, one for each leaf of the observation that is
            normalised, with None in the place of the others; None alone if no leaf is.
        discounted_return: `Moments` of Gₜ below, or None when rewards are not scaled.
        return_so_far: `[B]`, Gₜ = rₜ + γ Gₜ₋₁ of the episode under way, or None.
        discount: γ, or None.
    """

    observation: PyTree
    discounted_return: Moments | None
    return_so_far: jax.Array | None
    discount: jax.Array | None = None


def init_normalizer(
    observation: PyTree,
    *,
    with_observation: PyTree,
    with_reward: bool,
    discount: float | jax.Array = 0.99,
) -> Normalizer:
    """Return a normaliser that changes nothing yet, for observations `[B, ...]`.

    `with_observation` says which leaves of the observation are normalised, see
    `normalized_leaves`; one bool stands for all leaves below it.

    Example:
        >>> normalizer = init_normalizer(
        ...     jnp.zeros((8, 3)), with_observation=True, with_reward=False)
        >>> normalizer.observation.mean.shape, normalizer.discounted_return
        ((3,), None)
    """
    batch = jax.tree.leaves(observation)[0].shape[0]

    def moments(wanted: bool, leaves: PyTree) -> PyTree:
        if not wanted:
            return None
        return jax.tree.map(lambda leaf: init_moments(leaf.shape[1:]), leaves)

    return Normalizer(
        observation=jax.tree.map(moments, with_observation, observation)
        if any(jax.tree.leaves(with_observation))
        else None,
        discounted_return=init_moments() if with_reward else None,
        return_so_far=jnp.zeros(batch, jnp.float32) if with_reward else None,
        discount=jnp.asarray(discount, jnp.float32) if with_reward else None,
    )


def normalize_observation(normalizer: Normalizer, observation: PyTree) -> PyTree:
    """Normalise a pytree of observations, if the normaliser does that.

    Args:
        normalizer: its observation moments have the shapes of one observation.
        observation: pytree with any leading axes, in units of the environment.

    Returns:
        A pytree like `observation`, in standard deviations from the mean, within ±10.

    Example:
        >>> observation = jnp.array([[1.0], [3.0]])
        >>> moments = update_moments(init_moments((1,)), observation, jnp.ones(2))
        >>> normalizer = Normalizer(moments, None, None)
        >>> normalize_observation(normalizer, observation).tolist()
        [[-1.0], [1.0]]
    """
    if normalizer.observation is None:
        return observation
    return jax.tree.map(
        lambda leaf, moments: leaf if moments is None else normalize(moments, leaf),
        observation,
        normalizer.observation,
    )


def scale_reward(normalizer: Normalizer, reward: jax.Array) -> jax.Array:
    """Divide rewards by the standard deviation of the discounted return, and clip.

    The mean stays, since shifting rewards changes the task (Engstrom et al. 2020, §3).

    Args:
        normalizer: its moments of the discounted return scale the rewards.
        reward: an array of any shape, in units of the environment.

    Returns:
        An array like `reward`, within ±10 standard deviations.

    Example:
        >>> moments = init_moments().replace(variance=jnp.float32(4.0))
        >>> normalizer = Normalizer(None, moments, None)
        >>> scale_reward(normalizer, jnp.array([6.0, 90.0])).tolist()
        [3.0, 10.0]
    """
    if normalizer.discounted_return is None:
        return reward
    moments = normalizer.discounted_return
    scale = inverse_deviation(moments.mean, moments.variance)
    scaled = reward.astype(scale.dtype) * scale
    return jnp.clip(scaled, -CLIP, CLIP)


def update_normalizer(
    normalizer: Normalizer,
    observation: PyTree,
    reward: jax.Array,
    ended: jax.Array,
    weight: jax.Array,
    *,
    discount: float | jax.Array | None = None,
) -> Normalizer:
    """Update the statistics with one iteration; call it after the update, never before.

    Observations `[T, B, ...]` and rewards `[T, B]` are neither normalised nor scaled.
    `ended` `[T, B]` is True where the episode ended with this step, and `weight`
    `[T, B]` is 0 in rows that are not transitions. A discount replaces γ.

    Example:
        >>> normalizer = init_normalizer(
        ...     jnp.zeros((1, 2)), with_observation=True, with_reward=False)
        >>> after = update_normalizer(
        ...     normalizer, jnp.ones((4, 1, 2)), jnp.zeros((4, 1)),
        ...     jnp.zeros((4, 1), bool), jnp.ones((4, 1)))
        >>> after.observation.mean.tolist()
        [1.0, 1.0]
    """
    if normalizer.observation is not None:

        def update(leaf: jax.Array, moments: Moments | None) -> Moments | None:
            return None if moments is None else update_moments(moments, leaf, weight)

        normalizer = normalizer.replace(
            observation=jax.tree.map(update, observation, normalizer.observation)
        )
    moments = normalizer.discounted_return
    if moments is not None:
        reward = reward.astype(moments.mean.dtype)
        gamma = normalizer.discount if discount is None else discount
        gamma = jnp.asarray(gamma, reward.dtype)

        def accumulate(so_far: Any, step: Any) -> tuple[Any, jax.Array]:
            reward, ended, weight = step
            total = reward + gamma * so_far
            # Leave out rows of weight 0, bad rewards, and sums that overflow.
            total = jnp.where((weight > 0) & jnp.isfinite(total), total, so_far)
            return jnp.where(ended, 0, total), total

        sound = jnp.where(jnp.isfinite(reward), weight, 0)
        return_so_far, returns = jax.lax.scan(
            accumulate, normalizer.return_so_far, (reward, ended, weight), unroll=8
        )
        normalizer = normalizer.replace(
            discounted_return=update_moments(moments, returns, sound),
            return_so_far=return_so_far,
            discount=gamma,
        )
    return normalizer


def first_statistics(
    normalizer: Normalizer,
    observation: PyTree,
    reward: jax.Array,
    ended: jax.Array,
    weight: jax.Array,
) -> Normalizer:
    """Return the statistics to learn from a batch with: its own, if it is the first.

    Moments that have seen nothing take mean and variance of this batch, so that the
    first update does not depend on the units of observations and rewards. Their count
    stays 0: `update_normalizer`, after the update, replaces them. The arguments are
    those of `update_normalizer`.

    Example:
        >>> normalizer = init_normalizer(
        ...     jnp.zeros((1, 2)), with_observation=True, with_reward=False)
        >>> first = first_statistics(
        ...     normalizer, jnp.full((4, 1, 2), 3.0), jnp.zeros((4, 1)),
        ...     jnp.zeros((4, 1), bool), jnp.ones((4, 1)))
        >>> first.observation.mean.tolist(), float(first.observation.count)
        ([3.0, 3.0], 0.0)
    """

    def is_moments(x: Any) -> bool:
        return isinstance(x, Moments)

    every = [
        x for x in jax.tree.leaves(normalizer, is_leaf=is_moments) if is_moments(x)
    ]
    if not every:
        return normalizer

    def own(old: Any, new: Any) -> Any:
        if not is_moments(old):
            return old
        return jax.tree.map(
            lambda a, b: jnp.where(old.count == 0, b, a), old, new
        ).replace(count=old.count)

    def learn() -> Normalizer:
        new = update_normalizer(normalizer, observation, reward, ended, weight)
        return jax.tree.map(own, normalizer, new, is_leaf=is_moments)

    unseen = jnp.stack([moments.count == 0 for moments in every])
    return jax.lax.cond(jnp.any(unseen), learn, lambda: normalizer)
