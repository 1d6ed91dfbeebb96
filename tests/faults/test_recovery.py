"""What is left after a failure in the middle of something, and going on from there."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import trpo_jax
from trpo_jax.runs import checkpointing, execute, loop
from trpo_jax.runs.api import resumed_plan
from trpo_jax.runs.plan import make_plan
from trpo_jax.storage import atomic_files, checkpoint
from trpo_jax.storage.checkpoint import restore, save, steps_in

SMALL = {
    "num_envs": 2, "num_steps": 8, "hidden_sizes": (4,), "critic_epochs": 1,
    "evaluation_episodes": 1, "progress": False,
}  # fmt: skip


def tree(number):
    return {"w": np.full(4, number, np.float32)}


def value(directory):
    return restore(directory, tree(0)).tree["w"][0]


def renames_that_fail(monkeypatch, when):
    usual = pathlib.Path.rename

    def rename(self, target):
        if when(self, pathlib.Path(target)):
            raise OSError(5, "Input/output error")
        return usual(self, target)

    monkeypatch.setattr(pathlib.Path, "rename", rename)


def test_a_checkpoint_that_cannot_be_replaced_stays(tmp_path, monkeypatch):
    save(tmp_path, tree(1), step=3)
    renames_that_fail(
        monkeypatch, lambda path, target: path.name.startswith(".unfinished-")
    )
    with pytest.raises(OSError, match="Input/output error"):
        save(tmp_path, tree(2), step=3)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["000000000003"]
    assert value(tmp_path) == 1


def test_one_that_a_kill_caught_between_two_names_is_found(tmp_path):
    save(tmp_path, tree(1), step=3)
    (tmp_path / "000000000003").rename(tmp_path / ".replaced-000000000003")
    assert steps_in(tmp_path) == [3]
    assert value(tmp_path) == 1
    save(tmp_path, tree(2), step=4, keep=2)
    assert steps_in(tmp_path) == [3, 4]
    assert sorted(path.name for path in tmp_path.iterdir())[0] == "000000000003"


def test_what_a_run_that_went_back_has_left_behind_goes(tmp_path):
    for step in (6, 8, 10):
        save(tmp_path, tree(step), step=step)
    arrays = tmp_path / "000000000010" / "arrays.safetensors"
    arrays.write_bytes(arrays.read_bytes()[:-1])
    assert checkpoint.newest_intact(tmp_path) == 8
    assert save(tmp_path, tree(9), step=9, keep=2).is_dir()
    assert steps_in(tmp_path) == [8, 9]


def test_everything_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    happened = []
    usual_sync, usual_rename = os.fsync, pathlib.Path.rename

    def sync(descriptor):
        happened.append(("sync", os.readlink(f"/proc/self/fd/{descriptor}")))
        usual_sync(descriptor)

    def rename(self, target):
        happened.append(("rename", str(self)))
        return usual_rename(self, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(pathlib.Path, "rename", rename)
    save(tmp_path / "new", tree(1), step=3)
    (unfinished,) = [path for what, path in happened if what == "rename"]
    assert happened == [
        ("sync", str(tmp_path)),
        ("sync", f"{unfinished}/arrays.safetensors"),
        ("sync", f"{unfinished}/manifest.json"),
        ("sync", unfinished),
        ("rename", unfinished),
        ("sync", str(tmp_path / "new")),
    ]


def test_a_file_that_may_not_grow_is_an_os_error(tmp_path):
    code = f"""
    import resource, signal
    import numpy as np
    from trpo_jax.storage.checkpoint import restore, save
    tree = {{"w": np.ones(100_000, np.float32)}}
    save({str(tmp_path)!r}, tree, step=1)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        save({str(tmp_path)!r}, tree, step=2)
    except OSError as error:
        print("refused")
    assert restore({str(tmp_path)!r}, tree).step == 1
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout == "refused\n"


def train(directory, **more):
    return trpo_jax.train(
        "CartPole-v1", total_steps=96, output_dir=directory, **{**SMALL, **more}
    )


def test_a_damaged_last_checkpoint_means_going_on_from_the_one_before(tmp_path, capfd):
    train(tmp_path / "run", checkpoint_every=2)
    newest = tmp_path / "run" / "checkpoints" / "000000000006"
    (newest / "manifest.json").write_text("{}")
    result = trpo_jax.resume(tmp_path / "run", progress=False)
    assert result.metrics.kl.shape == (1, 6)
    assert "000000000006 is damaged" in capfd.readouterr().err


