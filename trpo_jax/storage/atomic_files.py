"""Files that are written completely or not at all, and read only if they are files."""

import contextlib
import io
import os
import pathlib
import stat
from collections.abc import Iterator
from typing import Any


def open_file(path: pathlib.Path, *, links: bool = True) -> io.BufferedReader:
    """Open a regular file for reading; refuse directories, pipes and devices.

    Follow symbolic links only if `links` is True. Raise `ValueError` for what is not a
    regular file, and `OSError` if it cannot be opened.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    if not links:
        flags |= getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(f"{path.name} is not a file")
    return os.fdopen(descriptor, "rb")


def read_text(path: pathlib.Path, largest: int, *, links: bool = True) -> str:
    """Read a UTF-8 text file of at most `largest` bytes, as `open_file` opens it."""
    with open_file(path, links=links) as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise ValueError(f"{path.name} is larger than {largest} bytes")
    return content.decode("utf-8")


def write_whole(path: pathlib.Path, content: str | bytes) -> None:
    """Write a file so that even a power cut leaves the old or the new content."""
    unfinished = path.with_name(f"{path.name}.tmp")
    unfinished.write_bytes(content.encode() if isinstance(content, str) else content)
    flush(unfinished)
    os.replace(unfinished, path)
    flush(path.parent)


@contextlib.contextmanager
def claimed(directory: pathlib.Path) -> Iterator[None]:
    """Lock a directory inside the block, or raise `ValueError` if it is locked."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"{directory} is in use: another process writes into it"
            ) from error
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(descriptor)


def flush(path: pathlib.Path) -> None:
    """Wait until what was written into a file or a directory is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object, as an `object_pairs_hook` that refuses a repeated name."""
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("it holds a name twice")
    return values
