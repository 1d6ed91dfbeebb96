"""Learning curves, with the statistics of rliable (Agarwal et al. 2021)."""

import contextlib
import importlib
import pathlib
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


def interquartile_mean(x: np.ndarray, axis: int = 0) -> np.ndarray:
    """Return the mean of the scores left when a quarter is cut off at each end.

    Where a quarter is not a whole number of scores it is rounded down, as rliable does.

    Args:
        x: scores.
        axis: over which.

    Example:
        >>> float(interquartile_mean(np.array([0.0, 1.0, 3.0, 100.0])))
        2.0
    """
    ordered = np.sort(np.asarray(x, float), axis=axis)
    cut = ordered.shape[axis] // 4
    middle = np.arange(cut, ordered.shape[axis] - cut)
    return np.mean(np.take(ordered, middle, axis), axis=axis)


def bootstrap_interval(
    x: np.ndarray, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return the percentile bootstrap interval of the interquartile mean over axis 0.

    Args:
        x: `[K, ...]`, K seeds.
        confidence: of the interval.
        resamples: of the seeds, with replacement.
        seed: of the resampling.

    Returns:
        Lower and upper ends, `[...]`.
    """
    x = np.asarray(x, float)
    index = np.random.default_rng(seed).integers(0, len(x), (resamples, len(x)))
    means = interquartile_mean(x[index], axis=1)
    tail = 50 * (1 - confidence)
    low, high = np.percentile(means, [tail, 100 - tail], axis=0)
    return low, high


class Run(NamedTuple):
    """Learning curves to be drawn.

    Attributes:
        name: for the legend.
        environment: its name.
        environment_steps: `[I]`.
        episode_return: `[K, I]`; NaN where no episode ended, which carries the last
            known return forward.
    """

    name: str
    environment: str
    environment_steps: np.ndarray
    episode_return: np.ndarray


def draw_learning_curve(
    axes: Any,
    environment_steps: np.ndarray,
    episode_return: np.ndarray,
    *,
    label: str | None = None,
    color: str = "C0",
) -> None:
    """Draw the interquartile mean over seeds and its 95 % bootstrap band.

    Args:
        axes: of matplotlib.
        environment_steps: `[I]`.
        episode_return: `[K, I]`, as in `Run`.
        label: for the legend; what is drawn, in words, when None.
        color: of matplotlib.
    """
    returns = _fill_forward(episode_return)
    known = ~np.isnan(returns).any(axis=0)
    steps, returns = np.asarray(environment_steps)[known], returns[:, known]
    if returns.size:
        what = "return of training episodes"
        if len(returns) > 1:
            what = f"interquartile mean of {len(returns)} seeds, 95 % interval"
            shown = np.unique(np.linspace(0, len(steps) - 1, 200).astype(int))
            low, high = bootstrap_interval(returns[:, shown], resamples=500)
            axes.fill_between(steps[shown], low, high, color=color, alpha=0.25, lw=0)
        middle = interquartile_mean(returns)
        axes.plot(steps, middle, color=color, label=what if label is None else label)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def import_early() -> None:
    """Import what the first figure needs, beside other work.

    Where it cannot be imported, drawing will say so.
    """

    def load() -> None:
        with contextlib.suppress(ImportError):
            importlib.import_module("matplotlib.backends.backend_agg")

    threading.Thread(target=load, daemon=True).start()


def plot_learning_curve(
    path: pathlib.Path,
    environment_steps: np.ndarray,
    episode_return: np.ndarray,
    title: str,
) -> None:
    """Write the learning curve of a run as a PNG.

    Args:
        path: of the file.
        environment_steps: `[I]`.
        episode_return: `[K, I]`, as in `draw_learning_curve`.
        title: of the figure.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    draw_learning_curve(axes, environment_steps, episode_return)
    axes.set(title=title, xlabel="environment steps", ylabel="episode return")
    if axes.lines:
        axes.legend(frameon=False, loc="lower right")
    figure.savefig(path)


def plot_runs(path: pathlib.Path, runs: Sequence[Run]) -> None:
    """Write the learning curves of several runs as one PNG, a panel an environment.

    Args:
        path: of the file.
        runs: in the order of the legend.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    environments = list(dict.fromkeys(run.environment for run in runs))
    columns = min(len(environments), 3)
    rows = -(-len(environments) // columns)
    figure = Figure(figsize=(6.4 * columns, 4 * rows), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, environment in zip(panels, environments):
        shown = [run for run in runs if run.environment == environment]
        for i, run in enumerate(shown):
            seeds = len(run.episode_return)
            draw_learning_curve(
                axes,
                run.environment_steps,
                run.episode_return,
                label=run.name if seeds == 1 else f"{run.name} ({seeds} seeds)",
                color=f"C{i % 10}",
            )
        axes.set(title=environment, xlabel="environment steps", ylabel="episode return")
        if axes.lines:
            axes.legend(frameon=False, loc="lower right")
    for axes in panels[len(environments) :]:
        axes.set_visible(False)
    figure.savefig(path, format="png")


def _fill_forward(x: np.ndarray) -> np.ndarray:
    x = np.array(x, float)
    for column in range(1, x.shape[1]):
        gap = np.isnan(x[:, column])
        x[gap, column] = x[gap, column - 1]
    return x
