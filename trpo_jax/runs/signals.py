"""Signals that end a run."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # the last one is unknown on Windows
ENDING = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]


class Terminated(SystemExit):
    """The exit after SIGTERM, or after SIGHUP from a closed terminal; status 143."""

    def __init__(self, *message: str) -> None:
        super().__init__(143)
        self.message = message

    def __str__(self) -> str:
        return " ".join(self.message)


def raise_terminated(signum: int, frame: Any) -> None:
    """Raise `Terminated`; a signal handler."""
    raise Terminated


@contextlib.contextmanager
def note_signals() -> Iterator[Callable[[], BaseException | None]]:
    """Note SIGINT, SIGTERM and SIGHUP instead of raising an exception within a chunk.

    An exception within a chunk would lose the states, which it consumes. Yield a
    function that returns the exception that was asked for, or None. A second signal
    raises its exception at once.
    """
    asked: list[BaseException] = []
    usual = [signal.default_int_handler, signal.SIG_DFL, raise_terminated]

    def ask(signum: int, frame: Any) -> None:
        kind = KeyboardInterrupt if signum == signal.SIGINT else Terminated
        if asked:
            raise kind("stopped at once")
        asked.append(kind())
        with contextlib.suppress(OSError):  # standard error may be closed
            os.write(2, b"\nfinishing this chunk; once more stops at once\n")

    before = {}
    if threading.current_thread() is threading.main_thread():
        for signum in ENDING:
            if signal.getsignal(signum) in usual:  # leave handlers of the user alone
                before[signum] = signal.signal(signum, ask)
    try:
        yield lambda: asked[0] if asked else None
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


@contextlib.contextmanager
def ignored() -> Iterator[None]:
    """Ignore SIGINT inside the block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
