"""Returns of the presets: `python -m benchmarks.returns [ENVIRONMENT ...]`.

Every environment of the tables is trained with its preset on several seeds and then
evaluated over 100 greedy and 100 sampled episodes for each. The seeds are 0, 1, 2, …
unless `FIRST_SEED` names another first one; presets were chosen on other seeds. The
JSON goes to `benchmarks/results/returns/`: one file for each environment whose seeds
are trained side by side, one file for each seed where the simulator runs on the host,
since those seeds run in processes of their own, one per core. Results that exist are
not measured again, so that an interrupted call can be continued. The tables are made
from those files.
"""

import concurrent.futures
import dataclasses
import json
import os
import pathlib
import queue
import subprocess
import sys
from collections.abc import Iterable
from typing import Annotated

import numpy as np
import tyro

from benchmarks.result_files import settings_of, write_json
from trpo_jax.environments import full_name, runs_on_host
from trpo_jax.runs.api import train
from trpo_jax.runs.execute import TrainResult
from trpo_jax.runs.plotting import bootstrap_interval, interquartile_mean
from trpo_jax.runs.results import summarize_returns

RESULTS = pathlib.Path(__file__).parent / "results" / "returns"
POINTS = 100  # in a learning curve
LAST = 100  # the last training episodes, whose return is reported, too

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
# The best published returns of TRPO on the tasks whose simulator runs on the host (for
# MuJoCo on version v3 or older): rl-zoo3's benchmark.md (Hopper, Walker2d, Ant, Swimmer
# and Box2D, one agent), Tianshou (HalfCheetah and the pendulums, 10 seeds), OpenAI
# baselines (Reacher), and TRPO+ of Engstrom et al. 2020 (Humanoid).
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
FIRST_SEED = {  # where the preset was changed after earlier seeds had been seen
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
    """Names of environments. Without any, all environments of the tables whose
    simulator is installed."""
    seeds: int | None = None
    """Agents for each environment: 10 by default, 3 for MinAtar and brax, 5 on the
    host."""
    table: tyro.conf.FlagCreatePairsOff[bool] = False
    """Only print the tables of the results on disk."""
    again: bool = False
    """Measure again what has a result."""
    one: int | None = None
    """Run only this seed."""


def main(arguments: Arguments) -> None:
    """Measure what has no result yet and print the tables."""
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
    counts = {name: arguments.seeds or SEEDS.get(name, 5) for name in names}
    on_host = [name for name in names if runs_on_host(name)]
    for name in names:
        if name not in on_host and (arguments.again or not path_of(name).exists()):
            write_json(path_of(name), summary_of(train(name, seeds=counts[name])))
    one_per_core(
        ["-m", "benchmarks.returns", name, "--one", str(seed)]
        for i in range(max(counts.values()))
        for name in on_host
        for seed in [FIRST_SEED.get(name, 0) + i]
        if i < counts[name] and (arguments.again or not path_of(name, seed).exists())
    )
    print(table())


def one_per_core(commands: Iterable[list[str]]) -> None:
    """Run Python commands, one on each core at a time."""
    cores: queue.Queue[int] = queue.Queue()
    for core in os.sched_getaffinity(0):
        cores.put(core)

    def pin() -> None:  # a process inherits the core of the thread that starts it
        os.sched_setaffinity(0, {cores.get()})

    def run(command: list[str]) -> None:
        subprocess.run(
            [sys.executable, *command], check=True, stdout=subprocess.DEVNULL
        )

    with concurrent.futures.ThreadPoolExecutor(cores.qsize(), "", pin) as pool:
        for done in [pool.submit(run, command) for command in commands]:
            done.result()


def path_of(name: str, seed: int | None = None) -> pathlib.Path:
    """Return the file for an environment, or for one of its seeds."""
    plain = name.replace(":", "-")
    if seed is None:
        return RESULTS / f"{plain}.json"
    return RESULTS / plain / f"seed{seed}.json"


def summary_of(result: TrainResult) -> dict:
    """Return everything that is needed to repeat a result and to draw it."""
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


def middle_of(returns: np.ndarray) -> list[float]:
    """Return the interquartile mean over the seeds of `[K, points]`, NaN left out."""
    columns = [column[~np.isnan(column)] for column in returns.T]
    return [interquartile_mean(x) if x.size else np.nan for x in columns]


def last_episodes(metrics: object, count: int = LAST) -> list[float | None]:
    """Return each seed's mean return over the last iterations with `count` episodes.

    If there were fewer episodes, all iterations count; if none ended, it is None.
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
    """Return the result of an environment, all seeds in one, or None."""
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
    """Return the values that a result was trained with, without its seed."""
    return settings_of(result["plan"]) | {"total_steps": result["total_steps"]}


def summarize_means(means: list[float]) -> dict:
    """Summarise the mean returns of several seeds, as `summarize_returns` does."""
    return summarize_returns(np.asarray(means)[:, None])


def table() -> str:
    """Return the results on disk as two Markdown tables."""
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
    """Return a result as the cells of a row."""
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
