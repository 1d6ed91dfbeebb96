"""One network for policy and value: `python -m benchmarks.shared_networks`.

The variants differ in how policy and value share a network, and in how both learn:

* separate networks of the same width, or together of as many parameters as one shared;
* the joint step, with and without the limit on the value's share of the trust region,
  and with one or four more epochs for the value, which a bounded turn takes;
* rules of others, for comparison: the value's gradient dropped in the trunk, as
  sb3-contrib does; Adam on the value through the trunk, without any bound; and
  alternating phases (Cobbe et al. 2021, arXiv 2009.04416, with one network).

All other values are those of the presets. Five seeds train inside one program; where
the simulator runs on the host, one after the other, with the variants of the library
only. Each run has a JSON file in `benchmarks/results/shared_networks/`; those that
exist are not measured again. At the end the table is printed.
"""

import dataclasses
import functools
import json
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

from benchmarks.result_files import write_json
from benchmarks.returns import mean_return
from benchmarks.runs import provenance
from trpo_jax.agent.networks import Agent, Heads
from trpo_jax.agent.standard_agents import default_agent
from trpo_jax.algorithm.critic import fit_critic, minibatches
from trpo_jax.algorithm.estimation import estimate_advantages
from trpo_jax.algorithm.initialization import init
from trpo_jax.algorithm.metrics import UpdateInfo, summarize
from trpo_jax.algorithm.policy_update import update_policy
from trpo_jax.algorithm.rollout import collect
from trpo_jax.algorithm.trpo import (
    prepare_update,
    update_from_batch,
    update_statistics,
)
from trpo_jax.config.fields import replace_options
from trpo_jax.environments import make_environment, runs_on_host
from trpo_jax.runs.api import train
from trpo_jax.runs.plan import Plan, complete, make_plan
from trpo_jax.runs.plotting import bootstrap_interval, interquartile_mean

PyTree = Any
RESULTS = pathlib.Path(__file__).parent / "results" / "shared_networks"
ENVIRONMENTS = (
    "CartPole-v1",
    "Asterix-MinAtar",
    "Breakout-MinAtar",
    "Freeway-MinAtar",
    "SpaceInvaders-MinAtar",
    "envpool:Hopper-v4",
    "envpool:HalfCheetah-v4",
)
FIRST_SEED, POINTS = 900, 40
SEPARATE = {  # variants of the library: options that the preset gets
    "separate": {},
    "separate, as many parameters": {},
}
JOINT = {
    "joint, no limit": {"critic_share": 1.0},
    "joint": {},
    "joint, 1 extra epoch": {"critic_extra_epochs": 1},
    "joint, 4 extra epochs": {"critic_extra_epochs": 4},
}
OTHERS = ("dropped gradient", "unbounded", "phases")
VARIANTS = (*SEPARATE, *JOINT, *OTHERS)
PHASE, PHASE_EPOCHS = 16, 6  # iterations between auxiliary phases, and their epochs


def main(
    environments: tuple[str, ...] = ENVIRONMENTS,
    variants: tuple[str, ...] = VARIANTS,
    seeds: int = 5,
    total_steps: int | None = None,
    table_only: bool = False,
) -> None:
    """Measure what has no result yet, then print the table.

    Args:
        environments: The environments to train in.
        variants: The variants to train.
        seeds: Agents of each variant.
        total_steps: Environment steps of each seed; those of the preset if None.
        table_only: Only print the table of the results on disk.
    """
    for name in environments if not table_only else ():
        for variant in variants:
            path = path_of(name, variant)
            if path.exists() or (runs_on_host(name) and variant in OTHERS):
                continue
            measure = measure_on_host if runs_on_host(name) else measure_compiled
            write_json(path, measure(name, variant, seeds, total_steps))
            print(name, variant, "done", flush=True)
    print(table(environments))


