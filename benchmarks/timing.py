"""Seconds for CartPole-v1 with its preset: `python -m benchmarks.timing`.

* `cold`: `trpo-jax train CartPole-v1` in a process of its own, to results on disk.
* `train`: 100,000 steps of one seed and of 64 in one call, in turns, in one process,
  compilation apart.
* `compiler`: seconds to compile all programs of a run of one seed and to train, with
  all of them at one of the levels of `trpo_jax.programs`.

The JSON goes to `benchmarks/results/timing.json` after each part. Let nothing else run.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any
from unittest import mock

from benchmarks.runs import Training
from trpo_jax import programs
from trpo_jax.doctor import describe

RESULTS = pathlib.Path(__file__).parent / "results" / "timing.json"
NAME, SEEDS = "CartPole-v1", 64
LEVELS = {
    "default": {},
    "for long runs": programs.FOR_LONG,
    "briefly": programs.BRIEFLY,
    "once": programs.ONCE,
}


def cold() -> dict:
    """Return wall time and outcome of the command in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        run = pathlib.Path(folder) / "run"
        command = ["-m", "trpo_jax", "train", "CartPole-v1", "--output-dir", str(run)]
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, *command], check=True, capture_output=True,
            env=os.environ | {"XDG_CACHE_HOME": folder},
        )  # fmt: skip
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
    one, many = Training(NAME), Training(NAME, seeds=SEEDS)
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
            training = Training(NAME)
        training.seconds()
        result["compiler"][name] = {
            "compile": round(training.compile_seconds, 2),
            "run": min(training.seconds() for _ in range(3)),
        }
        keep()
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
