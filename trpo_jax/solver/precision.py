"""The precision in which everything is computed: float32, or float64 where given."""

from typing import Any

import jax
import jax.numpy as jnp


def as_floats(*arrays: Any) -> list[jax.Array]:
    """Return arrays as floats of one type: the widest of theirs, at least float32.

    Integers, booleans and numbers of half precision become float32, so that sums over
    many rows are not cut or rounded, and do not overflow.

    Example:
        >>> [str(x.dtype) for x in as_floats(jnp.ones(2, jnp.bfloat16), jnp.int8(1))]
        ['float32', 'float32']
    """
    wide = [_at_least_float32(jnp.asarray(x)) for x in arrays]
    kind = max((x.dtype for x in wide), key=lambda kind: kind.itemsize)
    return [x.astype(kind) for x in wide]


def widen(tree: Any) -> Any:
    """Return a pytree with its floats of half precision in float32, the rest as it is.

    Example:
        >>> str(widen(jnp.ones(2, jnp.float16)).dtype), str(widen(jnp.int8(1)).dtype)
        ('float32', 'int8')
    """
    real = jnp.floating
    return jax.tree.map(
        lambda x: _at_least_float32(x) if jnp.issubdtype(x.dtype, real) else x, tree
    )


def _at_least_float32(x: jax.Array) -> jax.Array:
    return x if x.dtype in (jnp.float32, jnp.float64) else x.astype(jnp.float32)
