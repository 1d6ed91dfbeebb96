"""Initialisers of network parameters."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp


@functools.cache
def orthogonal(gain: float) -> Callable[..., jax.Array]:
    """Return an initialiser of kernels with orthonormal columns (or rows) times `gain`.

    X ← X (3 I − XᵀX) / 2 from a Gaussian matrix (Björck & Bowie 1971). The limit, the
    polar factor, is uniformly distributed over the orthogonal matrices, as the Q of a
    QR decomposition is, since a Gaussian matrix has no preferred basis.

    Unlike `jax.nn.initializers.orthogonal` it consists of matrix products alone: two
    batched QR decompositions, which `vmap` over seeds creates, deadlock on a CPU of two
    cores (jaxlib 0.10.1). The initialiser is `init(key, shape, dtype)`, as flax takes
    it, and the last axis of a kernel is its outputs.

    Example:
        >>> kernel = orthogonal(2.0)(jax.random.key(0), (8, 3))
        >>> bool(jnp.allclose(kernel.T @ kernel, 4.0 * jnp.eye(3), atol=1e-5))
        True
    """

    # Flax asks for the shape at every call of the network; this is traced only once.
    @functools.partial(jax.jit, static_argnums=(1, 2))
    def traced(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        inputs, outputs = math.prod(shape[:-1]), shape[-1]
        tall = max(inputs, outputs), min(inputs, outputs)
        x = jax.random.normal(key, tall)
        multiply = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)

        def improve(_: int, x: jax.Array) -> jax.Array:
            return 1.5 * x - 0.5 * multiply(x, multiply(x.T, x))

        # Sixty: a singular value of 1e-9 grows by half each time, then converges.
        x = jax.lax.fori_loop(0, 60, improve, x / jnp.linalg.norm(x))
        return (gain * (x if inputs >= outputs else x.T)).reshape(shape).astype(dtype)

    def init(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Any:
        return traced(key, tuple(shape), dtype)

    return init
