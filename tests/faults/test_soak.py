"""Long and large runs, in small; whole: `python soak.py 10000`, `python load.py`."""

from unittest import mock

import pytest
from test_files import run

import trpo_jax
from trpo_jax.runs import compilation


def test_nothing_grows_with_iterations():
    assert "iterations: resident" in run("soak.py", "600")


def test_a_run_that_does_not_fit_is_refused_before_it_starts(tmp_path):
    with (
        mock.patch.object(compilation, "free_memory", lambda: 10_000),
        pytest.raises(
            ValueError, match=r"GiB of memory, 0.0 GiB are free: choose small"
        ),
    ):
        trpo_jax.train(
            "CartPole-v1", total_steps=2048, output_dir=tmp_path / "run", progress=False
        )
    assert not (tmp_path / "run").exists()
