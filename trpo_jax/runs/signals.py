"""Signals that ask for the end of a run."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

ENDING = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if hasattr(signal, name)
]


class Terminated(SystemExit):
    """SIGTERM, or a terminal that closes, has asked for the end; the status is 143."""

    def __init__(self, *said: str) -> None:
        super().__init__(143)
        self.said = said

    def __str__(self) -> str:
        return " ".join(self.said)


def raise_terminated(signum: int, frame: Any) -> None:
    """Raise `Terminated`; a handler of signals."""
    raise Terminated


@contextlib.contextmanager
def note_signals() -> Iterator[Callable[[], BaseException | None]]:
    """Note SIGINT, SIGTERM and SIGHUP instead of raising in mid-chunk.

    A chunk uses up the states put in: whoever is interrupted within one has none.

    Yields:
        A function that returns what was asked for: a `KeyboardInterrupt`, a
        `Terminated`, or None.
    """
    asked: list[BaseException] = []
    usual = [signal.default_int_handler, signal.SIG_DFL, raise_terminated]

    def ask(signum: int, frame: Any) -> None:
        kind = KeyboardInterrupt if signum == signal.SIGINT else Terminated
        if asked:
            raise kind("stopped at once")
        asked.append(kind())
        with contextlib.suppress(OSError):  # nobody may be reading
            os.write(2, b"\nending after this chunk; once more ends at once\n")

    before = {}
    if threading.current_thread() is threading.main_thread():
        for signum in ENDING:
            if signal.getsignal(signum) in usual:  # others go on doing what they do
                before[signum] = signal.signal(signum, ask)
    try:
        yield lambda: asked[0] if asked else None
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


@contextlib.contextmanager
def ignored() -> Iterator[None]:
    """Be deaf to SIGINT for a moment."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
