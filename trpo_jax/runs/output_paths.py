"""Checks of the paths of results, before any work is done."""

import contextlib
import datetime
import importlib.util
import itertools
import os
import pathlib
import re
from collections.abc import Iterator

from trpo_jax.runs import signals


def free_directory(path: str | os.PathLike[str]) -> pathlib.Path:
    """Return the path of a new or empty directory; refuse others with `ValueError`."""
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise ValueError(f"output_dir must be the name of a directory; got {path!r}")
    path = pathlib.Path(path)
    _require_working_directory(path)
    if path.exists():
        if not path.is_dir():
            raise ValueError(f"output_dir must be a directory; {str(path)!r} is a file")
        if any(path.iterdir()):
            raise ValueError(
                f"output_dir must be new or empty; {str(path)!r} is already in use: "
                "name another one"
            )
    existing = (folder for folder in (path, *path.parents) if folder.exists())
    nearest = next(existing, None)  # None on a drive that does not exist
    if not (nearest and nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
        raise ValueError(
            f"output_dir must be writable; {str(path)!r} is not: name another one"
        )
    return path


@contextlib.contextmanager
def claim_directory(environment: str, seed: int) -> Iterator[pathlib.Path]:
    """Make the directory `runs/<environment>-seed<seed>-<time>` for one run.

    Another run may have that name; then a number is added. An empty one is removed.
    """
    _require_working_directory(pathlib.Path("runs"))
    made = not os.path.exists("runs")
    task = re.sub(r"[^\w.-]", "-", environment.rpartition(":")[2])
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    for number in itertools.count(1):
        suffix = "" if number == 1 else f"-{number}"
        path = pathlib.Path("runs", f"{task}-seed{seed}-{stamp}{suffix}")
        with contextlib.suppress(FileExistsError):
            path.mkdir(parents=True)
            break
    try:
        yield path
    finally:
        # A second interrupt must not leave an empty directory behind.
        with signals.ignored(), contextlib.suppress(OSError):  # it may not be empty
            path.rmdir()
            if made:
                path.parent.rmdir()


def check_new_file(path: str | os.PathLike[str]) -> None:
    """Refuse an output file that exists or cannot be made, with a `ValueError`."""
    path = pathlib.Path(path)
    _require_working_directory(path)
    if not (path.parent.is_dir() and os.access(path.parent, os.W_OK | os.X_OK)):
        raise ValueError(
            "output must be in a directory that exists and can be written to; got "
            f"{str(path)!r}: name another one"
        )
    if path.exists():
        raise ValueError(
            f"output must be a new file; {str(path)!r} exists: name another one"
        )


def free_name(path: pathlib.Path) -> pathlib.Path:
    """Return the path, with a number before its suffix if there is such a file.

    >>> free_name(pathlib.Path("agent.gif")).name
    'agent.gif'
    """
    names = (path.with_stem(f"{path.stem}-{i}") for i in itertools.count(2))
    return next(name for name in itertools.chain([path], names) if not name.exists())


def _require_working_directory(path: pathlib.Path) -> None:
    """Refuse a relative path, with a `ValueError`, if there is nothing to start at."""
    try:
        path.is_absolute() or os.getcwd()
    except OSError as error:
        raise ValueError(
            f"{str(path)!r} cannot be made: the working directory no longer exists; "
            "change to another one, or name an absolute path"
        ) from error


def check_suffix(path: str | os.PathLike[str]) -> None:
    """Refuse, with a `ValueError`, an output file that `write_video` cannot write."""
    suffix = pathlib.Path(path).suffix.lower()
    if suffix not in (".gif", ".mp4"):
        raise ValueError(f"a video must end in .gif or .mp4; got {os.fspath(path)!r}")
    if suffix == ".mp4" and importlib.util.find_spec("imageio_ffmpeg") is None:
        raise ValueError(
            ".mp4 needs imageio-ffmpeg: pip install 'trpo-jax[video]', or write a .gif"
        )
