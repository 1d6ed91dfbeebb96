"""A time limit for simulators on the host that may hang."""

import contextlib
import faulthandler
import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple, Self

from trpo_jax.environments.host import HostEnvironment, MakeHost, SimulatorError

GRACE = 3.0  # seconds that native code has to return after an interrupt


class _Call(NamedTuple):
    what: str
    deadline: float  # in seconds of the watchdog's clock


class Watchdog:
    """A time limit for the calls of simulators.

    A call that takes too long is interrupted by an error in the main thread, in Python
    code or in a system call. If native code does not return, or Python code catches
    every error, the process prints the stacks of all threads and exits with status 1.
    Only native code that holds the interpreter's lock cannot be stopped. Entering the
    context outside the main thread or outside POSIX, where no signal can be caught, is
    a `ValueError`.

    >>> with Watchdog(0.1) as watchdog:
    ...     watchdog.guarded("sleeping", time.sleep)(60)
    Traceback (most recent call last):
    trpo_jax.environments.host.SimulatorError: sleeping: no answer for 0.1 seconds
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._tick = min(seconds / 10, 1.0)
        self._now = 0.0  # seconds, without those in which the process was stopped
        self._call: _Call | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        main = threading.current_thread() is threading.main_thread()
        if not main or not hasattr(signal, "SIGALRM"):
            raise ValueError(
                "simulator_timeout must be 0 outside the main thread of a POSIX "
                f"system; got {self._seconds:g}"
            )
        self._before = signal.signal(signal.SIGALRM, self._interrupt)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        signal.signal(signal.SIGALRM, self._before)

    def guarded(self, what: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that does the same under the time limit.

        Beyond the limit it raises a `SimulatorError`, whose message begins with `what`.
        """

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            self._call = _Call(what, self._now + self._tick + self._seconds)
            try:
                return function(*args, **kwargs)
            finally:
                try:
                    self._call = None
                except SimulatorError:  # the interrupt came after the return
                    self._call = None
                    raise

        return call

    def guarded_simulators(self, make: MakeHost) -> MakeHost:
        """Put the making of simulators and all their methods under the time limit."""

        def make_guarded(num_envs: int, seed: int) -> HostEnvironment:
            made = self.guarded("making the simulator", make)(num_envs, seed)
            return _Guarded(made, self)

        return make_guarded

    def _interrupt(self, signum: int, frame: FrameType | None) -> None:
        call = self._call
        if call is not None and self._now >= call.deadline:
            raise SimulatorError(
                f"{call.what}: no answer for {self._seconds:g} seconds"
            )

    def _watch(self) -> None:
        interrupted: _Call | None = None
        main = threading.main_thread().ident
        assert main is not None  # it has started
        before = time.monotonic()
        while not self._ended.wait(self._tick):
            now = time.monotonic()
            # Time in which the whole process was stopped does not count.
            self._now += min(now - before, 2 * self._tick)
            before = now
            call = self._call
            if call is None:
                continue
            late = self._now - call.deadline
            if late >= 0 and call is not interrupted:
                interrupted = call
                signal.pthread_kill(main, signal.SIGALRM)
            elif late > GRACE:
                text = f"no answer for {self._seconds:g} seconds, nor to an interrupt"
                print(f"\ntrpo-jax: {call.what}: {text}", file=sys.stderr, flush=True)
                faulthandler.dump_traceback(all_threads=True)
                os._exit(1)


class _Guarded:
    """A simulator whose methods are under the time limit of a watchdog."""

    def __init__(self, environment: HostEnvironment, watchdog: Watchdog) -> None:
        self._environment, self._watchdog = environment, watchdog

    def close(self) -> None:
        """Close the simulator; ignore a hang, so that an earlier error is reported."""
        with contextlib.suppress(SimulatorError):
            self._watchdog.guarded(self._environment.name, self._environment.close)()

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._environment, name)
        if not callable(value):
            return value
        guarded = self._watchdog.guarded(self._environment.name, value)
        setattr(self, name, guarded)  # makes the next look-up fast
        return guarded
