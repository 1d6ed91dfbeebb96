"""Sinks for the metrics of a run: JSON lines, CSV, and the console."""

import collections
import csv
import json
import math
import pathlib
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

from trpo_jax.solver.trust_region import Status

Row = dict[str, float | int | None]

_EPISODES = 100  # over which the return of the progress is averaged
_LESS_IMPORTANT = ("CG residual", "backtracks", "expl. var.", "entropy")


class Sink(Protocol):
    """A receiver of the metrics of a run."""

    def start(self, steps_done: int = 0) -> None:
        """Prepare for training, which starts now.

        Args:
            steps_done: the environment steps of each seed that were done before.
        """

    def write(self, rows: list[Row]) -> None:
        """Receive the rows of one or more iterations, in order.

        Args:
            rows: one dictionary for each iteration and seed.
        """

    def close(self) -> None:
        """Release files and terminals."""


class _File:
    """A sink that writes into a file, or with `append` continues an existing one."""

    def __init__(self, path: pathlib.Path, *, append: bool = False) -> None:
        mode = "a" if append else "w"
        self._file = path.open(mode, encoding="utf-8", newline="")
        self._has_header = append and path.stat().st_size > 0

    def start(self, steps_done: int = 0) -> None:
        pass

    def close(self) -> None:
        self._file.close()


class JsonLines(_File):
    """Writes one JSON object a line into a file; missing numbers are null."""

    def write(self, rows: list[Row]) -> None:
        """Append rows and flush."""
        self._file.writelines(json.dumps(row, allow_nan=False) + "\n" for row in rows)
        self._file.flush()


class Csv(_File):
    """Writes comma-separated values below a header; missing numbers are empty."""

    _writer: csv.DictWriter | None = None

    def write(self, rows: list[Row]) -> None:
        """Append rows and flush."""
        if self._writer is None and rows:
            self._writer = csv.DictWriter(self._file, [*rows[0]], lineterminator="\n")
            if not self._has_header:
                self._writer.writeheader()
        if self._writer is not None:
            self._writer.writerows(rows)
        self._file.flush()


class _Console(Console):
    """A console that ignores a closed pipe, so that training continues."""

    def on_broken_pipe(self) -> None:
        """Print nothing more, where rich would exit."""
        self.quiet = True


class RecentReturns:
    """The mean return of the last hundred episodes of each seed.

    Rows have the number of episodes that ended and their mean; of the oldest row, only
    as many episodes count as are needed for a hundred.

    >>> recent = RecentReturns()
    >>> recent.add([{"seed": 0, "episodes": 80, "episode_return": 1.0}])
    >>> recent.add([{"seed": 0, "episodes": 50, "episode_return": 3.0}])
    >>> recent.mean()
    2.0
    """

    def __init__(self) -> None:
        self._of_seeds: dict[Any, collections.deque[tuple[int, float]]] = {}

    def add(self, rows: Iterable[Row]) -> None:
        """Receive the rows of one or more iterations, in order."""
        for row in rows:
            number, mean = int(row["episodes"] or 0), row["episode_return"]
            if number and mean is not None and math.isfinite(mean):
                one_each = collections.deque[tuple[int, float]](maxlen=_EPISODES)
                self._of_seeds.setdefault(row["seed"], one_each).append((number, mean))

    def mean(self) -> float | None:
        """Return the mean over the seeds; None before the first episode has ended."""
        return average(map(_mean_of_last, self._of_seeds.values()))


def _mean_of_last(entries: Iterable[tuple[int, float]]) -> float:
    """Return the mean over the last episodes, given as numbers of them with a mean."""
    counted, total = 0, 0.0
    for number, mean in reversed(list(entries)):
        used = min(number, _EPISODES - counted)
        counted, total = counted + used, total + used * mean
    return total / counted


