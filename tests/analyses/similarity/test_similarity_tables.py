"""The table of similarities, the consistency it leads to, and the pipeline as wired."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner
from tests.small_collections import TENSORS, make_features, run_plan, store

from rep_kedro.analyses.consistency.consistency import compute_consistency
from rep_kedro.analyses.model_maps.params import ModelMapsParams
from rep_kedro.analyses.similarity.matrices import tabulate_similarities
from rep_kedro.analyses.similarity.params import (
    ConsistencyParams,
    InferenceParams,
    SampleSizeParams,
    SimilarityParams,
)
from rep_kedro.datasets import CollectionDataset, LabelledMatrix, Planned, TableDataset
from rep_kedro.datasets.validators import TableContract
from rep_kedro.pipelines.similarity.pipeline import create_pipeline
from rep_kedro.schemas.similarity import SIMILARITIES

MATRIX = "rep_kedro.datasets.MatrixDataset"
MATRIX = "rep_kedro.datasets.MatrixDataset"
CATALOG = Path(__file__).parents[3] / "conf" / "base" / "catalog_similarity.yml"
TABLES = (
    *("similarities", "consistency", "consistency_summary"),
    *("similarity_inference", "sample_sizes", "noise_ceilings"),
    *("model_positions", "model_clusters"),
)
COLLECTIONS = {
    "similarity_matrices": MATRIX,
    "similarity_nulls": TENSORS,
    "sample_size_curves": TENSORS,
}
MODELS = ("net_a", "net_b", "net_c")
CARDS = pd.DataFrame(
    {
        "model": MODELS,
        "source": "trained",
        "objective": ["supervised", "simclr", "supervised"],
        "architecture": ["cnn", "cnn", "resnet"],
        "n_flops": [10, 10, 20],
        "trained_on": ["letters", "letters", None],
        "n_parameters": [100, 200, 3000],
        "seed": [0, 0, 1],
    }
)


def _matrices(tmp_path, values_by_key, reasons=None):
    plan = {}
    for key, values in values_by_key.items():
        labels = MODELS[: len(values)]
        matrix = LabelledMatrix(np.array(values, dtype=float), labels, reasons or {}, {})
        plan[key] = Planned({"of": key}, lambda matrix=matrix: matrix)
    return run_plan(tmp_path / "similarity_matrices", plan, MATRIX)


DIRECTED = [[1.0, 0.1, 0.2], [0.3, 1.0, 0.4], [0.6, 0.8, 1.0]]
MEANS = {("net_a", "net_b"): 0.2, ("net_a", "net_c"): 0.4, ("net_b", "net_c"): 0.6}


def test_a_symmetric_measure_gives_one_row_per_pair_of_networks(tmp_path):
    handles = _matrices(
        tmp_path, {"letters/cka_linear_biased": [[1, 0.5, 0.4], [0.5, 1, 0.3], [0.4, 0.3, 1]]}
    )
    table = tabulate_similarities(handles, CARDS)
    assert tuple(table.columns) == SIMILARITIES.names
    assert table[["stimulus_set", "measure", "model_a", "model_b", "similarity"]].values.tolist() == [
        ["letters", "cka_linear_biased", "net_a", "net_b", 0.5],
        ["letters", "cka_linear_biased", "net_a", "net_c", 0.4],
        ["letters", "cka_linear_biased", "net_b", "net_c", 0.3],
    ]
    assert table["objective_a"].tolist() == ["supervised", "supervised", "simclr"]
    assert table["objective_b"].tolist() == ["simclr", "supervised", "supervised"]
    assert set(table["architecture_a"]) | set(table["architecture_b"]) == {"cnn", "resnet"}
    assert (table["reason"] == "").all()


def test_a_directed_measure_gives_a_row_for_each_direction(tmp_path):
    table = tabulate_similarities(_matrices(tmp_path, {"letters/linear_regression_r2": DIRECTED}), CARDS)
    found = {(row.model_a, row.model_b): row.similarity for row in table.itertuples()}
    assert found == {(MODELS[i], MODELS[j]): DIRECTED[i][j] for i in range(3) for j in range(3) if i != j}


def test_directed_measures_enter_consistency_by_the_mean_of_both_directions(tmp_path):
    other = [[1.0, 0.1, 0.3], [0.5, 1.0, 0.8], [0.1, 0.6, 1.0]]
    handles = _matrices(
        tmp_path, {"letters/linear_regression_r2": DIRECTED, "clouds/linear_regression_r2": other}
    )
    params = ConsistencyParams(categories=[], n_bootstrap=0)
    [row] = compute_consistency(tabulate_similarities(handles, CARDS), CARDS, params).to_dict("records")
    means = [
        (other[0][1] + other[1][0]) / 2,
        (other[0][2] + other[2][0]) / 2,
        (other[1][2] + other[2][1]) / 2,
    ]
    assert row["pearson"] == pytest.approx(np.corrcoef(list(MEANS.values()), means)[0, 1])
    assert row["n_pairs"] == 3


def test_an_undefined_similarity_keeps_its_reason(tmp_path):
    values = [[1, np.nan, 0.4], [np.nan, 1, 0.3], [0.4, 0.3, 1]]
    why = {("net_a", "net_b"): "too few", ("net_b", "net_a"): "too few"}
    table = tabulate_similarities(_matrices(tmp_path, {"letters/cka_linear_biased": values}, why), CARDS)
    assert table["reason"].tolist() == ["too few", "", ""]
    assert table["similarity"].isna().tolist() == [True, False, False]


def test_one_network_has_no_pairs_but_a_table(tmp_path):
    handles = _matrices(tmp_path, {"letters/cka_linear_biased": [[1.0]], "clouds/cka_linear_biased": [[1.0]]})
    table = tabulate_similarities(handles, CARDS)
    assert tuple(table.columns) == SIMILARITIES.names
    assert len(table) == 0
    assert len(compute_consistency(table, CARDS, ConsistencyParams())) == 0


def test_one_stimulus_set_has_no_consistency_but_a_table(tmp_path):
    handles = _matrices(tmp_path, {"letters/linear_regression_r2": DIRECTED})
    found = compute_consistency(tabulate_similarities(handles, CARDS), CARDS, ConsistencyParams())
    assert len(found) == 0
    assert {"measure", "pearson", "reason"} <= set(found.columns)


def test_a_network_without_a_card_is_refused_by_name(tmp_path):
    handles = _matrices(tmp_path, {"letters/linear_regression_r2": DIRECTED})
    with pytest.raises(ValueError, match=r"networks without a model card: net_b, net_c; run the features"):
        tabulate_similarities(handles, CARDS.head(1))


def test_the_pipeline_runs_from_features_to_all_tables_of_the_catalog(tmp_path):
    members = {}
    for index, stimulus_set in enumerate(("clouds", "letters", "shapes")):
        for number, model in enumerate(MODELS):
            rng = np.random.default_rng([index, number])
            members[f"{stimulus_set}/{model}"] = make_features({"late": rng.normal(size=(20, 4 + number))})
    entries = {
        "features": store(tmp_path / "features", members),
        "stimulus_subsets": {},
        "dissimilarities": {},
        "model_cards": CARDS,
        "params:similarity": SimilarityParams(measures=["cka_linear_debiased", "linear_regression_r2"]),
        "params:consistency": ConsistencyParams(categories=["objective"], n_bootstrap=40),
        "params:similarity_inference": InferenceParams(n_permutations=19),
        "params:sample_sizes": SampleSizeParams(sizes=[8], n_orders=2),
        "params:model_maps": ModelMapsParams(),
    }
    catalog = DataCatalog({name: MemoryDataset(value) for name, value in entries.items()})
    for name, member in COLLECTIONS.items():
        catalog[name] = CollectionDataset(filepath=str(tmp_path / name), member=member)
    for name in TABLES:
        catalog[name] = TableDataset(filepath=str(tmp_path / f"{name}.parquet"))
    SequentialRunner().run(create_pipeline(), catalog)
    for name in TABLES:
        TableContract(name).validate(catalog.load(name))
    similarities, found = catalog.load("similarities"), catalog.load("consistency")
    assert len(similarities) == 3 * (3 + 6)
    assert sorted(found["measure"].unique()) == ["cka_linear_debiased", "linear_regression_r2"]
    assert set(found["stimulus_set_a"] + found["stimulus_set_b"]) == {
        "cloudsletters", "cloudsshapes", "lettersshapes",
    }  # fmt: skip
    overall = found[found["category"] == "all"]
    assert (overall["n_pairs"] == 3).all()
    assert overall["pearson"].between(-1, 1).all()
    few = found[(found["value_a"] == "supervised") & (found["value_b"] == "supervised")]
    assert (few["reason"] == "fewer than 3 model pairs").all()
    assert few["pearson"].isna().all()
