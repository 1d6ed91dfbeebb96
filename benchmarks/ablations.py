"""Which choices matter for the return: `python -m benchmarks.ablations`.

The presets of Hopper and HalfCheetah are trained with one change at a time, with three
seeds of 400,000 steps and 20 evaluation episodes each. Each run writes one JSON file to
`benchmarks/results/ablations/`; runs whose file exists are not repeated. The table and
the figure are made from those files.
"""

import dataclasses
import json
import pathlib
import re
from typing import Any

import numpy as np
import tyro

from benchmarks.drawing import figure_of_height
from benchmarks.result_files import settings_of, write_json
from benchmarks.returns import one_per_core, summary_of
from trpo_jax.runs.api import train
from trpo_jax.runs.plan import make_plan
from trpo_jax.runs.presets import preset_of

RESULTS = pathlib.Path(__file__).parent / "results" / "ablations"
FIGURE, TABLE = RESULTS.parent / "ablations.png", RESULTS.parent / "ablations.md"
ENVIRONMENTS = ("envpool:Hopper-v4", "envpool:HalfCheetah-v4")
SEEDS = (20, 21, 22)  # not in the table of returns
STEPS = 400_000
EPISODES = 20

# The presets have changed since, partly because of this ablation: their old values.
THEN: dict[str, dict[str, Any]] = {
    "envpool:Hopper-v4": {
        "log_std_init": -0.5,
        "max_kl": 0.04,
        "final_max_kl": 0.002,
        "stagger_starts": False,
    },
    "envpool:HalfCheetah-v4": {},
}

PRESET = "as the preset"
CHANGES: dict[str, dict[str, Any]] = {
    PRESET: {},
    "observations not normalised": {"normalize_observation": False},
    "rewards not scaled": {"scale_reward": False},
    "no orthogonal initialisation": {"orthogonal_init": False},
    "log σ starts at 0": {"log_std_init": 0.0},
    "log σ starts at −1.5": {"log_std_init": -1.5},
    "critic: 3 epochs": {"critic_epochs": 3},
    "critic: 10 epochs of 256": {"critic_epochs": 10, "critic_minibatch_size": 256},
    "critic: 20 epochs of 128": {"critic_epochs": 20, "critic_minibatch_size": 128},
    "critic: step size falls to a tenth": {"final_critic_learning_rate": 1e-4},
    "δ = 0.01, constant": {"max_kl": 0.01, "final_max_kl": None},
    "δ does not fall": {"final_max_kl": None},
    "γ = 0.99": {"discount": 0.99},
    "γ = 0.995": {"discount": 0.995},
    "λ = 0.9": {"gae_lambda": 0.9},
    "λ = 0.95": {"gae_lambda": 0.95},
    "time limits count as ends": {"bootstrap_truncated": False},
    "first episodes staggered": {"stagger_starts": True},
    "2 environments × 1024 steps": {"num_envs": 2, "num_steps": 1024},
}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What to run. Without options, everything that has no result yet."""

    one: tuple[str, str, int] | None = None
    """Run only this environment, change and seed."""


def main(arguments: Arguments) -> None:
    """Run what is missing, print the table and draw the figure."""
    if arguments.one is not None:
        environment, change, seed = arguments.one
        result = train(
            environment,
            seed=seed,
            total_steps=STEPS,
            evaluation_episodes=EPISODES,
            progress=False,
            **THEN[environment] | CHANGES[change],
        )
        write_json(path_of(environment, change, seed), summary_of(result))
        return
    one_per_core(
        ["-m", "benchmarks.ablations", "--one", environment, change, str(seed)]
        for seed in SEEDS
        for environment in ENVIRONMENTS
        for change in CHANGES
        if changes_something(environment, change)
        and not path_of(environment, change, seed).exists()
    )
    TABLE.write_text(page())
    print(table())
    draw()


def changes_something(environment: str, change: str) -> bool:
    """Return whether a change makes a difference to the preset of an environment."""
    if change == PRESET:
        return True
    preset = preset_of(environment)
    values = dataclasses.asdict(preset.config) | dataclasses.asdict(preset.network)
    values |= THEN[environment]
    return any(values[name] != value for name, value in CHANGES[change].items())


def path_of(environment: str, change: str, seed: int) -> pathlib.Path:
    """Return the file in which a run is stored."""
    task = environment.rpartition(":")[2]
    words = re.sub(r"\W+", "-", change)
    return RESULTS / task / f"{words}-seed{seed}.json"


def returns_of(environment: str, change: str, how: str = "greedy") -> np.ndarray:
    """Return the mean return of each seed that has been run."""
    values = THEN[environment] | CHANGES[change]
    plan = make_plan(environment, total_steps=STEPS, **values)
    expected = settings_of(plan.as_json())
    returns = []
    for path in [path_of(environment, change, seed) for seed in SEEDS]:
        if not path.exists():
            continue
        result = json.loads(path.read_text())
        if settings_of(result["plan"]) != expected:
            raise ValueError(f"{path} belongs to an earlier preset; remove it")
        returns.append(result[how]["mean_per_seed"][0])
    return np.array(returns)


def table() -> str:
    """Return the results on disk as Markdown: the mean, and the return of each seed."""
    lines = [
        "| change | " + " | ".join(ENVIRONMENTS) + " |",
        "|---|" + "---|" * len(ENVIRONMENTS),
    ]
    for change in CHANGES:
        cells = []
        for environment in ENVIRONMENTS:
            returns = returns_of(environment, change)
            each = ", ".join(f"{x:.0f}" for x in returns)
            cells.append(f"{returns.mean():.0f} ({each})" if len(returns) else "")
            if not changes_something(environment, change):
                cells[-1] = "as the preset"
        lines.append(f"| {change} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def page() -> str:
    """Return the table and what a reader has to know about it."""
    then = [
        f"{environment} had " + ", ".join(f"{k} = {v}" for k, v in values.items())
        for environment, values in THEN.items()
        if values
    ]
    return (
        f"Greedy return after {STEPS:,} steps: mean (each of {len(SEEDS)} seeds). Made "
        "by `python -m benchmarks.ablations`.\n"
        f"The presets have changed since: {'; '.join(then)}.\n\n{table()}\n"
    )


def draw() -> None:
    """Draw a row for each change: a dot for each seed, a bar for their mean."""
    with figure_of_height(FIGURE, 6) as figure:
        rows = np.arange(len(CHANGES))
        panels = figure.subplots(1, len(ENVIRONMENTS), sharey=True)
        for axes, environment in zip(panels, ENVIRONMENTS):
            means = []
            for row, change in zip(rows, CHANGES):
                returns = returns_of(environment, change)
                axes.plot(returns, np.full(len(returns), row), "o", color="0.2", ms=4)
                means.append(returns.mean() if len(returns) else np.nan)
                if not changes_something(environment, change):
                    axes.text(0, row, " no run: the preset has this value",
                              va="center", color="0.35")  # fmt: skip
            axes.barh(rows, means, color="C0", alpha=0.45)
            axes.axvline(means[0], color="0.3", ls=":", lw=1.2)
            axes.set_title(environment)
            axes.set_xlabel(f"greedy return after {STEPS:,} steps")
            axes.grid(axis="y", visible=False)
        panels[0].set_yticks(rows, list(CHANGES))
        panels[0].invert_yaxis()


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
