"""Standard streams that are closed, or that do not take what is written."""

import io
import os
import shutil
import sys

_NARROWEST = 20  # columns; with fewer than 8, wrapping the help never ends


def prepare_streams() -> None:
    """Open closed standard streams on the null device, and let none refuse a letter.

    The next file that is opened would otherwise get the number of a closed stream, and
    what libraries print would be written into it. Help cannot be wrapped in fewer than
    `_NARROWEST` columns, so 80 are assumed there.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            taken = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            os.set_inheritable(taken, True)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115
            setattr(sys, name, stream)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not every encoding has a δ
            stream.reconfigure(errors="replace")
    if shutil.get_terminal_size().columns < _NARROWEST:
        os.environ["COLUMNS"] = "80"


def discard_output() -> None:
    """Drop what is still to be written to standard output, since nobody reads it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
