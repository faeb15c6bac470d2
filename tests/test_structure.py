"""The rules of the house that a machine can hold."""

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "pyrovae"
SOURCES = {path.relative_to(ROOT).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
ENTRIES = ("pyrovae/cli.py", "pyrovae/__main__.py")
FOLDERS_OF_PARTS = ("data", "evidence", "guides", "models", "objectives")

TOP_LEVEL = {
    ".ci",
    ".gitignore",
    ".pre-commit-config.yaml",
    "CONTRIBUTING.md",
    "LICENSE",
    "README.md",
    "notebooks",
    "pyproject.toml",
    "pyrovae",
    "requirements.lock",
    "scripts",
    "tests",
}

SEEDS_EVERYTHING = {"np.random.seed", "numpy.random.seed", "pyro.set_rng_seed"}
PRINTS_OR_EXITS = {"exit", "print", "quit", "sys.exit", "sys.stdout.write", "sys.stderr.write"}


def dotted(node):
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def calls(tree):
    return [(dotted(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("name", [n for n in SOURCES if n not in ENTRIES])
def test_only_the_command_line_prints_or_exits(name):
    tree = ast.parse(SOURCES[name].read_text())
    assert [call for call, _ in calls(tree) if call in PRINTS_OR_EXITS] == []


@pytest.mark.parametrize("name", [n for n in SOURCES if n != "pyrovae/experiment.py"])
def test_only_an_experiment_seeds_everything(name):
    tree = ast.parse(SOURCES[name].read_text())
    assert [call for call, _ in calls(tree) if call in SEEDS_EVERYTHING] == []


def length(node):
    """Lines of a function's body, less its docstring: options belong into the signature, however many."""
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        return node.end_lineno - first.end_lineno
    return node.end_lineno - first.lineno + 1


@pytest.mark.parametrize("name", SOURCES)
def test_a_file_holds_one_idea(name):
    text = SOURCES[name].read_text()
    assert text.count("\n") <= 250
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    long = {
        node.name: length(node)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, functions) and length(node) > 40
    }
    assert long == {}


def test_nothing_is_left_for_later():
    marks = ("TO" + "DO", "FIX" + "ME", "X" + "XX", "pytest.mark.sk" + "ip", "xf" + "ail")
    paths = [*SOURCES.values(), *(ROOT / "tests").rglob("*.py")]
    assert [(p.name, m) for p in paths for m in marks if m in p.read_text()] == []


def test_the_top_level_holds_what_it_should():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    # A copy without its history has no list of tracked files, and nothing to add by mistake.
    assert {name.split("/")[0] for name in tracked.stdout.splitlines()} <= TOP_LEVEL
    assert set(os.listdir(ROOT)) >= TOP_LEVEL - {"notebooks"}


@pytest.mark.parametrize("folder", FOLDERS_OF_PARTS)
def test_every_part_explains_itself_by_an_example(folder):
    module = importlib.import_module(f"pyrovae.{folder}")
    assert module.__all__
    for name in module.__all__:
        documentation = getattr(module, name).__doc__ or ""
        assert ">>>" in documentation, f"{folder}.{name} shows no example in its docstring"


def run_python(code):
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()


@pytest.mark.parametrize("module", ["pyrovae", "pyrovae.report", "pyrovae.records", "pyrovae.cli"])
def test_what_needs_no_tensors_loads_no_torch(module):
    code = f"import sys, {module}; print(*({{'torch', 'pyro'}} & set(sys.modules)))"
    assert run_python(code) == []


def test_functions_are_not_hidden_by_the_modules_that_define_them():
    code = (
        "import pyrovae, pyrovae.fit, pyrovae.log_weights\n"
        "from pyrovae import fit, log_weights\n"
        "from pyrovae.fit import fit as same\n"
        "print(fit is same is pyrovae.fit, pyrovae.log_weights is log_weights, callable(fit))"
    )
    assert run_python(code) == ["True", "True", "True"]


def test_an_unknown_name_is_answered_with_the_known_ones():
    pyrovae = importlib.import_module("pyrovae")
    assert set(pyrovae.__all__) <= set(dir(pyrovae))
    with pytest.raises(AttributeError, match="no attribute 'elbow'; it offers SVI, data"):
        getattr(pyrovae, "elbow")  # noqa: B009
