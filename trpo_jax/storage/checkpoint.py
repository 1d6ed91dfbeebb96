"""Checkpoints: the whole state of a run on disk, numbers and names, no code.

A checkpoint is a folder `<directory>/<step>`, see `checked_folder`. It is renamed to
that name when it is complete and on the disk, so that there is never half of one.
"""

import contextlib
import json
import os
import pathlib
import re
import secrets
import shutil
from collections.abc import Callable
from typing import Any, NamedTuple

from trpo_jax import __version__
from trpo_jax.storage import checked_folder
from trpo_jax.storage.atomic_files import flush
from trpo_jax.storage.checked_folder import DAMAGE
from trpo_jax.storage.differences import differences, shortened
from trpo_jax.storage.pytree_arrays import entry_of, named, rebuilt
from trpo_jax.validation import COUNT, COUNT_OR_ZERO, check

PyTree = Any
Shapes = dict[str, tuple[int, ...]]

FORMAT = 2
_UNFINISHED, _REPLACED = ".unfinished-", ".replaced-"
_STEP = re.compile(rf"(?:{re.escape(_REPLACED)})?(\d{{12}})")


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, or belongs to something else."""


class Restored(NamedTuple):
    """A restored tree of numpy arrays and typed keys, and the step of its checkpoint.

    `skipped` has a line for each newer checkpoint that is damaged.
    """

    tree: PyTree
    step: int
    skipped: tuple[str, ...]


def save(
    directory: str | os.PathLike[str],
    tree: PyTree,
    *,
    step: int,
    description: dict[str, Any] | None = None,
    keep: int | None = None,
) -> pathlib.Path:
    """Write a checkpoint, completely or not at all, and return its folder.

    The tree consists of arrays and typed keys. A checkpoint of the same step is
    replaced once the new one is complete; if the new one cannot be written, `OSError`
    is raised and the existing ones are unchanged. The description holds facts that must
    be equal at `restore`. Of the checkpoints up to this step the newest `keep` are
    kept, and those of later steps, from a run that was resumed earlier, are removed;
    None keeps all.

    >>> import tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = save(folder, {"w": np.arange(3.0)}, step=7)
    ...     restored = restore(folder, {"w": np.zeros(3)})
    >>> restored.step, restored.tree["w"].tolist()
    (7, [0.0, 1.0, 2.0])
    """
    check("step", step, COUNT_OR_ZERO)
    if keep is not None:
        check("keep", keep, COUNT)
    directory = pathlib.Path(directory)
    if not directory.is_dir():
        directory.mkdir(parents=True, exist_ok=True)
        flush(directory.parent)
    remove_litter(directory)
    unfinished = directory / f"{_UNFINISHED}{secrets.token_hex(8)}"
    try:
        facts = {"format": FORMAT, "trpo_jax": __version__, "step": int(step)}
        facts["description"] = description or {}
        checked_folder.write_folder(unfinished, tree, facts)
        final, replaced = _place(directory, step), _place(directory, step, _REPLACED)
        if final.exists():
            final.rename(replaced)
        try:
            unfinished.rename(final)
        except OSError:
            if replaced.exists():
                replaced.rename(final)
            raise
        flush(directory)
    finally:
        remove_litter(directory)
    if keep is not None:
        steps = steps_in(directory)
        until = [other for other in steps if other <= step]
        for old in set(steps) - set(until[-keep:]):
            _remove(_place(directory, old))
    return final


def restore(
    directory: str | os.PathLike[str],
    like: PyTree | Callable[[int, Shapes], PyTree],
    *,
    description: dict[str, Any] | None = None,
) -> Restored:
    """Read the newest intact checkpoint, after checking everything in it.

    Nothing in a checkpoint is executed, no file name is taken from it, and no more is
    read than there is room for in `like`: a pytree of arrays or shapes, or a function
    that returns one, given the step and the shapes of the leaves by name. Raise
    `CheckpointError` if there is no intact checkpoint, or the newest intact one has
    another format, version, description or structure; None accepts any description.
    """
    directory = pathlib.Path(directory)
    skipped: list[str] = []
    for step, folder in reversed(_folders(directory)):
        try:
            manifest = checked_folder.read_manifest(folder, step)
        except DAMAGE as error:
            skipped.append(f"{folder} is damaged: {_line(error)}")
            continue
        template = like(step, _shapes(manifest)) if callable(like) else like
        _require_same(folder, manifest, template, description)
        try:
            arrays = checked_folder.read_arrays(folder, manifest, template)
        except DAMAGE as error:
            skipped.append(f"{folder} is damaged: {_line(error)}")
            continue
        return Restored(rebuilt(template, arrays), step, tuple(skipped))
    if skipped:
        raise CheckpointError(f"no intact checkpoint; {'; '.join(skipped)}")
    raise CheckpointError(f"there is no checkpoint in {directory}")


def steps_in(directory: str | os.PathLike[str]) -> list[int]:
    """Return the steps of the checkpoints in a directory, in ascending order."""
    return [step for step, _ in _folders(pathlib.Path(directory))]


def newest_intact(directory: str | os.PathLike[str]) -> int | None:
    """Return the step of the newest checkpoint whose checksums are right, or None."""
    for step, folder in reversed(_folders(pathlib.Path(directory))):
        with contextlib.suppress(*DAMAGE):
            if checked_folder.is_as_written(folder, step):
                return step
    return None


def remove_litter(directory: pathlib.Path) -> None:
    """Remove unfinished checkpoints, and undo replacements that were interrupted."""
    for path in directory.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(path, ignore_errors=True)
    for path in directory.glob(f"{_REPLACED}*"):
        final = directory / path.name.removeprefix(_REPLACED)
        if final.exists():
            shutil.rmtree(path, ignore_errors=True)
        elif _STEP.fullmatch(path.name):
            path.rename(final)


def _place(directory: pathlib.Path, step: int, prefix: str = "") -> pathlib.Path:
    return directory / f"{prefix}{step:012d}"


def _folders(directory: pathlib.Path) -> list[tuple[int, pathlib.Path]]:
    """Return the step and the folder of each checkpoint, in ascending order.

    A checkpoint that was being replaced counts if its replacement is missing.
    """
    try:
        names = sorted(os.listdir(directory))  # replaced ones come first
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = [match for name in names if (match := _STEP.fullmatch(name))]
    return sorted({int(match[1]): directory / match[0] for match in found}.items())


def _remove(folder: pathlib.Path) -> None:
    """Remove a checkpoint, so that an interruption does not leave half of it."""
    litter = folder.with_name(f"{_UNFINISHED}{secrets.token_hex(8)}")
    with contextlib.suppress(OSError):
        folder.rename(litter)
        shutil.rmtree(litter, ignore_errors=True)


def _require_same(
    folder: pathlib.Path,
    manifest: dict[str, Any],
    template: PyTree,
    description: dict[str, Any] | None,
) -> None:
    if (manifest["format"], manifest["trpo_jax"]) != (FORMAT, __version__):
        version = str(manifest["trpo_jax"])[:40]
        raise CheckpointError(
            f"{folder} was written by trpo_jax {version}, format "
            f"{shortened(manifest['format'])}; install that version to read it: this "
            f"is trpo_jax {__version__}, format {FORMAT}"
        )
    differing: list[str] = []
    if description is not None:
        written = json.loads(json.dumps(description))
        differing = differences(manifest["description"], written)
    entries = {name: entry_of(leaf) for name, leaf in named(template).items()}
    if differing := differing or differences(manifest["leaves"], entries):
        more = f"; and {len(differing) - 12} more" if len(differing) > 12 else ""
        raise CheckpointError(
            f"{folder} belongs to something else: {'; '.join(differing[:12])}{more}"
        )


def _shapes(manifest: dict[str, Any]) -> Shapes:
    return {name: tuple(leaf["shape"]) for name, leaf in manifest["leaves"].items()}


def _line(error: BaseException) -> str:
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return " ".join(str(error).split())[:200] or type(error).__name__
