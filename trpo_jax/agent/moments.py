"""Running mean and variance, and what they make of a number.

Shapes: `...` is the shape of one observation.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from trpo_jax.solver.rows import total

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

    count = total(weight)
    safe_count = jnp.where(count > 0, count, 1)
    mean = total(wide * x, row_axes) / safe_count
    centred = x - jax.lax.expand_dims(mean, row_axes)
    error = total(wide * centred, row_axes) / safe_count  # of a mean of many numbers
    mean = mean + error
    variance = total(wide * centred**2, row_axes) / safe_count
    variance = jnp.maximum(variance - error**2, 0)

    seen = moments.count + count
    share = jnp.where(seen > 0, count / jnp.where(seen > 0, seen, 1), 0)
    shift = mean - moments.mean
    merged = Moments(
        count=seen,
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
    scaled = (x.astype(mean.dtype) - mean) * inverse_deviation(mean, variance)
    return jnp.clip(scaled, -clip, clip)


def inverse_deviation(mean: jax.Array, variance: jax.Array) -> jax.Array:
    """Return 1/σ, in whatever unit; a deviation of rounding errors counts as larger.

    Where all values were the same, σ is 0 up to rounding. It then counts as 32 times
    the rounding error of the mean, so that the same value stays near 0.

    Example:
        >>> float(inverse_deviation(jnp.float32(0.0), jnp.float32(4e-12))) # σ = 2e-6
        500000.0
    """
    number = jnp.finfo(variance.dtype)
    floor = jnp.maximum((32 * number.eps * mean) ** 2, number.tiny)
    return jax.lax.rsqrt(jnp.maximum(variance, floor))
