"""A folder of two files that holds a pytree: numbers and names, no code.

`arrays.safetensors` holds the leaves. `manifest.json` holds their types and shapes,
other facts, and the sha256 of both files. Reading trusts nothing: sizes and checksums
are checked first, names are never used as paths, and links and pipes are refused.
"""

import hashlib
import json
import operator
import os
import pathlib
import shutil
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from trpo_jax.storage.atomic_files import (
    flush,
    open_file,
    read_text,
    without_repetition,
)
from trpo_jax.storage.pytree_arrays import entry_of, named, numbers_of, stored

PyTree = Any

ARRAYS, MANIFEST = "arrays.safetensors", "manifest.json"
DAMAGE = (
    OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError,
    RecursionError, MemoryError, SafetensorError,
)  # fmt: skip
_LARGEST = 2 * 2**20  # bytes of a manifest, and of the header of the arrays


def write_folder(folder: pathlib.Path, tree: PyTree, facts: dict[str, Any]) -> None:
    """Write a pytree of arrays and typed keys into a new folder on the disk.

    The facts are further entries of the manifest, which JSON must be able to hold.
    """
    leaves = named(tree)
    folder.mkdir()
    arrays = {name: numbers_of(leaf) for name, leaf in leaves.items()}
    try:
        save_file(arrays, folder / ARRAYS)
    except SafetensorError as error:  # the disk may be full
        raise OSError(str(error)) from error
    manifest = facts | {
        "leaves": {name: entry_of(leaf) for name, leaf in leaves.items()},
        "arrays": _fingerprint(folder / ARRAYS),
    }
    # As bytes: Windows writes other ends of lines into texts.
    (folder / MANIFEST).write_bytes(sealed(manifest).encode())
    shutil.copymode(folder / MANIFEST, folder / ARRAYS)  # which only its owner can read
    for path in (folder / ARRAYS, folder / MANIFEST, folder):
        flush(path)


def read_manifest(folder: pathlib.Path, step: int) -> dict[str, Any]:
    """Return the manifest of this step, or raise one of `DAMAGE` if it has changed."""
    if folder.is_symlink():
        raise ValueError("it is a symbolic link")
    content = read_text(folder / MANIFEST, _LARGEST, links=False)
    manifest = json.loads(content)
    seal = manifest.pop("sha256")
    if content != sealed(manifest) or seal != _seal(manifest):
        raise ValueError(f"{MANIFEST} has changed since it was written")
    if manifest["step"] != step:
        raise ValueError(f"{MANIFEST} belongs to step {manifest['step']}")
    return {
        "format": manifest["format"],
        "trpo_jax": manifest["trpo_jax"],
        "description": dict(manifest["description"]),
        "leaves": {
            str(name): {
                "dtype": str(leaf["dtype"]),
                "shape": [operator.index(size) for size in leaf["shape"]],
            }
            for name, leaf in manifest["leaves"].items()
        },
        "arrays": {
            "bytes": int(manifest["arrays"]["bytes"]),
            "sha256": str(manifest["arrays"]["sha256"]),
        },
    }


def is_as_written(folder: pathlib.Path, step: int) -> bool:
    """Return whether the arrays have the checksum in the manifest of this step.

    Raise one of `DAMAGE` if either file is missing, or the manifest has changed.
    """
    expected = read_manifest(folder, step)["arrays"]
    with open_file(folder / ARRAYS, links=False) as file:
        same_size = os.fstat(file.fileno()).st_size == expected["bytes"]
    return same_size and _fingerprint(folder / ARRAYS) == expected


def read_arrays(
    folder: pathlib.Path, manifest: dict[str, Any], template: PyTree
) -> dict[str, np.ndarray]:
    """Read the leaves by name, but no more than the template has room for.

    Raise one of `DAMAGE` if they differ from the manifest or from the template.
    """
    path = folder / ARRAYS
    expected = {name: stored(leaf) for name, leaf in named(template).items()}
    most = sum(leaf.size * leaf.dtype.itemsize for leaf in expected.values()) + _LARGEST
    with open_file(path, links=False) as file:
        size = os.fstat(file.fileno()).st_size
        if size != manifest["arrays"]["bytes"]:
            raise ValueError(
                f"{ARRAYS} has {size} bytes and not {manifest['arrays']['bytes']}"
            )
        header = int.from_bytes(file.read(8), "little")
        if size > most or header > _LARGEST:
            raise ValueError(f"{ARRAYS} is larger than the expected arrays")
    if _fingerprint(path) != manifest["arrays"]:
        raise ValueError(f"{ARRAYS} has changed since it was written")
    with open_file(path, links=False) as file:
        file.seek(8)
        json.loads(file.read(header), object_pairs_hook=without_repetition)
    arrays = {}
    with safe_open(path, framework="numpy") as file:
        if set(file.keys()) != set(expected):
            raise ValueError(f"{ARRAYS} does not hold what {MANIFEST} says")
        for name, leaf in expected.items():
            piece = file.get_slice(name)
            if tuple(piece.get_shape()) != leaf.shape:
                raise ValueError(f"{name} in {ARRAYS} has the wrong shape")
            arrays[name] = file.get_tensor(name)
            if arrays[name].dtype != leaf.dtype:
                raise ValueError(f"{name} in {ARRAYS} has the wrong type")
    return arrays


def _fingerprint(path: pathlib.Path) -> dict[str, Any]:
    with open_file(path, links=False) as file:
        digest = hashlib.file_digest(file, "sha256")
        return {"bytes": file.tell(), "sha256": digest.hexdigest()}


def _seal(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def sealed(manifest: dict[str, Any]) -> str:
    """Return the JSON text of a manifest, which contains its own sha256."""
    content = manifest | {"sha256": _seal(manifest)}
    return json.dumps(content, indent=1, sort_keys=True) + "\n"
