"""Environment steps a second, training included: `python -m benchmarks.throughput`.

CartPole-v1, compilation apart, medians of three turns, of growth of five.

* `peers`: beside rejax's PPO at equal numbers of environments and steps and equal
  networks (two layers of 64, tanh). rejax has its defaults otherwise, which learn in 8
  epochs of 16 minibatches; this project has its preset for the task, but what the
  critic sees at once follows from the size; beside that once with a critic of as many
  epochs and minibatches as rejax's, and once with the network of the preset. Turns are
  taken alternately. The greedy return at the end tells whether speed was bought by
  learning less.
* `environments`, `width`, `seeds`: how the cost of an iteration grows with each, and
  the exponent of that growth from where it is past saturation: the slope, in logs, over
  the last three sizes. All sizes take turns, so that a slow minute slows down all;
  programs for long runs throughout, at least two iterations a turn.

The JSON is written after each part, of `peers` after each size. Let nothing else run.
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
from trpo_jax.runs.execute import seeds_of
from trpo_jax.runs.loop import run_chunks
from trpo_jax.runs.presets import preset_of

RESULTS = pathlib.Path(__file__).parent / "results" / "throughput.json"
SIZES = ((4, 128), (64, 32), (1024, 64))
STEPS = 800_000  # of a turn beside the peer
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
    }


class Timed:
    """A compiled run whose iterations are timed, compiled as long runs are.

    Args:
        iterations: of one turn, the state being made before.
        values: as of `trpo_jax.train`.
    """

    def __init__(self, iterations: int, **values: Any) -> None:
        self.training = Training(
            "CartPole-v1",
            total_steps=iterations * values["num_envs"] * values["num_steps"],
            compile_briefly=False,
            **values,
        )

    def turn(self) -> float:
        """Train once and return seconds of an iteration."""
        plan, programs = self.training.plan, self.training.programs
        states = jax.block_until_ready(programs.init(seeds_of(plan)))
        start = time.perf_counter()
        outcome = run_chunks(plan, programs, states, [])
        seconds = (time.perf_counter() - start) / plan.iterations
        found = programs.evaluate(seeds_of(plan), outcome.states)
        self.greedy = float(found.episode_return[:, 0].mean())
        return seconds


def beside_peer(python: str, num_envs: int, num_steps: int) -> dict[str, Any]:
    """Measure both sides at one size, in turns."""
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
            if turn:  # the first does whatever is done once
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
    """Measure all sizes of what grows: seconds of an iteration of all seeds."""
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
    ][1:]  # the first does whatever is done once
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

    def keep(part: str, found: dict[str, dict]) -> None:
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
                found = beside_peer(python, num_envs, num_steps)
                keep(part, {f"{num_envs} x {num_steps}": found})
            continue
        found = growth(part)
        taken = [of_size["iteration_seconds"] for of_size in found.values()]
        result.setdefault("exponent", {})[part] = exponent(list(GROWTH[part]), taken)
        keep(part, found)
        print(part, "exponent", result["exponent"][part], flush=True)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
