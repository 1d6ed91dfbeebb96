"""Learning with the vine and with single paths: `python -m benchmarks.vine_learning`.

Single paths are compared with the vine, with and without common random numbers. All
values are those of the presets; an iteration of the vine has no more simulator steps
than one of single paths, trunks and branches counted. The learning curves of five seeds
are drawn against simulator steps and against wall time without compilation. Each
environment has one JSON file in `benchmarks/results/vine_learning/`; those that exist
are not measured again. At the end the table is printed and the figure drawn. Run
nothing else meanwhile.
"""

import pathlib
from typing import Any

import jax
import numpy as np
import tyro

from benchmarks.drawing import figure_of_height
from benchmarks.result_files import measure_missing, read_all
from benchmarks.returns import middle_of
from benchmarks.runs import curve_of, vine_of_as_many_steps
from trpo_jax.environments import make_environment
from trpo_jax.environments.spaces import Discrete
from trpo_jax.runs.api import train
from trpo_jax.runs.plan import make_plan
from trpo_jax.runs.plotting import interquartile_mean
from trpo_jax.runs.self_check import describe

RESULTS = pathlib.Path(__file__).parent / "results" / "vine_learning"
FIGURE = RESULTS.parent / "vine_learning.png"
ENVIRONMENTS = {  # simulator steps a seed
    "CartPole-v1": 100_000,
    "Pendulum-v1": 200_000,
    "Breakout-MinAtar": 300_000,
    "brax:hopper@spring": 200_000,
}
WAYS = {
    "single path": {},
    "vine, own random numbers": {"vine_common_random_numbers": False},
    "vine, common random numbers": {"vine_common_random_numbers": True},
}
SEEDS, POINTS = 5, 25
BRANCH = 4  # steps of a branch, which the critic's value continues


def main(environments: tuple[str, ...] = tuple(ENVIRONMENTS)) -> None:
    """Measure what has no result yet, then draw and print all results.

    Args:
        environments: The environments to train in.
    """
    measure_missing(environments, path_of, measure)
    print(table())
    draw()


def path_of(name: str) -> pathlib.Path:
    """Return the file for an environment."""
    return RESULTS / f"{name.replace(':', '-')}.json"


def measure(name: str) -> dict:
    """Train five seeds with every way of collecting data."""
    return {
        "environment": name,
        "seeds": SEEDS,
        "ways": {way: run(name, way) for way in WAYS},
        "versions": describe(),
        "device": jax.devices()[0].device_kind,
    }


def run(name: str, way: str) -> dict:
    """Train five seeds with one way of collecting data."""
    values: dict[str, Any] = dict(WAYS[way])
    if values:
        space = make_environment(name).action_space
        actions = min(4, space.n) if isinstance(space, Discrete) else 4
        path = make_plan(name).config
        values |= vine_of_as_many_steps(path.num_envs, path.num_steps, actions, BRANCH)
    result = train(
        name,
        total_steps=ENVIRONMENTS[name],
        seeds=SEEDS,
        progress=False,
        **values,
    )
    return curve_of(result, POINTS) | {
        "greedy": result.evaluation["greedy"]["mean_per_seed"],
        "compile_seconds": result.evaluation["seconds"]["compile"],
        "train_seconds": result.evaluation["seconds"]["train"],
        "plan": result.plan.as_json(),
    }


def table() -> str:
    """Return the results as Markdown."""
    lines = [
        "| environment | way | updates | return over the training | greedy afterwards "
        "(worst to best) | seconds of training |",
        "|---|---|---|---|---|---|",
    ]
    for name, result in read_all(tuple(ENVIRONMENTS), path_of).items():
        for way, found in result["ways"].items():
            whole = np.nanmean(np.array(found["episode_return"], float), axis=1)
            greedy = np.array(found["greedy"])
            lines.append(
                f"| {name} | {way} | {found['iterations']} | "
                f"{interquartile_mean(whole):.4g} | {interquartile_mean(greedy):.4g} "
                f"({greedy.min():.4g} to {greedy.max():.4g}) | "
                f"{found['train_seconds']:.0f} |"
            )
    return "\n".join(lines)


def draw() -> None:
    """Draw curves: a column for each environment, by steps and below by seconds."""
    found = read_all(tuple(ENVIRONMENTS), path_of)
    with figure_of_height(FIGURE, 5.2) as figure:
        panels = figure.subplots(2, len(found), squeeze=False, sharey="col")
        for (above, below), (name, result) in zip(panels.T, found.items()):
            above.set_title(name)
            for i, (way, run) in enumerate(result["ways"].items()):
                returns = np.array(run["episode_return"], float)
                steps = np.array(run["environment_steps"])
                low, high = np.nanmin(returns, axis=0), np.nanmax(returns, axis=0)
                seconds = run["train_seconds"] * steps / steps[-1]
                for axes, x in ((above, steps / 1000), (below, seconds)):
                    axes.plot(x, middle_of(returns), color=f"C{i}", label=way)
                    axes.fill_between(x, low, high, color=f"C{i}", alpha=0.15, lw=0)
            above.set_xlabel("thousand simulator steps")
            below.set_xlabel(f"seconds for {SEEDS} seeds together")
        for axes in panels[:, 0]:
            axes.set_ylabel("training return")
        handles = panels[0][0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside upper center", ncols=len(WAYS))


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
