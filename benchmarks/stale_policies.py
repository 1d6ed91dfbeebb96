"""Learning from stale data: `python -m benchmarks.stale_policies`.

Every batch is collected by the policy of some updates ago. The learner treats it as if
it were fresh, or applies the corrections of `trpo_jax.algorithm.off_policy`, or also
shrinks δ with the staleness. All values are those of the presets; five seeds train
inside one program. Each environment has one JSON file in
`benchmarks/results/stale_policies/`; those that exist are not measured again. At the
end the table is printed and the figure drawn.
"""

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from benchmarks.drawing import figure_of_height
from benchmarks.result_files import measure_missing, read_all
from benchmarks.returns import mean_return, middle_of
from trpo_jax.agent.standard_agents import default_agent
from trpo_jax.algorithm.estimation import estimate_advantages
from trpo_jax.algorithm.initialization import init
from trpo_jax.algorithm.metrics import Metrics, summarize
from trpo_jax.algorithm.off_policy import estimate_off_policy_advantages, shrink_max_kl
from trpo_jax.algorithm.rollout import collect
from trpo_jax.algorithm.state import TrainState
from trpo_jax.algorithm.trpo import update_from_batch, update_statistics
from trpo_jax.environments import make_environment
from trpo_jax.runs.plan import complete, make_plan
from trpo_jax.runs.plotting import interquartile_mean
from trpo_jax.runs.self_check import describe

RESULTS = pathlib.Path(__file__).parent / "results" / "stale_policies"
FIGURE = RESULTS.parent / "stale_policies.png"
ENVIRONMENTS = ("CartPole-v1", "Pendulum-v1")
DELAYS = (0, 1, 2, 4, 8)
WAYS = ("uncorrected", "corrected", "corrected, δ shrinks")
SEEDS, POINTS = 5, 25


def main(environments: tuple[str, ...] = ENVIRONMENTS) -> None:
    """Measure what has no result yet, then draw and print all results.

    Args:
        environments: The environments to train in.
    """
    measure_missing(environments, path_of, measure)
    print(table())
    draw()


def path_of(name: str) -> pathlib.Path:
    """Return the file for an environment."""
    return RESULTS / f"{name}.json"


def measure(name: str) -> dict:
    """Train with every delay and every kind of correction."""
    curves = {}
    for delay in DELAYS:
        for way in WAYS:
            metrics, steps = run(name, delay, way)
            parts = np.array_split(np.arange(len(steps)), POINTS)
            curves[f"{way}, {delay}"] = {
                "environment_steps": [int(steps[part[-1]]) for part in parts],
                "episode_return": [
                    [mean_return(e[part], r[part]) for part in parts]
                    for e, r in zip(metrics.episodes, metrics.episode_return)
                ],
                "accepted": round(float(np.mean(metrics.status == 0)), 3),
            }
    return {
        "environment": name,
        "seeds": SEEDS,
        "plan": make_plan(name).as_json(),
        "curves": curves,
        "versions": describe(),
        "device": jax.devices()[0].device_kind,
    }


def run(name: str, delay: int, way: str) -> tuple[Metrics, np.ndarray]:
    """Return metrics `[K, I]` of all seeds, and the steps at each iteration."""
    plan = make_plan(name)
    environment = make_environment(name, action_repeat=plan.config.action_repeat)
    plan = complete(plan, environment)
    config, iterations = plan.config, plan.iterations
    agent = default_agent(
        environment.observation_space,
        environment.action_space,
        **dataclasses.asdict(plan.network),
    )

    def iterate(carry: tuple, _: None) -> tuple[tuple, Metrics]:
        state, past = carry  # past[0] is the oldest policy, which acts
        oldest = jax.tree.map(lambda leaf: leaf[0], past)
        actor = state.replace(
            policy_params=oldest[0],
            normalizer=oldest[1],
            iteration=jnp.maximum(state.iteration - delay, 0),
        )
        actor, rollout = collect(actor, environment, agent, num_steps=config.num_steps)
        state = actor.replace(
            policy_params=state.policy_params,
            normalizer=state.normalizer,
            iteration=state.iteration,
        )
        staleness = state.iteration - rollout.policy_version
        step_config = config
        if way == "uncorrected":
            batch = estimate_advantages(state, rollout, agent, config)
        else:
            batch = estimate_off_policy_advantages(state, rollout, agent, config)
        if way == WAYS[2]:
            step_config = shrink_max_kl(config, staleness)
        state, info = update_from_batch(state, batch, agent, step_config)
        state = update_statistics(state, rollout, config)
        past = jax.tree.map(
            lambda old, new: jnp.concatenate([old[1:], new[None]]),
            past,
            (state.policy_params, state.normalizer),
        )
        return (state, past), summarize(rollout, info)

    @jax.jit
    @jax.vmap
    def train(seed: jax.Array) -> Metrics:
        state: TrainState = init(jax.random.key(seed), environment, agent, config)
        past: Any = jax.tree.map(
            lambda leaf: jnp.repeat(leaf[None], delay + 1, axis=0),
            (state.policy_params, state.normalizer),
        )
        return jax.lax.scan(iterate, (state, past), length=iterations)[1]

    metrics = jax.tree.map(np.asarray, train(jnp.arange(SEEDS)))
    return metrics, config.steps_per_iteration * np.arange(1, iterations + 1)


def of_curve(curve: dict) -> np.ndarray:
    """Return the returns of a curve, `[K, points]`, NaN where no episode ended."""
    return np.array(curve["episode_return"], float)


def table() -> str:
    """Return the results as Markdown: the return overall, and in the last third."""
    lines = []
    for name, result in read_all(tuple(ENVIRONMENTS), path_of).items():
        lines += [
            f"| {name}: return overall / in the last third; IQM of {SEEDS} seeds | "
            + " | ".join(f"delay {delay}" for delay in DELAYS)
            + " |",
            "|---|" + "---|" * len(DELAYS),
        ]
        for way in WAYS:
            cells = []
            for delay in DELAYS:
                returns = of_curve(result["curves"][f"{way}, {delay}"])
                whole, end = (
                    interquartile_mean(np.nanmean(returns[:, first:], axis=1))
                    for first in (0, -(POINTS // 3))
                )
                cells.append(f"{whole:.0f} / {end:.0f}")
            lines.append(f"| {way} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def draw() -> None:
    """Draw learning curves, a row for each environment, a panel for each delay."""
    found = read_all(tuple(ENVIRONMENTS), path_of)
    with figure_of_height(FIGURE, 2.4 * len(found) + 0.6) as figure:
        panels = figure.subplots(len(found), len(DELAYS), squeeze=False, sharey="row")
        for row, (name, result) in zip(panels, found.items()):
            for axes, delay in zip(row, DELAYS):
                for i, way in enumerate(WAYS):
                    curve = result["curves"][f"{way}, {delay}"]
                    returns = of_curve(curve)
                    steps = np.array(curve["environment_steps"]) / 1000
                    axes.plot(steps, middle_of(returns), color=f"C{i}", label=way)
                    low, high = np.nanmin(returns, axis=0), np.nanmax(returns, axis=0)
                    axes.fill_between(steps, low, high, color=f"C{i}", alpha=0.15, lw=0)
            row[0].set_ylabel(f"{name}: training return")
        for axes, delay in zip(panels[0], DELAYS):
            axes.set_title(f"{delay} update{'s' * (delay != 1)} old")
        handles = panels[0][0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside upper center", ncols=len(WAYS))
        figure.supxlabel("thousand simulator steps", fontsize="medium")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
