"""Where the seconds before training go: `python -m benchmarks.compile`.

`trpo-jax train` for a few thousand steps or as many as the preset has, in a process of
its own each time, with an empty compilation cache and with one that a run like it has
filled: seconds until all is imported and made, to trace, lower and compile, of the
iterations, and on the wall clock with everything, results on disk included. Medians of
three.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import tyro

from benchmarks.runs import provenance

RESULTS = pathlib.Path(__file__).parent / "results" / "compile.json"
RUNS = {
    "CartPole-v1": ["CartPole-v1"],
    "CartPole-v1, whole preset": ["CartPole-v1"],
    "CartPole-v1, 8 seeds": ["CartPole-v1", "--seeds", "8"],
    "CartPole-v1, vine": ["CartPole-v1", "--sampling", "vine"],
    "CartPole-v1, long": ["CartPole-v1"],
    "Pendulum-v1": ["Pendulum-v1"],
    "Breakout-MinAtar": ["Breakout-MinAtar"],
    "gymnasium:CartPole-v1": ["gymnasium:CartPole-v1"],
}
STEPS = {
    "CartPole-v1, whole preset": None,
    "CartPole-v1, long": 600_000,  # compiled for long
    "CartPole-v1, vine": 8192,
    "Breakout-MinAtar": 16_384,
}
TURNS = 3
FONTS = pathlib.Path(tempfile.gettempdir()) / "trpo-jax-fonts"


def once(options: list[str], steps: int | None, cache: pathlib.Path) -> dict:
    """Run the command and return its parts."""
    with tempfile.TemporaryDirectory() as folder:
        run = pathlib.Path(folder) / "run"
        command = [
            sys.executable, "-m", "trpo_jax", "train", *options, "--output-dir",
            str(run),
        ]  # fmt: skip
        if steps is not None:
            command += ["--total-steps", str(steps), "--evaluation-episodes", "1"]
        start = time.perf_counter()
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("JAX_")
        }
        subprocess.run(
            command, check=True, capture_output=True,
            env=inherited | {
                "XDG_CACHE_HOME": str(cache),
                "MPLCONFIGDIR": str(FONTS),  # whose list of fonts is another cache
            },
        )  # fmt: skip
        wall = time.perf_counter() - start
        evaluation = json.loads((run / "evaluation.json").read_text())
    return {
        **evaluation["seconds"], "wall": wall, "greedy": evaluation["greedy"]["iqm"],
    }  # fmt: skip


def medians(found: list[dict]) -> dict:
    """Return the median of each part."""
    return {
        name: round(statistics.median(one[name] for one in found), 3)
        for name in found[0]
    }


def main() -> None:
    """Measure, print, and write the JSON."""
    result = {
        **provenance("python -m benchmarks.compile"),
        "runs": {},
    }
    for name, options in RUNS.items():
        steps = STEPS.get(name, 4096)
        cold, warm = [], []
        for _ in range(TURNS):
            with tempfile.TemporaryDirectory() as folder:
                cold.append(once(options, steps, pathlib.Path(folder)))
                warm.append(once(options, steps, pathlib.Path(folder)))
        result["runs"][name] = {"cold": medians(cold), "warm": medians(warm)}
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")
        print(name, result["runs"][name], flush=True)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
