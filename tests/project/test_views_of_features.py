"""A run of the default study in the manner of the paper: networks see everything, and are probed on it.

Similarities are on a subset of the training split, of rows of length one; two networks are also probed as
one.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from safetensors import safe_open
from tests.project.conftest import run_shared
from tests.reference.cka import linear_cka

from rep_kedro.datasets import MatrixDataset

pytestmark = pytest.mark.slow

PARAMETERS = """\
ingest:
  stimulus_subsets:
    digits:
      whole: {rule: all}
      few: {per_class: {train: 8}}
    photograph_patches: {whole: {rule: all}, few: {rule: all, splits: [train]}}
    shapes: {whole: {rule: all}, few: {rule: all, splits: [train]}}
features:
  subset: whole
similarity:
  subset: few
  transform: [unit_length]
probing:
  subset: whole
  transform: [unit_length]
  combinations:
    both: {models: [cnn_supervised_s0, cnn_simclr_s0]}
    reduced: {models: [cnn_supervised_s0, cnn_simclr_s0], reduce: {pca: {variance: 0.99}}}
"""
PIPELINES = "ingest,features,diagnostics,similarity,layer_similarity,probing"


@pytest.fixture(scope="module")
def paper_like(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import shutil

    folder = tmp_path_factory.mktemp("views") / "study"
    shutil.copytree(study, folder)
    (folder / "conf/test/parameters_views.yml").write_text(PARAMETERS)
    run_shared(folder, "kedro", "run", "--env=test", f"--pipelines={PIPELINES}")
    return folder


def _data(folder: Path, *parts: str) -> Path:
    (found,) = (folder / "data").rglob("/".join(parts))
    return found


def _ids(folder: Path, subset: str) -> list[str]:
    table = pq.read_table(_data(folder, "stimulus_subsets", f"{subset}.parquet"), columns=["stimulus_id"])
    return [str(name) for name in table["stimulus_id"].to_pylist()]


def test_similarities_are_those_of_unit_rows_of_the_subset(paper_like: Path) -> None:
    whole, few = _ids(paper_like, "digits/whole"), _ids(paper_like, "digits/few")
    assert len(few) == 80
    assert len(whole) > 1500
    rows = [whole.index(name) for name in few]
    table = pd.read_parquet(_data(paper_like, "similarities.parquet"))
    own = table[(table["stimulus_set"] == "digits") & (table["measure"] == "cka_linear_debiased")]
    units = []
    models = sorted(set(own["model_a"]) | set(own["model_b"]))
    for model in models:
        with safe_open(_data(paper_like, "features", "digits", f"{model}.safetensors"), "numpy") as member:
            layer = json.loads(member.metadata()["rep_kedro"])["meta"]["final_layer"]
            x = member.get_tensor(layer)[rows].astype(np.float64)
        units.append(x / np.linalg.norm(x, axis=1, keepdims=True))
    for row in own.itertuples():
        x, y = (units[models.index(model)] for model in (row.model_a, row.model_b))
        assert row.similarity == pytest.approx(linear_cka(x, y, "debiased"), abs=1e-6)


def test_probes_are_on_everything_and_combinations_are_among_them(paper_like: Path) -> None:
    table = pd.read_parquet(_data(paper_like, "probe_results.parquet"))
    digits = table[table["stimulus_set"] == "digits"]
    assert set(digits["n_train"] + digits["n_test"]) == {len(_ids(paper_like, "digits/whole"))}
    combined = digits[digits["model"].isin(["both", "reduced"])]
    assert combined["layer"].tolist() == ["combined", "combined"]
    alone = digits[digits["is_final"] & digits["model"].eq("cnn_simclr_s0")]["test_accuracy"].item()
    assert (combined["test_accuracy"] > alone - 0.05).all()


def test_the_same_run_again_computes_nothing_and_the_report_takes_combinations(paper_like: Path) -> None:
    shown = run_shared(paper_like, "kedro", "run", "--env=test", f"--pipelines={PIPELINES},reporting").stderr
    for name in ("similarity_matrices", "similarity_nulls", "probes"):
        assert f"{name}: " in shown
        assert " 0 computed" in shown.split(f"{name}: ")[1].splitlines()[0], name


def test_the_default_transforms_nothing(study: Path) -> None:
    members = list((study / "data").rglob("similarity_matrices/*/*.parquet"))
    assert members
    for path in members:
        references = MatrixDataset.read_header(path).recipe["features"]
        assert all(set(reference) == {"key", "digest"} for reference in references)
