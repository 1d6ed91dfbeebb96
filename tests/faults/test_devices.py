"""A device that is asked for and is not there: one line, status 2, nothing on disk."""

import os
import subprocess
import sys

import pytest

COMMANDS = [["train", "CartPole-v1"], ["doctor"]]


@pytest.mark.parametrize("platform", ["cuda", "no-such-device"])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_device_that_is_not_there(command, platform, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "trpo_jax", *command], cwd=tmp_path,
        env=os.environ | {"JAX_PLATFORMS": platform}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if platform == "cuda" and done.returncode == 0:
        pytest.skip("there is one")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert f"JAX_PLATFORMS={platform} asks for a device" in done.stderr
    assert "pip install" in done.stderr
    assert not any(tmp_path.iterdir())
