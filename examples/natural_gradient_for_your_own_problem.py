"""Natural gradient without reinforcement learning: maximum likelihood, badly scaled.

Softmax regression on features whose scales differ by a factor of 100. Steps until the
log-likelihood is within 0.001 nats of its optimum: natural gradient in a trust region,
from three functions of the library, against gradient ascent with the best of many fixed
step sizes.
"""

import jax
import jax.numpy as jnp

from trpo_jax import Categorical, cg_solve, fisher_vector_product, line_search

key_x, key_w, key_y = jax.random.split(jax.random.key(0), 3)
x = jax.random.normal(key_x, (512, 10)) * jnp.logspace(-1, 1, 10)
weights = jax.random.normal(key_w, (10, 3)) / jnp.logspace(-1, 1, 10)[:, None]
y = Categorical(x @ weights).sample(key_y)
start = jnp.zeros((10, 3))


def predict(w: jax.Array) -> Categorical:
    """Return the distribution of the class of every row."""
    return Categorical(x @ w)


def log_likelihood(w: jax.Array) -> jax.Array:
    """Return the mean over rows, in nats."""
    return jnp.mean(predict(w).log_prob(y))


def natural_step(w: jax.Array, max_kl: float = 0.5) -> tuple[jax.Array, jax.Array]:
    """Follow the natural gradient, at most to the boundary of the trust region."""
    product = fisher_vector_product(predict, w, damping=1e-4)
    step, info = cg_solve(product, jax.grad(log_likelihood)(w), iterations=30)
    step *= jnp.minimum(1, jnp.sqrt(2 * max_kl / info.curvature))

    def divergence(new: jax.Array) -> jax.Array:
        return jnp.mean(predict(w).kl(predict(new)))

    w, _ = line_search(log_likelihood, divergence, w, step, max_divergence=max_kl)
    return w, log_likelihood(w)


def ascent(step_size: jax.Array) -> jax.Array:
    """Return the log-likelihood after each of 20 000 plain gradient steps."""

    def step(w: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        w = w + step_size * jax.grad(log_likelihood)(w)
        return w, log_likelihood(w)

    return jax.lax.scan(step, start, length=20_000)[1]


_, natural = jax.lax.scan(lambda w, _: natural_step(w), start, length=30)
plain = jax.jit(jax.vmap(ascent))(2.0 ** jnp.arange(-8, 4))
close = natural.max() - 1e-3
print(
    f"log-likelihood {log_likelihood(start):.3f} at the start, {natural.max():.3f} best"
)
print(f"natural gradient: {int(jnp.argmax(natural >= close)) + 1} steps")
reached = jnp.where(
    (plain >= close).any(1), jnp.argmax(plain >= close, axis=1) + 1, 10**9
)
print(f"gradient ascent, best of {len(plain)} step sizes: {int(reached.min())} steps")
