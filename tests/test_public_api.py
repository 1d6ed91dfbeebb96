import ast
import importlib
import inspect
import json
import pathlib
import re
import subprocess
import sys

import pytest

import trpo_jax
from trpo_jax import theory

PACKAGE = pathlib.Path(trpo_jax.__path__[0])
MODULES = sorted(PACKAGE.rglob("*.py"))

HEAVY = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "gymnax",
    "matplotlib",
    "safetensors",
    "numpy",
    "tyro",
    "rich",
)

# docs/design.md, "The contract".
CONTRACT = (
    "init",
    "collect",
    "advantages",
    "fisher_vector_product",
    "cg_solve",
    "line_search",
    "update",
    "train_step",
    "Categorical",
    "DiagonalGaussian",
    "TrainState",
    "Rollout",
    "Agent",
    "Environment",
    "Config",
    "Status",
    "train",
)


FUNCTIONS = [
    pytest.param(getattr(module, name), id=f"{module.__name__}.{name}")
    for module in (trpo_jax, theory)
    for name in module.__all__
    if not inspect.isclass(getattr(module, name))
]

# Fragments and private words that a reader who is new here would have to decode.
BANNED = (
    r"^ +[a-z_]+: (of|as of) [a-z ]{1,24}\.$",
    r": of the run\.",
    r"[Aa]rgs: as (of|in)",
    r"\bjudg(e|ed|ing|ement)\b",
    r"\bfilms?\b",
    r"\bcomplain",
    r"\bspoilt\b",
    r"\bkeeper\b",
    r"\blesson\b",
)


def output_of(code):
    """Return what a fresh interpreter prints, parsed as JSON."""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return json.loads(run.stdout)


@pytest.mark.parametrize("name", trpo_jax.__all__)
def test_every_public_name_is_there_and_explained(name):
    thing = getattr(trpo_jax, name)
    assert not inspect.ismodule(thing)
    assert callable(thing)
    # NamedTuples and dataclasses without words get "Name(field, …)".
    assert thing.__doc__
    assert not thing.__doc__.startswith(f"{name}(")
    assert thing.__name__ == name
    assert name in dir(trpo_jax)


@pytest.mark.parametrize("name", CONTRACT)
def test_every_name_of_the_contract_can_be_imported(name):
    assert name in trpo_jax.__all__
    assert callable(getattr(trpo_jax, name))


def imported_for_type_checkers():
    """Return the module of each name in the `if TYPE_CHECKING` block."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))
    (block,) = (
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    return {
        name.asname or name.name: statement.module
        for statement in block.body
        for name in statement.names
    }


def test_type_checkers_the_table_and_all_agree():
    table = {name: f"trpo_jax.{path}" for name, path in trpo_jax._MODULE_OF.items()}
    assert imported_for_type_checkers() == table
    assert sorted(table) == list(trpo_jax.__all__)


@pytest.mark.parametrize("name", trpo_jax._MODULE_OF)
def test_the_module_of_the_table_defines_the_name(name):
    module = importlib.import_module(f"trpo_jax.{trpo_jax._MODULE_OF[name]}")
    thing = vars(module)[name]
    assert thing is getattr(trpo_jax, name)
    assert f"{thing.__module__}.".startswith(f"{module.__name__}.")


def test_public_names_are_sorted_and_unique():
    assert list(trpo_jax.__all__) == sorted(set(trpo_jax.__all__))


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'proximal_clip'"):
        _ = trpo_jax.proximal_clip
    with pytest.raises(ImportError):
        exec("from trpo_jax import proximal_clip")


def test_every_module_has_a_docstring():
    assert len(MODULES) > 30
    for module in MODULES:  # not imported, as a simulator may not be installed
        assert ast.get_docstring(ast.parse(module.read_text("utf-8"))), module


def test_the_import_alone_imports_nothing_heavy():
    code = (
        "import json, sys; before = set(sys.modules); import trpo_jax;"
        "names = dir(trpo_jax), trpo_jax.__version__, trpo_jax.__all__;"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    new = {name.split(".")[0] for name in output_of(code)}
    assert not new & set(HEAVY)


def test_a_star_import_brings_every_public_name_and_no_other():
    code = (
        "from trpo_jax import *; import json;"
        "print(json.dumps([x for x in dir() if x[0] != '_' and x != 'json']))"
    )
    assert output_of(code) == list(trpo_jax.__all__)


def sections_of(function):
    """Return the names of the sections in the docstring of a function."""
    return set(re.findall(r"^(\w+):$", inspect.getdoc(function), re.MULTILINE))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_public_function_is_documented(function):
    signature = inspect.signature(function)
    expected = {"Example"}
    if signature.parameters:
        expected.add("Args")
    if signature.return_annotation not in (None, "None"):
        expected.add("Returns")
    assert expected <= sections_of(function)
    for name in signature.parameters:
        described = rf"^    \*{{0,2}}{name}: "
        assert re.search(described, inspect.getdoc(function), re.MULTILINE), name


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_texts_are_sentences_without_private_words(path):
    tree = ast.parse(path.read_text("utf-8"))
    texts = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    found = [
        match.group()
        for text in texts
        for pattern in BANNED
        for match in re.finditer(pattern, text, re.MULTILINE)
    ]
    assert found == []
