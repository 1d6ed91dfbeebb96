"""Seconds for CartPole-v1 with its preset: `python -m benchmarks.timing`.

* `cold`: `trpo-jax train CartPole-v1` in a process of its own, to results on disk.
* `train`: 100,000 steps of one seed and of 64 in one call, in turns, in one process,
  compilation apart.
* `compiler`: seconds to compile all programs of a run of one seed and to train, with
  all of them at one of the levels of `trpo_jax.programs`.

The JSON goes to `benchmarks/results/timing.json` after each part. Let nothing else run.
"""

import dataclasses
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any
from unittest import mock

from trpo_jax import programs
from trpo_jax.doctor import describe
from trpo_jax.environments import make_environment
from trpo_jax.networks import mlp_agent
from trpo_jax.plan import complete, make_plan
from trpo_jax.training import run_chunks, seeds_of

RESULTS = pathlib.Path(__file__).parent / "results" / "timing.json"
SEEDS = 64
LEVELS = {
    "default": {},
    "for long runs": programs.FOR_LONG,
    "briefly": programs.BRIEFLY,
    "once": programs.ONCE,
}


class Training:
    """A compiled run of the preset."""

    def __init__(self, seeds: int) -> None:
        environment = make_environment("CartPole-v1")
        plan = make_plan("CartPole-v1", seeds=seeds)
        self.plan = complete(plan, environment)
        agent = mlp_agent(
            environment.observation_space,
            environment.action_space,
            **dataclasses.asdict(self.plan.network),
        )
        start = time.perf_counter()
        self.programs = programs.compile_programs(self.plan, environment, agent)
        self.compile_seconds = time.perf_counter() - start

    def seconds(self) -> float:
        """Train once and return how long it took."""
        start = time.perf_counter()
        states = self.programs.init(seeds_of(self.plan))
        run_chunks(self.plan, self.programs, states, [])
        return round(time.perf_counter() - start, 3)


def cold() -> dict:
    """Return wall time and outcome of the command in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        run = pathlib.Path(folder) / "run"
        command = ["-m", "trpo_jax", "train", "CartPole-v1", "--output-dir", str(run)]
        start = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        seconds = time.perf_counter() - start
        evaluation = json.loads((run / "evaluation.json").read_text())
    return {
        "wall": round(seconds, 2),
        "greedy": evaluation["greedy"]["iqm"],
        "parts": evaluation["seconds"],
    }


def main() -> None:
    """Measure, print, and write the JSON."""
    result: dict[str, Any] = {
        "command": "python -m benchmarks.timing",
        "versions": describe(),
        "cold": [],
    }

    def keep() -> None:
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")

    for _ in range(5):
        result["cold"].append(cold())
        keep()
    one, many = Training(1), Training(SEEDS)
    one.seconds()  # what happens once in a process belongs to neither
    seconds = [(one.seconds(), many.seconds(), one.seconds()) for _ in range(5)]
    alone = [first for first, _, _ in seconds] + [last for _, _, last in seconds]
    together = [middle for _, middle, _ in seconds]
    result["train"] = {
        "one_seed": alone,
        "one_seed_median": statistics.median(alone),
        f"{SEEDS}_seeds": together,
        "ratio_of_medians": statistics.median(together) / statistics.median(alone),
    }
    keep()
    result["compiler"] = {}
    for name, options in LEVELS.items():
        everywhere = dict.fromkeys(("FOR_LONG", "BRIEFLY", "ONCE"), options)
        with mock.patch.multiple(programs, **everywhere):
            training = Training(1)
        training.seconds()
        result["compiler"][name] = {
            "compile": round(training.compile_seconds, 2),
            "run": min(training.seconds() for _ in range(3)),
        }
        keep()
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
