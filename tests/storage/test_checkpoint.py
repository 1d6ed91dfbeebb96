"""Checkpoints: what goes in comes out, and only that; faults are in `faults/`."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_identical

from trpo_jax.storage import checked_folder
from trpo_jax.storage.checkpoint import CheckpointError, restore, save, steps_in

KINDS = (
    "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "float16",
    "bfloat16", "float32",
)  # fmt: skip


def tree_of_everything():
    rng = np.random.default_rng(0)
    numbers = {kind: jnp.asarray(rng.integers(0, 2, (2, 3)), kind) for kind in KINDS}
    numbers["float32"] = jnp.array([[0.1, -0.0, np.nan], [np.inf, 1e-45, 3e38]])
    return {
        "numbers": numbers,
        "scalar": jnp.int32(7),
        "nothing": jnp.zeros((0, 4)),
        "none": None,
        "nested": ({"a": jnp.arange(3)}, [jnp.ones(2)]),
        "keys": jax.random.split(jax.random.key(3), (2, 2)),
        "other_keys": jax.random.key(1, impl="rbg"),
        "numpy": np.arange(4.0)[::2].astype(np.float32),  # not contiguous
    }


@pytest.mark.parametrize("shapes_only", [True, False])
def test_every_kind_of_leaf_comes_back_bit_for_bit(shapes_only, tmp_path):
    tree = tree_of_everything()
    save(tmp_path, tree, step=3)
    like = jax.eval_shape(lambda: tree) if shapes_only else tree
    found = restore(tmp_path, like)
    assert found.step == 3
    assert found.skipped == ()
    assert_identical(found.tree, tree)
    for leaf, old in zip(
        jax.tree.leaves(found.tree), jax.tree.leaves(tree), strict=True
    ):
        assert leaf.dtype == old.dtype
        if not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            assert np.asarray(leaf).tobytes() == np.asarray(old).tobytes()
    draws = [jax.random.uniform(x["other_keys"]) for x in (found.tree, tree)]
    assert draws[0] == draws[1]


def test_the_newest_is_restored_and_as_many_stay_as_are_to(tmp_path):
    for step in (5, 40, 300, 7):
        save(tmp_path, {"x": jnp.float32(step)}, step=step)
    assert steps_in(tmp_path) == [5, 7, 40, 300]
    save(tmp_path, {"x": jnp.float32(301)}, step=301, keep=2)
    assert steps_in(tmp_path) == [300, 301]
    assert restore(tmp_path, {"x": jnp.float32(0)}).tree["x"] == 301


def test_a_checkpoint_of_the_same_step_is_replaced(tmp_path):
    save(tmp_path, {"x": jnp.float32(1)}, step=9)
    save(tmp_path, {"x": jnp.float32(2)}, step=9)
    assert restore(tmp_path, {"x": jnp.float32(0)}).tree["x"] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["000000000009"]


def test_litter_of_a_crash_is_removed_and_never_read(tmp_path):
    litter = tmp_path / ".unfinished-0123"
    litter.mkdir()
    (litter / checked_folder.ARRAYS).write_bytes(b"half")
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        restore(tmp_path, {})
    save(tmp_path, {"x": jnp.float32(1)}, step=1)
    assert steps_in(tmp_path) == [1]
    assert not litter.exists()


def test_a_template_may_depend_on_the_step_and_on_the_shapes(tmp_path):
    save(tmp_path, {"a": jnp.arange(4), "b": jnp.ones((2, 3))}, step=4)

    def like(step, shapes):
        assert shapes == {"a": (4,), "b": (2, 3)}
        return {"a": jnp.arange(step), "b": jnp.zeros(shapes["b"])}

    assert restore(tmp_path, like).tree["a"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("like", "needles"),
    [
        ({"w": jnp.zeros((2, 3))}, ["w.shape", "[2, 2]", "[2, 3]"]),
        ({"w": jnp.zeros((2, 2), jnp.int32)}, ["w.dtype", "'float32'", "'int32'"]),
        ({"v": jnp.zeros((2, 2))}, ["v: nothing", "w: {", "nothing now"]),
        ({"w": jnp.zeros((2, 2)), "b": jnp.zeros(1)}, ["b: nothing"]),
        ({"w": jax.random.key(0)}, ["key<fry>"]),
    ],
    ids=["shape", "dtype", "name", "more", "key"],
)
def test_another_structure_is_refused_with_what_differs(like, needles, tmp_path):
    save(tmp_path, {"w": jnp.ones((2, 2))}, step=1)
    with pytest.raises(CheckpointError) as error:
        restore(tmp_path, like)
    for needle in ("belongs to something else", *needles):
        assert needle in str(error.value)


def test_another_description_is_refused_with_both_values(tmp_path):
    description = {"config": {"max_kl": 0.01, "seeds": 2}, "environment": "a"}
    save(tmp_path, jnp.ones(1), step=1, description=description)
    restore(tmp_path, jnp.ones(1), description=description)
    other = {"config": {"max_kl": 0.02, "seeds": 2, "new": None}, "environment": "b"}
    with pytest.raises(CheckpointError) as error:
        restore(tmp_path, jnp.ones(1), description=other)
    for needle in (
        "config.max_kl: 0.01 in the checkpoint, 0.02 now",
        "environment: 'a' in the checkpoint, 'b' now",
        "config.new: nothing in the checkpoint, None now",
    ):
        assert needle in str(error.value)
    assert "seeds" not in str(error.value)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("format", 1, "format 1"),
        ("trpo_jax", "0.0.1", "written by trpo_jax 0.0.1"),
        ("format", True, "format True"),
    ],
)
def test_another_version_is_refused(field, value, words, tmp_path):
    folder = save(tmp_path, jnp.ones(1), step=1)
    change_manifest(folder, {field: value})
    with pytest.raises(CheckpointError, match=f"{words}.*install that version"):
        restore(tmp_path, jnp.ones(1))


def change_manifest(folder, values):
    """Change what a manifest says, and seal it again as our own code would."""
    path = folder / checked_folder.MANIFEST
    manifest = json.loads(path.read_text())
    del manifest["sha256"]
    path.write_text(checked_folder.sealed(manifest | values))


def test_leaves_of_one_name_are_refused(tmp_path):
    with pytest.raises(ValueError, match="same name"):
        save(tmp_path, {"a/b": jnp.ones(1), "a": {"b": jnp.ones(1)}}, step=1)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"step": -1}, "step must be"),
        ({"step": 1.5}, "step must be"),
        ({"step": 1, "keep": 0}, "keep must be"),
    ],
)
def test_bad_numbers_are_refused(values, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        save(tmp_path / "new", jnp.ones(1), **values)
    assert not (tmp_path / "new").exists()
