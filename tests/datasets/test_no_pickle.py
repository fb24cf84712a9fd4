"""Loading never executes code: nothing in the source tree pickles or unpickles."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
FORBIDDEN_MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "joblib", "shelve", "dill", "marshal"}
FORBIDDEN_CALLS = {
    "torch.save", "pd.read_pickle", "pandas.read_pickle", "np.save", "np.savez", "numpy.save", "yaml.load",
    "yaml.unsafe_load", "eval", "exec",
}  # fmt: skip
FORBIDDEN_METHODS = {"to_pickle"}


def violations(source):
    """Yield (line, what) for each use of pickling in a source text."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            for name in names:
                if name.split(".")[0] in FORBIDDEN_MODULES:
                    yield node.lineno, f"imports {name}"
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if called == "exec" and all(isinstance(value, ast.Constant) for value in node.args):
                continue  # the code is in the source text: nothing that was loaded is executed
            if called in FORBIDDEN_CALLS or called.rsplit(".", 1)[-1] in FORBIDDEN_METHODS:
                yield node.lineno, f"calls {called}"
            elif called == "torch.load" and options.get("weights_only") != "True":
                yield node.lineno, "calls torch.load without weights_only=True"
            elif called.endswith("load_state_dict_from_url") and options.get("weights_only") != "True":
                yield node.lineno, f"calls {called} without weights_only=True"
            elif options.get("allow_pickle", "False") != "False":
                yield node.lineno, f"calls {called} with allow_pickle"
            elif called.endswith("import_module") and node.args:
                name = ast.unparse(node.args[0]).strip("'")
                if name.split(".")[0] in FORBIDDEN_MODULES:
                    yield node.lineno, f"imports {name}"


def test_the_source_tree_nowhere_pickles():
    paths = sorted(SOURCE.rglob("*.py"))
    assert len(paths) > 20
    found = [
        f"{path.relative_to(SOURCE)}:{line} {what}"
        for path in paths
        for line, what in violations(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "import os, joblib.memory", "from pickle import loads", "def f():\n    import dill",
        "torch.save(x, p)", "torch.load(p)", "torch.load(p, weights_only=False)",
        "np.load(p, allow_pickle=True)",
        "numpy.load(p, allow_pickle=flag)", "frame.to_pickle(p)", "pd.read_pickle(p)",
        "import_module('pickle')",
        "yaml.load(text)", "exec(text)", "exec('', names)", "eval(text)",
    ],
)  # fmt: skip
def test_the_check_sees_each_way(source):
    assert len(list(violations(source))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(p, weights_only=True)",
        "np.load(p)",
        "np.load(p, allow_pickle=False)",
        "json.load(f)",
        "exec('')",
    ],
)
def test_the_check_lets_safe_ways_pass(source):
    assert list(violations(source)) == []
