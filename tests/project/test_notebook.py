"""The notebook runs from a fresh kernel on the small study, and is stored without output."""

import json
from pathlib import Path

import nbformat
import pytest
import yaml
from nbclient import NotebookClient
from tests.small_study import run_shared

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "study.ipynb"


def test_the_notebook_is_stored_without_output() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")
def test_the_notebook_runs_on_the_small_study(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = _execute(study, monkeypatch)
    assert "cnn_supervised_s0" in shown
    assert shown.count("image/png") == 3
    for name in ("digits", "photograph_patches", "shapes"):
        assert name in shown


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")
def test_the_notebook_runs_on_another_study(own_study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One stimulus set that is not digits; architectures that share names of layers; nothing stitched."""
    path = own_study / "conf/test/parameters.yml"
    parameters = yaml.safe_load(path.read_text(encoding="utf-8"))
    parameters["ingest"]["stimulus_sets"] |= {"digits": None, "photograph_patches": None}
    del parameters["ingest"]["stimulus_subsets"]["digits"]
    del parameters["ingest"]["stimulus_subsets"]["photograph_patches"]
    grid = {"objective": "untrained", "architectures": ["cnn", "small_resnet"], "seeds": [0]}
    parameters["training"] = {"stimulus_set": "shapes", "grids": [grid]}
    parameters["consistency"] |= {"anchors": []}
    parameters["diagnostics"]["projections"]["models"] = []
    path.write_text(yaml.safe_dump(parameters), encoding="utf-8")
    run_shared(own_study, "kedro", "run", "--env=test")
    shown = _execute(own_study, monkeypatch)
    assert "digits" not in shown
    assert "shapes" in shown
    assert shown.count("image/png") == 3


def _execute(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("KEDRO_ENV", "test")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()
    return json.dumps([cell.get("outputs", []) for cell in notebook.cells])
