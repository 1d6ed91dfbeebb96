"""Fisher products and solves: `python -m benchmarks.solver [PART ...]`.

The network has 17-w-w-6 units with tanh, the distribution is Gaussian, and the data
are random. "In gradients" means as a multiple of the time of a surrogate gradient.

* `products`: one product with the Fisher matrix, in gradients, computed in four ways:
  JᵀMJ linearised once (as `fisher_vector_product` does), JᵀMJ by a new jvp and vjp each
  time, forward over reverse differentiation of the mean KL, and the gradient of ∇KL·v.
  Also the rate of operations, relative to that of the matrix products alone.
* `solves`: ten iterations of conjugate gradients, in gradients, for several fractions
  of the rows in the products.
* `iterations`: the residual, and the KL that the full step really reaches (δ is 0.01),
  for several numbers of iterations and fractions of the rows.

A time is that of one step in a compiled loop, taken from the difference between a long
and a short loop, so that neither compilation nor dispatch counts. It is the median of
five. Run nothing else meanwhile.
"""

import json
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jax.flatten_util import ravel_pytree

from benchmarks.runs import provenance
from trpo_jax.agent.standard_agents import default_agent
from trpo_jax.algorithm.batch import Batch
from trpo_jax.algorithm.subsampling import subsample_rows
from trpo_jax.environments.spaces import Box
from trpo_jax.runs.compilation import FOR_LONG, compile_for
from trpo_jax.solver.conjugate_gradient import cg_solve
from trpo_jax.solver.fisher import fisher_vector_product

RESULTS = pathlib.Path(__file__).parent / "results" / "solver.json"
ROWS, WIDTHS = (1024, 2048, 16_384, 65_536, 262_144), (32, 64, 256, 512)
SIZES = [
    (n, w) for w in WIDTHS for n in ROWS if n * w**2 <= 2**32
]  # larger ones would take hours
INPUTS, OUTPUTS = 17, 6
SHORT, FEWEST, MOST = 2, 5, 200  # steps of the short loop; more in the long one
DAMPING, DELTA = 0.1, 0.01


class Problem:
    """A policy and the rows on which to improve it.

    Args:
        rows: N, the number of rows.
        width: the width of both layers.
    """

    def __init__(self, rows: int, width: int) -> None:
        space = Box.uniform((INPUTS,), -1.0, 1.0)
        actions = Box.uniform((OUTPUTS,), -1.0, 1.0)
        self.work = rows * width**2
        self.agent = default_agent(space, actions, hidden_sizes=(width, width))
        keys = jax.random.split(jax.random.key(0), 4)
        self.observation = jax.random.normal(keys[0], (rows, INPUTS))
        params = self.agent.policy.init(keys[1], self.observation[0])
        self.flat, self.unflatten = ravel_pytree(params)
        old = self.agent.policy.apply(params, self.observation)
        self.batch = Batch(
            observation=self.observation,
            action=old.sample(keys[2]),
            advantage=jax.random.normal(keys[3], (rows,)),
            value_target=jnp.zeros(rows),
            weight=jnp.ones(rows),
        )

    def act(self, flat: jax.Array, observation: jax.Array) -> Any:
        """Return the policy's distribution in each row."""
        return self.agent.policy.apply(self.unflatten(flat), observation)

    def gradient(self, flat: jax.Array) -> jax.Array:
        """Return the gradient of the surrogate."""
        old = self.act(self.flat, self.observation)
        objective = self.batch.surrogate(old, standardize=True)
        return jax.grad(lambda flat: objective(self.act(flat, self.observation)))(flat)

    def kl(self, flat: jax.Array) -> jax.Array:
        """Return the mean KL from the policy at θ_old."""
        old = self.act(self.flat, self.observation)
        return jnp.mean(old.kl(self.act(flat, self.observation)))

    def product(self, fraction: float = 1.0) -> Callable[[jax.Array], jax.Array]:
        """Return v ↦ (F + damping·I) v, over a fraction of the rows."""
        some = subsample_rows(jax.random.key(1), self.observation, fraction)
        return fisher_vector_product(
            lambda flat: self.act(flat, some), self.flat, damping=DAMPING
        )

    def forms(self) -> dict[str, Callable[[], Callable[[jax.Array], jax.Array]]]:
        """Return the functions that make a product inside the program, by name.

        What is to be computed again for each product is made to depend on the vector,
        multiplied by zero; otherwise the compiler would move it out of the loop.
        """

        def parameters(v: jax.Array) -> jax.Array:
            return self.flat + 0 * v[0]

        def anew() -> Callable[[jax.Array], jax.Array]:
            def apply(flat: jax.Array) -> Any:
                return self.act(flat, self.observation)

            def product(v: jax.Array) -> jax.Array:
                policy, tangent = jax.jvp(apply, (parameters(v),), (v,))
                _, pull_back = jax.vjp(apply, parameters(v))
                cotangent = policy.fisher_product(tangent)
                rows = len(self.observation)
                (found,) = pull_back(jax.tree.map(lambda x: x / rows, cotangent))
                return found + DAMPING * v

            return product

        def forward_over_reverse() -> Callable[[jax.Array], jax.Array]:
            slope = jax.grad(self.kl)

            def product(v: jax.Array) -> jax.Array:
                return jax.jvp(slope, (parameters(v),), (v,))[1] + DAMPING * v

            return product

        def double_gradient() -> Callable[[jax.Array], jax.Array]:
            slope = jax.grad(self.kl)

            def product(v: jax.Array) -> jax.Array:
                return jax.grad(lambda x: slope(x) @ v)(parameters(v)) + DAMPING * v

            return product

        return {
            "linearised": self.product,
            "jvp and vjp": anew,
            "forward over reverse": forward_over_reverse,
            "double gradient": double_gradient,
        }


