import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent
README = ROOT / "README.md"


def test_the_code_of_the_readme_runs(tmp_path):
    """The first two blocks, as a reader would type them one after the other."""
    blocks = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    script = tmp_path / "readme.py"
    script.write_text("\n".join(blocks[:2]), "utf-8")
    done = subprocess.run(
        [sys.executable, script],
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[")


def test_it_fits_on_a_page():
    assert len((ROOT / "README.md").read_bytes()) <= 10_000


def test_what_the_tables_name_is_there():
    """Paths such as `algorithm/vine.propose_actions`, in README and the map."""
    package = ROOT / "trpo_jax"
    folders = "|".join(p.name for p in package.iterdir() if p.is_dir())
    named = re.compile(rf"`((?:{folders})/\w+)(?:\.(\w+))?`")
    found = set()
    for page in ("README.md", "docs/design.md", "CONTRIBUTING.md"):
        for path, name in named.findall((ROOT / page).read_text("utf-8")):
            if (package / f"{path}.{name}").is_file() or (package / path).is_dir():
                continue
            text = (package / f"{path}.py").read_text("utf-8")
            assert not name or re.search(rf"^(def|class) {name}\b", text, re.M), path
            found.add(path)
    assert len(found) > 15


def test_the_map_names_every_file():
    """The annotated tree of README for two packages, docs/design.md for all."""
    text = (ROOT / "docs" / "design.md").read_text("utf-8")
    for path in (ROOT / "trpo_jax").rglob("*.py"):
        if not path.name.startswith("_"):
            assert re.search(rf"\b{path.stem}\b", text), path
