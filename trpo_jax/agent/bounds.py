"""Actions at the bounds −1 and 1, in the precision of floating-point numbers.

Next to a bound these numbers are too coarse to tell actions apart. A sample closer than
4 ε to it (5e-7 in float32) is therefore returned as the bound itself, which stands for
all actions that are so close. Its log-probability is that of this interval, divided by
the width: the mean density there. So log-probabilities are finite, also of exactly ±1,
their ratios are those of the probabilities of what was drawn, and the mean score is 0.
"""

import jax
import jax.numpy as jnp


def counts_as_bound(action: jax.Array) -> jax.Array:
    """Return where actions are 4 ε from a bound or closer, or beyond it, as bool."""
    return jnp.abs(action) >= 1 - 4 * float(jnp.finfo(action.dtype).eps)


def width_of_bound(action: jax.Array) -> float:
    """Return the width of the interval for which a bound stands.

    It is 4 ε and half of the spacing of the numbers, as what is just outside is rounded
    to 1 − 4 ε.
    """
    return 4.25 * float(jnp.finfo(action.dtype).eps)


def to_bounds(action: jax.Array) -> jax.Array:
    """Return actions with those that count as a bound moved to it.

    Example:
        >>> to_bounds(jnp.array([0.5, -0.9999999])).tolist()
        [0.5, -1.0]
    """
    return jnp.where(counts_as_bound(action), jnp.sign(action), action)