def seconds_of(
    make: Callable[[], Callable[[Any], Any]], start: Any, work: int
) -> float:
    """Return the time of one step of a loop, without what comes before the loop.

    Args:
        make: returns the step; it is called inside the program.
        start: the argument of the first step.
        work: rows times width squared; the smaller it is, the more steps are made.

    Returns:
        The time in seconds.
    """
    short, long = SHORT, SHORT + min(MOST, max(FEWEST, 2**28 // work))

    def repeated(carry: Any, steps: jax.Array) -> Any:
        step = make()
        return jax.lax.fori_loop(0, steps, lambda _, carry: step(carry), carry)

    loop = compile_for(FOR_LONG, repeated, start, np.int32(0))  # as training does

    def median(steps: int) -> float:
        jax.block_until_ready(loop(start, np.int32(steps)))
        taken = []
        for _ in range(5):
            began = time.perf_counter()
            jax.block_until_ready(loop(start, np.int32(steps)))
            taken.append(time.perf_counter() - began)
        return statistics.median(taken)

    return (median(long) - median(short)) / (long - short)


def gradient_seconds(problem: Problem) -> float:
    """Return the time of a gradient of the surrogate."""
    return seconds_of(
        lambda: lambda flat: flat + 1e-6 * problem.gradient(flat),
        problem.flat,
        problem.work,
    )


def direction_seconds(problem: Problem, make: Callable) -> float:
    """Return the time of a Fisher product."""

    def step_of() -> Callable[[jax.Array], jax.Array]:
        product = make()

        def step(v: jax.Array) -> jax.Array:
            image = product(v)
            return image / jnp.linalg.norm(image)

        return step

    start = jax.random.normal(jax.random.key(2), problem.flat.shape)
    return seconds_of(step_of, start, problem.work)


def matrix_seconds(rows: int, width: int) -> tuple[float, int]:
    """Return the time of the matrix products alone, and their operations."""
    forward = [(INPUTS, width), (width, width), (width, width)]
    forward += 2 * [(width, OUTPUTS)]
    backward = [(OUTPUTS, width), (width, width)]
    weights = [(INPUTS, width), (width, width), (width, OUTPUTS)]
    total = 0.0
    for a, b in forward + backward:
        x = jax.random.normal(jax.random.key(3), (rows, a))

        def step(w: jax.Array, x: jax.Array = x, a: int = a) -> jax.Array:
            return w + 1e-9 * (x @ w)[:a]

        w = jax.random.normal(jax.random.key(4), (a, b))
        total += seconds_of(lambda step=step: step, w, rows * a * b)
    for a, b in weights:
        x = jax.random.normal(jax.random.key(3), (rows, a))
        y = jax.random.normal(jax.random.key(4), (rows, b))

        def step(y: jax.Array, x: jax.Array = x) -> jax.Array:
            found = jnp.tensordot(x, y, ((0,), (0,)))
            return y.at[0].add(1e-9 * found[0])

        total += seconds_of(lambda step=step: step, y, rows * a * b)
    shapes = forward + backward + weights
    return total, sum(2 * rows * a * b for a, b in shapes)


def products() -> dict[str, Any]:
    """Time a Fisher product in every form."""
    found = {}
    for rows, width in SIZES:
        problem = Problem(rows, width)
        gradient = gradient_seconds(problem)
        matrices, operations = matrix_seconds(rows, width)
        taken = {
            name: direction_seconds(problem, make)
            for name, make in problem.forms().items()
        }
        found[f"{rows} x {width}"] = {
            "gradient_ms": round(1e3 * gradient, 4),
            "in_gradients": {name: round(taken[name] / gradient, 3) for name in taken},
            "matrices_alone_gflops": round(operations / matrices / 1e9, 1),
            "linearised_gflops": round(operations / taken["linearised"] / 1e9, 1),
            "share_of_their_rate": round(matrices / taken["linearised"], 3),
        }
        print(rows, width, found[f"{rows} x {width}"], flush=True)
    return found


def solves() -> dict[str, Any]:
    """Time whole solves for several fractions of the rows in the products."""
    found = {}
    for rows, width in SIZES:
        problem = Problem(rows, width)
        gradient = gradient_seconds(problem)
        direction = jax.jit(problem.gradient)(problem.flat)
        of_fraction = {}
        for fraction in (1.0, 0.2, 0.1):

            def step(
                b: jax.Array, problem: Problem = problem, fraction: float = fraction
            ) -> jax.Array:
                product = problem.product(fraction)
                x, _ = cg_solve(product, b, iterations=10, tolerance=0.0)
                return b + 1e-9 * x

            taken = seconds_of(lambda step=step: step, direction, 10 * problem.work)
            of_fraction[str(fraction)] = round(taken / gradient, 3)
        found[f"{rows} x {width}"] = {"in_gradients": of_fraction}
        print(rows, width, of_fraction, flush=True)
    return found


def iterations() -> dict[str, Any]:
    """Compare residuals, and the KL that the full step reaches."""
    found: dict[str, Any] = {"delta": DELTA}
    problem = Problem(16_384, 64)
    gradient = jax.jit(problem.gradient)(problem.flat)
    for fraction in (1.0, 0.2, 0.1):
        for count in (1, 2, 5, 10, 15, 25):

            @jax.jit
            def step(
                b: jax.Array, fraction: float = fraction, count: int = count
            ) -> dict[str, jax.Array]:
                product = problem.product(fraction)
                x, info = cg_solve(product, b, iterations=count, tolerance=0.0)
                scale = jnp.sqrt(2 * DELTA / info.curvature)
                whole = problem.product()(x)
                return {
                    "residual": info.residual,
                    "residual_of_all_rows": jnp.linalg.norm(b - whole)
                    / jnp.linalg.norm(b),
                    "kl": problem.kl(problem.flat + scale * x),
                    "gain": scale * (b @ x),
                }

            reached = step(gradient)
            found[f"{fraction:g} of the rows, {count}"] = {
                name: float(value) for name, value in reached.items()
            }
    return found


PARTS = {"products": products, "solves": solves, "iterations": iterations}


def main(
    parts: Annotated[
        tuple[Literal["products", "solves", "iterations"], ...], tyro.conf.Positional
    ] = tuple(PARTS),
) -> None:
    """Measure the given parts and write the JSON.

    Args:
        parts: The parts to measure.
    """
    result = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for part in parts:
        result[part] = PARTS[part]() | provenance(f"python -m benchmarks.solver {part}")
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
