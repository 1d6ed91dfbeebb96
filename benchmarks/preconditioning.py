"""Other starts and metrics for the solve: `python -m benchmarks.preconditioning`.

Batches of agents in training (after a tenth and after half of their steps), all rows in
the products, damping as in the preset. By iterations of conjugate gradients:

* `plain`: from zero, as the library does;
* `warm`: from the direction of the batch before, scaled to fit best;
* `kfac`: from zero, preconditioned by the inverse of a Kronecker factor A ⊗ G a layer
  (Martens & Grosse 2015), A from its inputs and G from the exact Fisher matrix of its
  outputs, both damped by the root of the damping; log σ by its exact diagonal.

`residual` is the true ‖b − F x‖ / ‖b‖; `gain` the surrogate's, and `kl` the divergence,
of the full step √(2δ / xᵀF x) x; `ms` of the solve, what prepares it included, medians
of twenty in a compiled program. Means over three batches each.
"""

import json
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from benchmarks.runs import Training, provenance
from trpo_jax.environments import make_environment
from trpo_jax.fisher import fisher_vector_product
from trpo_jax.networks import mlp_agent
from trpo_jax.normalization import normalize_observation
from trpo_jax.rollout import collect
from trpo_jax.running import seeds_of
from trpo_jax.update import estimate_advantages

RESULTS = pathlib.Path(__file__).parent / "results" / "preconditioning.json"
TASKS, MOMENTS, SEEDS = ("Acrobot-v1", "Pendulum-v1"), (0.1, 0.5), (800, 801, 802)
COUNTS = (1, 2, 3, 5, 10, 20)


def mlp(params: dict, x: jax.Array, shifts: list[jax.Array]) -> jax.Array:
    """Return the policy's first outputs, each layer's sums shifted."""
    layers = sorted(params)
    for i, (name, shift) in enumerate(zip(layers, shifts)):
        x = x @ params[name]["kernel"] + params[name]["bias"] + shift
        if i < len(layers) - 1:
            x = jnp.tanh(x)
    return x


class Case:
    """A batch of an agent in training and what a step on it is made of.

    Args:
        training: whose programs and plan are used.
        state: the agent's.
        environment: it is trained in.
    """

    def __init__(self, training: Training, state: Any, environment: Any) -> None:
        self.config = training.plan.config
        agent = mlp_agent(
            environment.observation_space,
            environment.action_space,
            hidden_sizes=training.plan.network.hidden_sizes,
        )
        _, rollout = jax.jit(
            lambda state: collect(
                state, environment, agent, num_steps=self.config.num_steps
            )
        )(state)
        batch = estimate_advantages(state, rollout, agent, self.config)
        rows = batch.rows()
        self.observation = normalize_observation(state.normalizer, rows.observation)
        self.rows = rows.replace(observation=self.observation)
        self.flat, self.unflatten = ravel_pytree(state.policy_params)
        self.apply = agent.policy.apply

    def act(self, flat: jax.Array) -> Any:
        """Return the policy's distributions."""
        return self.apply(self.unflatten(flat), self.observation)

    def surrogate(self, flat: jax.Array) -> jax.Array:
        """Return the surrogate."""
        old = jax.lax.stop_gradient(self.act(self.flat))
        return self.rows.surrogate(old, standardized=True)(self.act(flat))

    def product(self) -> Callable[[jax.Array], jax.Array]:
        """Return v ↦ (F + damping·I) v."""
        return fisher_vector_product(
            self.act, self.flat, damping=self.config.cg_damping
        )

    def kfac(self) -> Callable[[jax.Array], jax.Array]:
        """Return v ↦ an approximation of (F + damping·I)⁻¹ v."""
        tree = self.unflatten(self.flat)["params"]
        (head,) = (name for name in tree if name != "log_std")
        layers = sorted(tree[head])
        damping = jnp.sqrt(self.config.cg_damping)
        inputs, x = [], self.observation
        for name in layers:
            inputs.append(jnp.pad(x, ((0, 0), (0, 1)), constant_values=1))
            x = jnp.tanh(x @ tree[head][name]["kernel"] + tree[head][name]["bias"])
        nothing = [jnp.zeros(tree[head][name]["bias"].shape) for name in layers]
        slopes = jax.vmap(
            jax.jacrev(lambda shifts, x: mlp(tree[head], x, shifts)), (None, 0)
        )(nothing, self.observation)
        policy = self.act(self.flat)
        if head == "logits":
            p = jax.nn.softmax(policy.logits)
            metric = jax.vmap(lambda p: jnp.diag(p) - jnp.outer(p, p))(p)
        else:
            metric = jax.vmap(lambda s: jnp.diag(jnp.exp(-2 * s)))(policy.log_std)
        rows = len(self.observation)
        inverses = []
        for a, slope in zip(inputs, slopes):
            g = jnp.einsum("nki,nkl,nlj->ij", slope, metric, slope) / rows
            inverses.append(
                tuple(
                    jnp.linalg.inv(m + damping * jnp.eye(len(m)))
                    for m in (a.T @ a / rows, g)
                )
            )

        def precondition(v: jax.Array) -> jax.Array:
            found = self.unflatten(v)
            block = found["params"]
            for name, (a, g) in zip(layers, inverses):
                layer = block[head][name]
                both = a @ jnp.vstack([layer["kernel"], layer["bias"]]) @ g
                block[head][name] = {"kernel": both[:-1], "bias": both[-1]}
            if "log_std" in block:
                block["log_std"] = block["log_std"] / (2 + self.config.cg_damping)
            return ravel_pytree(found)[0]

        return precondition


