"""How long a run takes before it trains: `python -m benchmarks.compile`.

`trpo-jax train` runs for a few thousand steps or for those of the preset, each time in
a new process, with an empty compilation cache and with one that an equal run has
filled. Measured are the seconds to import and set up everything, to trace, lower and
compile, to train, and on the wall clock from start to end, with all results written.
The numbers are medians of three runs.
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
    "CartPole-v1, long": 600_000,  # compiled for speed
    "CartPole-v1, vine": 8192,
    "Breakout-MinAtar": 16_384,
}
TURNS = 3
FONTS = pathlib.Path(tempfile.gettempdir()) / "trpo-jax-fonts"


def once(options: list[str], steps: int | None, cache: pathlib.Path) -> dict:
    """Run the command once and return the seconds of its phases."""
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
                "MPLCONFIGDIR": str(FONTS),  # the list of fonts is another cache
            },
        )  # fmt: skip
        wall = time.perf_counter() - start
        evaluation = json.loads((run / "evaluation.json").read_text())
    return {
        **evaluation["seconds"], "wall": wall, "greedy": evaluation["greedy"]["iqm"],
    }  # fmt: skip


def medians(found: list[dict]) -> dict:
    """Return the median of each phase."""
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
