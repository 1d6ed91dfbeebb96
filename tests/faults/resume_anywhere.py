"""Interrupt a run anywhere and go on: `python resume_anywhere.py CUTS`, on one core.

A run of 24 iterations keeps a checkpoint of each. At so many cut points, what a run
that stopped there would have left is laid out (with metrics of later iterations, as
after a crash), resumed, and compared file by file with the run that never stopped; with
one seed and with two, and once more from a run that was to be half as long.
"""

import json
import os
import pathlib
import shutil
import sys
import tempfile

import jax
import numpy as np

import trpo_jax
from trpo_jax.storage.checked_folder import ARRAYS

ITERATIONS = 24
SMALL = {
    "num_envs": 4, "num_steps": 8, "hidden_sizes": (8,), "critic_epochs": 2,
    "critic_minibatch_size": 8, "evaluation_episodes": 2, "progress": False,
}  # fmt: skip
STEPS = ITERATIONS * 32
CASES = {
    "one": ("CartPole-v1", 1, {}),
    "two": ("CartPole-v1", 2, {}),
    "schedules": (
        "Pendulum-v1", 1,
        {
            "final_max_kl": 0.001, "final_critic_learning_rate": 0.0025,
            "stagger_starts": True, "normalize_observation": True,
            "scale_reward": True, "fisher_fraction": 0.5, "action_repeat": 1,
        },
    ),
    "vine": (
        "CartPole-v1", 1,
        {
            "sampling": "vine", "num_envs": 2, "vine_states": 2, "vine_actions": 2,
            "vine_steps": 2,
        },
    ),
}  # fmt: skip
SAME = ("metrics.jsonl", "metrics.csv", "policy.safetensors")


def contents(run):
    newest = max((run / "checkpoints").iterdir())
    found = {name: (run / name).read_bytes() for name in SAME}
    found["checkpoint"] = (newest / ARRAYS).read_bytes()
    evaluation = json.loads((run / "evaluation.json").read_text())
    found["evaluation"] = evaluation["greedy"], evaluation["sampled"]
    return found


def compare(run, whole, what):
    found, expected = contents(run), contents(whole)
    for name in expected:
        assert found[name] == expected[name], f"{what}: {name} differs"


def laid_out(whole, run, done):
    """Lay out what a run that crashed soon after an iteration has left."""
    (run / "checkpoints").mkdir(parents=True)
    shutil.copy(whole / "config.json", run)
    for name in SAME[:2]:
        content = (whole / name).read_bytes()
        (run / name).write_bytes(content[: len(content) * (done + 2) // ITERATIONS])
    step = f"{done:012d}"
    shutil.copytree(whole / "checkpoints" / step, run / "checkpoints" / step)


def main(cuts):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # before there are threads
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        jax.config.update("jax_compilation_cache_dir", str(folder / "cache"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        for case, (environment, seeds, more) in CASES.items():
            values = {**SMALL, "checkpoint_every": 1, "keep": ITERATIONS, **more}
            whole = folder / case
            trpo_jax.train(
                environment, total_steps=STEPS, seeds=seeds, output_dir=whole, **values
            )
            for cut in rng.choice(np.arange(1, ITERATIONS), cuts, replace=False):
                run = folder / f"{case}-{cut}"
                laid_out(whole, run, int(cut))
                trpo_jax.resume(run, progress=False)
                compare(run, whole, f"{case}, cut at {cut}")
            if case not in ("one", "two"):
                continue  # schedules keep the length of the first plan
            half = folder / f"{case}-half"
            trpo_jax.train(
                environment, total_steps=STEPS // 2, seeds=seeds, output_dir=half,
                **values,
            )  # fmt: skip
            trpo_jax.resume(half, total_steps=STEPS, progress=False)
            compare(half, whole, f"{case}, twice as long")
    print(f"{len(CASES) * cuts} cuts and 2 longer runs, all files equal")


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main(int(sys.argv[1]))
