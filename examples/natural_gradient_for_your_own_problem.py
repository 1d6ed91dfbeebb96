"""Use the solver without reinforcement learning, for a badly scaled softmax regression.

The scales of the features differ by a factor of 10. The natural gradient and the plain
gradient are compared by the number of steps until the log-likelihood is within 0.001
nats of its optimum. A natural step costs up to 20 products with the Fisher matrix and a
short line search; a plain step costs a single gradient.
"""

import jax
import jax.numpy as jnp

from trpo_jax import Categorical, cg_solve, fisher_vector_product, line_search

key_x, key_w, key_y = jax.random.split(jax.random.key(0), 3)
scale = jnp.logspace(-0.5, 0.5, 10)
x = jax.random.normal(key_x, (512, 10)) * scale
y = Categorical(x @ (jax.random.normal(key_w, (10, 3)) / scale[:, None])).sample(key_y)


def fit(w: jax.Array) -> jax.Array:
    """Return the mean log-likelihood in nats, which is maximised."""
    return jnp.mean(Categorical(x @ w).log_prob(y))


def natural_step(w: jax.Array, max_kl: float) -> jax.Array:
    """Step along F⁻¹g, no farther than the boundary of the trust region."""
    old = Categorical(x @ w)
    product = fisher_vector_product(lambda w: Categorical(x @ w), w, damping=1e-4)
    direction, info = cg_solve(product, jax.grad(fit)(w), iterations=20)
    step = direction * jnp.minimum(1, jnp.sqrt(2 * max_kl / info.curvature))
    divergence = lambda w: jnp.mean(old.kl(Categorical(x @ w)))  # noqa: E731
    return line_search(fit, divergence, w, step, max_divergence=max_kl)[0]


def plain_step(w: jax.Array, step_size: float) -> jax.Array:
    """Step along g."""
    return w + step_size * jax.grad(fit)(w)


start, limit = jnp.zeros((10, 3)), 5000
goal = fit(jax.lax.fori_loop(0, 50, lambda _, w: natural_step(w, 0.5), start)) - 1e-3
print(f"log-likelihood at the start {fit(start):.3f}, goal {goal:.3f}")
for step, sizes in (natural_step, (0.01, 0.1, 1)), (plain_step, (0.1, 0.3, 1, 3)):
    for size in sizes:
        _, steps = jax.lax.while_loop(
            lambda carry: (fit(carry[0]) < goal) & (carry[1] < limit),
            lambda carry, step=step, size=size: (step(carry[0], size), carry[1] + 1),
            (start, 0),
        )
        result = f"{steps} steps" if steps < limit else f"not after {limit} steps"
        print(f"{step.__name__:>12} {size:4}: {result}")
