"""Figures from the results on disk: `python -m benchmarks.figures`."""

import json
import math
import pathlib

import numpy as np
import tyro
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from benchmarks.returns import HOST, load
from trpo_jax.runs.plotting import draw_learning_curve, interquartile_mean

CLASSIC = {  # and the goal drawn as a dotted line: rl-zoo3's TRPO, deterministic
    "CartPole-v1": 500.0,
    "Acrobot-v1": -83.1,
    "Pendulum-v1": -174.6,
    "MountainCar-v0": -107.3,
    "MountainCarContinuous-v0": 92.5,
}
SIDES = {
    "trpo_jax": "trpo_jax",
    "trpo_jax, warm": "trpo_jax, compiled before",
    "sb3_trpo": "sb3-contrib TRPO",
    "sb3_ppo": "Stable-Baselines3 PPO",
    "tianshou_trpo": "Tianshou TRPO",
    "rejax_ppo": "rejax PPO",
    "rejax_ppo, defaults": "rejax PPO, defaults",
}
SOLVED = {
    "CartPole-v1": "CartPole-v1 until it returns 475",
    "Acrobot-v1": "Acrobot-v1 until it returns \N{MINUS SIGN}83",
    "Pendulum-v1": "Pendulum-v1 until it returns \N{MINUS SIGN}175",
    "CartPole-v1, all steps": "CartPole-v1, 100,000 steps",
}
LEFT = 1e-2  # seconds, where bars on a logarithmic axis start
RESULTS = pathlib.Path(__file__).parent / "results"
DOCS = pathlib.Path(__file__).parent.parent / "docs"


def draw_returns(
    path: pathlib.Path, references: dict[str, float], columns: int
) -> None:
    """Draw a panel for each environment that has results.

    Args:
        path: of the picture.
        references: by environment, a return drawn as a dotted line.
        columns: of panels.
    """
    results = {name: load(name) for name in references}
    results = {name: result for name, result in results.items() if result is not None}
    rows = math.ceil(len(results) / columns)
    figure = Figure(
        figsize=(2.8 * columns, 2.6 * rows + 0.3), dpi=100, layout="constrained"
    )
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, result) in zip(panels, results.items()):
        axes.set_title(name.rpartition(":")[2], fontsize=10)
        axes.set_xlabel("thousand simulator steps", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.axhline(references[name], color="0.4", ls=":", lw=1)
        steps = np.array(result["curve"]["environment_steps"]) / 1000
        draw_learning_curve(
            axes, steps, np.array(result["curve"]["episode_return"], float)
        )
        greedy = interquartile_mean(np.array(result["greedy"]["mean_per_seed"]))
        axes.plot(steps[-1], greedy, "o", color="C0", ms=4, clip_on=False)
    for axes in panels[::columns]:
        axes.set_ylabel("training return", fontsize=8)
    for axes in panels[len(results) :]:
        axes.set_visible(False)
    figure.savefig(path)


def draw_seconds(path: pathlib.Path) -> None:
    """Draw how long each side takes until solved: training alone, and everything."""
    results = json.loads((RESULTS / "time_to_solve.json").read_text())
    tasks = [task for task in SOLVED if task in results]
    rows = math.ceil(len(tasks) / 2)
    figure = Figure(figsize=(9, 2.3 * rows + 0.4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, 2, squeeze=False).ravel()
    for axes in panels[len(tasks) :]:
        axes.set_visible(False)
    for axes, task in zip(panels, tasks):
        title, median = SOLVED[task], results[task]["median"]
        sides = [
            side for side in SIDES if median.get(side, {}).get("steps") is not None
        ][::-1]
        places = np.arange(len(sides))
        for field, height, color in (
            ("wall_seconds", 0.7, "C0"),
            ("train_seconds", 0.4, "C1"),
        ):
            values = [median[side][field] for side in sides]
            axes.barh(
                places, np.subtract(values, LEFT), height, left=LEFT, color=color,
                alpha=0.45 if color == "C0" else 1,
            )  # fmt: skip
            inside = field == "train_seconds"
            for place, value in zip(places, values):
                axes.annotate(
                    f"{value:.2g} s", (LEFT if inside else value, place),
                    xytext=(3, 0), fontsize=7, textcoords="offset points",
                    va="center",
                )  # fmt: skip
        axes.set_yticks(places, [SIDES[side] for side in sides], fontsize=8)
        axes.set_xscale("log")
        axes.set_xlim(LEFT, 300)
        axes.tick_params(axis="x", labelsize=8)
        axes.set_title(title, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(
        "seconds, medians of five seeds on two CPU cores: training, compilation apart "
        "(orange); from the start of the process (blue)",
        fontsize=9,
    )
    figure.savefig(path)


def draw_growth(path: pathlib.Path) -> None:
    """Draw how the cost of an iteration grows with environments, width and seeds."""
    results = json.loads((RESULTS / "throughput.json").read_text())
    figure = Figure(figsize=(9, 2.9), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    labels = {
        "environments": "environments, 64 steps each",
        "width": "width of both layers, 64 x 32 steps",
        "seeds": "seeds, 8 x 128 steps each",
    }
    parts = [part for part in labels if part in results.get("exponent", ())]
    panels = figure.subplots(1, len(parts), squeeze=False)[0]
    for axes, part in zip(panels, parts):
        sizes = np.array([int(size) for size in results[part]], float)
        cost = [row["iteration_seconds"] for row in results[part].values()]
        axes.loglog(sizes, cost, "o-", ms=4)
        slope = results["exponent"][part]
        axes.loglog(sizes[-3:], cost[-1] * (sizes[-3:] / sizes[-1]) ** slope, "k:")
        axes.set_title(f"exponent {slope:.3f} at the end", fontsize=9)
        axes.set_xlabel(labels[part], fontsize=8)
        axes.set_xticks(sizes[:: 2 if len(sizes) > 6 else 1])
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.tick_params(labelsize=7)
    figure.supylabel("seconds of an iteration", fontsize=8)
    figure.savefig(path)


def main() -> None:
    """Draw learning curves, on the host too, seconds until solved, and growth."""
    draw_seconds(DOCS / "seconds_until_solved.png")
    draw_growth(DOCS / "growth.png")
    draw_returns(DOCS / "learning_curves.png", CLASSIC, columns=5)
    draw_returns(DOCS / "returns_on_the_host.png", HOST, columns=6)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
