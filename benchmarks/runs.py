"""Helpers for benchmarks that train."""

import dataclasses
import os
import pathlib
import subprocess
import time
from typing import Any

import jax
import numpy as np

from benchmarks.returns import mean_return
from trpo_jax.agent.standard_agents import default_agent
from trpo_jax.environments import make_environment
from trpo_jax.runs.execute import TrainResult
from trpo_jax.runs.keys import seeds_of
from trpo_jax.runs.loop import Outcome, run_chunks
from trpo_jax.runs.plan import complete, make_plan
from trpo_jax.runs.programs import CompiledPrograms
from trpo_jax.runs.self_check import describe


def provenance(command: str) -> dict[str, Any]:
    """Return what a reader needs to interpret a number.

    Args:
        command: the command that measures it.

    Returns:
        The command, the commit (with a plus if the package has uncommitted changes),
        the versions, and the number of cores.
    """

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=pathlib.Path(__file__).parent, check=False,
            capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--", "../trpo_jax")
    return {
        "command": command,
        "commit": git("rev-parse", "--short", "HEAD") + "+" * bool(changed),
        "versions": describe(),
        "cores": len(os.sched_getaffinity(0)),
    }


class Training:
    """A compiled run, simulator included, to be timed.

    Args:
        name: the name of an environment inside the compiled program.
        **values: options of `trpo_jax.train`.
    """

    def __init__(self, name: str, **values: Any) -> None:
        plan = make_plan(name, **values)
        environment = make_environment(name, action_repeat=plan.config.action_repeat)
        self.plan = complete(plan, environment)
        agent = default_agent(
            environment.observation_space,
            environment.action_space,
            **dataclasses.asdict(self.plan.network),
        )
        start = time.perf_counter()
        self.programs = CompiledPrograms(self.plan, environment, agent)
        self.compile_seconds = time.perf_counter() - start

    def run(self) -> Outcome:
        """Train once, from start to end."""
        states = self.programs.init(seeds_of(self.plan))
        outcome = run_chunks(self.plan, self.programs, states, [])
        jax.block_until_ready(outcome.states)
        return outcome

    def seconds(self) -> float:
        """Train once and return how long it took."""
        start = time.perf_counter()
        self.run()
        return round(time.perf_counter() - start, 3)


def curve_of(result: TrainResult, points: int) -> dict:
    """Return the learning curve of every seed, with at most this many points."""
    iterations = result.plan.iterations
    parts = np.array_split(np.arange(iterations), min(points, iterations))
    metrics = result.metrics
    return {
        "iterations": iterations,
        "environment_steps": [
            int((part[-1] + 1) * result.plan.config.steps_per_iteration)
            for part in parts
        ],
        "episode_return": [
            [mean_return(e[part], r[part]) for part in parts]
            for e, r in zip(metrics.episodes, metrics.episode_return)
        ],
    }


def vine_of_as_many_steps(
    num_envs: int, num_steps: int, actions: int, branch: int
) -> dict[str, object]:
    """Return values for a vine with no more simulator steps than a single path.

    Half of the environments follow trunks that are as long as the paths. The steps of
    the other half go into branches, from as many states as they suffice for.

    Args:
        num_envs: the number of environments of the single path.
        num_steps: the steps of each of them in an iteration.
        actions: K, the number of actions tried in each state.
        branch: the length of a branch.

    Returns:
        Fields of `Config`.

    Raises:
        ValueError: when the steps do not suffice for one state of each trunk.

    Example:
        >>> vine = vine_of_as_many_steps(16, 128, 4, 16)
        >>> vine["num_envs"], vine["vine_states"]
        (8, 2)
    """
    trunks = num_envs // 2
    states = (num_envs - trunks) * num_steps // max(trunks, 1) // (actions * branch)
    if not trunks or not states:
        raise ValueError(
            f"{num_envs} x {num_steps} steps are too few for trunks and branches of "
            f"{actions} x {branch}"
        )
    return {
        "sampling": "vine",
        "num_envs": trunks,
        "num_steps": num_steps,
        "vine_actions": actions,
        "vine_states": states,
        "vine_steps": branch,
    }