def path_of(name: str, variant: str) -> pathlib.Path:
    """Return the file of a run."""
    words = variant.replace(",", "").replace(" ", "_")
    return RESULTS / name.replace(":", "-") / f"{words}.json"


def plan_of(name: str, variant: str, total_steps: int | None) -> Plan:
    """Return the preset with the options of a variant."""
    options: dict[str, Any] = (
        {} if total_steps is None else {"total_steps": total_steps}
    )
    if variant in JOINT:
        options |= {"shared_trunk": True, **JOINT[variant]}
    plan = make_plan(name, **options)
    if variant == "separate, as many parameters":
        network = plan.network
        sizes = tuple(np.rint(np.array(network.hidden_sizes) * _narrower(name)))
        sizes = tuple(max(1, int(size)) for size in sizes)
        network = replace_options(network, hidden_sizes=sizes)
        plan = dataclasses.replace(plan, network=network)
    return plan


def _narrower(name: str) -> float:
    """Return the factor of the widths at which two networks are as large as one."""
    environment = _environment_of(make_plan(name))
    network = make_plan(name).network

    def number(factor: float, shared: bool) -> int:
        sizes = tuple(max(1, round(size * factor)) for size in network.hidden_sizes)
        values = dataclasses.asdict(network) | {"hidden_sizes": sizes}
        agent = _agent_of(environment, values | {"shared_trunk": shared})
        return sum(leaf.size for leaf in jax.tree.leaves(_shapes(agent, environment)))

    goal = number(1.0, True)
    factors = np.linspace(0.3, 1, 141)
    return float(min(factors, key=lambda f: abs(number(f, False) - goal)))


def _shapes(agent: Agent, environment: Any) -> PyTree:
    space = environment.observation_space
    one = jax.ShapeDtypeStruct(getattr(space, "shape", ()), jnp.float32)
    return jax.eval_shape(
        lambda x: [net.init(jax.random.key(0), x) for net in agent[:2]], one
    )


@functools.cache
def _made(name: str, repeat: int) -> Any:
    if runs_on_host(name):
        from trpo_jax.environments import make_host_environment

        with_spaces = make_host_environment(name, 1, 0)
        with_spaces.close()
        return with_spaces
    return make_environment(name, action_repeat=repeat)


def _environment_of(plan: Plan) -> Any:
    return _made(plan.environment, plan.config.action_repeat)


def _agent_of(environment: Any, values: dict[str, Any]) -> Agent:
    return default_agent(
        environment.observation_space, environment.action_space, **values
    )


def measure_on_host(
    name: str, variant: str, seeds: int, total_steps: int | None
) -> dict[str, Any]:
    """Train in a simulator on the host."""
    plan = plan_of(name, variant, total_steps)
    options = plan.as_json()
    values = options["config"] | options["network"]
    result = train(
        name,
        seeds=seeds,
        seed=FIRST_SEED,
        total_steps=plan.run.total_steps,
        progress=False,
        **values,
    )
    metrics = result.metrics
    seconds = result.evaluation["seconds"]
    return _content(
        result.plan, variant, metrics, metrics.kl, seconds["compile"], seconds["train"]
    )


