"""Seconds for CartPole-v1 with its preset: `python -m benchmarks.timing`.

* `train_one_seed`: 100,000 steps, compilation apart.
* `seeds`: 64 seeds in one call against one, in the same process.
* `cold`: `trpo-jax train CartPole-v1` in a process of its own, to results on disk.

The JSON goes to `benchmarks/results/timing.json`. Let nothing else run meanwhile.
"""

import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from trpo_jax.doctor import describe
from trpo_jax.training import train

RESULTS = pathlib.Path(__file__).parent / "results" / "timing.json"
REPEATS = 5
SEEDS = 64


def train_seconds(seeds: int, seed: int = 0) -> float:
    """Return the seconds that training took, compilation apart."""
    result = train(
        "CartPole-v1", seeds=seeds, seed=seed, evaluation_episodes=1, progress=False
    )
    return result.evaluation["seconds"]["train"]


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
    cold_runs = [cold() for _ in range(3)]
    one = [train_seconds(1) for _ in range(REPEATS)]
    many = [train_seconds(SEEDS) for _ in range(2)]
    result = {
        "command": "python -m benchmarks.timing",
        "versions": describe(),
        "train_one_seed": {
            "seconds": one,
            "median": statistics.median(one),
            "best": min(one),
        },
        "seeds": {
            "count": SEEDS,
            "seconds": many,
            "ratio_of_medians": statistics.median(many) / statistics.median(one),
        },
        "cold": cold_runs,
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
