"""Signals, full disks and sinks that fail, seen from outside."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import trpo_jax
from trpo_jax.runs import logging, loop
from trpo_jax.storage import checked_folder, checkpoint

SMALL = {
    "num_envs": 2, "num_steps": 8, "hidden_sizes": (4,), "critic_epochs": 1,
    "evaluation_episodes": 1, "progress": False,
}  # fmt: skip
# Whatever is started in the background is deaf to SIGINT, and so are its children.
HEARING = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from trpo_jax.cli.main import main; main()"
)
LONG = [
    "train", "CartPole-v1", "--num-envs", "2", "--num-steps", "8", "--hidden-sizes",
    "4", "--total-steps", "100000000", "--output-dir", "run",
]  # fmt: skip


def started(directory, *options):
    """Start a long run and wait until it trains."""
    process = subprocess.Popen(
        [sys.executable, "-c", HEARING, *LONG, *options], cwd=directory,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    metrics = directory / "run" / "metrics.jsonl"
    end = time.monotonic() + 120
    while not (metrics.exists() and metrics.stat().st_size):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.1)
    return process


def what_it_said(process):
    """Wait for the end, and see to it that there is one."""
    try:
        return process.communicate(timeout=60)[1]
    finally:
        process.kill()


@pytest.mark.parametrize(
    ("signum", "status", "read"),
    [
        (signal.SIGINT, 130, True),
        (signal.SIGTERM, 143, True),
        (signal.SIGTERM, 143, False),
    ],
)
def test_a_signal_ends_a_run_with_all_there_is(signum, status, read, tmp_path):
    process = started(tmp_path)
    if not read:  # as behind `2>&1 | tee`, which has gone already
        process.stderr.close()
        process.stderr = None
    process.send_signal(signum)
    said = what_it_said(process)
    assert process.returncode == status
    if read:
        assert "Traceback" not in said
        assert "resume with: trpo-jax resume run" in said
    (step,) = checkpoint.steps_in(tmp_path / "run" / "checkpoints")
    rows = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert len(rows) == step
    assert json.loads(rows[-1])["iteration"] == step
    assert (tmp_path / "run" / "policy.safetensors").exists()


def test_a_second_signal_ends_it_at_once(tmp_path):
    slow = ["--num-envs", "4096", "--num-steps", "512", "--checkpoint-every", "1"]
    process = started(tmp_path, *slow)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    start = time.monotonic()
    said = what_it_said(process)
    assert process.returncode == 143
    assert "Traceback" not in said
    assert "stopped at once" in said
    assert time.monotonic() - start < 10


def full(*args, **kwargs):
    raise OSError(28, "No space left on device")


def test_a_full_disk_is_said_once_and_training_goes_on(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(checked_folder, "save_file", full)
    result = trpo_jax.train(
        "CartPole-v1", total_steps=96, output_dir=tmp_path / "run",
        checkpoint_every=1, **SMALL,
    )  # fmt: skip
    assert result.metrics.kl.shape == (1, 6)
    said = capfd.readouterr().err
    assert said.count("No space left on device; training continues") == 1
    assert checkpoint.steps_in(tmp_path / "run" / "checkpoints") == []


def test_a_full_disk_stops_a_run_that_is_to_stop(tmp_path, monkeypatch):
    run = tmp_path / "run"
    usual = checked_folder.save_file

    def fills_up(arrays, path):
        if len(checkpoint.steps_in(run / "checkpoints")) == 2:
            full()
        usual(arrays, path)

    monkeypatch.setattr(checked_folder, "save_file", fills_up)
    with pytest.raises(loop.NotWrittenError, match="No space left on device"):
        trpo_jax.train(
            "CartPole-v1", total_steps=960, output_dir=run, checkpoint_every=2,
            on_checkpoint_error="stop", **SMALL,
        )  # fmt: skip
    assert checkpoint.steps_in(run / "checkpoints") == [2, 4]
    monkeypatch.undo()
    assert trpo_jax.resume(run, total_steps=96, progress=False).metrics.kl.shape[1] == 6


def test_a_sink_that_fails_is_dropped_and_named(tmp_path, monkeypatch, capfd):
    def broken(self, rows):
        raise OSError("the network is down")

    monkeypatch.setattr(logging.Csv, "write", broken)
    trpo_jax.train("CartPole-v1", total_steps=96, output_dir=tmp_path / "run", **SMALL)
    said = capfd.readouterr().err
    assert said.count("Csv failed and receives no more rows: the network is down") == 1
    rows = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert len(rows) == 6


class Poisoned:
    """Pendulum whose every reward is not a number."""

    def __init__(self):
        self._inner = trpo_jax.make_environment("Pendulum-v1")
        self.name, self.max_episode_steps = "poisoned", 200
        self.observation_space = self._inner.observation_space
        self.action_space = self._inner.action_space
        self.reset = self._inner.reset

    def step(self, key, env_state, action):
        after = self._inner.step(key, env_state, action)
        return after._replace(reward=after.reward * np.float32(np.nan))


def test_a_run_without_a_finite_reward_stops_with_advice(tmp_path):
    with pytest.raises(loop.DivergedError) as error:
        trpo_jax.train(
            Poisoned(), total_steps=16_000, output_dir=tmp_path / "run", **SMALL
        )
    said = str(error.value)
    for needle in ("non finite reward", "environment 0, step 0", "max_kl"):
        assert needle in said
    rows = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert loop.PATIENCE <= len(rows) < 400
