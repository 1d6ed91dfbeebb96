import csv
import io
import itertools
import json
import math
import re
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from trpo_jax.algorithm.metrics import Metrics
from trpo_jax.runs import logging
from trpo_jax.runs.logging import (
    ConsoleProgress,
    Csv,
    JsonLines,
    RecentReturns,
    average,
)
from trpo_jax.solver.trust_region import Status

COLUMNS = (
    "steps",
    "return",
    "KL / δ",
    "accepted",
    "backtracks",
    "entropy",
    "expl. var.",
    "CG residual",
    "steps/s",
)


def row(steps, **values):
    numbers = dict.fromkeys(Metrics._fields, 0.5) | {"status": 0, "episodes": 1}
    start = {"seed": 0, "iteration": steps // 100, "environment_steps": steps}
    return start | numbers | values


NUMBERS = (
    st.none()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False).filter(math.isfinite)
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {"seed": st.integers(0, 9), "kl": NUMBERS, "return": NUMBERS}
    ),
    max_size=6,
)


def written(sink_type, batches, path):
    sink = sink_type(path)
    for batch in batches:
        sink.write(batch)
    sink.close()
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("sink") / "metrics"


@given(st.lists(ROWS, max_size=4))
def test_json_lines_come_back_as_they_went_in(path, batches):
    text = written(JsonLines, batches, path)
    assert [json.loads(line) for line in text.splitlines()] == list(
        itertools.chain(*batches)
    )


@given(st.lists(ROWS, max_size=4))
def test_csv_comes_back_as_it_went_in(path, batches):
    text = written(Csv, batches, path)
    back = [
        {name: None if cell == "" else json.loads(cell) for name, cell in line.items()}
        for line in csv.DictReader(io.StringIO(text))
    ]
    assert back == list(itertools.chain(*batches))
    if back:
        assert text.splitlines()[0] == ",".join(next(itertools.chain(*batches)))


@pytest.mark.parametrize("sink_type", [JsonLines, Csv])
def test_rows_can_be_read_while_the_run_goes_on(sink_type, tmp_path):
    sink = sink_type(tmp_path / "metrics")
    sink.write([row(100)])
    during = (tmp_path / "metrics").read_text()
    sink.close()
    assert "100" in during
    assert (tmp_path / "metrics").read_text() == during


def test_a_number_that_is_not_finite_never_reaches_the_json(tmp_path):
    sink = JsonLines(tmp_path / "metrics.jsonl")
    with pytest.raises(ValueError, match="not JSON compliant"):
        sink.write([{"kl": math.nan}])
    sink.close()


@given(
    st.lists(st.none() | st.floats(-1e6, 1e6) | st.sampled_from([math.nan, math.inf]))
)
def test_the_average_is_over_the_numbers_that_exist(values):
    numbers = [x for x in values if x is not None and abs(x) < math.inf]
    if numbers:
        assert math.isclose(average(values), np.mean(numbers), abs_tol=1e-6)
    else:
        assert average(values) is None


def progress(*, terminal, total=1000, seeds=2, max_kl=0.01):
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=200, color_system=None)
    return ConsoleProgress(total, seeds, lambda i: max_kl, console), file


def test_the_radius_shown_is_the_one_of_the_iteration():
    file = io.StringIO()
    sink = ConsoleProgress(1000, 1, lambda i: 0.1 / i, Console(file=file, width=200))
    sink.write([row(500, kl=0.005)])
    assert "0.0050 / 0.02 " in file.getvalue()


def test_without_a_terminal_every_report_is_one_plain_line():
    sink, file = progress(terminal=False)
    sink.start()
    sink.write([row(500, kl=0.005, episode_return=12.0)])
    sink.write([row(1000)])
    sink.close()
    lines = file.getvalue().splitlines()
    assert len(lines) == 2
    assert "\x1b" not in file.getvalue()
    for name in COLUMNS:
        assert name in lines[0]
    assert "steps 500" in lines[0]
    assert "return 12.0" in lines[0]
    assert "KL / δ 0.0050 / 0.01" in lines[0]
    assert "steps 1,000" in lines[1]


def test_a_report_says_why_steps_were_refused():
    sink, file = progress(terminal=False)
    sink.write([row(500, status=0), row(500, status=4), row(500, status=4)])
    sink.close()
    assert "accepted 33% (search failed)" in file.getvalue()


def test_without_a_terminal_a_long_run_prints_a_tenth_at_a_time():
    sink, file = progress(terminal=False, total=100_000)
    for steps in range(100, 100_001, 100):
        sink.write([row(steps)])
    sink.close()
    lines = file.getvalue().splitlines()
    assert 10 <= len(lines) <= 12
    assert "steps 100,000" in lines[-1]


def test_a_line_stays_one_line_in_a_narrow_pipe():
    file = io.StringIO()
    sink = ConsoleProgress(1000, 1, lambda i: 0.01, Console(file=file, width=40))
    sink.write([row(1000)])
    sink.close()
    assert file.getvalue().count("\n") == 1


def test_on_a_terminal_every_column_is_shown():
    sink, file = progress(terminal=True)
    sink.start()
    sink.write([row(500, kl=0.005, episode_return=12.0, cg_residual=2e-3)])
    during = file.getvalue()
    sink.close()
    for text in (*COLUMNS, "500", "12.0", "0.0050 / 0.01", "2e-03", "50%", "s left"):
        assert text in during


def test_a_terminal_is_given_back_with_the_last_state_on_it():
    sink, file = progress(terminal=True)
    sink.write([row(1000, episode_return=77.0, status=int(Status.SEARCH_FAILED))])
    sink.close()
    after = file.getvalue()
    shown, hidden = (after.rfind(f"\x1b[?25{code}") for code in "hl")
    assert shown > hidden >= 0  # the cursor is back
    last = after[after.rfind("100%") :]
    assert "77.0" in last
    assert "s left" not in last


