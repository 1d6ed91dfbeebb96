"""A cache of compiled programs in the user's own cache directory.

JAX runs the code in these files: the directory is used only if it belongs to the user
and nobody else may write into it.
"""

import contextlib
import os
import pathlib
import stat
import time

from trpo_jax import __version__

_LARGEST = 2**30  # bytes; beyond that, the oldest files are removed


def cache_directory() -> pathlib.Path:
    """Return the directory of this version's compiled programs; it may not exist."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    return pathlib.Path(base).expanduser() / "trpo-jax" / f"compiled-{__version__}"


def keep_compiled_programs() -> pathlib.Path | None:
    """Let JAX store compiled programs; must be called before JAX is imported.

    Return the directory. Return None, and change nothing, if the user's variables
    choose a directory or none, or if others could write into it.
    """
    switched_off = os.environ.get("JAX_ENABLE_COMPILATION_CACHE", "true").lower()
    if "JAX_COMPILATION_CACHE_DIR" in os.environ or switched_off in ("false", "0"):
        return None
    try:
        directory = cache_directory()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_private(directory):
            return None
        _make_room(directory)
    except (OSError, RuntimeError):  # the latter if the user has no home
        return None
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(directory)
    for name in ("MIN_COMPILE_TIME_SECS", "MIN_ENTRY_SIZE_BYTES"):
        os.environ.setdefault(f"JAX_PERSISTENT_CACHE_{name}", "0")
    # XLA warns of each program read that it was compiled for this very machine.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return directory


def _is_private(directory: pathlib.Path) -> bool:
    info = directory.lstat()
    owned = not hasattr(os, "getuid") or info.st_uid == os.getuid()
    return stat.S_ISDIR(info.st_mode) and owned and not info.st_mode & 0o022


def _make_room(directory: pathlib.Path) -> None:
    """Remove the oldest files until at most `_LARGEST` bytes are left."""
    files = [(entry.stat(), entry.path) for entry in os.scandir(directory)]
    total = sum(info.st_size for info, _ in files)
    for info, path in sorted(files, key=lambda file: file[0].st_mtime):
        if total <= _LARGEST:
            break
        if time.time() - info.st_mtime > 60:  # another process may be writing it
            with contextlib.suppress(OSError):
                os.unlink(path)
            total -= info.st_size
