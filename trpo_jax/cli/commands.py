"""What each command does. `arguments` reads the command line."""

import dataclasses
import os
import pathlib
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from trpo_jax.runs.output_paths import check_folder, check_suffix, claim_directory
from trpo_jax.runs.plan import Plan
from trpo_jax.runs.presets import DEFAULT, PRESETS, Preset

if TYPE_CHECKING:
    from trpo_jax.runs.execute import TrainResult


def train(plan: Plan, started: float) -> None:
    """Train and evaluate; print the scores and where the results are.

    `started` is `time.perf_counter()` at the start of the command.
    """
    # This import takes seconds, so it comes before a directory is made.
    from trpo_jax.runs.execute import run_plan

    if plan.output_dir is None:
        with claim_directory(plan.environment, plan.run.seed) as directory:
            train(plan.with_run(output_dir=directory), started)
        return
    _report(run_plan(plan, plan.environment, start=started))


def resume(
    run: str, total_steps: int | None, environment: str | None, started: float
) -> None:
    """Continue a run, and print the scores and where the results are; see `train`."""
    _require_run(run)
    from trpo_jax.runs.api import resumed_plan
    from trpo_jax.runs.execute import run_plan

    plan = resumed_plan(run, total_steps, environment)
    _report(run_plan(plan, plan.environment, start=started, resumed=True))


def _report(result: "TrainResult") -> None:
    """Print the scores of a run, how long it took, and where its results are."""
    evaluation = result.evaluation
    for how in ("greedy", "sampled"):
        _print_scores(how, evaluation[how], evaluation["episodes"])
    _print_unfinished(evaluation["unfinished_episodes"])
    seconds = evaluation["seconds"].items()
    print(" · ".join(f"{name} {value:.1f} s" for name, value in seconds))
    print(f"results in {result.plan.output_dir}/")


def evaluate(
    run: str, *, episodes: int, sampled: bool, seed: int, environment: str | None
) -> None:
    """Play episodes with the agents of a run or a policy file; print their returns."""
    _require_policy(run)
    from trpo_jax.runs.evaluate import evaluate_policy
    from trpo_jax.runs.policy_file import load_policy
    from trpo_jax.runs.results import summarize_returns

    saved = load_policy(run, environment)
    print(saved.environment.name)
    result = evaluate_policy(saved, episodes=episodes, greedy=not sampled, seed=seed)
    agents = np.asarray(result.episode_return)
    scores = summarize_returns(agents)
    _print_scores("sampled" if sampled else "greedy", scores, episodes)
    if len(agents) > 1:
        for k, returns in enumerate(agents):
            low, mean, high = returns.min(), returns.mean(), returns.max()
            print(f"{f'agent {k}':>8}: {mean:.1f}, {low:.1f} to {high:.1f}")
    _print_unfinished(int(np.sum(~result.finished)))


def watch(
    run: str, output: str, *, sampled: bool, environment: str | None, **episode: int
) -> None:
    """Play one episode, with the options of `record`, and write it as a video."""
    check_suffix(output)
    check_folder(output)
    _require_policy(run)
    from trpo_jax.rendering.record import record
    from trpo_jax.rendering.video import write_video
    from trpo_jax.runs.policy_file import load_policy

    saved = load_policy(run, environment)
    rate = 25 if output.lower().endswith(".gif") else None
    recording = record(saved, greedy=not sampled, frames_per_second=rate, **episode)
    write_video(pathlib.Path(output), recording)
    total, length = recording.episode_return, recording.episode_length
    name = saved.environment.name
    print(f"wrote {output}: {name}, return {total:.1f}, {length} actions")


def plot(runs: tuple[str, ...], output: str) -> None:
    """Draw the learning curves of runs as a .png, with a panel per environment."""
    if not output.lower().endswith(".png"):
        raise ValueError(f"output must end in .png; got {output!r}")
    check_folder(output)
    for run in runs:
        _require_run(run)
    from trpo_jax.runs.plotting import plot_runs
    from trpo_jax.runs.results import read_run

    plot_runs(pathlib.Path(output), [read_run(pathlib.Path(run)) for run in runs])
    print(f"wrote the learning curves of {len(runs)} run(s) to {output}")


def list_environments(pattern: str) -> None:
    """Print the environments of this installation whose names match the pattern."""
    from trpo_jax import environments

    names = environments.list_environments(pattern)
    if not names:
        raise ValueError(
            f"no environment of this installation has a name like {pattern!r}"
        )
    print("\n".join(names))


def list_presets() -> None:
    """Print the environments with a preset, its values, and where they come from."""
    from rich.console import Console
    from rich.table import Table

    table = Table("environment", "steps", "changes to the defaults", "source")
    plain = _values(DEFAULT)
    for name, preset in PRESETS.items():
        changes = [f"{k} {v}" for k, v in _values(preset).items() if v != plain[k]]
        steps = f"{preset.total_steps:,}"
        table.add_row(name, steps, "\n".join(changes), preset.source)
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def _values(preset: Preset) -> dict[str, Any]:
    return dataclasses.asdict(preset.config) | dataclasses.asdict(preset.network)


def doctor() -> int:
    """Print versions and devices; return 0 if the compiler computes correctly, or 1."""
    from trpo_jax.runs.self_check import describe, known_fault, self_check

    for name, value in describe().items():
        print(f"{name:>10}  {value}")
    directory = os.environ.get("JAX_COMPILATION_CACHE_DIR", "not stored")
    print(f"compiled programs: {directory}")
    checks = self_check()
    for check in checks:
        outcome = "right" if check.passed else f"WRONG, expected {check.expected}"
        print(f"{check.name}: {check.result} ({outcome})")
    if fault := known_fault():
        print(fault)
    return 0 if all(check.passed for check in checks) and not fault else 1


def _require_run(run: str) -> None:
    """Refuse a directory without a run, before anything heavy is imported."""
    if not pathlib.Path(run, "config.json").is_file():
        raise ValueError(f"{run} does not hold a run: it has no config.json")


def _require_policy(run: str) -> None:
    """Refuse a run without a policy, before anything heavy is imported."""
    path = pathlib.Path(run)
    path = path / "policy.safetensors" if path.is_dir() else path
    if not path.is_file():
        if pathlib.Path(run, "config.json").is_file():
            raise ValueError(f"{run} holds no policy: the run ended too early")
        raise ValueError(
            f"there is no policy at {str(path)!r}: name the directory of a run"
        )


def _print_scores(how: str, scores: dict[str, Any], episodes: int) -> None:
    seeds = len(scores["mean_per_seed"])
    low, high = scores["ci95"]
    score = "not finite" if scores["iqm"] is None else f"{scores['iqm']:.1f}"
    if scores["iqm"] is not None and seeds > 1:
        score += f", 95 % interval {low:.1f} to {high:.1f}"
    of = "1 seed" if seeds == 1 else f"interquartile mean of {seeds} seeds"
    print(f"{how:>8}: {score}   ({episodes} episodes, {of})")


def _print_unfinished(count: int) -> None:
    if count:
        print(f"{count} episodes were stopped before they ended")
