"""Other implementations, each run in a virtual environment of its own.

A script here knows nothing of `trpo_jax`; it prints lines of JSON.
"""

import json
import pathlib
import subprocess
import time
import venv

HERE = pathlib.Path(__file__).parent
REQUIREMENTS = {
    "sb3": ("sb3-contrib==2.9.2", "gymnasium[mujoco]<1.4"),
    "tianshou": ("tianshou==2.0.1",),
    # jaxlib 0.10.2 computes wrong sums; rejax has not been written for gymnax 1.
    "rejax": ("rejax==0.1.3", "gymnax==0.0.9", "jax==0.10.1", "jaxlib==0.10.1"),
}


def python_of(peer: str, folder: pathlib.Path) -> str:
    """Return the Python of a peer's virtual environment, made here if need be.

    Args:
        peer: one of `REQUIREMENTS`.
        folder: holds the environments of all peers.
    """
    home = folder / peer
    python = str(home / "bin" / "python")
    if not (home / "complete").exists():
        venv.create(home, with_pip=True, clear=True)
        command = [python, "-m", "pip", "install", "-q", *REQUIREMENTS[peer]]
        subprocess.run(command, check=True)
        (home / "complete").touch()
    return python


def ask(python: str, script: str, *arguments: object) -> list[dict]:
    """Run a script of this folder and return what it prints; it is told the time."""
    command = [python, str(HERE / script), *map(str, arguments), str(time.time())]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [json.loads(x) for x in done.stdout.splitlines() if x.startswith("{")]
