"""Commands whose streams are closed or full, or whose directory is gone."""

import io
import subprocess
import sys

import pytest

from trpo_jax.runs import console

ENVS = ["envs", "cartpole"]
TRAIN = ["train", "probe:action", "--total-steps", "2048", "--evaluation-episodes", "1"]
GONE = 'd=$(mktemp -d) && cd "$d" && rmdir "$d" && exec "$@"'


def run(shell, argv, **options):
    return subprocess.run(
        ["bash", "-c", shell, "bash", sys.executable, "-m", "trpo_jax", *argv],
        capture_output=True, text=True, check=False, **options,
    )  # fmt: skip


@pytest.mark.parametrize(
    "argv", [["presets"], ["train", "--help"], ["--version"]], ids=" ".join
)
def test_a_closed_standard_output_is_no_failure(argv):
    done = run('exec "$@" >&-', argv)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- 2>&-"])
def test_closed_streams_change_nothing_on_standard_output(closed):
    done = run(f'exec "$@" {closed}', ["presets"])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == run('exec "$@"', ["presets"]).stdout != ""


def test_an_error_does_not_move_to_standard_output_where_its_own_is_closed():
    done = run('exec "$@" 2>&-', ["envs", "no such thing"])
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


def test_a_run_without_streams_writes_its_results_and_nothing_else(tmp_path):
    folder = tmp_path / "run"
    done = run('exec "$@" <&- >&- 2>&-', [*TRAIN, "--output-dir", str(folder)])
    assert done.returncode == 0
    assert {"config.json", "evaluation.json"} <= {p.name for p in folder.iterdir()}
    assert len((folder / "metrics.csv").read_text().splitlines()) > 1
    for path in folder.glob("*.json*"):
        assert path.read_text().startswith("{")


def test_a_full_standard_output_is_one_line_and_not_the_input_s_fault():
    done = run('exec "$@" >/dev/full', ENVS)
    assert done.returncode == 1
    assert done.stderr.startswith("trpo-jax: ")
    assert "No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_a_warning_without_standard_error_is_dropped(stream, monkeypatch, capsys):
    if stream is not None:
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    console.warn("a line")
    assert capsys.readouterr().out == ""


def test_a_working_directory_that_is_gone_is_no_failure():
    done = run(GONE, ["presets"])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.mark.parametrize(
    "argv",
    [TRAIN, [*TRAIN, "--output-dir", "runs/a"], ["plot", "runs", "--output", "a.png"]],
    ids=" ".join,
)
def test_what_would_be_written_into_one_that_is_gone_is_refused_in_a_line(argv):
    done = run(GONE, argv)
    assert done.returncode == 2
    assert "the working directory no longer exists" in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_an_absolute_path_needs_no_working_directory(tmp_path):
    folder = tmp_path / "run"
    done = run(GONE, [*TRAIN, "--output-dir", str(folder)])
    assert (done.returncode, done.stderr) == (0, "")
    assert (folder / "learning_curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("columns", ["0", "1", "wide"])
def test_a_terminal_that_tells_no_width_is_no_failure(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    done = run('exec "$@"', ["train", "--help"])
    assert (done.returncode, done.stderr) == (0, "")
    assert "--max-kl" in done.stdout
