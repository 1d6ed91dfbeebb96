"""Returns of the presets, many seeds: `python -m benchmarks.returns [ENVIRONMENT ...]`.

Every environment with a preset is trained with it on the seeds 0, 1, 2, … (presets were
chosen on other seeds) and judged over 100 greedy and 100 sampled episodes a seed. One
JSON an environment goes to `benchmarks/results/returns/`; what is there already is left
alone, so that a run that was cut off continues. The table is made from those files.
"""

import dataclasses
import json
import pathlib
import sys
from typing import Annotated

import tyro

from trpo_jax.environments import check_name
from trpo_jax.presets import PRESETS
from trpo_jax.training import TrainResult, train

RESULTS = pathlib.Path(__file__).parent / "results" / "returns"
SEEDS = {"MinAtar": 3}  # fewer where a run takes minutes
POINTS = 100  # of a learning curve that are kept


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What to run."""

    environments: Annotated[tuple[str, ...], tyro.conf.Positional] = tuple(PRESETS)
    """Names; all with a preset if none is given."""
    seeds: int | None = None
    """Agents an environment; 10, for MinAtar 3."""
    again: bool = False
    """Run also what has a result."""


def main(arguments: Arguments) -> None:
    """Run what is missing and print the table."""
    try:
        for name in arguments.environments:
            check_name(name)
    except ValueError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name in arguments.environments:
        path = RESULTS / f"{name}.json"
        if path.exists() and not arguments.again:
            continue
        seeds = arguments.seeds or SEEDS.get(name.rpartition("-")[2], 10)
        result = train(name, seeds=seeds)
        path.write_text(json.dumps(as_json(result), indent=1) + "\n")
    print(table())


def as_json(result: TrainResult) -> dict:
    """Return everything a reader needs to repeat and to draw a result."""
    metrics = result.metrics
    iterations = result.plan.iterations
    every = max(1, iterations // POINTS)
    shown = range(every - 1, iterations, every)
    return {
        "command": f"python -m benchmarks.returns {result.plan.environment}",
        **result.evaluation,
        "plan": result.plan.as_json(),
        "curve": {
            "environment_steps": [
                (i + 1) * result.plan.config.steps_per_iteration for i in shown
            ],
            "episode_return": [
                [None if x != x else round(x, 2) for x in seed[list(shown)].tolist()]
                for seed in metrics.episode_return
            ],
        },
    }


def table() -> str:
    """Return the results on disk as a Markdown table."""
    lines = [
        "| environment | steps | seeds | greedy IQM [95 %] | worst | sampled IQM |",
        "|---|---|---|---|---|---|",
    ]
    for path in sorted(RESULTS.glob("*.json")):
        result = json.loads(path.read_text())
        greedy, sampled = result["greedy"], result["sampled"]
        low, high = greedy["ci95"]
        lines.append(
            f"| {result['environment']} | {result['total_steps']:,} "
            f"| {len(greedy['mean_per_seed'])} "
            f"| {greedy['iqm']:.1f} [{low:.1f}, {high:.1f}] "
            f"| {min(greedy['mean_per_seed']):.1f} | {sampled['iqm']:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