def test_a_terminal_is_given_back_before_anything_was_written():
    sink, file = progress(terminal=True)
    sink.close()
    after = file.getvalue()
    assert after.rfind("\x1b[?25h") > after.rfind("\x1b[?25l")


@pytest.mark.parametrize("terminal", [False, True])
def test_numbers_that_do_not_exist_are_a_dash(terminal):
    sink, file = progress(terminal=terminal)
    missing = {"episode_return": None, "explained_variance": None, "cg_residual": None}
    sink.write([row(1000, **missing)])
    sink.close()
    assert file.getvalue().count("–") >= len(missing)
    assert "nan" not in file.getvalue().lower()
    assert "None" not in file.getvalue()


def test_a_report_averages_iterations_and_seeds():
    sink, file = progress(terminal=False)
    failed = int(Status.SEARCH_FAILED)
    sink.write(
        [
            row(500, episode_return=10.0, status=0, backtracks=0),
            row(500, episode_return=None, status=failed, backtracks=5, seed=1),
            row(1000, episode_return=30.0, status=0, backtracks=1),
            row(1000, episode_return=20.0, status=0, backtracks=0, seed=1),
        ]
    )
    sink.close()
    assert "return 20.0" in file.getvalue()
    assert "accepted 75%" in file.getvalue()
    assert "backtracks 1.5" in file.getvalue()


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 130), st.floats(-1e3, 1e3)),
        max_size=40,
    )
)
def test_the_return_is_that_of_the_last_hundred_episodes_of_each_seed(iterations):
    recent, episodes = RecentReturns(), {}
    for seed, number, mean in iterations:
        value = mean if number else None
        recent.add([row(100, seed=seed, episodes=number, episode_return=value)])
        episodes.setdefault(seed, []).extend([mean] * number)
    means = [np.mean(own[-100:]) for own in episodes.values() if own]
    if means:
        assert math.isclose(recent.mean(), np.mean(means), abs_tol=1e-6)
    else:
        assert recent.mean() is None


def test_the_return_is_a_number_from_the_first_episode_on():
    sink, file = progress(terminal=False, total=500)
    none = {"episodes": 0, "episode_return": None}
    for i, values in enumerate(({**none}, {"episode_return": 7.0}, none, none)):
        sink.write([row(100 * (i + 1), **values)])
    sink.close()
    returns = [line.split("  ")[1] for line in file.getvalue().splitlines()]
    assert returns == ["return –", *["return 7.0"] * 3]


def test_a_resumed_run_remembers_the_episodes_before():
    sink, file = progress(terminal=False)
    sink.remember([row(100, episode_return=3.0)])
    sink.start(100)
    sink.write([row(200, episodes=0, episode_return=None)])
    assert "return 3.0" in file.getvalue()


def test_a_terminal_says_how_long_it_has_compiled():
    clock, file = itertools.count(), io.StringIO()
    console = Console(
        file=file, force_terminal=True, width=80, get_time=lambda: 7.0 * next(clock)
    )
    sink = ConsoleProgress(1000, 1, lambda i: 0.01, console)
    sink._live.refresh()
    compiling = file.getvalue()
    sink.start()
    training = file.getvalue()[len(compiling) :]
    sink.close()
    assert re.search(r"compiling, [1-9]\d* s", compiling)
    assert "0%" in training
    assert "compiling" not in training


def test_elsewhere_nothing_is_said_while_compiling():
    sink, file = progress(terminal=False)
    sink.start()
    sink.close()
    assert file.getvalue() == ""


@pytest.mark.parametrize("width", [80, 100, 200])
def test_the_table_fits_into_the_terminal(width):
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=width, color_system=None)
    sink = ConsoleProgress(10**7, 2, lambda i: 0.01, console)
    sink.write([row(10**6, kl=0.005, episode_return=-1234.5)])
    text = file.getvalue()
    sink.close()
    assert "…" not in text
    for column in ("steps", "return", "KL / δ", "accepted", "steps/s"):
        assert column in text
    assert "1,000,000  -1234.5  0.0050 / 0.01" in text


def test_no_rows_are_no_report():
    sink, file = progress(terminal=False)
    sink.write([])
    sink.close()
    assert file.getvalue() == ""


def test_speed_counts_all_seeds_and_time_left_follows_from_it(monkeypatch):
    clock = types.SimpleNamespace(now=0.0)
    monkeypatch.setattr(
        logging, "time", types.SimpleNamespace(perf_counter=lambda: clock.now)
    )
    sink, file = progress(terminal=True, total=1000, seeds=4)
    clock.now = 100.0  # of compiling, which does not count
    sink.start()
    clock.now = 110.0
    sink.write([row(250)])
    during = file.getvalue()
    sink.close()
    assert "30 s left" in during  # 750 steps at 25 steps/s
    assert during.split()[-1] == "100"  # 4 x 250 steps in 10 s


def test_steps_from_before_a_run_went_on_are_no_speed(monkeypatch):
    clock = types.SimpleNamespace(now=0.0)
    monkeypatch.setattr(
        logging, "time", types.SimpleNamespace(perf_counter=lambda: clock.now)
    )
    sink, file = progress(terminal=True, total=1000, seeds=4)
    sink.start(500)
    clock.now = 10.0
    sink.write([row(750)])
    during = file.getvalue()
    sink.close()
    assert "10 s left" in during  # 250 steps at 25 steps/s
    assert during.split()[-1] == "100"
