"""Seconds for CartPole-v1 with its preset: `python -m benchmarks.timing`.

* `train`: 100,000 steps a seed, of one and of 64 and 256 in one call, in turns, in one
  process, compilation apart.
* `compiler`: seconds to compile all programs of a run of one seed and to train, with
  all of them at one of the levels of `trpo_jax.runs.programs`.

The JSON goes to `benchmarks/results/timing.json` after each part. Let nothing else run.
"""

import json
import pathlib
import statistics
from typing import Any
from unittest import mock

import tyro

from benchmarks.runs import Training, provenance
from trpo_jax.runs import programs

RESULTS = pathlib.Path(__file__).parent / "results" / "timing.json"
NAME, SEEDS, TURNS = "CartPole-v1", (64, 256), 3
LEVELS = {
    "default": {},
    "for long runs": programs.FOR_LONG,
    "briefly": programs.BRIEFLY,
    "once": programs.ONCE,
}


def main() -> None:
    """Measure, print, and write the JSON."""
    result: dict[str, Any] = provenance("python -m benchmarks.timing")

    def keep() -> None:
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")

    result["train"] = {"1": []}
    one = Training(NAME)
    for seeds in SEEDS:
        many, together = Training(NAME, seeds=seeds), []
        one.seconds()  # what happens once in a process belongs to neither
        for _ in range(TURNS):
            result["train"]["1"].append(one.seconds())
            together.append(many.seconds())
        result["train"][str(seeds)] = together
        many.programs.close()
        keep()
    result["median"] = {
        seeds: statistics.median(found) for seeds, found in result["train"].items()
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
    tyro.cli(main, description=__doc__)
