"""Checkpoints as somebody with bad intentions would write them."""

import hashlib
import json
import os
import pickle
import struct

import numpy as np

from trpo_jax.storage.checked_folder import ARRAYS, MANIFEST, sealed
from trpo_jax.storage.checkpoint import save

TREE = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.int32(5)}


class Bomb:
    """What a pickle would run."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


def good(directory):
    return save(directory, TREE, step=1)


def reseal(folder, **changes):
    """Make the manifest agree with the arrays, and seal it as our own code would."""
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["sha256"]
    content = (folder / ARRAYS).read_bytes()
    manifest["arrays"] = {
        "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(),
    }  # fmt: skip
    manifest |= changes
    (folder / MANIFEST).write_text(sealed(manifest))


def with_header(header, data=b"\0" * 28, length=None):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def entry(start, end, shape=(2, 3), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


def cases(marker):
    """Return by name what is done to a good checkpoint's folder."""

    def arrays(content, **changes):
        def craft(folder):
            (folder / ARRAYS).write_bytes(content)
            reseal(folder, **changes)

        return craft

    def manifest(content):
        return lambda folder: (folder / MANIFEST).write_bytes(content)

    def leaves(**changed):
        def craft(folder):
            found = json.loads((folder / MANIFEST).read_text())["leaves"]
            reseal(folder, leaves=found | changed)

        return craft

    def link(name, target):
        def craft(folder):
            content = (folder / name).read_bytes()
            outside = folder.parent.parent / "outside"
            outside.write_bytes(content)
            (folder / name).unlink()
            (folder / name).symlink_to(target or outside)

        return craft

    def linked_folder(folder):
        folder.rename(folder.parent.parent / "elsewhere")
        folder.symlink_to(folder.parent.parent / "elsewhere")

    def pipe(name):
        def craft(folder):
            (folder / name).unlink()
            os.mkfifo(folder / name)

        return craft

    def a_folder(name):
        def craft(folder):
            (folder / name).unlink()
            (folder / name).mkdir()

        return craft

    def sparse(folder):
        with (folder / ARRAYS).open("r+b") as file:
            file.truncate(2**40)

    def sparse_and_sealed(folder):
        sparse(folder)
        found = json.loads((folder / MANIFEST).read_text())
        del found["sha256"]
        found["arrays"]["bytes"] = 2**40
        (folder / MANIFEST).write_text(sealed(found))

    bomb = pickle.dumps(Bomb(marker))
    objects = folder_of_objects(marker)
    both = {"w": entry(0, 24), "n": entry(24, 28, (), "I32")}
    deep = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    twice = (
        b'{"w":' + json.dumps(entry(0, 24)).encode() + b',"w":'
        + json.dumps(entry(0, 24)).encode() + b',"n":'
        + json.dumps(entry(24, 28, (), "I32")).encode() + b"}"
    )  # fmt: skip
    plain = {"format": 1, "step": 1, "leaves": {}, "arrays": {}, "description": {}}
    return {
        "pickle as arrays": arrays(bomb),
        "pickle as manifest": manifest(bomb),
        "object arrays": arrays(objects),
        "names that climb": leaves(**{"../../../etc/passwd": entry(0, 4)}),
        "arrays whose names climb": arrays(
            with_header({"../../w": entry(0, 24), "n": entry(24, 28, (), "I32")})
        ),
        "linked arrays": link(ARRAYS, None),
        "linked manifest": link(MANIFEST, None),
        "linked to a device": link(ARRAYS, "/dev/zero"),
        "linked folder": linked_folder,
        "pipe as arrays": pipe(ARRAYS),
        "pipe as manifest": pipe(MANIFEST),
        "folder as arrays": a_folder(ARRAYS),
        "folder as manifest": a_folder(MANIFEST),
        "a header of 1 TB": arrays(with_header(both, length=2**40)),
        "a header of 2^64": arrays(with_header(both, length=2**64 - 1)),
        "a header of 50 MB": arrays(with_header(b" " * (50 * 2**20))),
        "a tensor of 1 TB": arrays(
            with_header({"w": entry(0, 2**40, (2**38,)), "n": both["n"]})
        ),
        "1 TB of nothing": sparse,
        "1 TB of nothing, sealed": sparse_and_sealed,
        "leaves of 1 TB": leaves(w={"dtype": "float32", "shape": [2**38]}),
        "duplicate names": arrays(with_header(twice)),
        "overlapping": arrays(
            with_header({"w": entry(0, 24), "n": entry(0, 4, (), "I32")})
        ),
        "a gap": arrays(
            with_header({"w": entry(0, 24), "n": entry(25, 28, (), "I32")})
        ),
        "backwards": arrays(with_header({"w": entry(24, 0), "n": both["n"]})),
        "negative": arrays(with_header({"w": entry(-24, 0), "n": both["n"]})),
        "another shape": arrays(with_header(both | {"w": entry(0, 24, (6,))})),
        "another type": arrays(with_header(both | {"w": entry(0, 24, (2, 3), "I32")})),
        "a type of its own": arrays(
            with_header(both | {"w": entry(0, 24, (2, 3), "OBJECT")})
        ),
        "no header": arrays(b""),
        "half a length": arrays(b"\x10\0\0"),
        "a header that is no JSON": arrays(with_header(b"{" * 40)),
        "a deep header": arrays(with_header(deep)),
        "a deep manifest": manifest(deep),
        "a deep manifest of lists": manifest(b"[" * 100_000 + b"]" * 100_000),
        "a manifest of 20 MB": manifest(b" " * (20 * 2**20)),
        "a wide manifest": manifest(b"[" + b"[]," * 500_000 + b"0]"),
        "a wider manifest": manifest(b"[" + b"[]," * 5_000_000 + b"0]"),
        "a wide header": arrays(with_header(b"[" + b"{}," * 500_000 + b"0]")),
        "no text": manifest(b"\xff\xfe\x00"),
        "an empty manifest": manifest(b""),
        "a list": manifest(b"[]"),
        "a number": manifest(b"1e999"),
        "null": manifest(b"null"),
        "a huge number": manifest(b'{"step": ' + b"9" * 10_000 + b"}"),
        "not a number": lambda folder: reseal(folder, step=float("nan")),
        "a step of another kind": lambda folder: reseal(folder, step="1"),
        "true": lambda folder: reseal(folder, step=True, format=True),
        "no leaves": lambda folder: reseal(folder, leaves=[]),
        "leaves of text": lambda folder: reseal(folder, leaves="abc"),
        "arrays of text": lambda folder: reseal(folder, arrays="abc"),
        "arrays of nothing": lambda folder: reseal(folder, arrays={}),
        "arrays below nothing": lambda folder: reseal(
            folder, arrays={"bytes": -1, "sha256": "0"}
        ),
        "a description of text": lambda folder: reseal(folder, description="abc"),
        "a plain manifest": lambda folder: (folder / MANIFEST).write_text(
            sealed(plain)
        ),
    }  # fmt: skip


def folder_of_objects(marker):
    """Return a .npy file of Python objects."""
    import io

    file = io.BytesIO()
    np.save(file, np.array([Bomb(marker)], object), allow_pickle=True)
    return file.getvalue()
