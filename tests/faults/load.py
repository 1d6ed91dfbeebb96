"""Runs from tiny to huge: `python load.py`, each in a process of its own.

Each either finishes or says, before it starts, what memory it would need.
"""

import subprocess
import sys

CASES = {  # options, and the steps of one iteration
    "1 environment": (["--num-envs", "1"], 64),
    "1024 environments": (["--num-envs", "1024"], 1024 * 64),
    "65,536 environments": (["--num-envs", "65536", "--num-steps", "8"], 65536 * 8),
    "a thousand parameters": (["--hidden-sizes", "16", "16"], 1024),
    "a million parameters": (["--hidden-sizes", "1000", "1000"], 1024),
    "64 seeds": (["--seeds", "64"], 1024),
    "64 seeds of 4096 environments": (
        ["--seeds", "64", "--num-envs", "4096"], 4096 * 64,
    ),
    "more than any memory": (
        ["--num-envs", "65536", "--num-steps", "30000"], 65536 * 30000,
    ),
}  # fmt: skip


def attempt(options, per_iteration):
    command = [
        sys.executable, "-m", "trpo_jax", "train", "CartPole-v1", *options,
        "--total-steps", str(2 * per_iteration), "--evaluation-episodes", "1",
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=900, check=False
    )
    if done.returncode == 0:
        return "finished"
    assert done.returncode == 2, (done.returncode, done.stderr[-500:])
    assert "GiB of memory" in done.stderr, done.stderr
    assert "results in" not in done.stdout
    return done.stderr.strip()


def main(names):
    for name in names or CASES:
        print(f"{name}: {attempt(*CASES[name])}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
