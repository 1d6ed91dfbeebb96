"""Files that are written completely or not at all, and read only if they are files.

Windows differs from POSIX in what it lacks: it opens no directories, flushes only what
was opened for writing, and has no `fcntl` and fewer flags.
"""

import contextlib
import errno
import io
import os
import pathlib
import stat
from collections.abc import Iterator
from typing import Any

# What systems say that cannot open a directory, or cannot flush one.
_NO_DIRECTORIES = (
    errno.EACCES, errno.EPERM, errno.EISDIR, errno.EBADF, errno.EINVAL, errno.ENOTSUP,
)  # fmt: skip


def open_file(path: pathlib.Path, *, links: bool = True) -> io.BufferedReader:
    """Open a regular file for reading; refuse directories, pipes and devices.

    Follow symbolic links only if `links` is True. Raise `ValueError` for what is not a
    regular file, and `OSError` if it cannot be opened.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    if not links:
        flags |= getattr(os, "O_NOFOLLOW", 0)
        if not hasattr(os, "O_NOFOLLOW") and path.is_symlink():
            raise OSError(errno.ELOOP, "it is a symbolic link", str(path))
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
    """Write a file so that even a power cut leaves the old or the new content.

    Raise `OSError`, with the name of the file, if it cannot be written.
    """
    unfinished = path.with_name(f"{path.name}.tmp")
    content = content.encode() if isinstance(content, str) else content
    try:
        unfinished.write_bytes(content)
        flush(unfinished)
        os.replace(unfinished, path)
    except OSError as error:  # of a full disk, it names no file
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error
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
    """Wait until what was written into a file or a directory is on the disk.

    A system that cannot do so with a directory orders its own writes.
    """
    directory = path.is_dir()
    try:
        descriptor = os.open(path, os.O_RDONLY if directory else os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if not directory or error.errno not in _NO_DIRECTORIES:
            raise


def without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object, as an `object_pairs_hook` that refuses a repeated name."""
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("it holds a name twice")
    return values
