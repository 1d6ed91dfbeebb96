"""Warnings on standard error."""

import contextlib
import sys


def warn(line: str) -> None:
    """Print one line on standard error; a closed standard error is no failure."""
    if sys.stderr is None:  # where `print` would take standard output
        return
    with contextlib.suppress(OSError, ValueError):
        print(f"trpo-jax: {line}", file=sys.stderr, flush=True)
