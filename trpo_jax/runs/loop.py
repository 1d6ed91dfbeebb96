"""The host's loop: iterations in chunks, and what happens between two of them."""

import contextlib
import math
import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from trpo_jax.storage import checkpoint
from trpo_jax.runs import logging
from trpo_jax.runs.console import complain
from trpo_jax.environments.host import LARGEST_STATE, SimulatorError
from trpo_jax.algorithm.metrics import Metrics
from trpo_jax.runs.plan import Plan
from trpo_jax.runs.programs import Groups, Programs
from trpo_jax.runs.results import rows_of
from trpo_jax.algorithm.policy_update import NON_FINITE, Status

PATIENCE = 20  # iterations in a row that a seed may spoil
PACE = 2.0  # seconds after which a chunk is to end, so that whoever waits for one can
EVERY_SECONDS = 60.0  # between checkpoints whose iterations nobody chose
_DIRECTORY = "checkpoints"


class Outcome(NamedTuple):
    """How a run ended.

    Attributes:
        states: the last; see `Programs`.
        log: `[I, K, M]` of `Metrics`, as many iterations as were done.
        stopped: what ended it before its time, or None.
    """

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
    """Train chunk by chunk, and tell the sinks and the disk after each.

    What ends it early, once the chunk under way has ended: an interruption, a simulator
    that fails after the first chunk, numbers that are nothing but spoilt, or a
    checkpoint that cannot be written, if the plan says so. Sinks that fail are dropped
    from the list.

    Args:
        plan: of the run.
        programs: compiled.
        states: to begin with, used up.
        sinks: get the rows of each chunk.
        log: `[I, K, M]` of the iterations that are done already.
        interrupted: asked after each chunk for what is to end the run, if anything is;
            see `note_signals`.
    """
    if log is None:
        log = np.zeros((0, plan.seeds, len(Metrics._fields)), np.float32)
    logs, done, stopped = [log], len(log), None
    keeper, pace = _Keeper(plan, programs, done), _Pace()
    tell(sinks, "start", done * plan.config.steps_per_iteration)
    while done < plan.iterations and stopped is None:
        count = min(plan.chunk, plan.iterations - done, pace.count, keeper.room(done))
        try:
            with pace.measured(count):
                states, new = programs.chunk(states, np.int32(count))
        except SimulatorError as error:  # on the host: the states are still there
            if done == 0:
                raise
            stopped = error
            break
        logs.append(np.asarray(new)[:count])
        tell(sinks, "write", rows_of(plan, done, logs[-1]))
        done += count
        stopped = interrupted() or keeper.after(done, states, logs)
        stopped = stopped or _spoilt(plan, logs)
    if not isinstance(stopped, NotWrittenError):
        failed = isinstance(stopped, SimulatorError)
        full = keeper.finish(done, states, logs, simulators=not failed)
        stopped = stopped or full
    return Outcome(states, np.concatenate(logs), stopped)


class NotWrittenError(RuntimeError):
    """A checkpoint could not be written, and the run was to stop then."""


class SpoiltError(RuntimeError):
    """One iteration after the other had numbers that are not finite."""


def _spoilt(plan: Plan, logs: list[np.ndarray]) -> SpoiltError | None:
    """Return an error when a seed has had nothing else for `PATIENCE` iterations."""
    last = np.concatenate(logs[-PATIENCE:])[-PATIENCE:]
    status = last[..., Metrics._fields.index("status")]
    bad = np.all(np.isin(status, NON_FINITE), axis=0)
    if len(last) < PATIENCE or not bad.any():
        return None
    k = int(np.argmax(bad))
    row = Metrics(*last[-1, k])
    said = Status(int(row.status)).name.lower().replace("_", " ")
    where = ""
    if row.fault_step >= 0:
        where = (
            f" (environment {int(row.fault_environment)}, step {int(row.fault_step)} "
            "of the last one)"
        )
    return SpoiltError(
        f"seed {plan.seed + k} had {PATIENCE} iterations in a row with a {said}{where}"
        "; look at what the environment gives there, or try a smaller max_kl, "
        "smaller steps of the critic, or normalize_observation and scale_reward"
    )


class _Pace:
    """How many iterations fit into `PACE` seconds, as far as is known."""

    def __init__(self) -> None:
        self.count = 1

    @contextlib.contextmanager
    def measured(self, count: int) -> Iterator[None]:
        start = time.perf_counter()
        yield
        seconds = max(time.perf_counter() - start, 1e-6)
        self.count = max(1, int(PACE * count / seconds))


