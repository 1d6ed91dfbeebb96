"""Figures from the results on disk: `python -m benchmarks.figures`."""

import json
import pathlib

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.returns import RESULTS
from trpo_jax.plotting import draw_learning_curve

CLASSIC = {  # and the goal drawn as a dotted line: rl-zoo3's TRPO, deterministic
    "CartPole-v1": 500.0,
    "Acrobot-v1": -83.1,
    "Pendulum-v1": -174.6,
    "MountainCar-v0": -107.3,
    "MountainCarContinuous-v0": 92.5,
}
FIGURE = pathlib.Path(__file__).parent.parent / "docs" / "learning_curves.png"


def main() -> None:
    """Draw the learning curves of the classic control tasks."""
    figure = Figure(figsize=(14, 2.9), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (name, reference) in zip(
        figure.subplots(1, len(CLASSIC)), CLASSIC.items()
    ):
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("thousand simulator steps", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.axhline(reference, color="0.4", ls=":", lw=1)
        path = RESULTS / f"{name}.json"
        if path.exists():
            curve = json.loads(path.read_text())["curve"]
            draw_learning_curve(
                axes,
                np.array(curve["environment_steps"]) / 1000,
                np.array(curve["episode_return"], float),
            )
    figure.axes[0].set_ylabel("training return", fontsize=8)
    figure.savefig(FIGURE)


if __name__ == "__main__":
    main()
