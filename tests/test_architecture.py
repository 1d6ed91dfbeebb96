"""The import rule of docs/design.md, and the sizes that keep the house readable."""

import ast
import io
import pathlib
import sys
import tokenize

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
ONE_ITERATION = [  # to be read with the solver
    "state",
    "rollout",
    "batch",
    "surrogate",
    "advantages",
    "estimation",
    "policy_update",
    "critic",
    "trpo",
]


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
            elif name.startswith("trpo_jax") and name != "trpo_jax.__version__":
                assert name in ("trpo_jax", "trpo_jax.theory"), f"{path}: {name}"


def outside_imports_of(path):
    """Yield the packages that a file imports from elsewhere."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.split(".")[0]


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
            outside = set(outside_imports_of(path)) - set(sys.stdlib_module_names)
            assert outside <= {"jax", "trpo_jax"}, module


def test_no_file_is_part_of_a_circle_of_imports():
    graph = {module: set(imports_of(path)) for module, path in MODULES.items()}
    while leaves := {module for module, others in graph.items() if not others}:
        graph = {m: others - leaves for m, others in graph.items() if m not in leaves}
    assert not graph


def test_no_module_has_the_name_of_a_public_function_beside_it():
    modules = {path.stem for path in PACKAGE.iterdir() if not path.name.startswith("_")}
    assert not modules & set(trpo_jax.__all__)


def code_lines(path):
    """Return the lines that hold code: no blank ones, comments and docstrings."""
    text = path.read_text("utf-8")
    strings = {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for line in range(node.lineno, node.end_lineno + 1)
        if isinstance(node.value.value, str)
    }
    nothing = {
        tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT,
        tokenize.DEDENT, tokenize.ENDMARKER,
    }  # fmt: skip
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    lines = {
        line
        for token in tokens
        if token.type not in nothing
        for line in range(token.start[0], token.end[0] + 1)
    }
    return lines - strings


@pytest.mark.parametrize("module", MODULES)
def test_a_file_can_be_read_at_a_sitting(module):
    lines = MODULES[module].read_text("utf-8").splitlines()
    assert len(lines) <= LONGEST_FILE, f"{module} has {len(lines)} lines"


@pytest.mark.parametrize("module", MODULES)
def test_a_function_fits_on_a_screen(module):
    code = code_lines(MODULES[module])
    for node in ast.walk(ast.parse(MODULES[module].read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            own = code & set(range(node.lineno, node.end_lineno + 1))
            assert len(own) <= LONGEST_FUNCTION, f"{module}.{node.name}: {len(own)}"


def test_one_iteration_can_be_read_in_an_evening():
    names = [module for module in MODULES if module.startswith("solver.")]
    names += [f"algorithm.{name}" for name in ONE_ITERATION]
    assert sum(len(code_lines(MODULES[name])) for name in names) <= 1025


def test_code_lines_are_counted_as_said(tmp_path):
    path = tmp_path / "example.py"
    path.write_text('"""Doc."""\n\nx = [  # why\n    1,\n]\n\n\ndef f():\n    "Doc."\n')
    assert code_lines(path) == {3, 4, 5, 8}
