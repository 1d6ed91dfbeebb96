"""Programs that the command keeps: where, and when not."""

import os
import subprocess
import sys

import pytest

from trpo_jax.cli.compilation_cache import cache_directory, keep_compiled_programs

NAMES = (
    "JAX_COMPILATION_CACHE_DIR",
    "JAX_ENABLE_COMPILATION_CACHE",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES",
    "TF_CPP_MIN_LOG_LEVEL",
)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in NAMES:
        monkeypatch.setenv(name, "")  # so that it is put back afterwards
        monkeypatch.delenv(name)
    return tmp_path


def test_it_is_a_directory_that_nobody_else_may_write_into():
    directory = keep_compiled_programs()
    assert directory == cache_directory()
    assert directory.stat().st_mode & 0o077 == 0
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == str(directory)


def test_it_is_the_user_s_own_by_default(monkeypatch, home):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(home))
    assert cache_directory().is_relative_to(home / ".cache")


@pytest.mark.parametrize("mode", [0o777, 0o720, 0o702])
def test_one_that_others_may_write_into_is_not_used(mode):
    cache_directory().mkdir(parents=True)
    cache_directory().chmod(mode)
    assert keep_compiled_programs() is None
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ


def test_a_link_is_not_used(home):
    cache_directory().parent.mkdir(parents=True)
    cache_directory().symlink_to(home)
    assert keep_compiled_programs() is None


def test_a_file_in_its_place_does_no_harm():
    cache_directory().parent.mkdir(parents=True)
    cache_directory().touch()
    assert keep_compiled_programs() is None


def test_whoever_has_decided_already_is_right(monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "elsewhere")
    assert keep_compiled_programs() is None
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "false")
    assert keep_compiled_programs() is None
    assert not cache_directory().exists()


def test_the_oldest_files_make_room(monkeypatch):
    monkeypatch.setattr("trpo_jax.cli.compilation_cache._LARGEST", 250)
    directory = cache_directory()
    directory.mkdir(parents=True, mode=0o700)
    for age, name in ((3000, "old"), (2000, "older"), (1000, "new"), (0, "newest")):
        (directory / name).write_bytes(bytes(100))
        moment = directory.stat().st_mtime - age
        os.utime(directory / name, (moment, moment))
    keep_compiled_programs()
    assert sorted(path.name for path in directory.iterdir()) == ["new", "newest"]


def run(directory):
    return subprocess.run(
        [
            sys.executable, "-m", "trpo_jax", "train", "probe:action", "--total-steps",
            "2048", "--evaluation-episodes", "1",
        ],
        cwd=directory, capture_output=True, text=True, check=True,
    )  # fmt: skip


def test_the_command_reads_again_what_it_has_compiled(home):
    first = run(home)
    kept = {p: p.stat().st_mtime_ns for p in cache_directory().glob("*-cache")}
    assert len(kept) >= 4
    second = run(home)
    assert {p: p.stat().st_mtime_ns for p in cache_directory().glob("*-cache")} == kept
    for path in kept:  # as a process that was killed may leave them
        path.write_bytes(path.read_bytes()[:100])
    third = run(home)
    assert [done.stderr for done in (first, second)] == ["", ""]
    assert "Traceback" not in third.stderr


def test_a_user_without_a_home_keeps_nothing(monkeypatch):
    def nobody(self):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr("pathlib.Path.expanduser", nobody)
    assert keep_compiled_programs() is None
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ
