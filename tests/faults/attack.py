"""Attack the loader: `python attack.py SECONDS`, in a process of its own.

First every crafted checkpoint, then random changes to good ones, sealed again as often
as not, for so many seconds; read with a template that is fixed and with one that takes
its shapes from the file. Nothing but `CheckpointError` may come out, nothing may be
run, and no more memory may be used than the arrays need and 200 MB. Prints what was
tried.
"""

import json
import pathlib
import random
import resource
import shutil
import sys
import tempfile
import time

import crafted
import jax

from trpo_jax.storage.checked_folder import ARRAYS, MANIFEST, sealed
from trpo_jax.storage.checkpoint import CheckpointError, restore


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # MB


def attempt(directory, like=crafted.TREE):
    try:
        found = restore(directory, like)
    except CheckpointError:
        return "refused"
    for name, leaf in crafted.TREE.items():
        assert found.tree[name].dtype == leaf.dtype
        assert like is not crafted.TREE or found.tree[name].shape == leaf.shape
    return "read"


def of_any_shape(step, shapes):
    return {
        name: jax.ShapeDtypeStruct(shapes.get(name, ()), leaf.dtype)
        for name, leaf in crafted.TREE.items()
    }


def each_crafted(folder):
    marker = folder / "marker"
    for number, (name, craft) in enumerate(crafted.cases(marker).items()):
        directory = folder / str(number) / "checkpoints"
        craft(crafted.good(directory))
        start = time.monotonic()
        outcome = attempt(directory)
        assert outcome == "refused", name
        assert time.monotonic() - start < 5, f"{name} took long"
        assert not marker.exists(), f"{name} ran"
    return number + 1


def changed(rng, content):
    content = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        place = rng.randrange(len(content) + 1)
        kind = rng.randrange(5)
        if kind == 0 and content:
            content[place % len(content)] = rng.randrange(256)
        elif kind == 1:
            content[place:place] = rng.randbytes(rng.choice([1, 8, 100]))
        elif kind == 2:
            del content[place : place + rng.choice([1, 8, 100])]
        elif kind == 3:
            content[place:place] = content[: rng.randrange(200)]
        else:
            word = rng.choice([b"[", b"{", b'"', b"9" * 30, b"null", b"-1", b"1e9"])
            content[place : place + len(word)] = word
    return bytes(content)


ODD = (None, True, -1, 2**40, 2**70, 1e308, "", "x", [], [-3], [2**40, 2**40], {})


def altered(rng, content):
    """Put something odd somewhere in a manifest, and seal it again."""
    manifest = json.loads(content)
    del manifest["sha256"]
    inner, key = manifest, rng.choice(list(manifest))
    while isinstance(inner[key], dict | list) and inner[key] and rng.random() < 0.8:
        inner = inner[key]
        key = rng.choice([*(inner if isinstance(inner, dict) else range(len(inner)))])
    inner[key] = rng.choice(ODD)
    return sealed(manifest).encode()


def at_random(folder, seconds):
    rng = random.Random(0)
    directory = folder / "random"
    target = crafted.good(directory)
    contents = {name: (target / name).read_bytes() for name in (ARRAYS, MANIFEST)}
    counts = {"refused": 0, "read": 0}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        name = rng.choice([ARRAYS, MANIFEST])
        change = altered if name == MANIFEST and rng.random() < 0.7 else changed
        (target / name).write_bytes(change(rng, contents[name]))
        if name == ARRAYS and rng.random() < 0.8:
            crafted.reseal(target)
        counts[attempt(directory, rng.choice([crafted.TREE, of_any_shape]))] += 1
        for name, content in contents.items():
            (target / name).write_bytes(content)
    return counts


def main(seconds):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        attempt(crafted.good(folder / "warm").parent)
        before = peak()
        tried = each_crafted(folder)
        counts = at_random(folder, seconds)
        grown = peak() - before
        assert grown < 200, f"{grown:.0f} MB"
        shutil.rmtree(folder / "random")
    print(f"{tried} crafted refused; random: {counts}; memory grew by {grown:.0f} MB")


if __name__ == "__main__":
    main(float(sys.argv[1]))
