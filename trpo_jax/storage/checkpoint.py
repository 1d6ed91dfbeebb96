"""Checkpoints: the whole state of a run on disk, numbers and names, no code.

A checkpoint is a folder `<directory>/<step>`, see `sealed`. It appears by being
renamed, complete and flushed, so that there is never half of one.
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
from trpo_jax.storage.atomic_files import flush
from trpo_jax.storage.checked_folder import (
    DAMAGE,
    is_as_written,
    read_arrays,
    read_manifest,
    write_folder,
)
from trpo_jax.storage.pytree_arrays import entry_of, named, rebuilt
from trpo_jax.validation import COUNT, COUNT_OR_ZERO, check

PyTree = Any
Shapes = dict[str, tuple[int, ...]]

FORMAT = 1
_UNFINISHED, _REPLACED = ".unfinished-", ".replaced-"
_STEP = re.compile(rf"(?:{re.escape(_REPLACED)})?(\d{{12}})")


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, or belongs to something else."""


class Restored(NamedTuple):
    """What `restore` found.

    Attributes:
        tree: like the template; numpy arrays and typed keys.
        step: of the checkpoint.
        skipped: a line for each newer checkpoint that is damaged.
    """

    tree: PyTree
    step: int
    skipped: tuple[str, ...]


def save(
    directory: str | os.PathLike,
    tree: PyTree,
    *,
    step: int,
    description: dict[str, Any] | None = None,
    keep: int | None = None,
) -> pathlib.Path:
    """Write a pytree, so that it is wholly there or not at all.

    What earlier crashes left half-written is removed. A checkpoint of the same step is
    replaced, and stays until the new one is there.

    Args:
        directory: of the checkpoints of one run; made if need be.
        tree: any pytree of arrays, typed keys among them.
        step: numbers the checkpoint, ≥ 0; the newest has the largest.
        description: JSON that has to be the same when this is restored.
        keep: newest checkpoints that stay, up to this step; later ones, of a run that
            went back, are removed. All stay when None.

    Returns:
        The checkpoint's folder.

    Raises:
        OSError: when the disk is full, or the directory gone or closed to us; the
            checkpoints that were there are as they were.
        ValueError: for a bad step, or leaves that share a name.

    Example:
        >>> import tempfile
        >>> import jax.numpy as jnp
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = save(folder, {"w": jnp.arange(3.0)}, step=7)
        ...     restored = restore(folder, {"w": jnp.zeros(3)})
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
        facts = {
            "format": FORMAT,
            "trpo_jax": __version__,
            "step": int(step),
            "description": description or {},
        }
        write_folder(unfinished, tree, facts)
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
    directory: str | os.PathLike,
    like: PyTree | Callable[[int, Shapes], PyTree],
    *,
    description: dict[str, Any] | None = None,
) -> Restored:
    """Read the newest checkpoint that is intact, everything checked beforehand.

    Nothing in a checkpoint is ever run, names of files are not taken from it, and no
    more is read than what `like` has room for.

    Args:
        directory: where `save` wrote.
        like: a pytree of arrays or of `jax.ShapeDtypeStruct`, or a function from the
            step and the shapes that the leaves have there, by name, to one.
        description: what the checkpoint has to describe; anything when None.

    Returns:
        A `Restored`.

    Raises:
        CheckpointError: when there is none, when all are damaged (each is named), or
            when the newest intact one is of another format, version, description or
            structure: what differs is listed, with both values.
    """
    directory = pathlib.Path(directory)
    skipped: list[str] = []
    for step, folder in reversed(_folders(directory)):
        try:
            manifest = read_manifest(folder, step)
        except DAMAGE as error:
            skipped.append(f"{folder} is damaged: {_line(error)}")
            continue
        template = like(step, _shapes(manifest)) if callable(like) else like
        _require_same(folder, manifest, template, description)
        try:
            arrays = read_arrays(folder, manifest, template)
        except DAMAGE as error:
            skipped.append(f"{folder} is damaged: {_line(error)}")
            continue
        return Restored(rebuilt(template, arrays), step, tuple(skipped))
    if skipped:
        raise CheckpointError(f"no intact checkpoint; {'; '.join(skipped)}")
    raise CheckpointError(f"there is no checkpoint in {directory}")


def steps_in(directory: str | os.PathLike) -> list[int]:
    """Return the steps of the checkpoints in a directory, ascending."""
    return [step for step, _ in _folders(pathlib.Path(directory))]


def newest_intact(directory: str | os.PathLike) -> int | None:
    """Return the step of the newest checkpoint whose files are as they were written."""
    for step, folder in reversed(_folders(pathlib.Path(directory))):
        try:
            manifest = read_manifest(folder, step)
        except DAMAGE:
            continue
        if is_as_written(folder, manifest):
            return step
    return None


def remove_litter(directory: pathlib.Path) -> None:
    """Remove what a crash has left half-written, and finish what it interrupted."""
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
    """Return step and folder of each checkpoint, ascending by the step.

    A replaced one counts as long as the one that was to replace it is not there.
    """
    try:
        names = sorted(os.listdir(directory))  # what was replaced comes first
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = {
        int(m[1]): directory / name for name in names if (m := _STEP.fullmatch(name))
    }
    return sorted(found.items())


def _remove(folder: pathlib.Path) -> None:
    """Remove a checkpoint; whatever interrupts it leaves litter, not half of one."""
    litter = folder.with_name(f"{_UNFINISHED}{secrets.token_hex(8)}")
    with contextlib.suppress(OSError):
        folder.rename(litter)
        shutil.rmtree(litter, ignore_errors=True)


def differences(found: Any, wanted: Any, name: str = "") -> list[str]:
    """Return a line for each value that differs between two JSON documents.

    Example:
        >>> differences({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}, "c": 2})
        ['a.b: 1 in the checkpoint, 3 now']
    """
    if isinstance(found, dict) and isinstance(wanted, dict):
        return [
            line
            for key in sorted(found.keys() | wanted.keys())
            for line in differences(
                found.get(key, _ABSENT),
                wanted.get(key, _ABSENT),
                f"{name}.{key}" if name else key,
            )
        ]
    if type(found) is type(wanted) and found == wanted:
        return []
    return [f"{name}: {_short(found)} in the checkpoint, {_short(wanted)} now"]


class _Absent:
    def __repr__(self) -> str:
        return "nothing"


_ABSENT = _Absent()


def _require_same(
    folder: pathlib.Path,
    manifest: dict[str, Any],
    template: PyTree,
    description: dict[str, Any] | None,
) -> None:
    wanted = {"format": FORMAT, "trpo_jax": __version__}
    differing = differences({name: manifest[name] for name in wanted}, wanted)
    if description is not None:
        written = json.loads(json.dumps(description))
        differing += differences(manifest["description"], written)
    if not differing:
        entries = {name: entry_of(leaf) for name, leaf in named(template).items()}
        differing = differences(manifest["leaves"], entries)
    if differing:
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


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
