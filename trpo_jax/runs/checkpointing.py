"""When a run writes its checkpoints, what they hold, and how they are read back."""

import math
import os
import pathlib
import sys
import time
from typing import Any

import jax
import numpy as np

from trpo_jax.algorithm.metrics import Metrics
from trpo_jax.environments.host import LARGEST_STATE
from trpo_jax.runs.console import warn
from trpo_jax.runs.keys import seeds_of
from trpo_jax.runs.plan import Plan
from trpo_jax.runs.programs import Groups, Programs
from trpo_jax.storage import checkpoint

EVERY_SECONDS = 60.0  # between checkpoints if `checkpoint_every` is 0
_DIRECTORY = "checkpoints"


class NotWrittenError(RuntimeError):
    """A checkpoint or a result could not be written, and the run had to stop."""


class CheckpointWriter:
    """Writes the checkpoints of a run, of which `done` iterations exist, when due."""

    def __init__(self, plan: Plan, programs: Programs, done: int) -> None:
        self._plan, self._programs = plan, programs
        self._last, self._last_time = done, time.monotonic()
        self._failing = False

    def iterations_left(self, done: int) -> int:
        """Return the iterations until the next checkpoint, if they are counted."""
        every = self._plan.run.checkpoint_every
        return every - done % every if every else sys.maxsize

    def write_if_due(
        self, done: int, states: Groups, logs: list[np.ndarray]
    ) -> NotWrittenError | None:
        """If it is due, write a checkpoint, and return what `write` returns."""
        every, since = self._plan.run.checkpoint_every, self._last_time
        if done % every if every else time.monotonic() - since < EVERY_SECONDS:
            return None
        return self.write(done, states, logs)

    def write(
        self,
        done: int,
        states: Groups,
        logs: list[np.ndarray],
        *,
        with_simulators: bool = True,
    ) -> NotWrittenError | None:
        """Write a checkpoint; return the error that is to end the run, or None.

        The metrics of all iterations are in `logs`, arrays `[i, K, M]` in order. The
        state of simulators is left out if they have failed since then.
        """
        plan = self._plan
        if plan.output_dir is None or done == self._last:
            return None
        tree = {"states": self._programs.gather(states), "log": np.concatenate(logs)}
        if with_simulators and (saved := self._simulator_states()) is not None:
            tree["simulators"] = _pack(saved)
        try:
            if not (plan.output_dir / "config.json").exists():
                raise FileNotFoundError(f"{plan.output_dir} no longer exists")
            path, facts = plan.output_dir / _DIRECTORY, _description_of(plan)
            checkpoint.save(
                path, tree, step=done, description=facts, keep=plan.run.keep
            )
        except OSError as error:
            message = f"no checkpoint after {done} iterations: {error}"
            if plan.run.on_checkpoint_error == "stop":
                return NotWrittenError(f"the run was stopped: {message}")
            if not self._failing or done == plan.iterations:
                warn(message + "; training continues" * (done < plan.iterations))
            self._failing = True
        else:
            self._failing = False
            self._last = done
        self._last_time = time.monotonic()
        return None

    def _simulator_states(self) -> list[bytes] | None:
        try:
            return self._programs.simulator_states()
        except Exception as error:  # raised by the user's own simulators
            warn(f"the checkpoint does not hold the state of the simulators: {error}")
            return None


def _description_of(plan: Plan) -> dict[str, Any]:
    """Return what a checkpoint must have in common with the run that it continues."""
    content = plan.as_json()
    content |= {name: content["run"][name] for name in ("seeds", "seed")}
    names = ("environment", "on_host", "config", "network", "seeds", "seed")
    return {name: content[name] for name in names}


def restore_states(plan: Plan, programs: Programs) -> tuple[Groups, np.ndarray]:
    """Return the states and the log `[I, K, M]` at the newest intact checkpoint.

    Raise `CheckpointError` as `restore` does, and `ValueError` for a finished run.
    """
    restored, seeds = _read(plan, programs), seeds_of(plan)
    for line in restored.skipped:
        warn(f"{line}; an earlier one is used")
    require_something_to_do(plan, restored.step)
    tree, states = restored.tree, None
    if "simulators" in tree:
        try:
            saved = _unpack(tree["simulators"])
            states = programs.scatter(seeds, tree["states"], saved)
        except ValueError as error:
            warn(str(error))
    if states is None:
        if plan.on_host:
            warn("the simulators start new episodes")
        states = programs.scatter(seeds, tree["states"], None)
    return states, tree["log"]


def require_something_to_do(plan: Plan, done: int) -> None:
    """Refuse, with a `ValueError`, to resume a run that is trained and evaluated."""
    evaluated = (plan.directory / "evaluation.json").exists()
    if done > plan.iterations or (done == plan.iterations and evaluated):
        steps = done * plan.config.steps_per_iteration
        raise ValueError(
            f"this run is finished after {steps:,} steps: to train it longer, "
            f"total_steps must be >= {steps + plan.config.steps_per_iteration:,}; got "
            f"{plan.run.total_steps:,}"
        )


def _read(plan: Plan, programs: Programs) -> checkpoint.Restored:
    """Read the newest intact checkpoint: "states", "log" and perhaps "simulators"."""

    def like(step: int, shapes: checkpoint.Shapes) -> dict[str, Any]:
        array = jax.ShapeDtypeStruct
        tree = {
            "states": programs.template,
            "log": array((step, plan.run.seeds, len(Metrics._fields)), np.float32),
        }
        environments = plan.run.seeds * plan.config.num_envs
        if plan.on_host and "simulators/bytes" in shapes:
            size = math.prod(shapes["simulators/bytes"])
            tree["simulators"] = {
                "bytes": array((min(size, environments * LARGEST_STATE),), np.uint8),
                "sizes": array((environments,), np.int64),
            }
        return tree

    return checkpoint.restore(
        plan.directory / _DIRECTORY, like, description=_description_of(plan)
    )


def _pack(states: list[bytes]) -> dict[str, np.ndarray]:
    return {
        "bytes": np.frombuffer(b"".join(states), np.uint8),
        "sizes": np.array([len(state) for state in states], np.int64),
    }


def _unpack(tree: dict[str, np.ndarray]) -> list[bytes]:
    """Return the state of each environment, as `_pack` was given them."""
    content, ends = tree["bytes"].tobytes(), np.cumsum(tree["sizes"]).tolist()
    return [content[a:b] for a, b in zip([0, *ends], ends, strict=False)]


def newest_iterations(run: str | os.PathLike[str]) -> int | None:
    """Return the number of iterations at a run's newest intact checkpoint, or None."""
    return checkpoint.newest_intact(pathlib.Path(run) / _DIRECTORY)
