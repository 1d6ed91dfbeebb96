"""Training on an accelerator: `python -m benchmarks.accelerator [PART ...]`.

* `checks`: the self-check of `trpo-jax doctor`; and for each precision of matrix
  products, how symmetric a Fisher product is and which residual a solve really leaves.
* `update`: milliseconds for the policy step and for the critic's fit on 65,536 states,
  with networks of 17-64-64-6 units.
* `environments`: training steps per second on CartPole-v1 for several numbers of
  environments, and how the time of an iteration is divided.
* `seeds`: 1024 agents on CartPole-v1 with 500,000 steps each, and their returns.
* `ant`: three seeds of 50 million steps on `brax:ant@spring`.

Compilation is not counted. The JSON is written after each part, so that an interrupted
run keeps what it has measured.
"""

import dataclasses
import json
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from jax.flatten_util import ravel_pytree

from benchmarks.runs import Training, curve_of
from trpo_jax.agent.networks import Agent
from trpo_jax.agent.normalization import init_normalizer
from trpo_jax.agent.standard_agents import default_agent
from trpo_jax.algorithm.batch import Batch
from trpo_jax.algorithm.estimation import estimate_advantages
from trpo_jax.algorithm.initialization import init
from trpo_jax.algorithm.policy_update import PolicyInfo, update_policy
from trpo_jax.algorithm.rollout import collect
from trpo_jax.algorithm.schedules import scheduled
from trpo_jax.algorithm.state import TrainState
from trpo_jax.algorithm.trpo import prepare_update, update_critic
from trpo_jax.config import Config
from trpo_jax.environments import make_environment
from trpo_jax.environments.spaces import Box
from trpo_jax.runs.api import train
from trpo_jax.runs.keys import seeds_of
from trpo_jax.runs.plan import complete, make_plan
from trpo_jax.runs.self_check import describe, self_check
from trpo_jax.solver.conjugate_gradient import cg_solve
from trpo_jax.solver.fisher import fisher_vector_product

RESULTS = pathlib.Path(__file__).parent / "results" / "accelerator.json"
ROWS, REPEATS = 65_536, 20
WIDE = {  # CartPole-v1 with large batches
    "num_steps": 64,
    "critic_minibatch_size": 16_384,
    "critic_epochs": 2,
    "hidden_sizes": (64, 64),
}
ANT = {  # δ, γ and λ were chosen in `SEARCHED`
    "num_envs": 4096,
    "num_steps": 16,
    "max_kl": 0.1,
    "final_max_kl": 0.01,
    "discount": 0.97,
    "gae_lambda": 0.9,
    "critic_minibatch_size": 4096,
    "critic_epochs": 4,
    "fisher_fraction": 0.25,
}

SEARCHED = {  # δ, last δ / δ, γ, λ: training return after 9.8M steps of one seed with
    # 1024 environments and minibatches of 2048, on the same H100
    (0.03, 0.3, 0.97, 0.9): 5226,
    (0.03, 0.3, 0.99, 0.95): 5198,
    (0.1, 0.1, 0.97, 0.9): 6082,
    (0.1, 0.1, 0.99, 0.95): 5636,
    (0.01, 1, 0.97, 0.9): 4615,
    (0.06, 0.3, 0.97, 0.95): 5597,
    (0.06, 0.3, 0.985, 0.9): 5622,
    (0.03, 1, 0.97, 0.95): 5817,
}


