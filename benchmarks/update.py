"""One whole update, compared with sb3-contrib's: `python -m benchmarks.update`.

Both sides get a batch of random transitions of the same size, a network of 17-64-64-6
units, and the default values of sb3-contrib for everything they have in common: 15
iterations of conjugate gradients, damping 0.1, all rows in the products, ten epochs of
the critic in minibatches of 128. This project is compiled as for training; compilation
is not counted. The sides take turns; the numbers are medians. The virtual environment
of sb3-contrib is made in `--peers`.
"""

import dataclasses
import json
import pathlib
import statistics
import tempfile
import time

import jax
import tyro

from benchmarks.accelerator import problem
from benchmarks.peers import REQUIREMENTS, ask, python_of
from benchmarks.runs import provenance
from trpo_jax.algorithm.batch import Batch
from trpo_jax.algorithm.state import TrainState
from trpo_jax.algorithm.trpo import update_from_batch
from trpo_jax.config import Config
from trpo_jax.runs.compilation import FOR_LONG, compile_for

RESULTS = pathlib.Path(__file__).parent / "results" / "update.json"
SIZES = (2048, 16_384)
VALUES = Config(
    fisher_fraction=1.0,
    cg_iterations=15,
    cg_tolerance=0.0,
    cg_damping=0.1,
    critic_epochs=10,
    critic_minibatch_size=128,
)


@dataclasses.dataclass(frozen=True)
class Arguments:
    """How to measure."""

    turns: int = 3
    """The number of turns of each side; a turn is five updates."""
    peers: pathlib.Path = pathlib.Path(tempfile.gettempdir()) / "trpo-jax-peers"
    """The folder with the virtual environments of other implementations."""


def ours(rows: int) -> tuple[object, tuple]:
    """Return a compiled update and its arguments."""
    agent, state, batch = problem(rows)

    def update(state: TrainState, batch: Batch) -> object:
        return update_from_batch(state, batch, agent, VALUES)

    return compile_for(FOR_LONG, update, state, batch), (state, batch)


def seconds(compiled: object, arguments: tuple, repeats: int = 5) -> float:
    """Return the median time of some updates."""
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def main(arguments: Arguments) -> None:
    """Measure in turns, print, and write the JSON."""
    arguments.peers.mkdir(parents=True, exist_ok=True)
    python = python_of("sb3", arguments.peers)
    result = {
        **provenance("python -m benchmarks.update"),
        "peer": REQUIREMENTS["sb3"][0],
        "rows": {},
    }
    for rows in SIZES:
        compiled, of_rows = ours(rows)
        seconds(compiled, of_rows)  # one-off costs
        taken = {"trpo_jax": [], "sb3": []}
        for _ in range(arguments.turns):
            taken["trpo_jax"].append(seconds(compiled, of_rows))
            taken["sb3"].append(ask(python, "sb3_update.py", rows)[-1]["seconds"])
        medians = {who: statistics.median(found) for who, found in taken.items()}
        result["rows"][rows] = {
            "seconds": {who: [round(x, 4) for x in taken[who]] for who in taken},
            "times_as_fast": round(medians["sb3"] / medians["trpo_jax"], 2),
        }
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")
        print(rows, result["rows"][rows], flush=True)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