class ConsoleProgress:
    """Shows a progress bar and a table on a terminal, and single lines elsewhere.

    The return is that of the last hundred episodes of each seed, the speed counts all
    seeds. `max_kl` returns δ of an iteration, counted from 1.
    """

    def __init__(
        self,
        total_steps: int,
        seeds: int,
        max_kl: Callable[[int], float],
        console: Console | None = None,
        title: str = "",
    ) -> None:
        self._total, self._seeds, self._max_kl = total_steps, seeds, max_kl
        self._console = console or _Console(file=sys.stdout)
        self._start, self._before, self._printed = time.perf_counter(), 0, -1
        if title:
            self._console.print(title, soft_wrap=True, highlight=False)
        self._bar = Progress(
            TextColumn("{task.percentage:>3.0f}%"),
            BarColumn(None),
            TextColumn("{task.fields[note]}"),
            console=self._console,
        )
        self._task = self._bar.add_task("", total=total_steps, note="")
        self._recent, self._live = RecentReturns(), None
        if self._console.is_terminal:
            compiling = Progress(
                SpinnerColumn(),
                TextColumn("compiling, {task.elapsed:.0f} s"),
                console=self._console,
            )
            compiling.add_task("")
            self._live = Live(compiling, console=self._console, refresh_per_second=8)
            self._live.start()

    def remember(self, rows: list[Row]) -> None:
        """Receive the rows of a run that is resumed, for the return of episodes."""
        self._recent.add(rows)

    def start(self, steps_done: int = 0) -> None:
        """Start to measure the speed, now that everything is compiled."""
        self._start, self._before = time.perf_counter(), steps_done
        if self._live is not None:
            self._bar.update(self._task, completed=steps_done)
            self._live.update(self._bar, refresh=True)

    def write(self, rows: list[Row]) -> None:
        """Show the latest rows, averaged over their iterations and seeds."""
        if not rows:
            return
        last: dict[str, Any] = rows[-1]  # in which no count is missing
        done = int(last["environment_steps"])
        seconds = max(time.perf_counter() - self._start, 1e-9)
        rate = (done - self._before) / seconds  # of each seed
        left = (self._total - done) / rate
        mean = {name: average(row[name] for row in rows) for name in rows[0]}
        self._recent.add(rows)
        max_kl = self._max_kl(int(last["iteration"]))
        statuses: list[Any] = [row["status"] for row in rows]
        accepted = average(float(status == 0) for status in statuses)
        reason = ""
        if refused := collections.Counter(filter(None, statuses)).most_common(1):
            reason = f" ({Status(refused[0][0]).name.lower().replace('_', ' ')})"
        cells = {
            "steps": f"{done:,}",
            "return": _number(self._recent.mean(), ".1f"),
            "KL / δ": f"{_number(mean['kl'], '.4f')} / {max_kl:.3g}",
            "accepted": _number(accepted, ".0%") + reason,
            "backtracks": _number(mean["backtracks"], ".1f"),
            "entropy": _number(mean["entropy"], ".2f"),
            "expl. var.": _number(mean["explained_variance"], ".2f"),
            "CG residual": _number(mean["cg_residual"], ".0e"),
            "steps/s": f"{rate * self._seeds:,.0f}",
        }
        if self._live is None:
            self._print_line(done, cells)
            return
        self._bar.update(self._task, completed=done, note=f"{left:.0f} s left")
        for name in _LESS_IMPORTANT:  # are left out where the terminal is narrow
            if (
                sum(2 + max(map(len, cell)) for cell in cells.items())
                > self._console.width
            ):
                del cells[name]
        table = Table.grid(padding=(0, 2))
        for name in cells:
            table.add_column(justify="right", header=name, no_wrap=True)
        table.add_row(*cells, style="dim")
        table.add_row(*cells.values())
        self._live.update(Group(self._bar, table), refresh=True)

    def close(self) -> None:
        """Restore the terminal, which keeps the last table."""
        if self._live is not None:
            self._bar.update(self._task, note="")
            self._live.stop()

    def _print_line(self, done: int, cells: dict[str, str]) -> None:
        tenth = 10 * done // self._total
        if tenth > self._printed:
            self._printed = tenth
            line = "  ".join(f"{name} {value}" for name, value in cells.items())
            self._console.print(line, soft_wrap=True, highlight=False)


def average(values: Iterable[Any]) -> float | None:
    """Return the mean of the numbers that are finite and not None, if there are any."""
    numbers = [x for x in values if x is not None and math.isfinite(x)]
    return sum(numbers) / len(numbers) if numbers else None


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
