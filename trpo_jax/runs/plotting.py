"""Learning curves, with the statistics of rliable (Agarwal et al. 2021)."""

import contextlib
import importlib
import io
import pathlib
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np

from trpo_jax.storage.atomic_files import write_whole


def figure_style() -> AbstractContextManager:
    """Return a context in which figures are made, drawn and saved in this style."""
    import matplotlib  # its `style` would read all styles there are

    path = pathlib.Path(__file__).with_name("trpo_jax.mplstyle")
    values = matplotlib.rc_params_from_file(path, use_default_template=False)
    return matplotlib.rc_context(values)


def interquartile_mean(x: np.ndarray, axis: int = 0) -> np.ndarray:
    """Return the mean of the scores without the lowest and the highest quarter.

    If a quarter is not a whole number of scores, it is rounded down, as in rliable.

    Args:
        x: the scores.
        axis: the axis of the scores that are averaged.

    Returns:
        The means, without that axis.

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
        x: `[K, ...]`, the scores of K seeds.
        confidence: the confidence level of the interval.
        resamples: the number of times that the seeds are drawn with replacement.
        seed: the seed of the resampling.

    Returns:
        The lower and the upper ends, `[...]`.

    Example:
        >>> low, high = bootstrap_interval(np.array([1.0, 2.0, 3.0, 4.0]))
        >>> bool(1 <= low <= 2.5 <= high <= 4)
        True
    """
    x = np.asarray(x, float)
    index = np.random.default_rng(seed).integers(0, len(x), (resamples, len(x)))
    means = interquartile_mean(x[index], axis=1)
    tail = 50 * (1 - confidence)
    low, high = np.percentile(means, [tail, 100 - tail], axis=0)
    return low, high


class Run(NamedTuple):
    """The learning curves of one run, which has a name in the legend.

    The environment steps of each seed are `[I]`. The mean return of the episodes that
    ended in an iteration is `[K, I]`, and NaN if none ended.
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
    """Draw the interquartile mean over seeds and its 95 % bootstrap interval.

    The interval of two seeds is from one to the other, and the legend says so. The
    arrays are those of `Run`. The axes say if there is nothing to draw. Without a
    label, the legend describes what is drawn.
    """
    returns = _fill_forward(episode_return)
    known = ~np.isnan(returns).any(axis=0)
    steps, returns = np.asarray(environment_steps)[known], returns[:, known]
    if not returns.size:
        if not axes.lines and not axes.texts:
            seeds = "" if np.isnan(episode_return).all() else " of some seeds"
            axes.text(0.5, 0.5, f"no training episode{seeds} has ended",
                      transform=axes.transAxes, ha="center", va="center")  # fmt: skip
        return
    description = "return of training episodes"
    if len(returns) > 1:
        spread = "95 % interval" if len(returns) > 2 else "from one to the other"
        description = f"interquartile mean of {len(returns)} seeds, {spread}"
        shown = np.unique(np.linspace(0, len(steps) - 1, 200).astype(int))
        low, high = bootstrap_interval(returns[:, shown], resamples=500)
        axes.fill_between(steps[shown], low, high, color=color, alpha=0.25, lw=0)
    label = description if label is None else label
    axes.plot(steps, interquartile_mean(returns), color=color, label=label)


def import_early() -> None:
    """Import matplotlib in a thread, so that the first figure does not wait for it."""

    def load() -> None:
        with contextlib.suppress(ImportError):  # drawing will raise it
            for name in ("backends.backend_agg", "figure"):
                importlib.import_module(f"matplotlib.{name}")

    threading.Thread(target=load, daemon=True).start()


def plot_learning_curve(
    path: pathlib.Path,
    environment_steps: np.ndarray,
    episode_return: np.ndarray,
    title: str,
) -> None:
    """Write the learning curve of a run, the arrays of a `Run`, as a PNG file."""
    with figure_style():
        figure = _new_figure()
        axes = figure.subplots()
        draw_learning_curve(axes, environment_steps, episode_return)
        _label(axes, title)
        _save(figure, path)


def plot_runs(path: pathlib.Path, runs: Sequence[Run]) -> None:
    """Write the learning curves of several runs as one PNG file.

    Every environment has a panel, every run in it a colour.

    Args:
        path: the file to write.
        runs: the runs, in the order of the legend; see `read_run`.

    Example:
        ::

            plot_runs("runs.png", [read_run("runs/one"), read_run("runs/two")])
    """
    environments = list(dict.fromkeys(run.environment for run in runs))
    columns = min(len(environments), 3)
    rows = -(-len(environments) // columns)
    width, height = (6.4, 4) if columns == 1 else (4.2, 3.2)
    with figure_style():
        figure = _new_figure(figsize=(width * columns, height * rows))
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, environment in zip(panels, environments):
            shown = [run for run in runs if run.environment == environment]
            for i, run in enumerate(shown):
                curves, seeds = run[2:], len(run.episode_return)
                label = run.name if seeds == 1 else f"{run.name} ({seeds} seeds)"
                draw_learning_curve(axes, *curves, label=label, color=f"C{i % 8}")
            _label(axes, environment)
        for axes in panels[len(environments) :]:
            axes.set_visible(False)
        _save(figure, path)


def _new_figure(**options: Any) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(**options)
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: pathlib.Path) -> None:
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_whole(path, content.getvalue())


def _label(axes: Any, title: str) -> None:
    axes.set(title=title, xlabel="environment steps", ylabel="episode return")
    if axes.lines:
        for text in axes.texts:  # some runs can be drawn, so the panel is not empty
            text.set_visible(False)
        axes.legend(loc="lower right")


def _fill_forward(x: np.ndarray) -> np.ndarray:
    x = np.array(x, float)
    for column in range(1, x.shape[1]):
        gap = np.isnan(x[:, column])
        x[gap, column] = x[gap, column - 1]
    return x
