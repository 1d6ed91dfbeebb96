"""Random keys as the algorithm takes them."""

from typing import Any

import jax
import jax.numpy as jnp


def typed_key(key: Any) -> jax.Array:
    """Return a key as `jax.random.key` makes them; convert one of the old kind.

    What is neither, such as the seed itself, is a `ValueError`.

    Example:
        >>> bool(typed_key(jax.random.PRNGKey(3)) == jax.random.key(3))
        True
    """
    kind = getattr(key, "dtype", None)
    if kind is not None and jnp.issubdtype(kind, jax.dtypes.prng_key):
        return key
    if kind == jnp.uint32 and key.ndim:
        return jax.random.wrap_key_data(key)
    raise ValueError(f"key must be made by jax.random.key(seed); got {key!r}")
