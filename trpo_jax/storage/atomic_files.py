"""Files of a run: written whole or not at all, read only where they are files."""

import contextlib
import os
import pathlib
import stat
from collections.abc import Iterator
from typing import Any, BinaryIO


def open_file(path: pathlib.Path, *, links: bool = True) -> BinaryIO:
    """Open a file that is one: no directory, no pipe that nobody writes to.

    Args:
        path: of it.
        links: follow symbolic ones.

    Raises:
        OSError: when it cannot be opened.
        ValueError: when it is something else.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    if not links:
        flags |= getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(f"{path.name} is not a file")
    return os.fdopen(descriptor, "rb")


def read_text(path: pathlib.Path, largest: int) -> str:
    """Return what a file holds, if it is text and not too much.

    Args:
        path: of it.
        largest: number of bytes.

    Raises:
        OSError: when it cannot be read.
        ValueError: when it is something else, larger, or not in UTF-8.
    """
    with open_file(path) as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise ValueError(f"{path.name} is larger than {largest} bytes")
    return content.decode("utf-8")


def write_whole(path: pathlib.Path, content: str | bytes) -> None:
    """Write a file so that it is there whole or as it was, power cuts included.

    Raises:
        OSError: when it cannot be written.
    """
    unfinished = path.with_name(f"{path.name}.tmp")
    data = content.encode("utf-8") if isinstance(content, str) else content
    unfinished.write_bytes(data)
    flush(unfinished)
    os.replace(unfinished, path)
    flush(path.parent)


@contextlib.contextmanager
def claimed(directory: pathlib.Path) -> Iterator[None]:
    """Keep other processes from writing into a run as long as this one lives.

    Raises:
        ValueError: when another process has claimed it.
    """
    try:
        import fcntl
    except ImportError:  # not everywhere
        yield
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            said = f"{directory} is in use: another process writes into it"
            raise ValueError(said) from error
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(descriptor)


def flush(path: pathlib.Path) -> None:
    """Have the disk hold what was written into a file or a directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; for `json.loads`.

    Raises:
        ValueError: when it holds a name twice.
    """
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("it holds a name twice")
    return found
