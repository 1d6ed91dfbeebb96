"""Compiled programs, kept for the next time in a directory of the user's own.

What lies there is code that JAX will run: the directory belongs to the user and nobody
else may write into it, or it is not used.
"""

import contextlib
import os
import pathlib
import stat
import time

from trpo_jax import __version__

_LARGEST = 2**30  # bytes that stay; the oldest files go first


def cache_directory() -> pathlib.Path:
    """Return where the programs of this version are, in the user's cache directory."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    return pathlib.Path(base).expanduser() / "trpo-jax" / f"compiled-{__version__}"


def keep_compiled_programs() -> pathlib.Path | None:
    """Have JAX keep what it compiles, and return where; before JAX is imported.

    Whoever has set `JAX_COMPILATION_CACHE_DIR` has decided already, and
    `JAX_ENABLE_COMPILATION_CACHE=false` is how to do without.

    Returns:
        The directory, or None where none is used: because of these variables, or
        because it cannot be made or others could write into it.
    """
    switched_off = os.environ.get("JAX_ENABLE_COMPILATION_CACHE", "true").lower()
    if "JAX_COMPILATION_CACHE_DIR" in os.environ or switched_off in ("false", "0"):
        return None
    directory = cache_directory()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_private(directory):
            return None
        _make_room(directory)
    except OSError:
        return None
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(directory)
    for name in ("MIN_COMPILE_TIME_SECS", "MIN_ENTRY_SIZE_BYTES"):
        os.environ.setdefault(f"JAX_PERSISTENT_CACHE_{name}", "0")
    # XLA warns of each program read that it was compiled for this very machine.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return directory


def _is_private(directory: pathlib.Path) -> bool:
    found = directory.lstat()
    owned = not hasattr(os, "getuid") or found.st_uid == os.getuid()
    return stat.S_ISDIR(found.st_mode) and owned and not found.st_mode & 0o022


def _make_room(directory: pathlib.Path) -> None:
    """Remove the files that were written first, until few enough bytes are left."""
    files = [(entry.stat(), entry.path) for entry in os.scandir(directory)]
    total = sum(found.st_size for found, _ in files)
    for found, path in sorted(files, key=lambda file: file[0].st_mtime):
        if total <= _LARGEST:
            break
        if time.time() - found.st_mtime > 60:  # another process may just write it
            with contextlib.suppress(OSError):
                os.unlink(path)
            total -= found.st_size
