"""Seconds until an agent is there: `python -m benchmarks.time_to_solve`.

Each side trains with its published preset, is judged by 100 greedy episodes after every
update, and stops when their mean reaches the goal. Two clocks, both stopped while it is
judged: from the start of training, compilation apart, and from the start of the
process. Every run has a process of its own; the sides take turns, seed by seed.

* `trpo_jax`: this project, nothing compiled before; what judges it is compiled within
  the time from the start of the process, unlike rejax's judge;
* `trpo_jax, warm`: the same again, programs read from the compilation cache;
* `sb3_trpo`, `sb3_ppo`: sb3-contrib and Stable-Baselines3 with the presets of rl-zoo3;
* `rejax_ppo`: rejax with the values that it publishes for the task;
* `rejax_ppo, defaults`: with those of its code (CartPole-v1 only: with them it does not
  reach the other goals within a million steps);
* `tianshou_trpo`: Tianshou with the values of its MuJoCo benchmark (CartPole-v1 only:
  it has published none for classic control).

`CartPole-v1, all steps` is the other reading of it: all steps of the preset, 100,000 on
each side, and nobody is judged before the end.

Virtual environments of the others are made in `--peers`. The JSON is written after each
run; runs that it holds are not repeated. Let nothing else run.
"""

import dataclasses
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Literal

import tyro

from benchmarks.peers import REQUIREMENTS, ask, python_of

RESULTS = pathlib.Path(__file__).parent / "results" / "time_to_solve.json"
ALL_STEPS = "CartPole-v1, all steps"
GOALS = {
    "CartPole-v1": 475.0, ALL_STEPS: math.inf, "Acrobot-v1": -83.0,
    "Pendulum-v1": -175.0,
}  # fmt: skip
OF_ALL = ("trpo_jax", "trpo_jax, warm", "sb3_trpo", "sb3_ppo", "rejax_ppo")
SIDES = {
    "CartPole-v1": (*OF_ALL, "rejax_ppo, defaults", "tianshou_trpo"),
    ALL_STEPS: ("trpo_jax", "trpo_jax, warm", "sb3_trpo", "sb3_ppo"),
    "Acrobot-v1": OF_ALL,
    "Pendulum-v1": OF_ALL,
}
CLOCKS = ("steps", "train_seconds", "wall_seconds")


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What to measure."""

    seeds: int = 5
    """Of each side, from 0."""
    environments: tuple[
        Literal["CartPole-v1", "CartPole-v1, all steps", "Acrobot-v1", "Pendulum-v1"],
        ...,
    ] = tuple(GOALS)
    """Of those with a goal."""
    peers: pathlib.Path = pathlib.Path(tempfile.gettempdir()) / "trpo-jax-peers"
    """Folder of the virtual environments."""
    output: pathlib.Path = RESULTS
    """File for the JSON."""


def solve_here(name: str, seed: int, goal: float, started: float) -> dict:
    """Train until solved, in this process, and return what the peers print."""
    import jax
    import numpy as np

    from benchmarks.runs import Training
    from trpo_jax.runs.execute import seeds_of

    training = Training(name, seed=seed, evaluation_episodes=100)
    plan, programs = training.plan, training.programs
    seeds = seeds_of(plan)
    states = jax.block_until_ready(programs.init(seeds))
    judged, began, off = goal < math.inf, time.time(), 0.0
    done = 0
    while done < plan.iterations:
        size = 1 if judged else min(plan.chunk, plan.iterations - done)
        states, log = programs.chunk(states, np.int32(size))
        np.asarray(log)
        done += size
        now = time.time()
        if not judged and done < plan.iterations:
            continue
        found = programs.evaluate(seeds, states).episode_return[0, 0].mean()
        if found >= goal or not judged:
            return {
                "steps": done * plan.config.steps_per_iteration,
                "train_seconds": round(now - began - off, 4),
                "wall_seconds": round(now - started - off, 3),
                "greedy": float(found),
            }
        off += time.time() - now
    return dict.fromkeys(CLOCKS)


def solve(side: str, name: str, seed: int, folder: pathlib.Path) -> dict:
    """Run one side once."""
    goal = GOALS[name]
    name = name.partition(",")[0]
    if side.startswith("trpo_jax"):
        warm = "warm" in side
        cache = {
            "JAX_ENABLE_COMPILATION_CACHE": str(warm).lower(),
            "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        command = [
            sys.executable, "-m", "benchmarks.time_to_solve", "here", name, str(seed),
            str(goal),
        ]  # fmt: skip
        for _ in range(2 if warm else 1):  # the first fills the cache
            done = subprocess.run(
                [*command, str(time.time())], check=True, capture_output=True,
                text=True, env=os.environ | cache,
            )  # fmt: skip
        return json.loads(done.stdout.splitlines()[-1])
    side, _, values = side.partition(", ")
    peer, algorithm = side.split("_")
    python = python_of(peer, folder)
    if peer == "sb3":
        return ask(python, "solve_sb3.py", algorithm, name, seed, goal)[-1]
    if peer == "tianshou":
        return ask(python, "solve_tianshou.py", name, seed, goal)[-1]
    values = values or "published"
    return ask(python, "rejax_ppo.py", "solve", name, seed, goal, values)[-1]


def summary(runs: dict[str, dict[str, dict]]) -> dict:
    """Return medians over the seeds, and how many times as long as ours each takes."""
    table = {}
    for side, of_seeds in runs.items():
        found = list(of_seeds.values())
        table[side] = {"solved": f"{sum(r['steps'] is not None for r in found)}"} | {
            clock: statistics.median(r[clock] or float("inf") for r in found)
            for clock in CLOCKS
        }
        table[side]["solved"] += f" of {len(found)}"
    if table.get("trpo_jax", {}).get("steps", math.inf) < math.inf:
        for row in table.values():
            for clock in CLOCKS[1:]:
                times = row[clock] / table["trpo_jax"][clock]
                row[f"{clock}, times ours"] = round(times, 2)
    return {
        side: {k: None if v == float("inf") else v for k, v in row.items()}
        for side, row in table.items()
    }


def main(arguments: Arguments) -> None:
    """Measure what is missing, in turns."""
    from benchmarks.runs import provenance

    output = arguments.output
    result = json.loads(output.read_text()) if output.exists() else {}
    arguments.peers.mkdir(parents=True, exist_ok=True)
    for name in arguments.environments:
        goal = GOALS[name] if GOALS[name] < math.inf else None
        of_name = result.setdefault(name, {"goal": goal, "runs": {}})
        for seed in range(arguments.seeds):
            for side in SIDES[name]:
                runs = of_name["runs"].setdefault(side, {})
                if str(seed) in runs:
                    continue
                runs[str(seed)] = solve(side, name, seed, arguments.peers)
                print(name, side, seed, runs[str(seed)], flush=True)
                of_name["median"] = summary(of_name["runs"])
                of_name |= provenance("python -m benchmarks.time_to_solve")
                result["peers"] = {k: list(v) for k, v in REQUIREMENTS.items()}
                output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["here"]:
        name, seed, goal, started = sys.argv[2:]
        print(json.dumps(solve_here(name, int(seed), float(goal), float(started))))
    else:
        main(tyro.cli(Arguments, description=__doc__))
