"""Paths of results, on systems with other rules for names and for directories."""

import os
import pathlib
import re

import pytest

from trpo_jax.environments import SIMULATORS, known_names
from trpo_jax.runs import output_paths
from trpo_jax.runs.output_paths import check_new_file, claim_directory, free_directory

ON_ANY_SYSTEM = re.compile(r"[^<>:\"/\\|?*\x00-\x1f]*[^<>:\"/\\|?*\x00-\x1f. ]")


def test_every_environment_gives_a_name_that_windows_allows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [f"{s}:{name}" for s in SIMULATORS for name in known_names(s)]
    names += ["gymnasium:ale_py:ALE/Pong-v5", 'gymnasium:a|b<c>d?e*f"g\\h:i\n']
    assert len(names) > 1000
    for name in {re.sub(r"[\w]+", "x", name): name for name in names}.values():
        with claim_directory(name, 3) as directory:
            assert directory.is_dir()
            assert directory.parent == pathlib.Path("runs")
            assert ON_ANY_SYSTEM.fullmatch(directory.name), directory.name


def test_a_drive_that_does_not_exist_is_refused(monkeypatch):
    monkeypatch.setattr(pathlib.Path, "exists", lambda self: False)
    with pytest.raises(ValueError, match=r"output_dir must be writable.*'Z:/runs'"):
        free_directory("Z:/runs")


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(FileNotFoundError):
        os.getcwd()


@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize(
    "refuse",
    [
        lambda: free_directory("runs/a"),
        lambda: check_new_file("agent.gif"),
        lambda: claim_directory("CartPole-v1", 0).__enter__(),
    ],
)
def test_a_relative_path_is_refused_where_the_working_directory_is_gone(refuse):
    with pytest.raises(ValueError, match="the working directory no longer exists"):
        refuse()


@pytest.mark.usefixtures("nowhere")
def test_an_absolute_path_is_not(tmp_path):
    assert free_directory(tmp_path / "run") == tmp_path / "run"
    check_new_file(tmp_path / "agent.gif")
    assert output_paths.free_directory(str(tmp_path / "run")) == tmp_path / "run"
