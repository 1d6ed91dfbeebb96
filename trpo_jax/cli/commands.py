"""What each command does; the command line is taken apart in `cli`."""

import dataclasses
import os
import pathlib
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from trpo_jax.config import Config, NetworkConfig
from trpo_jax.runs.output_paths import check_folder, check_suffix, claim_directory
from trpo_jax.runs.plan import Plan
from trpo_jax.runs.presets import PRESETS

if TYPE_CHECKING:
    from trpo_jax.runs.execute import TrainResult


def train(plan: Plan, started: float) -> None:
    """Train, judge, and say where the results are.

    Args:
        plan: checked; a directory under `runs/` is made where it names none.
        started: `time.perf_counter()` when the command began.
    """
    # This takes seconds: before anything is made.
    from trpo_jax.runs.execute import run_plan

    if plan.output_dir is None:
        with claim_directory(plan.environment, plan.seed) as directory:
            train(dataclasses.replace(plan, output_dir=directory), started)
        return
    _report(run_plan(plan, plan.environment, start=started))


def resume(
    run: str, total_steps: int | None, environment: str | None, started: float
) -> None:
    """Go on with a run and say where the results are."""
    if not pathlib.Path(run, "config.json").is_file():
        raise ValueError(f"{run} does not hold a run: it has no config.json")
    from trpo_jax.runs.api import resumed_plan
    from trpo_jax.runs.execute import run_plan

    plan = resumed_plan(run, total_steps, environment)
    _report(run_plan(plan, plan.environment, start=started, resumed=True))


def _report(result: "TrainResult") -> None:
    """Print how well the agents of a run do, how long it took, and where it is."""
    evaluation = result.evaluation
    for how in ("greedy", "sampled"):
        _print_scores(how, evaluation[how], evaluation["episodes"])
    _print_unfinished(evaluation["unfinished_episodes"])
    seconds = evaluation["seconds"].items()
    print(
        " · ".join(f"{name} {value:.1f} s" for name, value in seconds)
        + f"\nresults in {result.plan.output_dir}/"
    )


def evaluate(
    run: str, *, episodes: int, sampled: bool, seed: int, environment: str | None
) -> None:
    """Play episodes with the agents of a run and print what they return."""
    _require_policy(run)
    from trpo_jax.runs.evaluate import judge
    from trpo_jax.runs.policy_file import load_policy
    from trpo_jax.runs.results import summarize_returns

    saved = load_policy(run, environment)
    print(saved.environment.name)
    judged = judge(saved, episodes=episodes, greedy=not sampled, seed=seed)
    scores = summarize_returns(judged.episode_return)
    _print_scores("sampled" if sampled else "greedy", scores, episodes)
    if len(judged.episode_return) > 1:
        for k, returns in enumerate(judged.episode_return):
            print(
                f"{'agent ' + str(k):>8}: {returns.mean():.1f}, "
                f"{returns.min():.1f} to {returns.max():.1f}"
            )
    _print_unfinished(int(np.sum(~judged.finished)))


def watch(
    run: str,
    output: str,
    *,
    agent: int,
    seed: int,
    sampled: bool,
    max_steps: int,
    environment: str | None,
) -> None:
    """Play one episode and write it as a film."""
    check_suffix(output)
    check_folder(output)
    _require_policy(run)
    from trpo_jax.rendering.record import record
    from trpo_jax.rendering.video import write_video
    from trpo_jax.runs.policy_file import load_policy

    saved = load_policy(run, environment)
    recording = record(
        saved,
        agent=agent,
        seed=seed,
        greedy=not sampled,
        max_steps=max_steps,
        frames_per_second=25 if output.lower().endswith(".gif") else None,
    )
    write_video(pathlib.Path(output), recording)
    print(
        f"{saved.environment.name}: return {recording.episode_return:.1f} in "
        f"{recording.episode_length} actions, in {output}"
    )


def plot(runs: tuple[str, ...], output: str) -> None:
    """Draw the learning curves of runs, a colour each, environments side by side."""
    if not runs:
        raise ValueError("the run is missing: trpo-jax plot runs/...")
    if not output.lower().endswith(".png"):
        raise ValueError(f"output must end in .png; got {output!r}")
    check_folder(output)
    for run in runs:
        if not pathlib.Path(run, "config.json").is_file():
            raise ValueError(f"{run} does not hold a run: it has no config.json")
    from trpo_jax.runs.plotting import plot_runs
    from trpo_jax.runs.results import read_run

    plot_runs(pathlib.Path(output), [read_run(pathlib.Path(run)) for run in runs])
    print(f"learning curves of {len(runs)} runs in {output}")


def list_environments(pattern: str) -> None:
    """Print the names that this installation can run."""
    from trpo_jax import environments

    found = environments.list_environments(pattern)
    if not found:
        raise ValueError(
            f"no environment that is installed has a name like {pattern!r}"
        )
    print("\n".join(found))


def list_presets() -> None:
    """Print the environments with a preset, its values, and where they come from."""
    from rich.console import Console
    from rich.table import Table

    table = Table("environment", "steps", "changes to the defaults", "source")
    plain = {**dataclasses.asdict(Config()), **dataclasses.asdict(NetworkConfig())}
    for name, preset in PRESETS.items():
        values = {
            **dataclasses.asdict(preset.config),
            **dataclasses.asdict(preset.network),
        }
        changes = "\n".join(
            f"{key} {value}" for key, value in values.items() if value != plain[key]
        )
        table.add_row(name, f"{preset.total_steps:,}", changes, preset.source)
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def examine() -> int:
    """Print versions, devices and whether the compiler is sound; 0 if it is."""
    from trpo_jax.runs.self_check import describe, self_check

    for name, value in describe().items():
        print(f"{name:>10}  {value}")
    directory = os.environ.get("JAX_COMPILATION_CACHE_DIR", "not kept")
    print(f"compiled programs: {directory}")
    checks = self_check()
    for check in checks:
        verdict = "right" if check.passed else f"WRONG, expected {check.expected}"
        print(f"{check.name}: {check.result} ({verdict})")
    return 0 if all(check.passed for check in checks) else 1


def _require_policy(run: str) -> None:
    """Refuse what is not there before anything heavy is imported."""
    path = pathlib.Path(run)
    path = path / "policy.safetensors" if path.is_dir() else path
    if not path.is_file():
        if pathlib.Path(run, "config.json").is_file():
            raise ValueError(f"{run} holds no policy: the run ended before it had one")
        raise ValueError(f"there is no policy at {str(path)!r}: name a run's directory")


def _print_scores(how: str, scores: dict[str, Any], episodes: int) -> None:
    seeds = len(scores["mean_per_seed"])
    low, high = scores["ci95"]
    score = "not finite"
    if scores["iqm"] is not None:
        score = f"{scores['iqm']:.1f}"
        if seeds > 1:
            score += f", 95 % interval {low:.1f} to {high:.1f}"
    of = "1 seed" if seeds == 1 else f"interquartile mean of {seeds} seeds"
    print(f"{how:>8}: {score}   ({episodes} episodes, {of})")


def _print_unfinished(count: int) -> None:
    if count:
        print(f"{count} episodes were stopped unfinished")
