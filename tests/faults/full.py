"""Run every long test of faults at its full count: `python full.py`, half an hour.

What each prints goes to `benchmarks/results/reliability.json`, with the machine.
"""

import json
import os
import pathlib
import platform
import subprocess
import sys
import time

from trpo_jax.runs.self_check import describe

HERE = pathlib.Path(__file__).parent
RESULTS = HERE.parents[1] / "benchmarks" / "results" / "reliability.json"
COUNTS = {
    "kill_while_saving.py": "200",
    "resume_anywhere.py": "10",
    "soak.py": "10000",
    "load.py": None,
    "attack.py": "600",
}


def main(names):
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for script in names or COUNTS:
        argument = [] if COUNTS[script] is None else [COUNTS[script]]
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, HERE / script, *argument],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        found[script] = {
            "command": " ".join(["python", f"tests/faults/{script}", *argument]),
            "status": done.returncode,
            "said": done.stdout.splitlines(),
            "seconds": round(time.perf_counter() - start),
            "cores": len(os.sched_getaffinity(0)),
            "machine": platform.machine(),
            "versions": describe(),
        }
        if done.returncode:
            found[script]["error"] = done.stderr[-2000:]
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")
        print(script, *done.stdout.splitlines(), done.stderr[-500:], sep="\n  ")
    return any(found[script]["status"] for script in names or COUNTS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
