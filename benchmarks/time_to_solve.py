"""Seconds until a task is solved: `python -m benchmarks.time_to_solve`.

Each side trains with its published preset, is evaluated over 100 greedy episodes after
every update, and stops when their mean reaches the goal. One clock starts with training
and leaves compilation out; the other starts with the process. Both stand still during
an evaluation. Every run has a process of its own; the sides take turns, seed by seed.

* `trpo_jax`: this project, without a compilation cache. The evaluation is compiled
  while the clock of the process runs, unlike that of rejax;
* `trpo_jax, warm`: the same with all programs in the compilation cache;
* `sb3_trpo`, `sb3_ppo`: sb3-contrib and Stable-Baselines3 with the presets of rl-zoo3;
* `rejax_ppo`: rejax with the values that it publishes for the task;
* `rejax_ppo, defaults`: rejax with its default values (CartPole-v1 only, as it does not
  reach the other goals with them within a million steps);
* `tianshou_trpo`: Tianshou with the values of its MuJoCo benchmark (CartPole-v1 only,
  as it has published none for classic control).

`CartPole-v1, all steps` measures a training of all 100,000 steps of the presets, with
one evaluation at the end.

The other implementations get virtual environments in `--peers`. The JSON is written
after each run; runs that it contains are not repeated. Run nothing else meanwhile.
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
    """The number of seeds of each side; they start at 0."""
    environments: tuple[
        Literal["CartPole-v1", "CartPole-v1, all steps", "Acrobot-v1", "Pendulum-v1"],
        ...,
    ] = tuple(GOALS)
    """The tasks to solve."""
    peers: pathlib.Path = pathlib.Path(tempfile.gettempdir()) / "trpo-jax-peers"
    """The folder with the virtual environments of other implementations."""
    output: pathlib.Path = RESULTS
    """The file for the JSON."""


def solve_here(name: str, seed: int, goal: float, started: float) -> dict:
    """Train until solved, in this process; return what the other scripts print."""
    import jax
    import numpy as np

    from benchmarks.runs import Training
    from trpo_jax.runs.keys import seeds_of

    training = Training(name, seed=seed, evaluation_episodes=100)
    plan, programs = training.plan, training.programs
    seeds = seeds_of(plan)
    states = jax.block_until_ready(programs.init(seeds))
    until_solved, began, paused = goal < math.inf, time.time(), 0.0
    done = 0
    while done < plan.iterations:
        size = 1 if until_solved else min(plan.chunk, plan.iterations - done)
        states, log = programs.chunk(states, np.int32(size))
        np.asarray(log)
        done += size
        now = time.time()
        if not until_solved and done < plan.iterations:
            continue
        greedy = programs.evaluate(seeds, states).episode_return[0, 0].mean()
        if greedy >= goal or not until_solved:
            return {
                "steps": done * plan.config.steps_per_iteration,
                "train_seconds": round(now - began - paused, 4),
                "wall_seconds": round(now - started - paused, 3),
                "greedy": float(greedy),
            }
        paused += time.time() - now
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
    """Return medians over the seeds, and the time of each side relative to ours."""
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
    """Measure what has no result yet, in turns."""
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