def test_a_run_that_was_interrupted_in_its_evaluation_is_evaluated(
    tmp_path, monkeypatch
):
    whole = train(tmp_path / "whole")

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(execute, "summarize_returns", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run")
    monkeypatch.undo()
    assert not (tmp_path / "run" / "evaluation.json").exists()
    result = trpo_jax.resume(tmp_path / "run", progress=False)
    assert result.evaluation["greedy"] == whole.evaluation["greedy"]
    for name in ("metrics.jsonl", "metrics.csv", "policy.safetensors"):
        found, expected = ((tmp_path / r / name).read_bytes() for r in ("run", "whole"))
        assert found == expected
    with pytest.raises(ValueError, match="is finished after"):
        trpo_jax.resume(tmp_path / "run", progress=False)


def test_an_interruption_of_the_last_chunk_counts(tmp_path, monkeypatch):
    usual = checkpointing.CheckpointWriter.write

    def write(self, *args, **kwargs):
        signal.raise_signal(signal.SIGTERM)
        return usual(self, *args, **kwargs)

    monkeypatch.setattr(checkpointing.CheckpointWriter, "write", write)
    with pytest.raises(SystemExit) as stop:
        train(tmp_path / "run")
    monkeypatch.undo()
    assert stop.value.code == 143
    assert "stopped after 96 steps; resume with" in str(stop.value)
    assert steps_in(tmp_path / "run" / "checkpoints") == [6]
    assert (tmp_path / "run" / "policy.safetensors").exists()
    assert trpo_jax.resume(tmp_path / "run", progress=False).evaluation["episodes"] == 1


def test_a_directory_that_has_gone_is_said(tmp_path, monkeypatch, capfd):
    def gone(self):
        (tmp_path / "run").rename(tmp_path / "moved")

    monkeypatch.setattr(loop._ChunkLength, "__init__", gone)
    monkeypatch.setattr(loop._ChunkLength, "iterations", 1, raising=False)
    with pytest.raises(loop.NotWrittenError, match="was removed or renamed"):
        train(tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert "no longer exists" in capfd.readouterr().err


def test_a_longer_run_goes_on_with_the_programs_it_had(tmp_path):
    train(tmp_path / "run")
    assert resumed_plan(tmp_path / "run", 10_000_000).compile_briefly
    assert not make_plan("CartPole-v1", total_steps=10_000_000).compile_briefly


def test_two_processes_do_not_write_into_one_run(tmp_path):
    train(tmp_path / "run")

    def times():
        every = sorted((tmp_path / "run").rglob("*"))
        return [(path, path.stat().st_mtime_ns) for path in every]

    before = times()
    in_use = pytest.raises(ValueError, match="run is in use")
    with atomic_files.claimed(tmp_path / "run"), in_use:
        trpo_jax.resume(tmp_path / "run", total_steps=192, progress=False)
    assert times() == before


def test_sinks_that_fail_at_the_edges_are_dropped(capfd):
    class Broken:
        def start(self, steps_done):
            raise OSError("no terminal")

        def close(self):
            raise OSError("no terminal either")

    sinks = [Broken()]
    loop.notify(sinks, "start", 0)
    assert sinks == []
    assert capfd.readouterr().err.count("no terminal") == 1
    sinks = [Broken()]
    loop.notify(sinks, "close")
    assert "no terminal either" in capfd.readouterr().err


def test_what_is_no_file_is_not_waited_for(tmp_path):
    for name in ("config.json", "policy.safetensors", "metrics.jsonl"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(ValueError, match="is not a file"):
        trpo_jax.resume(tmp_path, progress=False)
    with pytest.raises(ValueError, match="is not a file"):
        trpo_jax.load_policy(tmp_path)


EVIL = "gymnasium:runs.evil.environments:CartPole-v1"


@pytest.mark.parametrize("command", ["resume", "evaluate"])
def test_a_name_in_a_file_imports_no_code(command, tmp_path):
    run = tmp_path / "runs" / "evil"
    values = {**SMALL, "critic_minibatch_size": 8}
    trpo_jax.train("gymnasium:CartPole-v1", total_steps=48, output_dir=run, **values)
    (run / "environments.py").write_text("open('marker', 'w')")
    if command == "resume":
        plan = json.loads((run / "config.json").read_text())
        content = json.dumps(plan | {"environment": EVIL})
        (run / "config.json").write_text(content)
    else:
        name = b"gymnasium:CartPole-v1"
        path = run / "policy.safetensors"
        forge_policy(path, path.read_bytes(), name, EVIL.encode())
    done = subprocess.run(
        [sys.executable, "-m", "trpo_jax", command, "runs/evil"], cwd=tmp_path,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert f"--environment {EVIL}" in done.stderr
    assert not (tmp_path / "marker").exists()


def forge_policy(path, content, name, other):
    """Write another name into a policy, with the checksum that goes with it."""
    from safetensors.numpy import load, save

    from trpo_jax.runs.policy_file import _checksum

    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    found = json.loads(header["__metadata__"]["trpo_jax"])
    assert found.pop("sha256")
    assert found["environment"]["name"] == name.decode()
    found["environment"]["name"] = other.decode()
    arrays = load(content)
    found["sha256"] = _checksum(arrays, found)
    path.write_bytes(save(arrays, {"trpo_jax": json.dumps(found)}))
