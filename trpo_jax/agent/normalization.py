"""Running statistics of observations and rewards, frozen while an iteration runs.

Shapes: `T` time steps, `B` environments, `...` the shape of one observation.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

PyTree = Any

CLIP = 10.0  # in standard deviations, as in OpenAI baselines (Engstrom et al. 2020, §3)


class Moments(struct.PyTreeNode):
    """Mean and variance of everything seen so far.

    Attributes:
        count: scalar, the total weight seen so far.
        mean: `[...]`.
        variance: `[...]`, the biased (population) variance; 1 before any data.
    """

    count: jax.Array
    mean: jax.Array
    variance: jax.Array


def init_moments(shape: tuple[int, ...] = (), dtype: Any = jnp.float32) -> Moments:
    """Return moments of no data, which change nothing: mean 0, variance 1, count 0."""
    return Moments(
        count=jnp.zeros((), dtype),
        mean=jnp.zeros(shape, dtype),
        variance=jnp.ones(shape, dtype),
    )


def update_moments(moments: Moments, x: jax.Array, weight: jax.Array) -> Moments:
    """Merge a batch into the moments (Chan, Golub & LeVeque 1979).

    With n = n_a + n_b and δ = mean_b − mean_a:
    mean = mean_a + δ n_b / n,  n var = n_a var_a + n_b var_b + δ² n_a n_b / n.

    Rows `[...]` of `x` may have any number of leading axes, which are the axes of the
    weights ≥ 0. Rows that are not finite are left out, and when the result itself is
    not finite (the squares of 1e30 overflow float32) the old moments are kept.

    Example:
        >>> moments = update_moments(
        ...     init_moments(), jnp.array([1.0, 3.0]), jnp.ones(2))
        >>> float(moments.mean), float(moments.variance)
        (2.0, 1.0)
    """
    row_axes = tuple(range(weight.ndim))
    x = x.astype(moments.mean.dtype)
    sound = jnp.all(jnp.isfinite(x), axis=tuple(range(weight.ndim, x.ndim)))
    weight = jnp.where(sound, weight, 0).astype(x.dtype)
    wide = jax.lax.expand_dims(weight, range(weight.ndim, x.ndim))
    x = jnp.where(wide > 0, x, 0)

    count = jnp.sum(weight)
    safe_count = jnp.where(count > 0, count, 1)
    mean = jnp.sum(wide * x, axis=row_axes) / safe_count
    centred = x - jax.lax.expand_dims(mean, row_axes)
    variance = jnp.sum(wide * centred**2, axis=row_axes) / safe_count

    total = moments.count + count
    share = jnp.where(total > 0, count / jnp.where(total > 0, total, 1), 0)
    shift = mean - moments.mean
    merged = Moments(
        count=total,
        mean=moments.mean + shift * share,
        variance=(1 - share) * moments.variance
        + share * variance
        + share * (1 - share) * shift**2,
    )
    finite = jnp.all(jnp.isfinite(merged.mean) & jnp.isfinite(merged.variance))
    return jax.tree.map(
        lambda new, old: jnp.where(finite & (count > 0), new, old), merged, moments
    )


def normalize(
    moments: Moments, x: jax.Array, *, clip: float | jax.Array = CLIP
) -> jax.Array:
    """Return (x − mean) / std, clipped to ±`clip` standard deviations.

    Any number of axes of `x` may lead those of the moments.

    Example:
        >>> float(normalize(init_moments(), jnp.float32(99.0)))
        10.0
    """
    clip = jnp.asarray(clip, moments.mean.dtype)
    leading = range(x.ndim - moments.mean.ndim)
    mean, variance = (
        jax.lax.expand_dims(moment, leading)
        for moment in (moments.mean, moments.variance)
    )
    scaled = (x.astype(mean.dtype) - mean) * jax.lax.rsqrt(variance + 1e-8)
    return jnp.clip(scaled, -clip, clip)


class Normalizer(struct.PyTreeNode):
    """The running statistics that scale what the networks see.

    Attributes:
        observation: pytree of `Moments`, one for each leaf of the observation, or None
            when observations are not normalised.
        discounted_return: `Moments` of Gₜ below, or None when rewards are not scaled.
        return_so_far: `[B]`, Gₜ = rₜ + γ Gₜ₋₁ of the episode under way, or None.
    """

    observation: PyTree
    discounted_return: Moments | None
    return_so_far: jax.Array | None


def init_normalizer(
    observation: PyTree, *, with_observation: bool, with_reward: bool
) -> Normalizer:
    """Return a normaliser that changes nothing yet, for observations `[B, ...]`.

    Example:
        >>> normalizer = init_normalizer(
        ...     jnp.zeros((8, 3)), with_observation=True, with_reward=False)
        >>> normalizer.observation.mean.shape, normalizer.discounted_return
        ((3,), None)
    """
    batch = jax.tree.leaves(observation)[0].shape[0]
    return Normalizer(
        observation=jax.tree.map(lambda leaf: init_moments(leaf.shape[1:]), observation)
        if with_observation
        else None,
        discounted_return=init_moments() if with_reward else None,
        return_so_far=jnp.zeros(batch, jnp.float32) if with_reward else None,
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
        lambda leaf, moments: normalize(moments, leaf),
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
    reward = reward.astype(normalizer.discounted_return.variance.dtype)
    scaled = reward * jax.lax.rsqrt(normalizer.discounted_return.variance + 1e-8)
    return jnp.clip(scaled, -CLIP, CLIP)


def update_normalizer(
    normalizer: Normalizer,
    observation: PyTree,
    reward: jax.Array,
    ended: jax.Array,
    weight: jax.Array,
    *,
    discount: float | jax.Array,
) -> Normalizer:
    """Update the statistics with one iteration; call it after the update, never before.

    Observations `[T, B, ...]` and rewards `[T, B]` are neither normalised nor scaled.
    `ended` `[T, B]` is True where the episode ended with this step, and `weight`
    `[T, B]` is 0 in rows that are not transitions. `discount` is γ.

    Example:
        >>> normalizer = init_normalizer(
        ...     jnp.zeros((1, 2)), with_observation=True, with_reward=False)
        >>> after = update_normalizer(
        ...     normalizer, jnp.ones((4, 1, 2)), jnp.zeros((4, 1)),
        ...     jnp.zeros((4, 1), bool), jnp.ones((4, 1)), discount=0.99)
        >>> after.observation.mean.tolist()
        [1.0, 1.0]
    """
    if normalizer.observation is not None:
        normalizer = normalizer.replace(
            observation=jax.tree.map(
                lambda leaf, moments: update_moments(moments, leaf, weight),
                observation,
                normalizer.observation,
            )
        )
    if normalizer.discounted_return is not None:
        reward = reward.astype(normalizer.discounted_return.mean.dtype)
        gamma = jnp.asarray(discount, reward.dtype)

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
            discounted_return=update_moments(
                normalizer.discounted_return, returns, sound
            ),
            return_so_far=return_so_far,
        )
    return normalizer
