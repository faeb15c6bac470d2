"""Nothing in the package can run code found in a file: looked for in the source, and while it runs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SOURCES = {p.relative_to(ROOT).as_posix(): p for p in sorted((ROOT / "pyrovae").rglob("*.py"))}

# Modules, functions and methods that unpickle, compile or start programs, by their full names.
NAMES = """
pickle _pickle cPickle pickletools dill cloudpickle shelve marshal jsonpickle runpy code codeop pty imp
joblib.load joblib.dump torch.load torch.save torch.serialization torch.jit.load torch.hub torch.package
torch.export.load numpy.lib.format numpy.lib.npyio pandas.read_pickle pandas.read_hdf
yaml.load yaml.load_all yaml.unsafe_load yaml.unsafe_load_all yaml.full_load yaml.full_load_all
yaml.Loader yaml.UnsafeLoader yaml.FullLoader
eval exec compile __import__ builtins breakpoint input
os.system os.popen os.execv os.execl os.execve os.execvp os.execlp os.spawnl os.spawnv os.spawnlp
os.spawnvp os.posix_spawn os.startfile subprocess.getoutput subprocess.getstatusoutput
importlib.util importlib.machinery logging.config ctypes multiprocessing.connection
"""
FORBIDDEN = NAMES.split()
# Reached through any object, whatever its type: Pyro's parameter store and optimisers unpickle in `load`.
FORBIDDEN_METHODS = {
    "load",
    "__reduce__",
    "__reduce_ex__",
    "__setstate__",
    "__subclasses__",
}
# The functions of that name which read safetensors, JSON, or arrays without pickles.
SAFE_LOADS = {
    "pyrovae.checkpoint.load",
    "pyrovae.experiment.load",
    "safetensors.torch.load",
    "numpy.load",  # held to allow_pickle=False below
}
SCOPES = ("globals", "locals")
# These modules give access to the above by a name in a string.
WITH_SECRETS = {"torch", "numpy", "os", "yaml", "joblib", "builtins", "sys", "pickle", "subprocess"}
IMPORTERS = {"pyrovae/__init__.py", "pyrovae/registry/parts.py"}  # of what the user names


HEADERS = "numpy.lib.format"
ALLOWED = {
    # Compiles source that it has just written itself, from a graph of tensor operations.
    "pyrovae/step/playback.py": {"compile", "exec"},
    # Asks the C library of this very process, no file, to keep what is freed.
    "pyrovae/step/freed_memory.py": {"ctypes", "ctypes.CDLL"},
    # Reads what a header says, a literal, and the numbers behind it as bytes.
    "pyrovae/sources/row_files.py": {
        HEADERS,
        f"{HEADERS}.read_magic",
        f"{HEADERS}.read_array_header_1_0",
        f"{HEADERS}.read_array_header_2_0",
    },
}


class Looker(ast.NodeVisitor):
    """Finds what is forbidden, under whatever name it was imported or kept."""

    def __init__(self, file=""):
        self.file = file
        self.names = {}
        self.found = []

    def full(self, node):
        if isinstance(node, ast.Name):
            return self.names.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            base = self.full(node.value)
            return f"{base}.{node.attr}" if base else ""
        if isinstance(node, ast.Call) and self.full(node.func).endswith("import_module"):
            first = node.args[0] if node.args else None
            return first.value if isinstance(first, ast.Constant) else ""
        return ""

    def forbid(self, name):
        for bad in FORBIDDEN:
            if name == bad or name.startswith(f"{bad}."):
                self.found.append(name)

    def visit_Import(self, node):
        for alias in node.names:
            self.forbid(alias.name)
            top = alias.name.split(".")[0]
            self.names[alias.asname or top] = alias.name if alias.asname else top

    def visit_ImportFrom(self, node):
        for alias in node.names:
            if alias.name == "*":
                self.found.append(f"{node.module}.*")
            self.forbid(str(node.module))
            self.forbid(f"{node.module}.{alias.name}")
            self.names[alias.asname or alias.name] = f"{node.module}.{alias.name}"

    def visit_Assign(self, node):
        self.generic_visit(node)
        name = self.full(node.value)
        for target in node.targets:
            if isinstance(target, ast.Name) and name:
                self.names[target.id] = name

    def visit_Name(self, node):
        self.forbid(self.full(node))

    def visit_Attribute(self, node):
        self.generic_visit(node)
        name = self.full(node)
        self.forbid(name)
        if isinstance(node.value, ast.Call) and self.full(node.value.func) in SCOPES:
            self.found.append("a scope by a string")
        if node.attr in FORBIDDEN_METHODS and name not in SAFE_LOADS:
            self.found.append(f"method {node.attr}")
        if node.attr == "__dict__" and name.split(".")[0] in WITH_SECRETS:
            self.found.append(name)

    def visit_Subscript(self, node):
        self.generic_visit(node)
        own = isinstance(node.slice, ast.Name) and node.slice.id == "__name__"
        if self.full(node.value) == "sys.modules" and not own:
            self.found.append("sys.modules[...]")
        if isinstance(node.value, ast.Call) and self.full(node.value.func) in SCOPES:
            self.found.append("a scope by a string")

    def visit_Call(self, node):
        self.generic_visit(node)
        name = self.full(node.func)
        if name in ("getattr", "vars", "operator.attrgetter", "operator.methodcaller"):
            self.by_string(name, node.args)
        self.keywords(name, node)
        if name.endswith("import_module"):
            if node.args and isinstance(node.args[0], ast.Constant):
                self.forbid(node.args[0].value)
            elif self.file not in IMPORTERS:
                self.found.append("import_module of a variable")

    def keywords(self, name, node):
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        asks = name == "numpy.load" or "allow_pickle" in given
        hidden = name.startswith("numpy.") and None in given and "allow_pickle" not in given
        if asks or hidden:
            flag = given.get("allow_pickle")
            refuses = isinstance(flag, ast.Constant) and flag.value is False
            if not refuses or hidden or (name == "numpy.load" and len(node.args) > 1):
                self.found.append("allow_pickle")
        if "shell" in given and getattr(given["shell"], "value", True):
            self.found.append("shell=True")

    def by_string(self, name, args):
        first = self.full(args[0]) if args else ""
        secret = first.split(".")[0] in WITH_SECRETS
        if name == "vars" and secret:
            self.found.append(f"vars({first})")
        for argument in args[:2]:
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                self.forbid(argument.value)
                self.forbid(f"{first}.{argument.value}")
                if argument.value in FORBIDDEN_METHODS:
                    self.found.append(f"method {argument.value}")
        if name == "getattr" and secret and not isinstance(args[1], ast.Constant):
            self.found.append(f"getattr({first}, a variable)")


def unsafe(source, file=""):
    looker = Looker(file)
    tree = ast.parse(source)
    looker.visit(tree)
    looker.visit(tree)  # once more, with the names of later imports known
    return sorted(set(looker.found))


@pytest.mark.parametrize("file", SOURCES)
def test_the_source_names_nothing_that_runs_code(file):
    assert set(unsafe(SOURCES[file].read_text(), file)) <= ALLOWED.get(file, set())


EVASIONS = [
    "import pickle",
    "import pickle as p",
    "from pickle import loads as read",
    "import _pickle",
    "def f():\n    import dill",
    "import torch as t\nt.load(f)",
    "from torch import load\nload(f)",
    "from torch import load as read\nread(f)",
    "from torch.serialization import load as read",
    "import torch\nread = torch.load\nread(f)",
    "import torch\nlist(map(torch.load, files))",
    "import torch\ngetattr(torch, 'load')(f)",
    "import torch\ngetattr(torch, name)(f)",
    "import torch\ntorch.__dict__['load'](f)",
    "import torch\nvars(torch)['load'](f)",
    "import torch\ntorch.jit.load(f)",
    "import importlib\nimportlib.import_module('pickle').load(f)",
    "import importlib\nimportlib.import_module(name)",
    "from importlib import import_module as get\nget('pickle')",
    "import sys\nsys.modules['pickle'].load(f)",
    "__import__('pickle').load(f)",
    "import builtins\nbuiltins.eval(s)",
    "from builtins import eval as calculate",
    "e = eval\ne(s)",
    "list(map(eval, s))",
    "exec(s)",
    "compile(s, 'x', 'exec')",
    "globals()['ev' + 'al'](s)",
    "globals().get('ev' + 'al')(s)",
    "import numpy as np\nnp.load(f)",
    "import numpy as np\nnp.load(f, allow_pickle=True)",
    "import numpy as np\nnp.load(f, allow_pickle=flag)",
    "import numpy as np\nnp.load(f, None, True)",
    "import numpy as np\nnp.load(f, **{'allow_pickle': True})",
    "from numpy import load\nload(f, None, True)",
    "from numpy.lib.format import read_array",
    "import numpy.lib.format as form",
    "import joblib\njoblib.load(f)",
    "import pandas as pd\npd.read_pickle(f)",
    "import yaml\nyaml.load(f, Loader=yaml.Loader)",
    "from yaml import full_load",
    "import yaml\nyaml.unsafe_load(f)",
    "pyro.get_param_store().load(f)",
    "optim.load(f)",
    "store = pyro.get_param_store()\nstore.load(f)",
    "getattr(store, 'load')(f)",
    "import operator\noperator.methodcaller('load', f)(store)",
    "from torch import *",
    "import os\nos.system(s)",
    "import subprocess\nsubprocess.run(s, shell=True)",
    "import runpy",
    "import marshal",
    "import shelve",
    "class A:\n    def f(self):\n        return object.__subclasses__()",
]


@pytest.mark.parametrize("planted", EVASIONS)
def test_the_look_at_the_source_is_not_fooled(planted):
    assert unsafe(planted) != []


@pytest.mark.parametrize(
    "harmless",
    [
        "import numpy as np\nnp.load(f, allow_pickle=False)",
        "model.eval()",
        "import yaml\nyaml.safe_load(f)",
        "from safetensors.torch import load as build\nbuild(b)",
        "from pyrovae import checkpoint\ncheckpoint.load(f)",
        "import re\nre.compile('x')",
        "import json\njson.loads(s)",
        "module.load_state_dict(state)",
    ],
)
def test_the_look_at_the_source_lets_the_rest_pass(harmless):
    assert unsafe(harmless) == []


WATCHED = """
import sys
seen = []
sys.addaudithook(lambda event, args: seen.append(args) if event == "pickle.find_class" else None)
import torch
from pathlib import Path
from pyrovae.fit import fit
from pyrovae.models import VAE
from pyrovae.guides import Amortized
from pyrovae.records import RunFolder
before = len(seen)
folder = Path(sys.argv[1])
for epochs in (1, 2):
    torch.manual_seed(0)
    model, guide = VAE(6, latent=2, hidden=(4,)), Amortized(6, 2, hidden=(4,))
    fit(model, guide, torch.ones(20, 6) / 2, epochs=epochs, run_dir=folder, resume=epochs > 1,
        checkpoint_steps=1, progress=False)
run = RunFolder(folder)
run.write_arrays({"samples": torch.zeros(2, 2).numpy()})
run.arrays(), run.record(), run.metrics()
print(seen[before:])
"""


def test_nothing_is_unpickled_when_a_fit_is_taken_up_again(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, tmp_path / "fit"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
