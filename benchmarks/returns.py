"""Returns of the presets, many seeds: `python -m benchmarks.returns [ENVIRONMENT ...]`.

Every environment of the table is trained with its preset on the seeds 0, 1, 2, …, or
on `FIRST_SEED` and those after it where that has an entry (presets were chosen on other
seeds), and judged over 100 greedy and 100 sampled episodes a seed. JSON goes to
`benchmarks/results/returns/`: one an environment where all seeds are trained side by
side, one a seed where the simulator runs on the host; those are run in processes of
their own, one a core. What is there already is left alone, so that a run that was cut
off continues. The tables are made from those files.
"""

import concurrent.futures
import dataclasses
import json
import os
import pathlib
import queue
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated

import numpy as np
import tyro

from trpo_jax.config import Config
from trpo_jax.environments import full_name, runs_on_host
from trpo_jax.runs.api import TrainResult, train
from trpo_jax.runs.plotting import bootstrap_interval, interquartile_mean
from trpo_jax.runs.results import summarize_returns

RESULTS = pathlib.Path(__file__).parent / "results" / "returns"
POINTS = 100  # of a learning curve that are kept
LAST = 100  # training episodes at the end whose return is reported

CLASSIC = (
    "CartPole-v1",
    "Acrobot-v1",
    "Pendulum-v1",
    "MountainCar-v0",
    "MountainCarContinuous-v0",
)
MINATAR = tuple(
    f"{game}-MinAtar" for game in ("Asterix", "Breakout", "Freeway", "SpaceInvaders")
)
# The best published TRPO on the host's tasks, v3 and older where they are MuJoCo's:
# rl-zoo3's benchmark.md (Hopper, Walker2d, Ant, Swimmer and Box2D, one agent), Tianshou
# (HalfCheetah and the pendulums, 10 seeds), OpenAI baselines (Reacher), and TRPO+ of
# Engstrom et al. 2020 (Humanoid).
HOST = {
    "envpool:HalfCheetah-v4": 4471.0,
    "envpool:Hopper-v4": 3618.0,
    "envpool:Walker2d-v4": 4933.0,
    "envpool:Ant-v4": 4982.0,
    "envpool:Swimmer-v4": 366.0,
    "envpool:Humanoid-v4": 1030.0,
    "envpool:Reacher-v4": -4.8,
    "envpool:InvertedPendulum-v4": 1000.0,
    "envpool:InvertedDoublePendulum-v4": 8435.0,
    "envpool:LunarLander-v3": 133.0,
    "envpool:LunarLanderContinuous-v3": 262.0,
    "envpool:BipedalWalker-v3": 182.0,
}
FIRST_SEED = {  # of those whose preset was changed after a seed of the table was seen
    "envpool:HalfCheetah-v4": 30,
    "envpool:Hopper-v4": 60,
    "envpool:Walker2d-v4": 10,
    "envpool:Swimmer-v4": 10,
    "envpool:InvertedPendulum-v4": 10,
    "envpool:InvertedDoublePendulum-v4": 20,
}
BRAX = ("brax:hopper@spring", "brax:halfcheetah@spring", "brax:ant@spring")
SEEDS = (
    dict.fromkeys(CLASSIC, 10)
    | dict.fromkeys(MINATAR, 3)
    | dict.fromkeys(BRAX, 3)
    | dict.fromkeys(HOST, 5)
)


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What to run."""

    environments: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Names; all of the table whose simulator is installed if none is given."""
    seeds: int | None = None
    """Agents an environment; 10, for MinAtar and brax 3, on the host 5."""
    table: tyro.conf.FlagCreatePairsOff[bool] = False
    """Run nothing, print what is there."""
    again: bool = False
    """Run also what has a result."""
    one: int | None = None
    """Run this seed only and write its JSON."""