def seconds_of(function: Callable[..., Any], *args: Any) -> float:
    """Return the median time of a function, compiled and run once before."""
    function = jax.jit(function)
    jax.block_until_ready(function(*args))
    taken = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        jax.block_until_ready(function(*args))
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def checks() -> dict:
    """Compare Fisher products and solves at each precision of matrix products."""
    agent, state, batch = problem()
    params = state.policy_params
    flat, unflatten = ravel_pytree(params)
    vectors = jax.random.normal(jax.random.key(7), (2, flat.size))

    def product_of(observation: jax.Array) -> Callable[[jax.Array], jax.Array]:
        product = fisher_vector_product(
            lambda params: agent.policy.apply(params, observation), params, damping=0.1
        )
        return lambda vector: ravel_pytree(product(unflatten(vector)))[0]

    def solve(rows: Batch, u: jax.Array, v: jax.Array) -> dict[str, jax.Array]:
        def act(params: Any) -> Any:
            return agent.policy.apply(params, rows.observation)

        surrogate = rows.surrogate(act(params), standardize=True)
        gradient = jax.grad(lambda flat: surrogate(act(unflatten(flat))))(flat)
        product = product_of(rows.observation)
        x, info = cg_solve(product, gradient, iterations=10, tolerance=0.0)
        size = jnp.sqrt(u @ product(u)) * jnp.sqrt(v @ product(v))
        return {
            "gradient": gradient,
            "x": x,
            "residual_carried": info.residual,
            "asymmetry": jnp.abs(v @ product(u) - u @ product(v)) / size,
        }

    found = {}
    rows = batch.flatten()
    for precision in ("default", "high", "highest"):
        with jax.default_matmul_precision(precision):
            one = jax.jit(solve)(rows, *vectors)
        with jax.default_matmul_precision("highest"):
            image = jax.jit(lambda o, x: product_of(o)(x))(rows.observation, one["x"])
        left = jnp.linalg.norm(one["gradient"] - image)
        found[precision] = {
            "asymmetry": float(one["asymmetry"]),
            "residual_carried": float(one["residual_carried"]),
            "residual_true": float(left / jnp.linalg.norm(one["gradient"])),
        }
    return {
        "self_check": {check.name: check.passed for check in self_check()},
        "precision": found,
    }


def problem(rows: int = ROWS) -> tuple[Agent, TrainState, Batch]:
    """Return an agent of 17 inputs and 6 outputs, a state, and rows of random data."""
    space = Box.uniform((17,), -1.0, 1.0)
    agent = default_agent(space, Box.uniform((6,), -1.0, 1.0), hidden_sizes=(64, 64))
    keys = jax.random.split(jax.random.key(0), 5)
    observation = jax.random.normal(keys[0], (rows, 1, 17))
    policy_params = agent.policy.init(keys[1], observation[0, 0])
    critic_params = agent.critic.init(keys[2], observation[0, 0])
    normalizer = init_normalizer(
        observation[:1], with_observation=False, with_reward=False
    )
    policy = agent.policy.apply(policy_params, observation)
    batch = Batch(
        observation=observation,
        action=policy.sample(keys[3]),
        advantage=jax.random.normal(keys[4], (rows, 1)),
        value_target=jnp.sin(observation.sum(-1)),
        weight=jnp.ones((rows, 1)),
    )
    state = TrainState(
        policy_params=policy_params,
        critic_params=critic_params,
        critic_optimizer_state=optax.flatten(agent.critic_optimizer).init(
            critic_params
        ),
        normalizer=normalizer,
        env_state=None,
        observation=None,
        episode_return=None,
        episode_length=None,
        env_index=None,
        key=jax.random.key(1),
        iteration=jnp.int32(0),
    )
    return agent, state, batch


def policy_half(
    state: TrainState, batch: Batch, agent: Agent, config: Config
) -> tuple[TrainState, PolicyInfo, tuple[jax.Array, Batch]]:
    """Return the state with a new policy, what happened, and the critic's data."""
    config, batch, (_, policy_key, critic_key) = prepare_update(state, batch, config)
    params, info = update_policy(policy_key, state.policy_params, batch, agent, config)
    return state.replace(policy_params=params), info, (critic_key, batch.critic_batch)


def critic_half(
    state: TrainState, data: tuple[jax.Array, Batch], agent: Agent, config: Config
) -> Any:
    """Return the new critic, as `update_critic` does."""
    key, batch = data
    return update_critic(key, state, batch, agent, scheduled(config, state.iteration))


def update_times() -> dict:
    """Time the policy step and the critic's fit."""
    agent, state, batch = problem()
    found = {}
    for fraction in (1.0, 0.1):
        config = Config(fisher_fraction=fraction, critic_minibatch_size=4096)

        def first(state: TrainState, batch: Batch, config: Config = config) -> Any:
            return policy_half(state, batch, agent, config)

        found[f"policy, ms, {fraction:g} of the rows in products"] = 1e3 * seconds_of(
            first, state, batch
        )
    state, info, data = jax.jit(first)(state, batch)
    found["status"] = int(info.status)
    found["kl"] = float(info.kl)
    for size in (256, 4096):
        config = Config(critic_minibatch_size=size, critic_epochs=1)

        def second(state: TrainState, data: Any, config: Config = config) -> Any:
            return critic_half(state, data, agent, config)

        found[f"critic, ms, one epoch of {size}"] = 1e3 * seconds_of(
            second, state, data
        )
    return found


