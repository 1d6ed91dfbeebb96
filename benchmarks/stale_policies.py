"""Learning from stale data: `python -m benchmarks.stale_policies`.

Every batch is collected by the policy of some updates ago, and learnt from as if it
were fresh, or with the corrections of `trpo_jax.algorithm.off_policy`, or with those and a δ that
shrinks with staleness. Presets, five seeds, whole trainings inside one program. One
JSON an environment goes to `benchmarks/results/stale_policies/`; what is there already
is left alone. Then the table is printed and the figure drawn.
"""

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.returns import mean_return, measure_missing, middle_of, read_all
from trpo_jax.agent.networks import mlp_agent
from trpo_jax.algorithm.metrics import Metrics, summarize
from trpo_jax.algorithm.off_policy import estimate_off_policy_advantages, shrink_max_kl
from trpo_jax.algorithm.rollout import collect
from trpo_jax.algorithm.state import TrainState
from trpo_jax.algorithm.trpo import init
from trpo_jax.algorithm.update import absorb_statistics, estimate_advantages, update
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
    """Measure what has no result yet; draw and print what there is.

    Args:
        environments: to train in.
    """
    measure_missing(environments, path_of, measure)
    print(table())
    draw()


def path_of(name: str) -> pathlib.Path:
    """Return the file of an environment."""
    return RESULTS / f"{name}.json"


def measure(name: str) -> dict:
    """Train with every delay and in every way."""
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
    agent = mlp_agent(
        environment.observation_space,
        environment.action_space,
        **dataclasses.asdict(plan.network),
    )

    def iterate(carry: tuple, _: None) -> tuple[tuple, Metrics]:
        state, past = carry  # past[0] is the oldest policy still to act
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
        near = config
        if way == "uncorrected":
            batch = estimate_advantages(state, rollout, agent, config)
        else:
            batch = estimate_off_policy_advantages(state, rollout, agent, config)
        if way == WAYS[2]:
            near = shrink_max_kl(config, staleness)
        state, info = update(state, batch, agent, near)
        state = absorb_statistics(state, rollout, config)
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
    """Return the results as Markdown: return all the way, and in the last third."""
    lines = []
    for name, result in read_all(tuple(ENVIRONMENTS), path_of).items():
        lines += [
            f"| {name}: return, all the way / last third; IQM of {SEEDS} seeds | "
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
    """Draw learning curves, a row an environment, a panel a delay."""
    found = read_all(tuple(ENVIRONMENTS), path_of)
    figure = Figure(
        figsize=(2.3 * len(DELAYS), 2.3 * len(found)), dpi=100, layout="constrained"
    )
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(found), len(DELAYS), squeeze=False, sharey="row")
    for row, (name, result) in zip(panels, found.items()):
        for axes, delay in zip(row, DELAYS):
            for i, way in enumerate(WAYS):
                curve = result["curves"][f"{way}, {delay}"]
                returns = of_curve(curve)
                steps = np.array(curve["environment_steps"]) / 1000
                middle = middle_of(returns)
                axes.plot(steps, middle, color=f"C{i}", lw=1.5, label=way)
                low, high = np.nanmin(returns, axis=0), np.nanmax(returns, axis=0)
                axes.fill_between(steps, low, high, color=f"C{i}", alpha=0.15, lw=0)
            axes.set_title(f"{name}, {delay} updates old", fontsize=9)
            axes.tick_params(labelsize=8)
    for axes in panels[-1]:
        axes.set_xlabel("thousand simulator steps", fontsize=8)
    for row in panels:
        row[0].set_ylabel("training return", fontsize=8)
    panels[0][0].legend(fontsize=7)
    figure.savefig(FIGURE)


if __name__ == "__main__":
    tyro.cli(main)