def main(arguments: Arguments) -> None:
    """Run what is missing and print the tables."""
    if arguments.table:
        print(table())
        return
    names = []
    for name in arguments.environments or SEEDS:
        try:
            names.append(full_name(name))
        except ValueError as error:
            print(error, file=sys.stderr)
            if arguments.environments:
                sys.exit(2)
    names = [name.removeprefix("gymnax:") for name in names]
    if arguments.one is not None:
        for name in names:
            result = train(name, seed=arguments.one)
            write_json(path_of(name, arguments.one), summary_of(result))
        return
    wanted = {name: arguments.seeds or SEEDS.get(name, 5) for name in names}
    on_host = [name for name in names if runs_on_host(name)]
    for name in names:
        if name not in on_host and (arguments.again or not path_of(name).exists()):
            write_json(path_of(name), summary_of(train(name, seeds=wanted[name])))
    one_a_core(
        ["-m", "benchmarks.returns", name, "--one", str(seed)]
        for i in range(max(wanted.values()))
        for name in on_host
        for seed in [FIRST_SEED.get(name, 0) + i]
        if i < wanted[name] and (arguments.again or not path_of(name, seed).exists())
    )
    print(table())


def one_a_core(commands: Iterable[list[str]]) -> None:
    """Run Python commands, as many at once as there are cores, each on its own."""
    cores: queue.Queue[int] = queue.Queue()
    for core in os.sched_getaffinity(0):
        cores.put(core)

    def settle() -> None:  # a process runs where the thread that starts it may run
        os.sched_setaffinity(0, {cores.get()})

    def run(command: list[str]) -> None:
        subprocess.run(
            [sys.executable, *command], check=True, stdout=subprocess.DEVNULL
        )

    with concurrent.futures.ThreadPoolExecutor(cores.qsize(), "", settle) as pool:
        for done in [pool.submit(run, command) for command in commands]:
            done.result()


def path_of(name: str, seed: int | None = None) -> pathlib.Path:
    """Return the file of an environment, or of one of its seeds."""
    plain = name.replace(":", "-")
    if seed is None:
        return RESULTS / f"{plain}.json"
    return RESULTS / plain / f"seed{seed}.json"


