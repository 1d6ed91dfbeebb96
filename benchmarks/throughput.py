"""Environment steps per second of training: `python -m benchmarks.throughput`.

The task is CartPole-v1. Compilation is not counted. Numbers are medians of three turns,
or of five where growth is measured.

* `peers`: comparison with rejax's PPO, with equal numbers of environments and steps and
  equal networks (two layers of 64, tanh). Otherwise rejax has its defaults, 8 epochs of
  16 minibatches; this project has its preset for the task, with a minibatch size that
  follows from the batch size. Two variants have a critic with as many epochs and
  minibatches as rejax's, and the network of the preset. The sides take turns. The
  greedy return at the end shows whether a faster side has learnt less.
* `environments`, `width`, `seeds`: the cost of an iteration as each of them grows, and
  the exponent of that growth: the slope on logarithmic axes over the last three sizes,
  where the processor is saturated. All sizes take turns, so that a slow minute affects
  all of them. Programs are compiled for long runs; a turn has at least two iterations.

The JSON is written after each part, and after each size of `peers`. Run nothing else
meanwhile.
"""

import dataclasses
import json
import math
import pathlib
import statistics
import tempfile
import time
from typing import Annotated, Any, Literal

import jax
import tyro

from benchmarks.peers import REQUIREMENTS, ask, python_of
from benchmarks.runs import Training, provenance
from trpo_jax.runs.keys import seeds_of
from trpo_jax.runs.loop import run_chunks
from trpo_jax.runs.presets import preset_of

