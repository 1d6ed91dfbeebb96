"""Seconds for CartPole-v1 with its preset: `python -m benchmarks.timing`.

* `train`: 100,000 steps for each of 1, 64 and 256 seeds in one call. They take turns in
  one process; compilation is not counted.
* `compiler`: seconds to compile all programs of a run of one seed, and to train, for
  each set of compiler options in `trpo_jax.runs.compilation`.

The JSON is written to `benchmarks/results/timing.json` after each part. Run nothing
else meanwhile.
"""

import json
import pathlib
import statistics
from typing import Any
from unittest import mock

import tyro

from benchmarks.runs import Training, provenance
from trpo_jax.runs import compilation, programs

RESULTS = pathlib.Path(__file__).parent / "results" / "timing.json"
NAME, SEEDS, TURNS = "CartPole-v1", (64, 256), 3
LEVELS = {
    "default": {},
    "for long runs": compilation.FOR_LONG,
    "briefly": compilation.BRIEFLY,
    "once": compilation.ONCE,
}


def main() -> None:
    """Measure, print, and write the JSON."""
    result: dict[str, Any] = provenance("python -m benchmarks.timing")

    def save() -> None:
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")

    result["train"] = {"1": []}
    one = Training(NAME)
    for seeds in SEEDS:
        many, together = Training(NAME, seeds=seeds), []
        one.seconds()  # the first run has one-off costs
        for _ in range(TURNS):
            result["train"]["1"].append(one.seconds())
            together.append(many.seconds())
        result["train"][str(seeds)] = together
        many.programs.close()
        save()
    result["median"] = {
        seeds: statistics.median(found) for seeds, found in result["train"].items()
    }
    save()
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
        save()
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