def measure_compiled(
    name: str, variant: str, seeds: int, total_steps: int | None
) -> dict[str, Any]:
    """Train all seeds inside one program."""
    plan = plan_of(name, variant, total_steps)
    environment = _environment_of(plan)
    plan = complete(plan, environment)
    shared = variant in (*JOINT, *OTHERS)
    values = dataclasses.asdict(plan.network) | {"shared_trunk": shared}
    agent, config = _agent_of(environment, values), plan.config
    learn, start = learner_of(variant, agent, config)

    def iterate(carry: tuple, i: jax.Array) -> tuple[tuple, Any]:
        state, memory = carry
        state, rollout = collect(state, environment, agent, **config.rollout_options)
        batch = estimate_advantages(state, rollout, agent, config)
        rows = batch.flatten().normalize(state.normalizer)
        after, info, memory = learn(state, batch, rows, memory, i)
        old, new = (
            agent.policy.apply(s.policy_params, rows.observation)
            for s in (state, after)
        )
        kl = jnp.sum(rows.weight * old.kl(new)) / jnp.sum(rows.weight)
        after = update_statistics(after, rollout, config)
        return (after, memory), (summarize(rollout, info), kl)

    @jax.jit
    def train_all(seeds: jax.Array) -> Any:
        def one(seed: jax.Array) -> Any:
            state = start(init(jax.random.key(seed), environment, agent, config))
            memory = memory_of(state, config, environment, variant == "phases")
            steps = jnp.arange(plan.iterations)
            return jax.lax.scan(iterate, (state, memory), steps)[1]

        return jax.vmap(one)(seeds)

    clock = time.perf_counter()
    numbers = jnp.arange(FIRST_SEED, FIRST_SEED + seeds)
    program = train_all.lower(numbers).compile()
    compiled = time.perf_counter()
    metrics, kl = jax.tree.map(np.asarray, program(numbers))
    seconds = compiled - clock, time.perf_counter() - compiled
    return _content(plan, variant, metrics, kl, *seconds)


def learner_of(variant: str, agent: Agent, config: Any) -> tuple[Callable, Callable]:
    """Return how a variant learns from a batch, and what its state starts with."""
    if variant not in OTHERS:

        def learn(
            state: Any, batch: Any, rows: Any, memory: PyTree, i: jax.Array
        ) -> tuple:
            return *update_from_batch(state, batch, agent, config), memory

        return learn, lambda state: state

    alone = Agent(agent.policy, agent.critic)
    optimizer = agent.critic_optimizer

    def value(params: PyTree, observation: PyTree) -> jax.Array:
        if variant != "unbounded":
            frozen = jax.lax.stop_gradient(params["params"])
            own = {"critic_head": params["params"]["critic_head"]}
            frozen = frozen | own
            params = {"params": frozen}
        return agent.critic.apply(params, observation)

    def start(state: Any) -> Any:
        first = optax.flatten(optimizer).init(state.policy_params)
        return state.replace(critic_optimizer_state=first)

    def learn_apart(
        state: Any, batch: Any, rows: Any, memory: PyTree, i: jax.Array
    ) -> tuple:
        now, rows, (key, *keys) = prepare_update(state, batch, config)
        params, info = update_policy(keys[0], state.policy_params, rows, alone, now)
        params, optimizer_state, critic_info = fit_critic(
            keys[1],
            value,
            params,
            optimizer,
            state.critic_optimizer_state,
            rows.observation,
            rows.value_target,
            rows.weight,
            value=rows.value,
            learning_rate=now.critic_learning_rate,
            epochs=now.critic_epochs,
            minibatch_size=now.minibatch_of(rows.weight.size),
        )
        if variant == "phases":
            params, memory = auxiliary_phase(
                jax.random.fold_in(key, 1), params, rows, memory, i, agent, now
            )
        state = state.replace(
            key=key,
            policy_params=params,
            critic_optimizer_state=optimizer_state,
            iteration=state.iteration + 1,
        )
        return state, UpdateInfo(info, critic_info), memory

    return learn_apart, start


def memory_of(state: Any, config: Any, environment: Any, needed: bool) -> PyTree:
    """Return room for the batches of a phase: observations, targets and weights."""
    if not needed:
        return ()
    shape = (PHASE, config.batch_size)
    seen = jnp.zeros((*shape, *state.observation.shape[1:]), jnp.float32)
    return seen, jnp.zeros(shape), jnp.zeros(shape)


