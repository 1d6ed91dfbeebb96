"""What defaults that depend on the size cost: `python -m benchmarks.large_batches`.

Batches of 16,384 transitions, twice what an update takes whole: once with what follows
from the size (`fisher_fraction` and `critic_minibatch_size` None: half of the rows in
the Fisher products, 256 in a minibatch), once with all rows and 256; and of 65,536 (an
eighth, and 1024) where a task is cheap enough. Presets otherwise, five seeds that
nothing was tuned on: mean greedy return of each, interquartile mean, 95 % interval.
Seconds are of training, compilation apart. The JSON is written after each run; runs
that it holds are not repeated.
"""

import json
import os
import pathlib

from benchmarks.returns import write_json
from trpo_jax import train
from trpo_jax.doctor import describe

RESULTS = pathlib.Path(__file__).parent / "results" / "large_batches.json"
SEEDS, FIRST = 5, 700
SIDES = {
    "by size": {"fisher_fraction": None, "critic_minibatch_size": None},
    "fixed": {"fisher_fraction": 1.0, "critic_minibatch_size": 256},
}
SIZES = {  # environments, steps of each in an iteration, all steps
    "CartPole-v1": [(512, 32, 1_000_000), (1024, 64, 2_000_000)],
    "Acrobot-v1": [(512, 32, 2_000_000), (1024, 64, 4_000_000)],
    "Pendulum-v1": [(256, 64, 2_000_000), (1024, 64, 4_000_000)],
    "Hopper-v4": [(64, 256, 1_000_000)],
    "HalfCheetah-v4": [(64, 256, 1_000_000)],
}


def measure(
    name: str, num_envs: int, num_steps: int, total_steps: int, side: str
) -> dict:
    """Train five seeds and return what they came to."""
    result = train(
        name,
        seeds=SEEDS,
        seed=FIRST,
        num_envs=num_envs,
        num_steps=num_steps,
        total_steps=total_steps,
        progress=False,
        **SIDES[side],
    )
    return {
        "total_steps": total_steps,
        "greedy": result.evaluation["greedy"],
        "train_seconds": result.evaluation["seconds"]["train"],
    }


def main() -> None:
    """Measure what is missing, print, and write the JSON."""
    result = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"runs": {}}
    for name, sizes in SIZES.items():
        for num_envs, num_steps, total_steps in sizes:
            of_size = result["runs"].setdefault(f"{name}, {num_envs} x {num_steps}", {})
            for side in SIDES:
                if side not in of_size:
                    of_size[side] = measure(
                        name, num_envs, num_steps, total_steps, side
                    )
                    result |= {
                        "command": "python -m benchmarks.large_batches",
                        "versions": describe(),
                        "cores": len(os.sched_getaffinity(0)),
                    }
                    write_json(RESULTS, result)
                    print(name, num_envs, num_steps, side, of_size[side], flush=True)


if __name__ == "__main__":
    main()
