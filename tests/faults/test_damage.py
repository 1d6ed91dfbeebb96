"""Files that were cut, flipped, lost or swapped: caught, and the one before is used."""

import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from trpo_jax.storage.checked_folder import ARRAYS, MANIFEST
from trpo_jax.storage.checkpoint import CheckpointError, restore, save


def tree(step):
    rng = np.random.default_rng(step)
    return {"w": rng.normal(size=(40, 30)).astype(np.float32), "n": np.int32(step)}


@pytest.fixture
def run(tmp_path):
    for step in (10, 20):
        save(tmp_path, tree(step), step=step, description={"a": [1, 2.5, None, "x"]})
    return tmp_path


def assert_the_one_before_is_used(run):
    found = restore(run, tree(0))
    assert found.step == 10
    np.testing.assert_array_equal(found.tree["w"], tree(10)["w"])
    (line,) = found.skipped
    assert "000000000020 is damaged" in line


@pytest.mark.parametrize("name", [ARRAYS, MANIFEST])
@pytest.mark.parametrize("part", [0.0, 0.5, 0.999])
def test_a_truncated_file(name, part, run):
    path = run / "000000000020" / name
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    assert_the_one_before_is_used(run)


def test_one_flipped_bit_at_a_hundred_places(run):
    """As likely in every byte of the folder: 100 of 100 are caught."""
    paths = [run / "000000000020" / name for name in (ARRAYS, MANIFEST)]
    contents = [path.read_bytes() for path in paths]
    sizes = [len(content) for content in contents]
    rng = np.random.default_rng(0)
    bits = rng.choice(8 * sum(sizes), 100, replace=False)
    for bit in [*bits.tolist(), 0, 7, 8 * sizes[0], 8 * sum(sizes) - 1]:
        which = int(bit // 8 >= sizes[0])
        place = bit // 8 - which * sizes[0]
        flipped = bytearray(contents[which])
        flipped[place] ^= 1 << bit % 8
        paths[which].write_bytes(flipped)
        assert_the_one_before_is_used(run)
        paths[which].write_bytes(contents[which])
    assert restore(run, tree(0)).step == 20


@pytest.mark.parametrize("name", [ARRAYS, MANIFEST])
def test_a_missing_file(name, run):
    (run / "000000000020" / name).unlink()
    assert_the_one_before_is_used(run)


@pytest.mark.parametrize("name", [ARRAYS, MANIFEST])
def test_a_file_of_another_checkpoint(name, run):
    shutil.copy(run / "000000000010" / name, run / "000000000020" / name)
    assert_the_one_before_is_used(run)


def test_a_whole_checkpoint_under_another_number(run):
    shutil.rmtree(run / "000000000020")
    shutil.copytree(run / "000000000010", run / "000000000020")
    assert_the_one_before_is_used(run)


def test_when_all_are_damaged_each_is_named(run):
    for step in ("000000000010", "000000000020"):
        (run / step / ARRAYS).write_bytes(b"")
    with pytest.raises(CheckpointError) as error:
        restore(run, tree(0))
    for step in ("000000000010", "000000000020"):
        assert step in str(error.value)


def test_a_full_disk_leaves_what_was_there(run, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trpo_jax.storage.checked_folder.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        save(run, tree(30), step=30)
    assert sorted(path.name for path in run.iterdir()) == [
        "000000000010", "000000000020",
    ]  # fmt: skip
    assert restore(run, tree(0)).step == 20


def test_what_is_restored_does_not_depend_on_what_is_in_memory(run):
    """The arrays are copies: the files may go."""
    found = restore(run, tree(0))
    shutil.rmtree(run)
    np.testing.assert_array_equal(found.tree["w"], tree(20)["w"])
    assert jnp.asarray(found.tree["n"]) == 20