def trained(environment: str, **values: Any) -> dict:
    """Train once with compiled programs; return the time it took and the returns."""
    training = Training(environment, **values)
    plan, programs = training.plan, training.programs
    states = programs.init(seeds_of(plan))
    jax.block_until_ready(programs.chunk(states, np.int32(1)))  # one-off costs
    began = time.perf_counter()
    outcome = training.run()
    seconds = time.perf_counter() - began
    result = programs.evaluate(seeds_of(plan), outcome.states)
    greedy = result.episode_return[:, 0].mean(axis=1)
    programs.close()
    steps = plan.iterations * plan.config.steps_per_iteration * plan.run.seeds
    return {
        "values": values,
        "compile_seconds": round(training.compile_seconds, 2),
        "train_seconds": round(seconds, 3),
        "iterations": plan.iterations,
        "steps": steps,
        "steps_per_second": round(steps / seconds),
        "greedy": {
            "mean": float(np.mean(greedy)),
            "percentiles_1_10_50": np.percentile(greedy, [1, 10, 50]).tolist(),
        },
        "accepted": float(np.mean(outcome.metrics.status == 0)),
    }


def environments() -> dict:
    """Vary the number of environments, and time the parts of one iteration."""
    found: dict[str, Any] = {
        str(count): trained(
            "CartPole-v1",
            total_steps=max(200 * 64 * count, 1_000_000),
            num_envs=count,
            evaluation_episodes=100,
            **WIDE,
        )
        for count in (16, 256, 4096, 65_536)
    }
    found["inside one iteration of 4096, ms"] = inside(4096)
    return found


def inside(count: int) -> dict:
    """Time each part of an iteration by itself."""
    environment = make_environment("CartPole-v1")
    plan = make_plan("CartPole-v1", num_envs=count, total_steps=64 * count, **WIDE)
    plan = complete(plan, environment)
    config = plan.config
    agent = default_agent(
        environment.observation_space,
        environment.action_space,
        **dataclasses.asdict(plan.network),
    )
    state = jax.jit(lambda key: init(key, environment, agent, config))(
        jax.random.key(0)
    )

    def first(state: TrainState) -> Any:
        return collect(state, environment, agent, num_steps=config.num_steps)

    state, rollout = jax.jit(first)(state)

    def second(state: TrainState, rollout: Any) -> Any:
        batch = estimate_advantages(state, rollout, agent, config)
        return policy_half(state, batch, agent, config)

    def third(state: TrainState, data: Any) -> Any:
        return critic_half(state, data, agent, config)

    improved, _, data = jax.jit(second)(state, rollout)
    return {
        "collect": 1e3 * seconds_of(first, state),
        "policy": 1e3 * seconds_of(second, state, rollout),
        "critic": 1e3 * seconds_of(third, improved, data),
    }


def seeds() -> dict:
    """Train 1024 agents side by side."""
    return trained(
        "CartPole-v1", total_steps=500_000, seeds=1024, evaluation_episodes=10
    )


def ant() -> dict:
    """Train three ants side by side, 50 million steps each."""
    result = train(
        "brax:ant@spring", total_steps=50_000_000, seeds=3, progress=False,
        evaluation_episodes=128, **ANT,
    )  # fmt: skip
    return curve_of(result, 50) | {
        "values": ANT,
        "seeds": 3,
        "seconds": result.evaluation["seconds"],
        "greedy": result.evaluation["greedy"],
        "sampled": result.evaluation["sampled"],
    }


PARTS = {
    "checks": checks,
    "update": update_times,
    "environments": environments,
    "seeds": seeds,
    "ant": ant,
}


def main(
    parts: Annotated[tuple[str, ...], tyro.conf.Positional] = tuple(PARTS),
    output: pathlib.Path = RESULTS,
) -> None:
    """Measure the given parts and write the JSON.

    Args:
        parts: The parts to measure.
        output: The file for the JSON; it keeps the parts that are not measured now.
    """
    result = json.loads(output.read_text()) if output.exists() else {}
    for part in parts:
        start = time.perf_counter()
        result[part] = PARTS[part]() | {
            "command": f"python -m benchmarks.accelerator {part}",
            "versions": describe(),
        }
        seconds = time.perf_counter() - start
        print(f"{part}, {seconds:.1f} s: {json.dumps(result[part])}", flush=True)
        output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
