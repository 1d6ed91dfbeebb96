"""Where the numbers of a run go: JSON lines, CSV, and the console."""

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
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from trpo_jax.algorithm.policy_update import Status

Row = dict[str, float | int | None]


class Sink(Protocol):
    """Something that takes rows."""

    def start(self, steps_done: int = 0) -> None:
        """Be told that training begins, all compiled, after so many steps."""

    def write(self, rows: list[Row]) -> None:
        """Take the rows of some iterations, in order."""

    def close(self) -> None:
        """Let go of files and terminals."""


class JsonLines:
    """One JSON object a line; numbers that do not exist are null.

    Args:
        path: of the file.
        append: to what is there.
    """

    def __init__(self, path: pathlib.Path, *, append: bool = False) -> None:
        self._file = path.open("a" if append else "w", encoding="utf-8")

    def start(self, steps_done: int = 0) -> None:
        """Do nothing."""

    def write(self, rows: list[Row]) -> None:
        """Append rows and flush."""
        self._file.writelines(json.dumps(row, allow_nan=False) + "\n" for row in rows)
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Csv:
    """Comma-separated values under a header; numbers that do not exist are empty.

    Args:
        path: of the file.
        append: to what is there, under the header that it has.
    """

    def __init__(self, path: pathlib.Path, *, append: bool = False) -> None:
        self._file = path.open("a" if append else "w", encoding="utf-8", newline="")
        self._under_a_header = append and path.stat().st_size > 0
        self._writer: csv.DictWriter | None = None

    def start(self, steps_done: int = 0) -> None:
        """Do nothing."""

    def write(self, rows: list[Row]) -> None:
        """Append rows and flush."""
        if self._writer is None and rows:
            self._writer = csv.DictWriter(
                self._file, list(rows[0]), lineterminator="\n"
            )
            if not self._under_a_header:
                self._writer.writeheader()
        if self._writer is not None:
            self._writer.writerows(rows)
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class _Console(Console):
    """A console whose reader may stop reading: what it shows is not the run itself."""

    def on_broken_pipe(self) -> None:
        """Go on without an audience, where rich would leave the program."""
        self.quiet = True


class ConsoleProgress:
    """A bar and a table on a terminal; a line now and then elsewhere.

    Args:
        total_steps: environment steps a seed.
        seeds: trained together; a second of progress is a second of all of them.
        max_kl: iteration, counted from 1 → δ, shown beside the KL reached.
        console: of rich; standard output when None.
        title: printed first.
    """

    def __init__(
        self,
        total_steps: int,
        seeds: int,
        max_kl: Callable[[int], float],
        console: Console | None = None,
        title: str = "",
    ) -> None:
        self._total = total_steps
        self._seeds = seeds
        self._max_kl = max_kl
        self._console = console or _Console(file=sys.stdout)
        self._start = time.perf_counter()
        self._printed = -1
        self._before = 0
        if title:
            self._console.print(title, soft_wrap=True, highlight=False)
        self._bar = Progress(
            TextColumn("{task.percentage:>3.0f}%"),
            BarColumn(None),
            TextColumn("{task.fields[note]}"),
            console=self._console,
        )
        self._task = self._bar.add_task("", total=total_steps, note="compiling …")
        self._live = None
        if self._console.is_terminal:
            self._live = Live(self._bar, console=self._console, refresh_per_second=8)
            self._live.start()

    def start(self, steps_done: int = 0) -> None:
        """Start the clock: compilation is over."""
        self._start, self._before = time.perf_counter(), steps_done

    def write(self, rows: list[Row]) -> None:
        """Show the latest rows, averaged over their iterations and seeds."""
        if not rows:
            return
        done = int(rows[-1]["environment_steps"])
        seconds = max(time.perf_counter() - self._start, 1e-9)
        lately = done - self._before
        rate = lately * self._seeds / seconds
        left = (self._total - done) * seconds / lately
        mean = {name: average(row[name] for row in rows) for name in rows[0]}
        max_kl = self._max_kl(int(rows[-1]["iteration"]))
        accepted = average(float(row["status"] == 0) for row in rows)
        refused = collections.Counter(row["status"] for row in rows if row["status"])
        reason = ""
        if refused:
            reason = Status(refused.most_common(1)[0][0]).name.lower().replace("_", " ")
            reason = f" ({reason})"
        cells = {
            "steps": f"{done:,}",
            "return": _number(mean["episode_return"], ".1f"),
            "KL / δ": f"{_number(mean['kl'], '.4f')} / {max_kl:.3g}",
            "accepted": _number(accepted, ".0%") + reason,
            "backtracks": _number(mean["backtracks"], ".1f"),
            "entropy": _number(mean["entropy"], ".2f"),
            "expl. var.": _number(mean["explained_variance"], ".2f"),
            "CG residual": _number(mean["cg_residual"], ".0e"),
            "steps/s": f"{rate:,.0f}",
        }
        if self._live is None:
            self._print_line(done, cells)
            return
        self._bar.update(self._task, completed=done, note=f"{left:.0f} s left")
        table = Table.grid(padding=(0, 2))
        for name in cells:
            table.add_column(justify="right", header=name)
        table.add_row(*cells, style="dim")
        table.add_row(*cells.values())
        self._live.update(Group(self._bar, table), refresh=True)

    def close(self) -> None:
        """Give the terminal back, with the last state left on it."""
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
    """Return the mean of the numbers that exist, or None when there are none."""
    numbers = [x for x in values if x is not None and math.isfinite(x)]
    return sum(numbers) / len(numbers) if numbers else None


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
