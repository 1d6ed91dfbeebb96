"""Where results may go, checked before any work is done."""

import contextlib
import datetime
import importlib.util
import itertools
import os
import pathlib
import re
from collections.abc import Iterator

from trpo_jax.runs import signals


def free_directory(path: str | os.PathLike) -> pathlib.Path:
    """Return the path of a directory that may be written and holds nothing yet.

    Raises:
        ValueError: when it is a file, is in use, or cannot be made or written.
    """
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise ValueError(f"output_dir must be the name of a directory; got {path!r}")
    path = pathlib.Path(path)
    if path.exists():
        if not path.is_dir():
            raise ValueError(f"output_dir must be a directory; {str(path)!r} is a file")
        if any(path.iterdir()):
            raise ValueError(
                f"output_dir must be new or empty; {str(path)!r} is already in use: "
                "name another one"
            )
    nearest = path
    while not nearest.exists():
        nearest = nearest.parent
    if not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
        raise ValueError(
            f"output_dir must be writable; {str(path)!r} is not: name another one"
        )
    return path


@contextlib.contextmanager
def claim_directory(environment: str, seed: int) -> Iterator[pathlib.Path]:
    """Make `runs/<environment>-seed<seed>-<time>`, for nobody else.

    With a number at the end if that is taken, by a run that started just now. What is
    still empty afterwards is removed.
    """
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
        # Whoever is impatient interrupts this, too.
        with signals.ignored(), contextlib.suppress(OSError):  # if it holds something
            path.rmdir()
            if made:
                path.parent.rmdir()


def check_folder(path: str | os.PathLike) -> None:
    """Refuse a file to be written where there is no directory, before any work.

    Raises:
        ValueError: with the directory that is missing.
    """
    folder = pathlib.Path(path).parent
    if not folder.is_dir():
        raise ValueError(
            f"output must be in a directory that exists; got {os.fspath(path)!r}"
        )


def check_suffix(path: str | os.PathLike) -> None:
    """Refuse a file that `write_video` could not write, before an episode is played.

    Raises:
        ValueError: for another ending than `.gif` or `.mp4`, or when what MP4 needs is
            not installed.
    """
    suffix = pathlib.Path(path).suffix.lower()
    if suffix not in (".gif", ".mp4"):
        raise ValueError(f"a video must end in .gif or .mp4; got {os.fspath(path)!r}")
    if suffix == ".mp4" and importlib.util.find_spec("imageio_ffmpeg") is None:
        raise ValueError(
            ".mp4 needs imageio-ffmpeg: pip install 'trpo-jax[video]'; .gif needs "
            "nothing"
        )