class _Keeper:
    """Writes checkpoints when they are due."""

    def __init__(self, plan: Plan, programs: Programs, done: int) -> None:
        self._plan, self._programs = plan, programs
        self._last, self._since = done, time.monotonic()
        self._failing = False

    def room(self, done: int) -> int:
        """Return the iterations until the next one is due, if that is known."""
        every = self._plan.checkpoint_every
        return every - done % every if every else sys.maxsize

    def after(
        self, done: int, states: Groups, logs: list[np.ndarray]
    ) -> NotWrittenError | None:
        """Write a checkpoint if it is time; return what ends the run, if it does."""
        every = self._plan.checkpoint_every
        if done % every if every else time.monotonic() - self._since < EVERY_SECONDS:
            return None
        return self.finish(done, states, logs)

    def finish(
        self,
        done: int,
        states: Groups,
        logs: list[np.ndarray],
        *,
        simulators: bool = True,
    ) -> NotWrittenError | None:
        """Write a checkpoint unless there is this one; see `after`.

        Without those simulators on the host that have gone on, or failed, since then.
        """
        plan = self._plan
        if plan.output_dir is None or done == self._last:
            return None
        tree = {"states": self._programs.gather(states), "log": np.concatenate(logs)}
        if simulators and (saved := self._simulators()) is not None:
            tree["simulators"] = _packed(saved)
        try:
            if not (plan.output_dir / "config.json").exists():
                raise FileNotFoundError(f"{plan.output_dir} is not there any more")
            checkpoint.save(
                plan.output_dir / _DIRECTORY, tree, step=done,
                description=description_of(plan), keep=plan.keep,
            )  # fmt: skip
        except OSError as error:
            said = f"no checkpoint after {done} iterations: {error}"
            if plan.on_checkpoint_error == "stop":
                return NotWrittenError(f"stopped, since there is {said}")
            if not self._failing or done == plan.iterations:
                goes_on = "; training goes on" * (done < plan.iterations)
                complain(f"{said}{goes_on}")
            self._failing = True
        else:
            self._failing = False
            self._last = done
        self._since = time.monotonic()
        return None

    def _simulators(self) -> list[bytes] | None:
        try:
            return self._programs.simulators()
        except Exception as error:  # of the user's own simulators
            complain(f"no state of the simulators in the checkpoint: {error}")
            return None


def description_of(plan: Plan) -> dict[str, Any]:
    """Return what a checkpoint has to have in common with the run it continues."""
    whole = plan.as_json()
    return {
        name: whole[name]
        for name in ("environment", "on_host", "seeds", "seed", "config", "network")
    }


def read_checkpoint(plan: Plan, programs: Programs) -> checkpoint.Restored:
    """Read a run's newest intact checkpoint.

    Its `tree` holds "states", "log" and, where their state could be had, "simulators",
    for `unpacked`.

    Raises:
        CheckpointError: see `checkpoint.restore`.
    """

    def like(step: int, shapes: checkpoint.Shapes) -> dict[str, Any]:
        def array(shape: tuple[int, ...], kind: type) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(shape, kind)

        tree = {
            "states": programs.template,
            "log": array((step, plan.seeds, len(Metrics._fields)), np.float32),
        }
        environments = plan.seeds * plan.config.num_envs
        if plan.on_host and "simulators/bytes" in shapes:
            size = math.prod(shapes["simulators/bytes"])
            tree["simulators"] = {
                "bytes": array((min(size, environments * LARGEST_STATE),), np.uint8),
                "sizes": array((environments,), np.int64),
            }
        return tree

    return checkpoint.restore(
        plan.output_dir / _DIRECTORY, like, description=description_of(plan)
    )


def _packed(states: list[bytes]) -> dict[str, np.ndarray]:
    return {
        "bytes": np.frombuffer(b"".join(states), np.uint8),
        "sizes": np.array([len(state) for state in states], np.int64),
    }


def unpacked(tree: dict[str, np.ndarray]) -> list[bytes]:
    """Return the states of simulators as they were before they were in a checkpoint.

    Example:
        >>> unpacked(_packed([b"a", b"bc"]))
        [b'a', b'bc']
    """
    content, ends = tree["bytes"].tobytes(), np.cumsum(tree["sizes"]).tolist()
    return [content[a:b] for a, b in zip([0, *ends], ends, strict=False)]


def tell(sinks: list[logging.Sink], what: str, *values: Any) -> None:
    """Call a method of every sink; one that fails is reported once and dropped."""
    for sink in list(sinks):
        try:
            getattr(sink, what)(*values)
        except Exception as error:  # whatever a sink is made of, training goes on
            sinks.remove(sink)
            with contextlib.suppress(Exception):
                sink.close()
            name = type(sink).__name__
            complain(f"{name} failed and gets no more rows: {error}")


def iterations_kept(run: str | os.PathLike) -> int | None:
    """Return the iterations done by a run's newest intact checkpoint, if it has one."""
    return checkpoint.newest_intact(pathlib.Path(run) / _DIRECTORY)
