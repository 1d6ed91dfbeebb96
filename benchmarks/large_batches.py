"""Do the size-dependent defaults cost return? `python -m benchmarks.large_batches`.

The defaults of `fisher_fraction` and `critic_minibatch_size` depend on the size of a
batch. Batches of 16,384 transitions are trained with these defaults (half of the rows
in the Fisher products) and with all rows; batches of 65,536, where a task is cheap
enough, with the defaults (an eighth of the rows, and minibatches of 1024), with all
rows, and with all rows and minibatches of 256. A fourth variant fits the critic by
Gauss-Newton steps. All other values are those of the presets. Five seeds that nothing
was tuned on give the mean greedy return of each, the interquartile mean and its 95 %
interval, and the seconds of training without compilation. The JSON is written after
each run; runs that it contains are not repeated.
"""

import json
import pathlib

import tyro

from benchmarks.result_files import write_json
from benchmarks.runs import provenance
from trpo_jax import train

RESULTS = pathlib.Path(__file__).parent / "results" / "large_batches.json"
SEEDS, FIRST = 5, 700
SIDES = {
    "by size": {"fisher_fraction": None, "critic_minibatch_size": None},
    "all rows in products": {"fisher_fraction": 1.0, "critic_minibatch_size": None},
    "all rows, minibatches of 256": {
        "fisher_fraction": 1.0, "critic_minibatch_size": 256,
    },
    "critic in trust regions": {
        "fisher_fraction": None, "critic_method": "gauss_newton",
    },
}  # fmt: skip
FIXED = SIDES["all rows, minibatches of 256"]
SIZES = {  # environments, steps of each per iteration, total steps
    "CartPole-v1": [(512, 32, 1_000_000), (1024, 64, 2_000_000)],
    "Acrobot-v1": [(512, 32, 2_000_000)],
    "Pendulum-v1": [(256, 64, 2_000_000)],
    "envpool:Hopper-v4": [(64, 256, 400_000)],
    "envpool:HalfCheetah-v4": [(64, 256, 400_000)],
}


def measure(
    name: str, num_envs: int, num_steps: int, total_steps: int, side: str
) -> dict:
    """Train five seeds and return their results."""
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
    """Measure what has no result yet, print it, and write the JSON."""
    result = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"runs": {}}
    for name, sizes in SIZES.items():
        for num_envs, num_steps, total_steps in sizes:
            of_size = result["runs"].setdefault(f"{name}, {num_envs} x {num_steps}", {})
            for side, values in SIDES.items():
                small = num_envs * num_steps <= 16_384  # minibatches of 256 anyway
                if side not in of_size and not (small and values == FIXED):
                    of_size[side] = measure(
                        name, num_envs, num_steps, total_steps, side
                    )
                    done = provenance("python -m benchmarks.large_batches")
                    of_size[side]["commit"] = done["commit"]
                    result |= done
                    write_json(RESULTS, result)
                    print(name, num_envs, num_steps, side, of_size[side], flush=True)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
