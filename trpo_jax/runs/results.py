"""The files that a run leaves in its directory, besides the policy."""

import bisect
import dataclasses
import json
import os
import pathlib
from typing import Any

import numpy as np

from trpo_jax.algorithm.metrics import INTEGER_COLUMNS, Metrics
from trpo_jax.environments import SIMULATORS, full_name, require_installed_module
from trpo_jax.runs import logging, plotting
from trpo_jax.runs.plan import FORMAT, Plan, make_plan
from trpo_jax.runs.self_check import describe
from trpo_jax.storage.atomic_files import flush, read_text, write_whole

_LARGEST_CONFIG, _LARGEST_METRICS = 2**20, 2**31  # bytes


def open_files(plan: Plan, log: np.ndarray | None = None) -> list[logging.Sink]:
    """Open the files of metrics, and write `config.json`; return a sink for each file.

    The files of a resumed run are cut back to its log `[I, K, M]`. Raise `ValueError`
    if another run has taken the directory of a new run since it was checked.
    """
    plan.directory.mkdir(parents=True, exist_ok=True)
    path = plan.directory / "config.json"
    content = _json(plan.as_json() | {"versions": describe()})
    kinds: Any = {"metrics.jsonl": logging.JsonLines, "metrics.csv": logging.Csv}
    if log is None:
        try:
            path.open("x").close()
        except FileExistsError as error:
            raise ValueError(
                f"output_dir must be new or empty; {str(plan.output_dir)!r} has just "
                "been taken by another run: name another one"
            ) from error
        write_whole(path, content)
        return [kind(plan.directory / name) for name, kind in kinds.items()]
    write_whole(path, content)
    (plan.directory / "evaluation.json").unlink(missing_ok=True)
    rows = rows_of(plan, 0, log)
    sinks: list[logging.Sink] = []
    for name, kind in kinds.items():
        path, unfinished = plan.directory / name, plan.directory / f"{name}.tmp"
        before = kind(unfinished)
        before.write(rows)
        before.close()
        flush(unfinished)
        unfinished.replace(path)
        sinks.append(kind(path, append=True))
    return sinks


def read_plan(run: str | os.PathLike[str], environment: Any = None) -> Plan:
    """Read the plan of a run, and check it like the options that a user types.

    Unless the user gives the environment, or its name, only installed packages are
    imported. Raise `ValueError` if the directory holds no run that can be read.
    """
    path = pathlib.Path(run) / "config.json"
    if not path.exists():
        raise ValueError(f"{run} holds no run: there is no {path.name}")
    try:
        content = json.loads(read_text(path, _LARGEST_CONFIG))
        old = "config" in content and "format" not in content
        plan = None if old else _plan_of(content, environment)
    except (
        OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError,
    ) as error:  # fmt: skip
        raise ValueError(f"{path} does not describe a run: {error}") from error
    if plan is None:
        raise ValueError(
            f"{path} was written by trpo_jax 0.1; install that version to read it"
        )
    return plan.with_run(output_dir=pathlib.Path(run))


def _plan_of(content: dict[str, Any], environment: Any) -> Plan:
    """Return the plan that the content of a `config.json` describes."""
    names = {"format", *(field.name for field in dataclasses.fields(Plan))}
    if missing := names - content.keys():
        raise ValueError(f"{', '.join(sorted(missing))} missing")
    if content["format"] != FORMAT:
        raise ValueError(f"its format is {content['format']}, not {FORMAT}")
    if unknown := content.keys() - names - {"versions"}:
        raise ValueError(f"unknown name {min(unknown)!r}")
    name = content["environment"]
    known = name.partition(":")[0] in SIMULATORS
    if isinstance(environment, str):
        if full_name(environment) != name:
            raise ValueError(f"its environment is {name}, not {environment}")
    elif environment is not None:
        known = False
    elif known:
        require_installed_module(name)
    options = {**content["run"], **content["config"], **content["network"]}
    return make_plan(
        name,
        known_environment=known,
        on_host=content["on_host"],
        compile_briefly=content["compile_briefly"],
        **{k: tuple(v) if isinstance(v, list) else v for k, v in options.items()},
    )


def write_results(plan: Plan, episode_return: Any, evaluation: dict[str, Any]) -> None:
    """Write the learning curve, of returns `[K, I]` as in `Run`, and the evaluation."""
    plotting.plot_learning_curve(
        plan.directory / "learning_curve.png",
        plan.config.steps_per_iteration * np.arange(1, plan.iterations + 1),
        episode_return,
        plan.environment,
    )
    write_whole(plan.directory / "evaluation.json", _json(evaluation))


def rows_of(plan: Plan, first: int, log: np.ndarray) -> list[logging.Row]:
    """Return one row for each iteration and seed of a log `[i, K, M]` of `Metrics`.

    Before the log there were `first` iterations. A value that is not finite is None.
    Steps that are not joint have no `joint_kl`.
    """

    def convert(name: str, x: float) -> float | int | None:
        if not np.isfinite(x):
            return None
        return int(x) if name in INTEGER_COLUMNS else float(x)

    joint = plan.config.critic_method == "joint"
    return [
        {
            "seed": plan.run.seed + k,
            "iteration": first + i + 1,
            "environment_steps": (first + i + 1) * plan.config.steps_per_iteration,
            **{
                name: convert(name, x)
                for name, x in zip(Metrics._fields, log[i, k].tolist())
                if joint or name != "joint_kl"
            },
        }
        for i in range(len(log))
        for k in range(plan.run.seeds)
    ]


def read_run(directory: str | os.PathLike[str]) -> plotting.Run:
    """Read the learning curves of a run; raise `ValueError` if they are damaged."""
    directory = pathlib.Path(directory)
    try:
        config = json.loads(read_text(directory / "config.json", _LARGEST_CONFIG))
        lines = read_text(directory / "metrics.jsonl", _LARGEST_METRICS).splitlines()
        rows = [json.loads(line) for line in lines]
        seeds = sorted({row["seed"] for row in rows})
        steps = sorted({row["environment_steps"] for row in rows})
        returns = np.full((len(seeds), len(steps)), np.nan)
        for row in rows:
            if row["episode_return"] is not None:
                k = seeds.index(row["seed"])
                i = bisect.bisect(steps, row["environment_steps"]) - 1
                returns[k, i] = row["episode_return"]
        curve = np.array(steps), returns
        return plotting.Run(directory.name, config["environment"], *curve)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{directory} does not hold a run: {error}") from error


def summarize_returns(returns: np.ndarray) -> dict[str, Any]:
    """Return the mean of each seed, their interquartile mean, and its 95 % interval.

    The returns of episodes are `[K, E]`; None stands for a result that is not finite.

    >>> summarize_returns(np.array([[1.0, 3.0]]))
    {'mean_per_seed': [2.0], 'iqm': 2.0, 'ci95': [2.0, 2.0]}
    """
    means = returns.mean(axis=1)
    finite = bool(np.all(np.isfinite(means)))
    interval = plotting.bootstrap_interval(means) if finite else ()
    return {
        "mean_per_seed": [float(x) if np.isfinite(x) else None for x in means],
        "iqm": float(plotting.interquartile_mean(means)) if finite else None,
        "ci95": [float(end) for end in interval] or [None, None],
    }


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, allow_nan=False) + "\n"
