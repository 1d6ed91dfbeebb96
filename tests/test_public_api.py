import ast
import inspect
import json
import pathlib
import subprocess
import sys

import pytest

import trpo_jax

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


def answer(code):
    """What a fresh interpreter prints, as JSON."""
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


def test_public_names_are_sorted_and_unique():
    assert list(trpo_jax.__all__) == sorted(set(trpo_jax.__all__))


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'proximal_clip'"):
        _ = trpo_jax.proximal_clip
    with pytest.raises(ImportError):
        exec("from trpo_jax import proximal_clip")


def test_every_module_has_a_docstring():
    packages = [pathlib.Path(path) for path in trpo_jax.__path__]
    modules = [path for package in packages for path in package.rglob("*.py")]
    assert len(modules) > 30
    for module in modules:  # without importing simulators that may not be there
        assert ast.get_docstring(ast.parse(module.read_text("utf-8"))), module


def test_the_import_alone_imports_nothing_heavy():
    code = (
        "import json, sys; before = set(sys.modules); import trpo_jax;"
        "names = dir(trpo_jax), trpo_jax.__version__, trpo_jax.__all__;"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    new = {name.split(".")[0] for name in answer(code)}
    assert not new & set(HEAVY)


ORDERS = {
    "update first": "from trpo_jax import update",
    "star": "from trpo_jax import *",
    "modules of the same name first": (
        "import trpo_jax.solver.line_search, trpo_jax.algorithm.advantages\n"
        "from trpo_jax.algorithm.advantages import standardize"
    ),
    "deepest first": (
        "for name in sorted(trpo_jax.__all__, reverse=True): getattr(trpo_jax, name)"
    ),
}


@pytest.mark.parametrize("first", ORDERS.values(), ids=ORDERS)
def test_a_name_means_the_same_whatever_was_imported_before(first):
    code = f"""
import json, types
import trpo_jax
{first}
from trpo_jax import advantages, line_search
assert callable(advantages) and callable(line_search)
from trpo_jax.solver.line_search import line_search as the_same
assert line_search is the_same is trpo_jax.line_search
print(json.dumps([
    name
    for name in trpo_jax.__all__
    if isinstance(getattr(trpo_jax, name), types.ModuleType)
]))
"""
    assert answer(code) == []
