"""Drawing of rows `[N, ...]`, evenly and without a sort."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

PyTree = Any


def golden_stride(total: int) -> int:
    """Return a stride that visits all of `total` rows, any few of them spread evenly.

    The multiples of the golden ratio modulo 1 are the most evenly spread of any
    sequence that can go on for ever (Knuth, TAOCP 3, §6.4); this is the number nearest
    to N / φ that has no divisor in common with N ≥ 1.

    Example:
        >>> [i * golden_stride(12) % 12 for i in range(12)]
        [0, 7, 2, 9, 4, 11, 6, 1, 8, 3, 10, 5]
    """
    nearest = round(total * (math.sqrt(5) - 1) / 2)
    gap = 0
    while True:
        for stride in (nearest - gap, nearest + gap):
            if stride >= 1 and math.gcd(stride, total) == 1:
                return stride
        gap += 1


def random_start(key: jax.Array, total: int) -> jax.Array:
    """Draw one of `total` rows: an int32 scalar in [0, total).

    It takes one hash, where `jax.random.randint` takes five to be even to the last bit.
    """
    start = (jax.random.uniform(key, dtype=jnp.float32) * total).astype(jnp.int32)
    return jnp.minimum(start, total - 1)


def subsample_rows(key: jax.Array, rows: PyTree, fraction: float) -> PyTree:
    """Draw a fraction of the rows without replacement, the same from every leaf.

    Every row is equally likely. From a random start the draw continues in golden-ratio
    strides, which spread it evenly over time and environments. The paper averages the
    Fisher matrix over 10 % of the states (appendix C.1), while the gradient and the
    constraint use all of them. The leaves returned are
    `[max(1, round(fraction · N)), ...]`; a static fraction of 1 returns `rows` as is.

    Example:
        >>> subsample_rows(jax.random.key(0), jnp.zeros((50, 3)), 0.1).shape
        (5, 3)
    """
    if fraction == 1:
        return rows
    total = jax.tree.leaves(rows)[0].shape[0]
    kept = max(1, round(fraction * total))
    path = (np.arange(kept) * golden_stride(total) % total).astype(np.int32)
    index = (random_start(key, total) + path) % total
    return jax.tree.map(lambda leaf: leaf[index], rows)
