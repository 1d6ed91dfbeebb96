"""Check the types of the built wheel as a user's editor sees them.

Run `python tests/typing/check.py` anywhere: it builds the wheel, installs it with mypy
and basedpyright into an environment of its own, and ends with status 1 if a line of
accepted.py is refused, or one that is marked in refused.py is not.
"""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import venv

HERE = pathlib.Path(__file__).parent


def install_wheel(root: pathlib.Path) -> pathlib.Path:
    """Build the wheel, install it into a new environment, and return its programs."""
    venv.create(root / "env", with_pip=True)
    programs = root / "env" / "bin"
    pip = [str(programs / "python"), "-m", "pip", "-q", "--disable-pip-version-check"]
    source = root / "source"  # building leaves files behind
    ignored = shutil.ignore_patterns(".*", "build", "*.egg-info", "runs-*")
    shutil.copytree(HERE.parents[1], source, ignore=ignored)
    wheels = str(root / "wheels")
    subprocess.run([*pip, "wheel", "--no-deps", "-w", wheels, source], check=True)
    wheel = str(next(pathlib.Path(wheels).glob("*.whl")))
    subprocess.run([*pip, "install", wheel, "mypy", "basedpyright"], check=True)
    return programs


def lines_refused(command: list[str], path: pathlib.Path) -> tuple[set[int], str]:
    """Return the numbers of the lines with an error, and all that was printed."""
    run = subprocess.run(
        [*command, path.name],
        cwd=path.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    said = run.stdout + run.stderr
    pattern = rf"{re.escape(path.name)}:(\d+)(?::\d+)?(?: -)?:? error"
    found = {int(number) for number in re.findall(pattern, said)}
    if bool(run.returncode) != bool(found):
        raise RuntimeError(f"{command[0]} did not check {path.name}:\n{said}")
    return found, said


def main() -> int:
    """Return 0 if both checkers see all types."""
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        programs = install_wheel(root)
        python = str(programs / "python")
        checkers = (
            [str(programs / "mypy"), "--strict", "--no-incremental"],
            [str(programs / "basedpyright"), "--level=error", "--pythonpath", python],
        )
        (root / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
        for name in ("accepted.py", "refused.py"):
            path = pathlib.Path(shutil.copy(HERE / name, root))
            lines = path.read_text("utf-8").splitlines()
            expected = {i for i, line in enumerate(lines, 1) if "# refused" in line}
            for command in checkers:
                found, said = lines_refused(command, path)
                if found != expected:
                    wrong += 1
                    print(f"lines {sorted(found ^ expected)} of {name}:\n{said}")
    print("the types of the wheel are", "wrong" if wrong else "as they should be")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
