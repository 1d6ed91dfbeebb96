"""The import rule of docs/design.md, and the sizes that keep the house readable."""

import ast
import pathlib

import pytest

import trpo_jax

PACKAGE = pathlib.Path(trpo_jax.__file__).parent
LAYERS = [  # a file imports from its own package, or from one that stands before it
    {"validation"},
    {"config"},
    {"solver", "storage", "theory"},
    {"environments"},
    {"agent"},
    {"algorithm"},
    {"host"},
    {"runs"},
    {"rendering"},
    {"cli"},
]
LAYER = {package: i for i, layer in enumerate(LAYERS) for package in layer}
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.parent != PACKAGE or path.stem in LAYER
}
LONGEST_FILE, LONGEST_FUNCTION = 300, 60  # lines; lines of code


def is_for_types_only(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imports_of(path):
    """Yield the modules of trpo_jax that a file imports, wherever it does."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute here"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            while parts and ".".join(parts[1:]) not in MODULES:
                init = ".".join([*parts[1:], "__init__"])
                if init in MODULES:
                    parts.append("__init__")
                    break
                parts.pop()
            if parts and parts[0] == "trpo_jax" and len(parts) > 1:
                yield ".".join(parts[1:])


@pytest.mark.parametrize("module", MODULES)
def test_a_file_imports_its_own_package_or_those_before_it(module):
    package = module.split(".")[0]
    for imported in imports_of(MODULES[module]):
        other = imported.split(".")[0]
        allowed = other == package or LAYER[other] < LAYER[package]
        assert allowed, f"{module} imports {imported}"


def test_the_solver_knows_no_reinforcement_learning():
    for module, path in MODULES.items():
        if module.startswith("solver"):
            packages = {imported.split(".")[0] for imported in imports_of(path)}
            assert packages <= {"solver", "validation"}, module


def test_no_file_is_part_of_a_circle_of_imports():
    graph = {module: set(imports_of(path)) for module, path in MODULES.items()}
    while leaves := {module for module, others in graph.items() if not others}:
        graph = {m: others - leaves for m, others in graph.items() if m not in leaves}
    assert not graph


def test_no_module_has_the_name_of_a_public_function_beside_it():
    modules = {path.stem for path in PACKAGE.iterdir() if not path.name.startswith("_")}
    assert not modules & set(trpo_jax.__all__)


@pytest.mark.parametrize("module", MODULES)
def test_a_file_can_be_read_at_a_sitting(module):
    assert len(MODULES[module].read_text("utf-8").splitlines()) <= LONGEST_FILE
