"""What each command does. `arguments` reads the command line."""

import collections
import dataclasses
import os
import pathlib
import shlex
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from trpo_jax import environments
from trpo_jax.environments import module_of, require_installed
from trpo_jax.runs.output_paths import (
    check_new_file,
    check_suffix,
    claim_directory,
    free_name,
)
from trpo_jax.runs.plan import Plan
from trpo_jax.runs.presets import DEFAULT, PRESETS, Preset, preset_of

if TYPE_CHECKING:
    from trpo_jax.runs.execute import TrainResult


def train(plan: Plan, started: float, *, quiet: bool) -> None:
    """Train and evaluate; print the scores, where the results are, and what to do next.

    `started` is `time.perf_counter()` at the start of the command. The progress is
    shown unless `quiet`.
    """
    # This import takes seconds, so it comes before a directory is made.
    from trpo_jax.runs.execute import run_plan

    if plan.output_dir is None:
        with claim_directory(plan.environment, plan.run.seed) as directory:
            train(plan.with_run(output_dir=directory), started, quiet=quiet)
        return
    _report(run_plan(plan, plan.environment, start=started, progress=not quiet))


def resume(
    run: str,
    total_steps: int | None,
    environment: str | None,
    started: float,
    *,
    quiet: bool,
) -> None:
    """Continue a run, and print what `train` prints."""
    _require_run(run)
    from trpo_jax.runs.api import resumed_plan
    from trpo_jax.runs.execute import run_plan

    plan = resumed_plan(run, total_steps, environment)
    options: dict[str, Any] = {"start": started, "progress": not quiet}
    _report(run_plan(plan, plan.environment, **options, resumed=True))


def _report(result: "TrainResult") -> None:
    """Print the scores of a run, how long it took, and what can be done with it."""
    evaluation = result.evaluation
    for how in ("greedy", "sampled"):
        _print_scores(how, evaluation[how], evaluation["episodes"])
    _print_unfinished(evaluation["unfinished_episodes"])
    seconds = evaluation["seconds"].items()
    print(" · ".join(f"{name} {value:.1f} s" for name, value in seconds))
    plan = result.plan
    print(f"results in {plan.output_dir}/")
    run = shlex.quote(str(plan.output_dir))
    if plan.on_host and module_of(plan.environment):
        run += f" --environment {shlex.quote(plan.environment)}"
    longer = f"{run} --total-steps {2 * (plan.run.total_steps or 0)}"
    print(
        f"next: trpo-jax watch {run}, trpo-jax evaluate {run}, or trpo-jax resume "
        f"{longer}"
    )


def evaluate(
    run: str, *, episodes: int, sampled: bool, seed: int, environment: str | None
) -> None:
    """Play episodes with the agents of a run or a policy file; print their returns."""
    _require_policy(run)
    from trpo_jax.runs.evaluate import evaluate_policy
    from trpo_jax.runs.policy_file import load_policy
    from trpo_jax.runs.results import summarize_returns

    saved = load_policy(run, environment)
    print(saved.description.name)
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
    run: str,
    output: str | None,
    *,
    agent: int | None,
    sampled: bool,
    environment: str | None,
    **episode: int,
) -> None:
    """Play one episode, with the options of `record`, and write it as a video."""
    if output is not None:
        check_suffix(output)
        check_new_file(output)
    _require_policy(run)
    default = _directory_of(run) / "agent.gif"
    if output is None:
        check_new_file(free_name(default))
    from trpo_jax.rendering.record import record
    from trpo_jax.rendering.video import write_video
    from trpo_jax.runs.policy_file import load_policy

    saved = load_policy(run, environment)
    rate = 25 if (output or default.name).lower().endswith(".gif") else None
    given: Any = {"agent": "best" if agent is None else agent, **episode}
    recording = record(saved, greedy=not sampled, frames_per_second=rate, **given)
    path = free_name(default) if output is None else pathlib.Path(output)
    write_video(path, recording)
    total, length = recording.episode_return, recording.episode_length
    name = saved.description.name
    print(f"wrote {path}: {name}, return {total:.1f}, {length} actions")