RESULTS = pathlib.Path(__file__).parent / "results" / "throughput.json"
SIZES = ((4, 128), (64, 32), (1024, 64))
STEPS = 800_000  # of a turn of `peers`
TURNS = 3
GROWTH_TURNS = 5
GROWTH = {
    "environments": (1, 4, 16, 64, 256, 1024, 4096, 16_384, 65_536),
    "width": (16, 32, 64, 128, 256, 512),
    "seeds": (1, 2, 4, 8, 16, 32, 64, 128, 256),
}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What to measure."""

    parts: Annotated[
        tuple[Literal["peers", "environments", "width", "seeds"], ...],
        tyro.conf.Positional,
    ] = ("peers", *GROWTH)
    """The parts to measure."""
    peers: pathlib.Path = pathlib.Path(tempfile.gettempdir()) / "trpo-jax-peers"
    """The folder with the virtual environments of other implementations."""


def values_of(num_envs: int, num_steps: int, **more: Any) -> dict[str, Any]:
    """Return values that give the critic as much work as rejax's PPO has."""
    return {
        **of_preset(num_envs, num_steps),
        "critic_epochs": 8,
        "critic_minibatch_size": max(1, num_envs * num_steps // 16),
        **more,
    }


def of_preset(num_envs: int, num_steps: int) -> dict[str, Any]:
    """Return changes to the preset: the given sizes and rejax's network.

    The critic's minibatch size follows from the batch size.
    """
    return {
        "num_envs": num_envs,
        "num_steps": num_steps,
        "hidden_sizes": (64, 64),
        "critic_minibatch_size": None,
    }


class Timed:
    """A run whose iterations are timed, compiled as long runs are.

    Args:
        iterations: the number of iterations of a turn.
        **values: options of `trpo_jax.train`.
    """

    def __init__(self, iterations: int, **values: Any) -> None:
        self.training = Training(
            "CartPole-v1",
            total_steps=iterations * values["num_envs"] * values["num_steps"],
            compile_briefly=False,
            **values,
        )

    def turn(self) -> float:
        """Train once and return the seconds per iteration."""
        plan, programs = self.training.plan, self.training.programs
        states = jax.block_until_ready(programs.init(seeds_of(plan)))
        start = time.perf_counter()
        outcome = run_chunks(plan, programs, states, [])
        seconds = (time.perf_counter() - start) / plan.iterations
        result = programs.evaluate(seeds_of(plan), outcome.states)
        self.greedy = float(result.episode_return[:, 0].mean())
        return seconds


def compare(python: str, num_envs: int, num_steps: int) -> dict[str, Any]:
    """Measure all sides at one size, in turns."""
    batch = num_envs * num_steps
    sides = {
        "trpo_jax": of_preset(num_envs, num_steps),
        "trpo_jax, as much work for the critic": values_of(num_envs, num_steps),
        "trpo_jax, its own network": {
            **of_preset(num_envs, num_steps),
            "hidden_sizes": preset_of("gymnax:CartPole-v1").network.hidden_sizes,
        },
    }
    timed = {
        side: Timed(STEPS // batch, evaluation_episodes=100, **values)
        for side, values in sides.items()
    }
    rates: dict[str, list[int]] = {side: [] for side in (*sides, "rejax")}
    for turn in range(TURNS + 1):
        for side, training in timed.items():
            rate = round(batch / training.turn())
            if turn:  # the first turn has one-off costs
                rates[side].append(rate)
        if turn:
            found = ask(python, "rejax_ppo.py", "speed", num_envs, num_steps, STEPS)[-1]
            rates["rejax"].append(round(statistics.median(found["rates"])))
    greedy = {side: training.greedy for side, training in timed.items()}
    for training in timed.values():
        training.training.programs.close()
    return {
        "steps_per_second": rates,
        "times_as_fast": {
            side: round(
                statistics.median(a / b for a, b in zip(rates[side], rates["rejax"])), 2
            )
            for side in sides
        },
        "greedy_return": greedy | {"rejax": found["greedy"]},
    }


def growth(part: str) -> dict[str, dict[str, Any]]:
    """Measure the seconds of an iteration of all seeds, for every size."""
    values = {
        "environments": lambda size: values_of(size, 64),
        "width": lambda size: values_of(64, 32, hidden_sizes=(size, size)),
        "seeds": lambda size: values_of(8, 128, seeds=size),
    }[part]
    timed, batches = {}, {}
    for size in GROWTH[part]:
        of_size = values(size)
        batch = of_size["num_envs"] * of_size["num_steps"] * of_size.get("seeds", 1)
        work = batch * max(of_size["hidden_sizes"]) ** 2
        iterations = max(2, min(100, 2**31 // work))
        timed[size] = Timed(iterations, evaluation_episodes=1, **of_size)
        batches[size] = batch
    turns = [
        {size: training.turn() for size, training in timed.items()}
        for _ in range(GROWTH_TURNS + 1)
    ][1:]  # the first turn has one-off costs
    for training in timed.values():
        training.training.programs.close()
    found = {}
    for size, batch in batches.items():
        seconds = statistics.median(turn[size] for turn in turns)
        found[str(size)] = {
            "steps_per_second": round(batch / seconds),
            "iteration_seconds": round(seconds, 6),
            "turns": [round(turn[size], 6) for turn in turns],
        }
    return found


def exponent(sizes: list[int], seconds: list[float]) -> float:
    """Return the slope of log seconds over log size for the last three sizes.

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

    def save(part: str, found: dict[str, dict]) -> None:
        result.setdefault(part, {}).update(found)
        command = f"python -m benchmarks.throughput {part}"
        result.setdefault("measured", {})[part] = provenance(command)
        result["peer"] = list(REQUIREMENTS["rejax"])
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")
        for key, of_size in found.items():
            print(part, key, of_size, flush=True)

    for part in arguments.parts:
        if part == "peers":
            arguments.peers.mkdir(parents=True, exist_ok=True)
            python = python_of("rejax", arguments.peers)
            for num_envs, num_steps in SIZES:
                found = compare(python, num_envs, num_steps)
                save(part, {f"{num_envs} x {num_steps}": found})
            continue
        found = growth(part)
        taken = [of_size["iteration_seconds"] for of_size in found.values()]
        result.setdefault("exponent", {})[part] = exponent(list(GROWTH[part]), taken)
        save(part, found)
        print(part, "exponent", result["exponent"][part], flush=True)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
