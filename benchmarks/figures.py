"""Figures from the results on disk: `python -m benchmarks.figures`."""

import json
import math
import pathlib

import numpy as np
import tyro
from matplotlib.ticker import NullLocator

from benchmarks.drawing import figure_of_height
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
RESULTS = pathlib.Path(__file__).parent / "results"
DOCS = pathlib.Path(__file__).parent.parent / "docs"


def draw_returns(
    path: pathlib.Path, references: dict[str, float], columns: int
) -> None:
    """Draw a panel for each environment that has results.

    Args:
        path: the file to write.
        references: a return for each environment, drawn as a dotted line.
        columns: the number of panels in a row.
    """
    results = {name: load(name) for name in references}
    results = {name: result for name, result in results.items() if result is not None}
    rows = math.ceil(len(results) / columns)
    with figure_of_height(path, 2.3 * rows + 0.4) as figure:
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, (name, result) in zip(panels, results.items()):
            axes.set_title(name.rpartition(":")[2], fontsize="small", loc="right")
            axes.axhline(references[name], color="0.3", ls=":", lw=1.2)
            steps = np.array(result["curve"]["environment_steps"]) / 1000
            draw_learning_curve(
                axes, steps, np.array(result["curve"]["episode_return"], float)
            )
            greedy = interquartile_mean(np.array(result["greedy"]["mean_per_seed"]))
            axes.plot(steps[-1], greedy, "o", color="C0", ms=5, clip_on=False)
            axes.locator_params(axis="x", nbins=4)
        for axes in panels[len(results) :]:
            axes.set_visible(False)
        figure.supxlabel("thousand simulator steps", fontsize="medium")
        figure.supylabel("training return", fontsize="medium")


def draw_seconds(path: pathlib.Path) -> None:
    """Draw how long each side takes until solved: training alone, and everything."""
    results = json.loads((RESULTS / "time_to_solve.json").read_text())
    tasks = [task for task in SOLVED if task in results]
    rows = math.ceil(len(tasks) / 2)
    kinds = {
        "train_seconds": ("training, without compilation", "o", "right", -7),
        "wall_seconds": ("from the start of the process", "s", "left", 7),
    }
    with figure_of_height(path, 2.4 * rows + 0.6) as figure:
        panels = figure.subplots(rows, 2, squeeze=False).ravel()
        for axes in panels[len(tasks) :]:
            axes.set_visible(False)
        for axes, task in zip(panels, tasks):
            median = results[task]["median"]
            sides = [
                side for side in SIDES if median.get(side, {}).get("steps") is not None
            ][::-1]
            places = np.arange(len(sides))
            ends = [[median[side][kind] for side in sides] for kind in kinds]
            axes.hlines(places, *ends, color="0.75", lw=2, zorder=1)
            for i, (label, marker, side, gap) in enumerate(kinds.values()):
                axes.plot(ends[i], places, marker, color=f"C{1 - i}", label=label, ms=6)
                for place, seconds in zip(places, ends[i]):
                    axes.annotate(
                        f"{seconds:.2g} s", (seconds, place), ha=side, va="center",
                        xytext=(gap, 0), textcoords="offset points",
                    )  # fmt: skip
            axes.set_yticks(places, [SIDES[side] for side in sides])
            axes.set_ylim(-0.6, len(sides) - 0.4)
            axes.set_xscale("log")
            axes.set_xlim(4e-3, 150)
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_locator(NullLocator())
            axes.grid(axis="y", visible=False)
            axes.set_title(SOLVED[task])
        handles = panels[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside upper center", ncols=2)
        figure.supxlabel(
            "seconds, medians of five seeds on two CPU cores", fontsize="medium"
        )


def draw_growth(path: pathlib.Path) -> None:
    """Draw how the cost of an iteration grows with environments, width and seeds."""
    results = json.loads((RESULTS / "throughput.json").read_text())
    labels = {
        "environments": "environments, 64 steps each",
        "width": "width of both layers, 64 × 32 steps",
        "seeds": "seeds, 8 × 128 steps each",
    }
    parts = [part for part in labels if part in results.get("exponent", ())]
    with figure_of_height(path, 3.2) as figure:
        panels = figure.subplots(1, len(parts), squeeze=False)[0]
        for axes, part in zip(panels, parts):
            sizes = np.array([int(size) for size in results[part]], float)
            cost = [row["iteration_seconds"] for row in results[part].values()]
            axes.loglog(sizes, cost, "o-", ms=5)
            slope = results["exponent"][part]
            axes.loglog(sizes[-3:], cost[-1] * (sizes[-3:] / sizes[-1]) ** slope, "k:")
            axes.set_title(f"seconds grow as size^{slope:.3f} (dotted)")
            axes.set_xlabel(labels[part])
            axes.set_xticks(sizes[::2])
            axes.xaxis.set_major_formatter("{x:,.0f}")
            axes.xaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_formatter("{x:g}")
        panels[0].set_ylabel("seconds per iteration")


def main() -> None:
    """Draw every figure of the documentation and of the results."""
    from benchmarks import (
        ablations,
        paper_figure4,
        stale_policies,
        vine_learning,
        vine_variance,
    )

    draw_seconds(DOCS / "seconds_until_solved.png")
    draw_growth(DOCS / "growth.png")
    draw_returns(DOCS / "learning_curves.png", CLASSIC, columns=5)
    draw_returns(DOCS / "returns_on_the_host.png", HOST, columns=4)
    for module in (
        ablations, paper_figure4, stale_policies, vine_learning, vine_variance
    ):  # fmt: skip
        module.draw()


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