def plot(runs: tuple[str, ...], output: str | None) -> None:
    """Draw the learning curves of runs as a .png, with a panel per environment."""
    if output is not None:
        if not output.lower().endswith(".png"):
            raise ValueError(f"output must end in .png; got {output!r}")
        check_new_file(output)
    for run in runs:
        _require_run(run)
    path = pathlib.Path(output or free_name(_directory_of(runs[0]) / "runs.png"))
    check_new_file(path)
    from trpo_jax.runs.plotting import plot_runs
    from trpo_jax.runs.results import read_run

    plot_runs(path, [read_run(pathlib.Path(run)) for run in runs])
    of = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    print(f"wrote {path}: the learning curves of {of}")


def _directory_of(run: str) -> pathlib.Path:
    path = pathlib.Path(run)
    return path if path.is_dir() else path.parent


def list_environments(pattern: str, simulator: str | None) -> None:
    """Print the environments of this installation whose names match the pattern.

    Their number goes to standard error, so that a pipe receives names alone.
    """
    if simulator is not None:
        require_installed(simulator, f"{simulator}:{pattern or '*'}")
    names = environments.list_environments(pattern)
    if simulator is not None:
        names = [name for name in names if name.startswith(f"{simulator}:")]
    if not names:
        of = f"environment of {simulator}" if simulator else "environment"
        raise ValueError(f"no {of} that is installed has a name like {pattern!r}")
    print("\n".join(names), flush=True)
    counts = collections.Counter(name.partition(":")[0] for name in names)
    number = "1 environment" if len(names) == 1 else f"{len(names)} environments"
    listed = ", ".join(f"{count} of {name}" for name, count in counts.items())
    where = f": {listed}" if len(counts) > 1 else f" of {next(iter(counts))}"
    print(number + where, file=sys.stderr)


def list_presets() -> None:
    """Print the environments with a preset, its values, and where they come from."""
    from rich.console import Console
    from rich.table import Table

    table = Table("environment", "steps", "changes to the defaults", "source")
    for name, preset in PRESETS.items():
        changes = [f"{k} {value}" for k, (value, _) in _changes(preset).items()]
        steps = f"{preset.total_steps:,}"
        table.add_row(name, steps, "\n".join(changes), preset.source)
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def show_preset(environment: str) -> None:
    """Print the values of one preset that differ from the defaults, and their source.

    The environment may also be written as in the list of all presets.
    """
    name, preset = environment, PRESETS.get(environment)
    if preset is None:
        name = environments.full_name(environment)
        preset = preset_of(name)
    print(f"{name}: {preset.total_steps:,} steps")
    print(f"source: {preset.source}")
    for option, (value, default) in _changes(preset).items():
        print(f"  {option} {value} (default: {default})")
    if preset is DEFAULT:
        print("there is no preset for this environment")


def _changes(preset: Preset) -> dict[str, tuple[Any, Any]]:
    """Return the values of a preset that are not the defaults, and the defaults."""
    plain, values = _values(DEFAULT), _values(preset)
    return {k: (values[k], plain[k]) for k in values if values[k] != plain[k]}


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
    means, (low, high) = scores["mean_per_seed"], scores["ci95"]
    of = "1 episode" if episodes == 1 else f"{episodes} episodes"
    of += f" × {len(means)} seeds, IQM" if len(means) > 1 else ""
    score = "not finite" if scores["iqm"] is None else f"{scores['iqm']:.1f}"
    spread = ""
    if scores["iqm"] is not None and len(means) == 2:  # too few for an interval
        spread = f", the seeds {means[0]:.1f} and {means[1]:.1f}"
    elif scores["iqm"] is not None and len(means) > 2:
        spread = f", 95 % interval {low:.1f} to {high:.1f}"
    print(f"return {score} ({how}, {of}){spread}")


def _print_unfinished(count: int) -> None:
    if count:
        print(f"{count} episodes were stopped before they ended")