def auxiliary_phase(
    key: jax.Array,
    params: PyTree,
    rows: Any,
    memory: PyTree,
    i: jax.Array,
    agent: Agent,
    config: Any,
) -> tuple[PyTree, PyTree]:
    """Every sixteenth time, distil the value into the trunk, and hold the policy there.

    The loss over the batches since the last phase is ½ (V − target)² + KL(π ‖ π_θ), π
    the policy before the phase (Cobbe et al. 2021, eq. 5 with β = 1), as they saw them.
    """
    latest = rows.observation, rows.value_target, rows.weight
    place = i % PHASE
    memory = jax.tree.map(
        lambda kept, new: kept.at[place].set(new.astype(kept.dtype)), memory, latest
    )
    seen, target, weight = jax.tree.map(
        lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), memory
    )
    size = config.minibatch_of(rows.weight.size)
    starts, path = minibatches(key, len(target), size, PHASE_EPOCHS)
    optimizer = optax.adam(config.critic_learning_rate)

    def distil(params: PyTree) -> PyTree:
        before = agent.heads.apply(params, seen)

        def loss(params: PyTree, index: jax.Array) -> jax.Array:
            now: Heads = agent.heads.apply(params, seen[index])
            old = jax.tree.map(lambda leaf: leaf[index], before.policy)
            each = 0.5 * (now.value - target[index]) ** 2 + old.kl(now.policy)
            return jnp.mean(weight[index] * each)

        def descend(carry: tuple, first: jax.Array) -> tuple[tuple, None]:
            params, state = carry
            gradient = jax.grad(loss)(params, (first + path) % len(target))
            updates, state = optimizer.update(gradient, state)
            return (optax.apply_updates(params, updates), state), None

        carry = params, optimizer.init(params)
        return jax.lax.scan(descend, carry, starts)[0][0]

    return jax.lax.cond(place == PHASE - 1, distil, lambda p: p, params), memory


def _content(
    plan: Plan,
    variant: str,
    metrics: Any,
    kl: np.ndarray,
    compile_seconds: float,
    train_seconds: float,
) -> dict[str, Any]:
    """Return what the file of a run holds; arrays are `[K, I]`."""
    parts = np.array_split(np.arange(plan.iterations), min(POINTS, plan.iterations))
    last = slice(-(plan.iterations // 4 or 1), None)
    return {
        "environment": plan.environment,
        "variant": variant,
        "plan": plan.as_json(),
        "curve": {
            "environment_steps": [
                int(part[-1] + 1) * plan.config.steps_per_iteration for part in parts
            ],
            "episode_return": [
                [mean_return(e[part], r[part]) for part in parts]
                for e, r in zip(metrics.episodes, metrics.episode_return)
            ],
        },
        "last_quarter": [
            mean_return(e[last], r[last])
            for e, r in zip(metrics.episodes, metrics.episode_return)
        ],
        "kl": {
            "mean": float(np.mean(kl)),
            "mean_of_last_quarter": float(np.mean(kl[:, last])),
            "max": float(np.max(kl)),
            "updates_beyond_max_kl": float(np.mean(kl > plan.config.max_kl * 1.001)),
        },
        "explained_variance": float(np.nanmean(metrics.explained_variance[:, last])),
        "seconds": {"compile": compile_seconds, "train": train_seconds},
        **provenance("python -m benchmarks.shared_networks"),
    }


def table(environments: tuple[str, ...] = ENVIRONMENTS) -> str:
    """Return the results on disk as a Markdown table."""
    lines = [
        "| environment | variant | last quarter of training, IQM [95 %] | mean KL of "
        "the last quarter | largest KL | beyond δ | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in environments:
        for variant in VARIANTS:
            if not (path := path_of(name, variant)).exists():
                continue
            result = json.loads(path.read_text())
            last = np.array([x for x in result["last_quarter"] if x is not None])
            low, high = bootstrap_interval(last)
            kl = result["kl"]
            cells = [
                name,
                variant,
                f"{interquartile_mean(last):.1f} [{low:.1f}, {high:.1f}]",
                f"{kl['mean_of_last_quarter']:.4f}",
                f"{kl['max']:.4f}",
                f"{kl['updates_beyond_max_kl']:.0%}",
                f"{result['seconds']['train']:.0f}",
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
