"""The frame that all figures of the benchmarks share."""

import contextlib
import pathlib
from collections.abc import Iterator

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from trpo_jax.runs.plotting import figure_style

WIDTH = 11  # inches; the pages show a figure 820 pixels wide, its text 10 pixels high


@contextlib.contextmanager
def figure_of_height(path: pathlib.Path, height: float) -> Iterator[Figure]:
    """Write what is drawn inside the block as a PNG file in the style of the package.

    Args:
        path: the file to write.
        height: the height of the figure in inches; its width is always `WIDTH`.

    Yields:
        An empty figure.
    """
    with figure_style():
        figure = Figure(figsize=(WIDTH, height))
        FigureCanvasAgg(figure)
        yield figure
        figure.savefig(path, pil_kwargs={"optimize": True})