def summary_of(result: TrainResult) -> dict:
    """Return everything a reader needs to repeat and to draw a result."""
    metrics = result.metrics
    iterations = result.plan.iterations
    every = max(1, iterations // POINTS)
    ends = range(every, iterations + 1, every)
    return {
        **result.evaluation,
        f"last_{LAST}_training_episodes": last_episodes(metrics),
        "plan": result.plan.as_json(),
        "curve": {
            "environment_steps": [
                end * result.plan.config.steps_per_iteration for end in ends
            ],
            "episode_return": [
                [
                    mean_return(episodes[end - every : end], returns[end - every : end])
                    for end in ends
                ]
                for episodes, returns in zip(metrics.episodes, metrics.episode_return)
            ],
        },
    }


def mean_return(episodes: np.ndarray, returns: np.ndarray) -> float | None:
    """Return the mean over all episodes that ended in some iterations."""
    ended = episodes > 0
    if not ended.any():
        return None
    return round(float(np.average(returns[ended], weights=episodes[ended])), 2)


def write_json(path: pathlib.Path, content: dict) -> None:
    """Write a file that is either whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    unfinished.replace(path)


def measure_missing(
    names: Sequence[str],
    path_of: Callable[[str], pathlib.Path],
    measure: Callable[[str], dict],
) -> None:
    """Measure what has no file yet, one after the other."""
    for name in names:
        if not path_of(name).exists():
            write_json(path_of(name), measure(name))
        print(name, "done", flush=True)


def read_all(
    names: Sequence[str], path_of: Callable[[str], pathlib.Path]
) -> dict[str, dict]:
    """Return what is on disk, by name."""
    paths = {name: path_of(name) for name in names}
    return {
        n: json.loads(path.read_text()) for n, path in paths.items() if path.exists()
    }


def middle_of(returns: np.ndarray) -> list[float]:
    """Return the interquartile mean over the seeds of `[K, points]`, without NaN."""
    columns = [column[~np.isnan(column)] for column in returns.T]
    return [interquartile_mean(x) if x.size else np.nan for x in columns]


def last_episodes(metrics: object, count: int = LAST) -> list[float | None]:
    """Return the mean return a seed of the last iterations with `count` episodes.

    Of all iterations where there were fewer, and None where no episode ended.
    """
    means = []
    for episodes, returns in zip(metrics.episodes, metrics.episode_return):
        ended = episodes > 0
        from_the_end = np.cumsum(episodes[::-1])
        first = (
            len(episodes)
            - 1
            - min(int(np.searchsorted(from_the_end, count)), len(episodes) - 1)
        )
        taken = ended & (np.arange(len(episodes)) >= first)
        means.append(
            float(np.average(returns[taken], weights=episodes[taken]))
            if taken.any()
            else None
        )
    return means


def load(name: str) -> dict | None:
    """Return the result of an environment, its seeds put together, or None."""
    if path_of(name).exists():
        return json.loads(path_of(name).read_text())
    first = FIRST_SEED.get(name, 0)
    paths = [path_of(name, first + i) for i in range(SEEDS.get(name, 5))]
    parts = [json.loads(path.read_text()) for path in paths if path.exists()]
    if not parts:
        return None
    if any(_values(part) != _values(parts[0]) for part in parts):
        raise ValueError(f"{name}: the seeds were not trained with the same values")
    last = f"last_{LAST}_training_episodes"
    return (
        parts[0]
        | {
            how: summarize_means(
                [x for part in parts for x in part[how]["mean_per_seed"]]
            )
            for how in ("greedy", "sampled")
        }
        | {
            "unfinished_episodes": sum(part["unfinished_episodes"] for part in parts),
            last: [x for part in parts for x in part[last]],
            "curve": parts[0]["curve"]
            | {
                "episode_return": [
                    x for p in parts for x in p["curve"]["episode_return"]
                ]
            },
        }
    )


def _values(result: dict) -> dict:
    """Return what a result was trained with; options it does not know were off."""
    plan = {key: x for key, x in result["plan"].items() if key != "seed"}
    return plan | {"config": dataclasses.asdict(Config()) | plan["config"]}


def summarize_means(means: list[float]) -> dict:
    """Return what `summarize_returns` does, from the means of the seeds."""
    return summarize_returns(np.asarray(means)[:, None])


def table() -> str:
    """Return the results on disk as Markdown."""
    lines = [
        "| environment | steps | seeds | greedy IQM [95 %] | mean | worst "
        "| sampled IQM |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in (*CLASSIC, *MINATAR, *BRAX):
        result = load(name)
        if result is not None:
            lines.append("| " + " | ".join(cells(name, result)) + " |")
    lines += [
        "",
        "| environment | steps | seeds | greedy IQM [95 %] | mean | worst "
        f"| sampled IQM | last {LAST} training episodes, IQM [95 %] "
        "| best published TRPO |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, published in HOST.items():
        result = load(name)
        if result is not None:
            last = np.asarray(result[f"last_{LAST}_training_episodes"], float)
            low, high = bootstrap_interval(last)
            more = f"{interquartile_mean(last):.1f} [{low:.1f}, {high:.1f}]"
            shown = [*cells(name, result), more, f"{published:g}"]
            lines.append("| " + " | ".join(shown) + " |")
    return "\n".join(lines)


def cells(name: str, result: dict) -> list[str]:
    """Return a result as the cells of the table."""
    greedy, sampled = result["greedy"], result["sampled"]
    low, high = greedy["ci95"]
    return [
        name,
        f"{result['total_steps']:,}",
        str(len(greedy["mean_per_seed"])),
        f"{greedy['iqm']:.1f} [{low:.1f}, {high:.1f}]",
        f"{np.mean(greedy['mean_per_seed']):.1f}",
        f"{min(greedy['mean_per_seed']):.1f}",
        f"{sampled['iqm']:.1f}",
    ]


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
