"""Environment steps a second, training included: `python -m benchmarks.throughput`.

CartPole-v1, compilation apart, medians of three turns.

* `peers`: beside rejax's PPO at equal numbers of environments and steps and equal
  networks (two layers of 64), each side with its own values otherwise: rejax learns in
  8 epochs of 16 minibatches; here it is once with the values of the preset and once
  with a critic that has as many epochs and minibatches as rejax's. Turns are taken
  alternately.
* `environments`, `width`, `seeds`: how the cost of an iteration grows with each, and
  the exponent of that growth from where it is past saturation: the slope, in logs, over
  the last three sizes.

The JSON is written after each size. Let nothing else run.
"""

import dataclasses
import json
import math
import os
import pathlib
import statistics
import tempfile
from typing import Annotated, Any

import tyro

from benchmarks.peers import REQUIREMENTS, ask, python_of
from benchmarks.runs import Training
from trpo_jax.doctor import describe

RESULTS = pathlib.Path(__file__).parent / "results" / "throughput.json"
SIZES = ((4, 128), (64, 32), (1024, 64))
LONG = 1_200_000  # steps of a turn beside the peer: programs for long runs
TURNS = 3
GROWTH = {
    "environments": (1, 4, 16, 64, 256, 1024, 4096, 16_384, 65_536),
    "width": (16, 32, 64, 128, 256, 512),
    "seeds": (1, 2, 4, 8, 16, 32, 64, 128, 256),
}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What to measure."""

    parts: Annotated[tuple[str, ...], tyro.conf.Positional] = ("peers", *GROWTH)
    """Of the benchmark."""
    peers: pathlib.Path = pathlib.Path(tempfile.gettempdir()) / "trpo-jax-peers"
    """Folder of the virtual environments."""


def values_of(num_envs: int, num_steps: int, **more: Any) -> dict[str, Any]:
    """Return values with as much work for the critic as rejax's PPO has."""
    return {
        **of_preset(num_envs, num_steps),
        "critic_epochs": 8,
        "critic_minibatch_size": max(1, num_envs * num_steps // 16),
        **more,
    }


def of_preset(num_envs: int, num_steps: int) -> dict[str, Any]:
    """Return the preset's values, but for these sizes and rejax's network.

    How much the critic sees at once follows from the size.
    """
    return {
        "num_envs": num_envs,
        "num_steps": num_steps,
        "hidden_sizes": (64, 64),
        "critic_minibatch_size": None,
        "evaluation_episodes": 1,
    }


def rate_of(training: Training) -> float:
    """Return steps a second of one run."""
    plan = training.plan
    steps = plan.iterations * plan.config.steps_per_iteration * plan.seeds
    return steps / training.seconds()


def beside_peer(python: str, num_envs: int, num_steps: int) -> dict[str, Any]:
    """Measure both sides at one size, in turns."""
    batch = num_envs * num_steps
    total = batch * max(1, LONG // batch)
    sides = {
        "trpo_jax": of_preset(num_envs, num_steps),
        "trpo_jax, as much work for the critic": values_of(num_envs, num_steps),
    }
    trainings = {
        side: Training("CartPole-v1", total_steps=total, **values)
        for side, values in sides.items()
    }
    for training in trainings.values():
        rate_of(training)  # whatever is done once
    rates: dict[str, list[float]] = {side: [] for side in (*sides, "rejax")}
    for _ in range(TURNS):
        for side, training in trainings.items():
            rates[side].append(round(rate_of(training)))
        found = ask(python, "rejax_ppo.py", "speed", num_envs, num_steps, LONG)[-1]
        rates["rejax"].append(statistics.median(found["rates"]))
    for training in trainings.values():
        training.programs.close()
    peer = statistics.median(rates["rejax"])
    return {
        "steps_per_second": rates,
        "times_as_fast": {
            side: round(statistics.median(rates[side]) / peer, 2) for side in sides
        },
    }


def growth(part: str, size: int) -> dict[str, Any]:
    """Measure one size of what grows: seconds of an iteration of all seeds."""
    values = {
        "environments": lambda: values_of(size, 64),
        "width": lambda: values_of(64, 32, hidden_sizes=(size, size)),
        "seeds": lambda: values_of(8, 128, seeds=size),
    }[part]()
    batch = values["num_envs"] * values["num_steps"] * values.get("seeds", 1)
    iterations = max(2, min(20 if part == "width" else 200, 500_000 // batch))
    total = iterations * values["num_envs"] * values["num_steps"]
    training = Training("CartPole-v1", total_steps=total, **values)
    rate_of(training)
    rate = statistics.median(rate_of(training) for _ in range(TURNS))
    training.programs.close()
    return {"steps_per_second": round(rate), "iteration_seconds": batch / rate}


def exponent(sizes: list[int], seconds: list[float]) -> float:
    """Return the slope of log seconds over log size, over the last three sizes.

    Example:
        >>> exponent([1, 10, 100, 1000], [5.0, 5.0, 50.0, 500.0])
        1.0
    """
    x, y = ([math.log(v) for v in values[-3:]] for values in (sizes, seconds))
    mean_x, mean_y = statistics.mean(x), statistics.mean(y)
    above = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y))
    return round(above / sum((a - mean_x) ** 2 for a in x), 3)


def main(arguments: Arguments) -> None:
    """Measure, print, and write the JSON."""
    result = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}

    def keep(part: str, key: str, found: dict[str, Any]) -> None:
        result.setdefault(part, {})[key] = found
        result["command"] = "python -m benchmarks.throughput"
        result["versions"] = describe()
        result["cores"] = len(os.sched_getaffinity(0))
        result["peer"] = list(REQUIREMENTS["rejax"])
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")
        print(part, key, found, flush=True)

    for part in arguments.parts:
        if part == "peers":
            arguments.peers.mkdir(parents=True, exist_ok=True)
            python = python_of("rejax", arguments.peers)
            for num_envs, num_steps in SIZES:
                found = beside_peer(python, num_envs, num_steps)
                keep(part, f"{num_envs} x {num_steps}", found)
            continue
        for size in GROWTH[part]:
            keep(part, str(size), growth(part, size))
        taken = [result[part][str(size)]["iteration_seconds"] for size in GROWTH[part]]
        keep("exponent", part, {"cost": exponent(list(GROWTH[part]), taken)})


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
