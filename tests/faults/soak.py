"""Run a small problem for long: `python soak.py ITERATIONS`, in a process of its own.

A checkpoint is written every 2000 iterations. From the first tenth to the last,
resident memory, threads and open files must not grow, nor may iterations get slower,
beyond 5 %.
"""

import dataclasses
import os
import pathlib
import statistics
import sys
import tempfile
import threading
import time

from trpo_jax import Config
from trpo_jax.agent.standard_agents import default_agent
from trpo_jax.environments import make_environment
from trpo_jax.runs.execute import seeds_of
from trpo_jax.runs.loop import run_chunks
from trpo_jax.runs.plan import complete, make_plan
from trpo_jax.runs.programs import CompiledPrograms
from trpo_jax.runs.results import open_files


class Sampler:
    """A sink that looks at the process instead of at the numbers."""

    def __init__(self):
        self.samples = []

    def start(self, steps_done):
        self.last = time.perf_counter()

    def write(self, rows):
        now = time.perf_counter()
        count = rows[-1]["iteration"] - rows[0]["iteration"] + 1
        with open("/proc/self/statm", encoding="ascii") as file:
            resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        self.samples.append(
            (
                resident / 2**20,
                threading.active_count(),
                len(os.listdir("/proc/self/fd")),
                (now - self.last) / count,
            )
        )
        self.last = now

    def close(self):
        pass


def main(iterations):
    config = Config(num_envs=2, num_steps=16)
    environment = make_environment("CartPole-v1")
    with tempfile.TemporaryDirectory() as folder:
        plan = make_plan(
            "CartPole-v1",
            total_steps=iterations * config.steps_per_iteration,
            output_dir=pathlib.Path(folder) / "run",
            checkpoint_every=2000,
            hidden_sizes=(8,),
            critic_epochs=1,
            num_envs=2,
            num_steps=16,
        )
        plan = complete(plan, environment)
        agent = default_agent(
            environment.observation_space,
            environment.action_space,
            **dataclasses.asdict(plan.network),
        )
        programs = CompiledPrograms(plan, environment, agent)
        sampler = Sampler()
        sinks = [sampler, *open_files(plan)]
        run_chunks(plan, programs, programs.init(seeds_of(plan)), sinks)
        for sink in sinks:
            sink.close()
    tenth = max(3, len(sampler.samples) // 10)
    first, last = (
        [statistics.median(column) for column in zip(*part, strict=True)]
        for part in (sampler.samples[2 : 2 + tenth], sampler.samples[-tenth:])
    )
    print(
        f"{plan.iterations} iterations: resident {first[0]:.0f} -> {last[0]:.0f} MB, "
        f"threads {first[1]:.0f} -> {last[1]:.0f}, files {first[2]:.0f} -> "
        f"{last[2]:.0f}, {1e3 * first[3]:.2f} -> {1e3 * last[3]:.2f} ms an iteration"
    )
    assert last[0] < 1.05 * first[0]
    assert last[1] <= first[1]
    assert last[2] <= first[2]
    return last[3] / first[3]


if __name__ == "__main__":
    print(f"drift of the time: {100 * (main(int(sys.argv[1])) - 1):+.1f} %")
