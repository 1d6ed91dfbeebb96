"""What a run leaves in its directory, beside the policy."""

import bisect
import dataclasses
import json
import os
import pathlib
from typing import Any

import numpy as np

from trpo_jax.runs import logging
from trpo_jax.runs.self_check import describe
from trpo_jax.environments import (
    SIMULATORS,
    full_name,
    require_installed_module,
)
from trpo_jax.storage.atomic_files import flush, read_text, write_whole
from trpo_jax.algorithm.metrics import Metrics
from trpo_jax.runs.plan import Plan, make_plan
from trpo_jax.runs.plotting import Run, bootstrap_interval, interquartile_mean, plot_learning_curve

_LARGEST, _LONGEST = 2**20, 2**31  # bytes of a description, and of metrics


def open_files(plan: Plan, log: np.ndarray | None = None) -> list[logging.Sink]:
    """Open what is written while a run trains; a new run claims its directory.

    Args:
        plan: of the run.
        log: `[I, K, M]`, of a run that goes on: what is in the files beyond is cut off.

    Raises:
        ValueError: when another run has taken the directory since it was checked.
    """
    plan.output_dir.mkdir(parents=True, exist_ok=True)
    path = plan.output_dir / "config.json"
    content = _json(plan.as_json() | {"versions": describe()})
    kinds = {"metrics.jsonl": logging.JsonLines, "metrics.csv": logging.Csv}
    if log is None:
        try:
            path.open("x").close()
        except FileExistsError as error:
            raise ValueError(
                f"output_dir must be new or empty; {str(plan.output_dir)!r} has just "
                "been taken by another run: name another one"
            ) from error
        write_whole(path, content)
        return [kind(plan.output_dir / name) for name, kind in kinds.items()]
    write_whole(path, content)
    (plan.output_dir / "evaluation.json").unlink(missing_ok=True)
    rows = rows_of(plan, 0, log)
    sinks = []
    for name, kind in kinds.items():
        path, unfinished = plan.output_dir / name, plan.output_dir / f"{name}.tmp"
        kept = kind(unfinished)
        kept.write(rows)
        kept.close()
        flush(unfinished)
        unfinished.replace(path)
        sinks.append(kind(path, append=True))
    return sinks


def read_plan(run: str | os.PathLike, environment: Any = None) -> Plan:
    """Read back what a run was to do, checked like anything a user types.

    Args:
        run: its directory.
        environment: that the user has named or brought, if so: a name in a file imports
            nothing but what is installed.

    Raises:
        ValueError: when the directory holds no run, or one that is not sound.
    """
    path = pathlib.Path(run) / "config.json"
    if not path.exists():
        raise ValueError(f"{run} holds no run: there is no {path.name}")
    try:
        found = json.loads(read_text(path, _LARGEST))
        parts = ("environment", "on_host", "config", "network")
        missing = [name for name in parts if name not in found]
        if missing or not isinstance(found, dict):
            raise ValueError(f"{', '.join(missing)} missing")
        found.pop("versions", None)
        on_host, config, network = (
            found.pop(name) for name in ("on_host", "config", "network")
        )
        name = found["environment"]
        known = name.partition(":")[0] in SIMULATORS
        if isinstance(environment, str):
            if full_name(environment) != name:
                raise ValueError(f"its environment is {name}, not {environment}")
        elif environment is not None:
            known = False
        elif known:
            require_installed_module(name)
        values = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in {**config, **network}.items()
        }
        plan = make_plan(known_environment=known, on_host=on_host, **found, **values)
    except (
        OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError,
    ) as error:  # fmt: skip
        raise ValueError(f"{path} does not describe a run: {error}") from error
    return dataclasses.replace(plan, output_dir=pathlib.Path(run))


def write_results(
    plan: Plan, episode_return: np.ndarray, evaluation: dict[str, Any]
) -> None:
    """Write what is there only after training: learning curve and evaluation."""
    plot_learning_curve(
        plan.output_dir / "learning_curve.png",
        plan.config.steps_per_iteration * np.arange(1, plan.iterations + 1),
        episode_return,
        plan.environment,
    )
    write_whole(plan.output_dir / "evaluation.json", _json(evaluation))


def rows_of(plan: Plan, first: int, log: np.ndarray) -> list[logging.Row]:
    """Turn a log `[I, K, M]` of `Metrics` into rows: integers as such, None for NaN."""
    whole = {
        "episodes",
        "status",
        "backtracks",
        "cg_iterations",
        "fault_step",
        "fault_environment",
    }

    def convert(name: str, x: float) -> float | int | None:
        if not np.isfinite(x):
            return None
        return int(x) if name in whole else float(x)

    return [
        {
            "seed": plan.seed + k,
            "iteration": first + i + 1,
            "environment_steps": (first + i + 1) * plan.config.steps_per_iteration,
            **{
                name: convert(name, x)
                for name, x in zip(Metrics._fields, log[i, k].tolist())
            },
        }
        for i in range(len(log))
        for k in range(plan.seeds)
    ]


def read_run(directory: pathlib.Path) -> Run:
    """Read back the learning curves that training wrote.

    Raises:
        ValueError: when they are not there or damaged.
    """
    try:
        plan = json.loads(read_text(directory / "config.json", _LARGEST))
        lines = read_text(directory / "metrics.jsonl", _LONGEST).splitlines()
        rows = [json.loads(line) for line in lines]
        seeds = sorted({row["seed"] for row in rows})
        steps = sorted({row["environment_steps"] for row in rows})
        returns = np.full((len(seeds), len(steps)), np.nan)
        for row in rows:
            if row["episode_return"] is not None:
                k, i = (
                    seeds.index(row["seed"]),
                    bisect.bisect(steps, row["environment_steps"]) - 1,
                )
                returns[k, i] = row["episode_return"]
        return Run(directory.name, plan["environment"], np.array(steps), returns)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{directory} does not hold a run: {error}") from error


def summarize_returns(returns: np.ndarray) -> dict[str, Any]:
    """Return mean a seed, interquartile mean over seeds and its 95 % interval.

    None stands for what is not finite, which JSON cannot say.

    Args:
        returns: `[K, E]`, one an episode.
    """
    means = returns.mean(axis=1)
    finite = bool(np.all(np.isfinite(means)))
    low, high = bootstrap_interval(means) if finite else (None, None)
    return {
        "mean_per_seed": [float(x) if np.isfinite(x) else None for x in means],
        "iqm": float(interquartile_mean(means)) if finite else None,
        "ci95": [float(low), float(high)] if finite else [None, None],
    }


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, allow_nan=False) + "\n"
