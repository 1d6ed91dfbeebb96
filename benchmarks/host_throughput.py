"""Speed of training on EnvPool: `python -m benchmarks.host_throughput`.

For each environment three programs take turns, for several rounds:

* `simulator`: EnvPool stepped with random actions, with as many environments, in as
  many batches, as in training;
* `training`: `train` with the preset, compilation not counted;
* `sb3`: sb3-contrib's TRPO with rl-zoo3's published preset and network, in a virtual
  environment that this script makes (or that `--peer` names).

All results are steps per second. The JSON is written to
`benchmarks/results/host_throughput.json` after each round. Run nothing else meanwhile.
"""

import dataclasses
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import venv

import numpy as np
import tyro

from trpo_jax.agent.standard_agents import default_agent
from trpo_jax.environments import make_host_environment
from trpo_jax.environments.host import HostEnvironment
from trpo_jax.runs.host_programs import SIMULATORS, HostPrograms, divide
from trpo_jax.runs.keys import seeds_of
from trpo_jax.runs.loop import run_chunks
from trpo_jax.runs.plan import complete, make_plan
from trpo_jax.runs.self_check import describe

RESULTS = pathlib.Path(__file__).parent / "results" / "host_throughput.json"
ENVIRONMENTS = ("Hopper-v4", "HalfCheetah-v4", "Walker2d-v4")
PEER = ("sb3-contrib==2.9.2", "gymnasium[mujoco]<1.4")
PEER_SCRIPT = pathlib.Path(__file__).parent / "peers" / "sb3_trpo.py"


@dataclasses.dataclass(frozen=True)
class Arguments:
    """How long to measure."""

    rounds: int = 5
    """The number of turns of each program."""
    steps: int = 60_000
    """Environment steps of a turn; sb3-contrib does a tenth of them."""
    peer: str | None = None
    """The Python executable of a virtual environment with sb3-contrib. One is made if
    none is given."""


class Training:
    """A compiled run of a preset, to be timed again and again."""

    def __init__(self, name: str, steps: int) -> None:
        self.name = f"envpool:{name}"
        one = make_host_environment(self.name)
        plan = make_plan(self.name, total_steps=steps)
        self.plan = complete(plan, one)
        agent = default_agent(
            one.observation_space,
            one.action_space,
            **dataclasses.asdict(self.plan.network),
        )

        def make(num_envs: int, seed: int) -> HostEnvironment:
            return make_host_environment(self.name, num_envs, seed)

        self.programs = HostPrograms(self.plan, make, one, agent)
        self.steps = self.plan.iterations * self.plan.config.steps_per_iteration

    def rate(self) -> float:
        """Train once from the start and return the steps per second."""
        start = time.perf_counter()
        states = self.programs.init(seeds_of(self.plan))
        run_chunks(self.plan, self.programs, states, [])
        return self.steps / (time.perf_counter() - start)


def simulator_rate(name: str, num_envs: int, steps: int) -> float:
    """Return the steps per second of EnvPool with random actions."""
    batches = [
        make_host_environment(f"envpool:{name}", size, i)
        for i, size in enumerate(divide(num_envs, SIMULATORS))
    ]
    generator = np.random.default_rng(0)
    width = len(batches[0].action_space.low)
    actions = [
        generator.uniform(-1, 1, (1000, batch.num_envs, width)).astype(np.float32)
        for batch in batches
    ]
    for batch in batches:
        batch.reset()
    start = time.perf_counter()
    rounds = steps // num_envs
    for batch, action in zip(batches, actions):
        batch.send(action[0])
    for t in range(1, rounds):
        for batch, action in zip(batches, actions):
            batch.receive()
            batch.send(action[t % 1000])
    for batch in batches:
        batch.receive()
    rate = rounds * num_envs / (time.perf_counter() - start)
    for batch in batches:
        batch.close()
    return rate


def peer_rate(python: str, name: str, steps: int) -> float:
    """Return the steps per second of sb3-contrib's TRPO."""
    command = [python, str(PEER_SCRIPT), name, str(steps)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])["steps_per_second"]


def make_peer(folder: str) -> str:
    """Make the virtual environment of sb3-contrib and return its Python."""
    venv.create(folder, with_pip=True)
    python = str(pathlib.Path(folder) / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "-q", *PEER], check=True)
    return python


def main(arguments: Arguments) -> None:
    """Measure in turns, print, and write the JSON."""
    result = {
        "command": "python -m benchmarks.host_throughput",
        "versions": describe(),
        "peer": PEER[0],
        "environments": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        python = arguments.peer or make_peer(folder)
        for name in ENVIRONMENTS:
            training = Training(name, arguments.steps)
            training.rate()  # the first run has one-off costs
            num_envs = training.plan.config.num_envs
            rates = {"simulator": [], "training": [], "sb3": []}
            for _ in range(arguments.rounds):
                rates["simulator"].append(
                    simulator_rate(name, num_envs, arguments.steps)
                )
                rates["training"].append(training.rate())
                rates["sb3"].append(peer_rate(python, name, arguments.steps // 10))
                medians = {who: statistics.median(rates[who]) for who in rates}
                result["environments"][name] = {
                    "num_envs": num_envs,
                    "steps_per_second": {
                        who: [round(x) for x in rates[who]] for who in rates
                    },
                    "share_of_the_simulator": round(
                        medians["training"] / medians["simulator"], 3
                    ),
                    "times_sb3": round(medians["training"] / medians["sb3"], 2),
                }
                RESULTS.write_text(json.dumps(result, indent=1) + "\n")
            training.programs.close()
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    try:
        main(tyro.cli(Arguments, description=__doc__))
    except (ValueError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        sys.exit(1)
