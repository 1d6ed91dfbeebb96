"""The training loop of the host: iterations in chunks, with reports between them."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from trpo_jax.algorithm.metrics import Metrics
from trpo_jax.environments.host import SimulatorError
from trpo_jax.runs import logging
from trpo_jax.runs.checkpointing import CheckpointWriter, NotWrittenError
from trpo_jax.runs.console import warn
from trpo_jax.runs.plan import Plan
from trpo_jax.runs.programs import Groups, Programs
from trpo_jax.runs.results import rows_of
from trpo_jax.solver.trust_region import NON_FINITE, Status

PATIENCE = 20  # consecutive iterations without a finite step before the run stops
CHUNK_SECONDS = 2.0  # the intended length of a chunk, so that interrupts act soon


class Outcome(NamedTuple):
    """How training ended: with a log `[I, K, M]`, and perhaps `stopped` by an error."""

    states: Groups
    log: np.ndarray
    stopped: BaseException | None

    @property
    def metrics(self) -> Metrics:
        """The log as arrays `[K, I]`, by name."""
        return Metrics(*self.log.transpose(2, 1, 0))


def run_chunks(
    plan: Plan,
    programs: Programs,
    states: Groups,
    sinks: list[logging.Sink],
    *,
    log: np.ndarray | None = None,
    interrupted: Callable[[], BaseException | None] = lambda: None,
) -> Outcome:
    """Train chunk by chunk, and report to the sinks and to the disk after each.

    The states are consumed, a sink that fails is removed from the list, and the log
    `[I, K, M]` holds the metrics of earlier iterations. The run ends early, once the
    current chunk has ended, if `interrupted` returns an exception, if training has
    diverged, or if a checkpoint cannot be written and the plan says to stop then. It
    also ends when a simulator fails, with a `SimulatorError` in the first chunk.
    """
    if log is None:
        log = np.zeros((0, plan.run.seeds, len(Metrics._fields)), np.float32)
    logs, done = [log], len(log)
    stopped: BaseException | None = None
    warned = False
    writer, pace = CheckpointWriter(plan, programs, done), _ChunkLength()
    notify(sinks, "start", done * plan.config.steps_per_iteration)
    while done < plan.iterations and stopped is None:
        left = min(plan.iterations - done, writer.iterations_left(done))
        count = min(plan.chunk, left, pace.iterations)
        try:
            with pace.measured(count):
                states, new = programs.chunk(states, np.int32(count))
        except SimulatorError as error:  # on the host, where the states still exist
            if done == 0:
                raise
            stopped = error
            break
        logs.append(np.asarray(new)[:count])
        warned = warned or _warn_of_unusable(plan, done, logs[-1])
        notify(sinks, "write", rows_of(plan, done, logs[-1]))
        done += count
        stopped = interrupted() or writer.write_if_due(done, states, logs)
        stopped = stopped or diverged(plan, logs)
    if not isinstance(stopped, NotWrittenError):
        failed = isinstance(stopped, SimulatorError)
        not_written = writer.write(done, states, logs, with_simulators=not failed)
        stopped = stopped or not_written
    return Outcome(states, np.concatenate(logs), stopped)


def _warn_of_unusable(plan: Plan, first: int, log: np.ndarray) -> bool:
    """Say, once in a run, that transitions are left out; return whether it was said.

    The log `[i, K, M]` is of the iterations after the `first` ones.
    """
    columns = Metrics(*np.moveaxis(log, -1, 0))
    for i, k in np.argwhere(columns.unusable > 0)[:1]:
        environment, step = columns.fault_environment[i, k], columns.fault_step[i, k]
        warn(
            f"seed {plan.run.seed + k}, iteration {first + i + 1}: a number of "
            f"environment {int(environment)}, step {int(step)}, is not finite; such "
            "transitions are left out, and the metrics count them as unusable"
        )
        return True
    return False


class DivergedError(RuntimeError):
    """Many iterations in a row had numbers that are not finite."""


def diverged(plan: Plan, logs: list[np.ndarray]) -> DivergedError | None:
    """Return an error if the last `PATIENCE` iterations of a seed were not finite."""
    last = np.concatenate(logs[-PATIENCE:])[-PATIENCE:]
    status = last[..., Metrics._fields.index("status")]
    bad = np.all(np.isin(status, NON_FINITE), axis=0)
    if len(last) < PATIENCE or not bad.any():
        return None
    k = int(np.argmax(bad))
    row = Metrics(*last[-1, k])
    reason = Status(int(row.status)).name.lower().replace("_", " ")
    place = ""
    if row.fault_step >= 0:
        environment, step = int(row.fault_environment), int(row.fault_step)
        place = f" (in the last one at environment {environment}, step {step})"
    return DivergedError(
        f"seed {plan.run.seed + k} had {PATIENCE} iterations in a row with a {reason}"
        f"{place}; check what the environment returns there, or try a smaller max_kl, "
        "a smaller critic_learning_rate, or normalize_observation and scale_reward"
    )


class _ChunkLength:
    """The number of iterations that take about `CHUNK_SECONDS`, as far as is known."""

    def __init__(self) -> None:
        self.iterations = 1

    @contextlib.contextmanager
    def measured(self, count: int) -> Iterator[None]:
        start = time.perf_counter()
        yield
        seconds = max(time.perf_counter() - start, 1e-6)
        self.iterations = max(1, int(CHUNK_SECONDS * count / seconds))


def notify(sinks: list[logging.Sink], method: str, *values: Any) -> None:
    """Call a method of every sink; one that fails is reported once and removed."""
    for sink in list(sinks):
        try:
            getattr(sink, method)(*values)
        except Exception as error:  # whatever a sink raises, training continues
            sinks.remove(sink)
            with contextlib.suppress(Exception):
                sink.close()
            warn(f"{type(sink).__name__} failed and receives no more rows: {error}")
