"""What branching buys a learner: `python -m benchmarks.vine_learning`.

The single path against the vine, with and without common random numbers: presets, no
more simulator steps an iteration (trunk and branches counted), five seeds.
Learning curves against simulator steps and against wall time, compilation apart. One
JSON an environment goes to `benchmarks/results/vine_learning/`; what is there already
is left alone. Then the table is printed and the figure drawn. Let nothing else run.
"""

import pathlib
from typing import Any

import jax
import numpy as np
import tyro
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.returns import measure_missing, middle_of, read_all
from benchmarks.runs import curve_of, vine_of_as_many_steps
from trpo_jax.environments import make_environment
from trpo_jax.environments.spaces import Discrete
from trpo_jax.runs.api import train
from trpo_jax.runs.plan import make_plan
from trpo_jax.runs.plotting import interquartile_mean
from trpo_jax.runs.self_check import describe

RESULTS = pathlib.Path(__file__).parent / "results" / "vine_learning"
FIGURE = RESULTS.parent / "vine_learning.png"
ENVIRONMENTS = {  # simulator steps a seed
    "CartPole-v1": 100_000,
    "Pendulum-v1": 200_000,
    "Breakout-MinAtar": 300_000,
    "brax:hopper@spring": 200_000,
}
WAYS = {
    "single path": {},
    "vine, own random numbers": {"common_random_numbers": False},
    "vine, common random numbers": {"common_random_numbers": True},
}
SEEDS, POINTS = 5, 25
BRANCH = 4  # steps, then the critic


def main(environments: tuple[str, ...] = tuple(ENVIRONMENTS)) -> None:
    """Measure what has no result yet; draw and print what there is.

    Args:
        environments: to train in.
    """
    measure_missing(environments, path_of, measure)
    print(table())
    draw()


def path_of(name: str) -> pathlib.Path:
    """Return the file of an environment."""
    return RESULTS / f"{name.replace(':', '-')}.json"


def measure(name: str) -> dict:
    """Train five seeds in every way."""
    return {
        "environment": name,
        "seeds": SEEDS,
        "ways": {way: run(name, way) for way in WAYS},
        "versions": describe(),
        "device": jax.devices()[0].device_kind,
    }


def run(name: str, way: str) -> dict:
    """Train five seeds in one way."""
    values: dict[str, Any] = dict(WAYS[way])
    if values:
        space = make_environment(name).action_space
        actions = min(4, space.n) if isinstance(space, Discrete) else 4
        path = make_plan(name).config
        values |= vine_of_as_many_steps(path.num_envs, path.num_steps, actions, BRANCH)
    result = train(
        name,
        total_steps=ENVIRONMENTS[name],
        seeds=SEEDS,
        progress=False,
        **values,
    )
    return curve_of(result, POINTS) | {
        "greedy": result.evaluation["greedy"]["mean_per_seed"],
        "compile_seconds": result.evaluation["seconds"]["compile"],
        "train_seconds": result.evaluation["seconds"]["train"],
        "plan": result.plan.as_json(),
    }


def table() -> str:
    """Return the results as Markdown."""
    lines = [
        "| environment | way | updates | return over the training | greedy afterwards "
        "(worst to best) | seconds of training |",
        "|---|---|---|---|---|---|",
    ]
    for name, result in read_all(tuple(ENVIRONMENTS), path_of).items():
        for way, found in result["ways"].items():
            whole = np.nanmean(np.array(found["episode_return"], float), axis=1)
            greedy = np.array(found["greedy"])
            lines.append(
                f"| {name} | {way} | {found['iterations']} | "
                f"{interquartile_mean(whole):.4g} | {interquartile_mean(greedy):.4g} "
                f"({greedy.min():.4g} to {greedy.max():.4g}) | "
                f"{found['train_seconds']:.0f} |"
            )
    return "\n".join(lines)


def draw() -> None:
    """Draw curves: a column an environment, above by steps and below by seconds."""
    found = read_all(tuple(ENVIRONMENTS), path_of)
    figure = Figure(figsize=(2.9 * len(found), 4.8), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, len(found), squeeze=False, sharey="col")
    for (above, below), (name, result) in zip(panels.T, found.items()):
        above.set_title(name, fontsize=10)
        for i, (way, run) in enumerate(result["ways"].items()):
            returns = np.array(run["episode_return"], float)
            steps = np.array(run["environment_steps"])
            low, high = np.nanmin(returns, axis=0), np.nanmax(returns, axis=0)
            seconds = run["train_seconds"] * steps / steps[-1]
            for axes, x in ((above, steps / 1000), (below, seconds)):
                axes.plot(x, middle_of(returns), color=f"C{i}", lw=1.5, label=way)
                axes.fill_between(x, low, high, color=f"C{i}", alpha=0.15, lw=0)
                axes.tick_params(labelsize=8)
        above.set_xlabel("thousand simulator steps", fontsize=8)
        below.set_xlabel(f"seconds for {SEEDS} seeds together", fontsize=8)
    for axes in panels[:, 0]:
        axes.set_ylabel("training return", fontsize=8)
    panels[0][0].legend(fontsize=7)
    figure.savefig(FIGURE)


if __name__ == "__main__":
    tyro.cli(main)
