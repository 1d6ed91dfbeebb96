"""Other implementations, each run in a virtual environment of its own.

The scripts of this folder do not import `trpo_jax`; they print lines of JSON.
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
    """Return the Python of a virtual environment, which is made if it does not exist.

    Args:
        peer: a key of `REQUIREMENTS`.
        folder: the folder with all virtual environments.

    Returns:
        The path of the executable.
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
    """Run a script of this folder and return the JSON it prints.

    Args:
        python: the executable.
        script: the name of the script.
        *arguments: its arguments; the time of the start is added to them.

    Returns:
        A dictionary for each line of JSON.
    """
    command = [python, str(HERE / script), *map(str, arguments), str(time.time())]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [json.loads(x) for x in done.stdout.splitlines() if x.startswith("{")]
