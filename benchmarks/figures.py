"""Figures from the results on disk: `python -m benchmarks.figures`."""

import math
import pathlib

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.returns import HOST, load
from trpo_jax.plotting import draw_learning_curve, interquartile_mean

CLASSIC = {  # and the goal drawn as a dotted line: rl-zoo3's TRPO, deterministic
    "CartPole-v1": 500.0,
    "Acrobot-v1": -83.1,
    "Pendulum-v1": -174.6,
    "MountainCar-v0": -107.3,
    "MountainCarContinuous-v0": 92.5,
}
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


def main() -> None:
    """Draw the learning curves of the classic tasks, and those on the host."""
    draw_returns(DOCS / "learning_curves.png", CLASSIC, columns=5)
    draw_returns(DOCS / "returns_on_the_host.png", HOST, columns=6)


if __name__ == "__main__":
    main()