def solve(
    product: Callable[[jax.Array], jax.Array],
    precondition: Callable[[jax.Array], jax.Array],
    b: jax.Array,
    start: jax.Array,
    count: int,
) -> jax.Array:
    """Return x after some iterations of preconditioned conjugate gradients."""
    r = b - product(start)
    z = precondition(r)

    def iterate(_: int, carry: tuple) -> tuple:
        x, r, z, p = carry
        image = product(p)
        alpha = (r @ z) / (p @ image)
        r_next = r - alpha * image
        z_next = precondition(r_next)
        return (
            x + alpha * p, r_next, z_next, z_next + (r_next @ z_next) / (r @ z) * p
        )  # fmt: skip

    return jax.lax.fori_loop(0, count, iterate, (start, r, z, z))[0]


def compare(case: Case, before: Case) -> dict[str, dict[str, dict[str, float]]]:
    """Return by method and count what a solve gives and takes."""

    def nothing(v: jax.Array) -> jax.Array:
        return v

    def direction(case: Case, method: str, count: int, last: jax.Array) -> jax.Array:
        b = jax.grad(case.surrogate)(case.flat)
        product = case.product()
        precondition = case.kfac() if method == "kfac" else nothing
        start = jnp.zeros_like(b)
        if method == "warm":
            start = (b @ last) / (last @ product(last)) * last
        return solve(product, precondition, b, start, count)

    last = jax.jit(
        lambda: direction(before, "plain", COUNTS[-2], jnp.zeros_like(before.flat))
    )()

    @jax.jit
    def judge(x: jax.Array) -> dict[str, jax.Array]:
        b, product = jax.grad(case.surrogate)(case.flat), case.product()
        image = product(x)
        step = jnp.sqrt(2 * case.config.max_kl / (x @ image)) * x
        kl = case.act(case.flat).kl(case.act(case.flat + step))
        return {
            "residual": jnp.linalg.norm(b - image) / jnp.linalg.norm(b),
            "kl": jnp.mean(kl),
            "gain": case.surrogate(case.flat + step) - case.surrogate(case.flat),
        }

    found: dict[str, dict[str, dict[str, float]]] = {}
    for method in ("plain", "warm", "kfac"):
        for count in COUNTS:
            step = jax.jit(
                lambda flat, last, method=method, count=count: direction(
                    moved(case, flat), method, count, last
                )
            )
            x = step(case.flat, last)
            taken = []
            for _ in range(20):
                began = time.perf_counter()
                jax.block_until_ready(step(case.flat, last))
                taken.append(1e3 * (time.perf_counter() - began))
            found.setdefault(method, {})[str(count)] = {
                name: float(value) for name, value in judge(x).items()
            } | {"ms": statistics.median(taken)}
    return found


def moved(case: Case, flat: jax.Array) -> Case:
    """Return the case at other parameters, an argument of the program to be timed."""
    other = object.__new__(Case)
    vars(other).update(vars(case) | {"flat": flat})
    return other


def main() -> None:
    """Measure, print, and write the JSON."""
    result: dict[str, Any] = provenance("python -m benchmarks.preconditioning")
    for name in TASKS:
        training = Training(name, seeds=len(SEEDS), seed=SEEDS[0])
        plan, programs = training.plan, training.programs
        environment = make_environment(name, action_repeat=plan.config.action_repeat)
        states, done = programs.init(seeds_of(plan)), 0
        for moment in MOMENTS:
            cases: list[list[Case]] = []
            while done < moment * plan.iterations + 1:
                size = min(plan.chunk, int(moment * plan.iterations) - done) or 1
                states, _ = programs.chunk(states, np.int32(size))
                done += size
                gathered = programs.gather(states)
                one = [jax.tree.map(lambda x, i=i: x[i], gathered) for i in range(3)]
                cases = [*cases, [Case(training, s, environment) for s in one]][-2:]
            runs = [compare(now, then) for then, now in zip(*cases)]
            means = jax.tree.map(lambda *x: round(float(np.mean(x)), 5), *runs)
            result[f"{name}, {moment:g} of its steps"] = means
            RESULTS.write_text(json.dumps(result, indent=1) + "\n")
            print(name, moment, json.dumps(means), flush=True)
        programs.close()


if __name__ == "__main__":
    main()
