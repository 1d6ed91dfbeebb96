"""Cold starts by Python and jax: `python -m benchmarks.cold_start PYTHON ...`.

Each argument is an interpreter with an installation of trpo_jax; the default is the one
that runs this. They take turns: `trpo-jax train CartPole-v1`, in a new process, with an
empty compilation cache and matplotlib's list of fonts. Measured are the seconds on the
wall clock, the CPU seconds of the process, and both for each phase of the command. The
numbers are medians. `same_metrics` says whether `metrics.csv` is that of the first one.
"""

import hashlib
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import tyro

from benchmarks.runs import provenance

RESULTS = pathlib.Path(__file__).parent / "results" / "cold_start.json"
FONTS = pathlib.Path(tempfile.gettempdir()) / "trpo-jax-fonts"
# jax 0.11 is refused without it, since its sums are wrong from time to time.
FLAGS = {"0.11": "--xla_cpu_experimental_ynn_fusion_type="}

COMMAND = """
import gc, json, sys, time

gc.set_threshold(100_000)  # as the command does
path, began = sys.argv[1], float(sys.argv[2])
phases = []

def ended(phase):
    phases.append((phase, time.time() - began, time.process_time()))

def watch(owner, name, *, before=None, after=None):
    function = getattr(owner, name)
    names = iter(before or ()), iter(after or ())

    def watched(*args, **kwargs):
        if phase := next(names[0], None):
            ended(phase)
        result = function(*args, **kwargs)
        if phase := next(names[1], None):
            ended(phase)
        return result

    setattr(owner, name, watched)

ended("start of Python")
from trpo_jax.cli import commands, main
ended("import of the command line")
import jax
ended("import of jax")
import trpo_jax.runs.execute as execute
from trpo_jax.runs import compilation, programs
ended("import of flax, optax and trpo_jax")
made = "import of gymnax, beside the self-check of the compiler"
watch(programs.CompiledPrograms, "__init__", before=[made], after=["compiling"])
traced = [f"tracing the {what}" for what in ("first states", "training", "evaluation")]
watch(compilation, "_lower", before=["shapes of the states"], after=traced)
watch(execute, "_train", before=["first states, files"], after=["training"])
watch(execute, "_evaluate", after=["evaluation"])
watch(execute, "write_results", after=["learning curve, results"])
main.main(["train", "CartPole-v1", "--output-dir", path])
ended("report")
with open(path + "/phases.json", "w") as file:
    versions = {"python": sys.version.split()[0], "jax": jax.__version__}
    json.dump({"phases": phases, "versions": versions}, file)
gc.freeze()
"""


def once(python: str, flags: str) -> dict[str, Any]:
    """Run the command once and return its seconds, versions and result."""
    with tempfile.TemporaryDirectory() as folder:
        run = pathlib.Path(folder) / "run"
        dropped = ("JAX_", "XLA_", "PYTHONPATH")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
        caches = {"XDG_CACHE_HOME": folder, "MPLCONFIGDIR": str(FONTS)}
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.time()
        subprocess.run(
            [python, "-c", COMMAND, str(run), str(start)], check=True, cwd=folder,
            capture_output=True, env=inherited | caches | {"XLA_FLAGS": flags},
        )  # fmt: skip
        wall, after = time.time() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        found = json.loads((run / "phases.json").read_text())
        evaluation = json.loads((run / "evaluation.json").read_text())
        metrics = hashlib.sha256((run / "metrics.csv").read_bytes()).hexdigest()
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    ends = [*found["phases"], ("end of Python", wall, cpu)]
    starts = [("", 0.0, 0.0), *ends]
    return {
        **found["versions"],
        "wall": wall,
        "cpu": cpu,
        "greedy": evaluation["greedy"]["iqm"],
        "metrics": metrics,
        "phases": {
            name: (end - ends_before, used - used_before)
            for (name, end, used), (_, ends_before, used_before) in zip(ends, starts)
        },
    }


def summary(found: list[dict[str, Any]], metrics: str) -> dict[str, Any]:
    """Return the medians of one interpreter."""

    def median(values: list[float]) -> float:
        return round(statistics.median(values), 3)

    return {
        **{name: found[0][name] for name in ("python", "jax", "greedy")},
        "same_metrics": all(one["metrics"] == metrics for one in found),
        "wall": median([one["wall"] for one in found]),
        "wall_of_each": [round(one["wall"], 3) for one in found],
        "cpu": median([one["cpu"] for one in found]),
        "phases": {
            phase: {
                "wall": median([one["phases"][phase][0] for one in found]),
                "cpu": median([one["phases"][phase][1] for one in found]),
            }
            for phase in found[0]["phases"]
        },
    }


def main(
    pythons: tyro.conf.Positional[tuple[str, ...]] = (sys.executable,), turns: int = 5
) -> None:
    """Measure, print, and write the JSON.

    Args:
        pythons: interpreters with an installation of trpo_jax.
        turns: how often each of them runs.
    """
    query = "import importlib.metadata as m; print(m.version('jax'))"
    versions = [
        subprocess.run(
            [python, "-c", query], check=True, capture_output=True, text=True
        ).stdout
        for python in pythons
    ]
    flags = [FLAGS.get(version.rpartition(".")[0], "") for version in versions]
    found: list[list[dict[str, Any]]] = [[] for _ in pythons]
    once(pythons[0], flags[0])  # reads everything from the disk
    for _ in range(turns):
        for python, flag, runs in zip(pythons, flags, found):
            runs.append(once(python, flag))
            print(*(runs[-1][k] for k in ("python", "jax", "wall", "cpu")), flush=True)
    metrics = found[0][0]["metrics"]
    result = {
        **provenance("python -m benchmarks.cold_start PYTHON ..."),
        "runs": [summary(runs, metrics) for runs in found],
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
