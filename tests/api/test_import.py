"""``import rep_kedro`` is light, needs no Kedro, and offers what it says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import rep_kedro

HEAVY = ("torch", "numpy", "pandas", "scipy", "pydantic", "matplotlib", "kedro")
USE_ALL = """
import sys
sys.modules["kedro"] = sys.modules["kedro_datasets"] = None  # any import of them fails
import rep_kedro, torch
import matplotlib
matplotlib.use("agg")
torch.manual_seed(0)
network = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 4, 3))
features = rep_kedro.extract(network, torch.randn(20, 1, 8, 8))
matrix = rep_kedro.similarity(features)
print(matrix)
matrix.plot()
rep_kedro.compare(features, list(rep_kedro.measures("rsa").index))
rep_kedro.spectrum(features["0"])
rep_kedro.neighbour_dimensions(features["0"])
rep_kedro.receptive_field(network, 8)
labels = [0, 1] * 10
print(rep_kedro.probe(features["0"], labels, features["0"], labels).n_classes)
print(rep_kedro.measures().shape[0])
"""


def run(script, cwd=None):
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=cwd, check=False
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def test_importing_loads_no_heavy_library():
    script = f"import sys, rep_kedro; dir(rep_kedro); print([m for m in {HEAVY} if m in sys.modules])"
    assert run(script) == "[]\n"


def test_everything_works_where_kedro_cannot_be_imported():
    lines = run(USE_ALL).splitlines()
    assert lines[0] == "CKA (linear, debiased)"
    assert lines[-2] == "2"
    assert int(lines[-1]) == len(rep_kedro.measures())


def test_every_public_name_is_there_and_documented():
    for name in rep_kedro.__all__:
        offered = getattr(rep_kedro, name)
        assert offered.__doc__
        assert name in dir(rep_kedro)
    with pytest.raises(AttributeError, match="module 'rep_kedro' has no attribute 'similarly'"):
        rep_kedro.similarly  # noqa: B018


def test_measures_can_be_called_after_the_package_of_that_name_was_imported():
    script = "import rep_kedro.measures as m, rep_kedro; assert m is rep_kedro.measures; print(len(m('rsa')))"
    assert run(script) == f"{len(rep_kedro.measures('rsa'))}\n"


def test_the_lines_of_the_readme_run():
    readme = Path(__file__).parents[2].joinpath("README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"## In Python\n.*?```python\n(.*?)```", readme, flags=re.DOTALL)
    assert len(block.splitlines()) == 7  # imports, an empty line, five lines
    printed = run(block)
    assert printed.startswith("CKA (linear, debiased)\n        layer1  layer4\n")
    assert re.search(r"^layer4 +435 +32 ", printed, flags=re.MULTILINE)
