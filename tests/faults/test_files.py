"""Checkpoints that are killed while being written, and ones that mean harm.

The counts are small here; the whole of them, from this folder:
`python kill_while_saving.py 200` and `python attack.py 600`.
"""

import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).parent


def run(script, argument):
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", HERE / script, argument],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_process_killed_while_it_saves_leaves_a_valid_checkpoint():
    assert "25 rounds" in run("kill_while_saving.py", "25")


def test_crafted_and_random_files_are_refused_and_nothing_runs():
    assert "crafted refused" in run("attack.py", "5")
