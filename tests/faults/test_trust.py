"""What must not be anywhere in the sources."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[2]
SOURCES = sorted(
    path
    for folder in ("trpo_jax", "benchmarks", "examples", "notebooks")
    for path in (ROOT / folder).rglob("*.py")
)
MODULES = {
    "pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml",
    "requests", "urllib", "http", "socket", "ftplib", "smtplib", "xmlrpc", "telnetlib",
}  # fmt: skip
CALLS = {"eval", "exec", "compile", "__import__", "execfile"}


def names_in(path):
    """Yield what is imported and called, as text."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (("module", alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield "module", node.module
        elif isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                yield "call", node.func.id
            for word in node.keywords:
                if word.arg in ("allow_pickle", "shell"):
                    yield "keyword", f"{word.arg}={ast.unparse(word.value)}"


def test_there_are_sources():
    assert len(SOURCES) > 60


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_that_runs_data_or_reaches_out(path):
    for kind, name in names_in(path):
        assert not (kind == "module" and name.split(".")[0] in MODULES), name
        assert not (kind == "call" and name in CALLS), name
        assert kind != "keyword" or name.endswith("=False"), name


def test_the_test_itself_sees_them(tmp_path):
    path = tmp_path / "bad.py"
    path.write_text(
        "import pickle\nfrom urllib import request\neval('1')\nf(shell=True)\n"
    )
    assert set(names_in(path)) == {
        ("module", "pickle"), ("module", "urllib"), ("call", "eval"), ("call", "f"),
        ("keyword", "shell=True"),
    }  # fmt: skip
