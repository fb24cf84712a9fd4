"""Matrices over layers: each value is that of the measure on two layers, and what is asked is there."""

import numpy as np
import pytest
import torch
from tests.small_collections import make_features, run_plan, store

from rep_kedro.analyses.layer_similarity.layers import read_layers
from rep_kedro.analyses.layer_similarity.matrices import (
    plan_layer_similarity_matrices,
    tabulate_layer_similarities,
)
from rep_kedro.analyses.layer_similarity.params import LayerSimilarityParams
from rep_kedro.datasets import Handles
from rep_kedro.errors import UserError
from rep_kedro.measures import compare_models
from rep_kedro.schemas.layer_similarity import LAYER_SIMILARITIES

MATRIX = "rep_kedro.datasets.MatrixDataset"
N_STIMULI = 24
LAYERS = {
    "deep": ["conv1", "block.0.relu", "block.1.relu", "block.2.relu", "head"],
    "flat": ["conv1", "head"],
}


def draw_layers(seed, names):
    generator = torch.Generator().manual_seed(seed)
    x, layers = torch.randn(N_STIMULI, 4, generator=generator), {}
    for index, name in enumerate(names):
        x = torch.tanh(x @ torch.randn(x.shape[1], 3 + index, generator=generator))
        layers[name] = x + 0.3 * torch.randn(x.shape, generator=generator)
    return layers


def networks():
    return {model: draw_layers(seed, names) for seed, (model, names) in enumerate(LAYERS.items())}


@pytest.fixture
def features(tmp_path):
    return store(
        tmp_path / "features", {f"digits/{model}": make_features(x) for model, x in networks().items()}
    )


def compare(tmp_path, features, **params):
    plan = plan_layer_similarity_matrices(features, LayerSimilarityParams(**params))
    return run_plan(tmp_path / "matrices", plan, MATRIX)


def value(a, b, measure="cka_linear_debiased"):
    [(_, found)] = compare_models([a, b], [measure], memory_bytes=10**7)
    return found.values[0, 1]


def test_every_layer_is_compared_with_every_layer_and_labelled(tmp_path, features):
    measures = ["cka_linear_debiased", "rsa_correlation_spearman", "linear_regression_r2"]
    handles = compare(tmp_path, features, measures=measures)
    assert sorted(handles) == sorted(f"digits/{name}" for name in measures)
    layers = [(model, name) for model, names in LAYERS.items() for name in names]
    for measure in measures:
        handle = handles[f"digits/{measure}"]
        assert [(each.model, each.layer) for each in read_layers(handle.meta)] == layers
        assert handle.meta["depths"] == [0, 1, 2, 3, 4, 0, 1]
        matrix, all_layers = handle.matrix(), networks()
        assert matrix.labels == tuple(f"{model}/{layer}" for model, layer in layers)
        for i, j in ((0, 3), (2, 6), (6, 2), (5, 6)):
            (model_a, a), (model_b, b) = layers[i], layers[j]
            assert matrix.values[i, j] == pytest.approx(
                value(all_layers[model_a][a], all_layers[model_b][b], measure), abs=1e-6
            )


@pytest.mark.parametrize("compared", ["within", "between"])
def test_what_is_not_asked_for_is_absent_with_the_reason_and_the_rest_unchanged(tmp_path, features, compared):
    whole = compare(tmp_path / "both", features)["digits/cka_linear_debiased"].matrix()
    handles = compare(tmp_path, features, compare=compared)
    matrix = handles["digits/cka_linear_debiased"].matrix()
    models = np.array([label.partition("/")[0] for label in matrix.labels])
    asked = (models[:, None] == models) == (compared == "within")
    np.testing.assert_allclose(matrix.values[asked], whole.values[asked], rtol=0, atol=1e-12)
    assert np.isnan(matrix.values[~asked]).all()
    assert all(matrix.reasons[matrix.labels[i], matrix.labels[j]] for i, j in np.argwhere(~asked))
    table = tabulate_layer_similarities(handles)
    assert len(table) == (10 + 1 if compared == "within" else 5 * 2)
    assert set(table["model_a"] == table["model_b"]) == {compared == "within"}


def test_the_table_has_every_unordered_pair_once_and_directed_ones_twice(tmp_path, features):
    handles = compare(tmp_path, features, measures=["cka_linear_debiased", "linear_regression_r2"])
    table = tabulate_layer_similarities(handles)
    assert tuple(table.columns) == LAYER_SIMILARITIES.names
    counts = table["measure"].value_counts()
    assert counts.to_dict() == {"cka_linear_debiased": 21, "linear_regression_r2": 42}
    row = table[(table["layer_a"] == "block.1.relu") & (table["model_b"] == "flat")].iloc[0]
    assert (row["depth_a"], row["layer_b"], row["depth_b"]) == (2, "conv1", 0)
    x = networks()
    assert row["similarity"] == pytest.approx(value(x["deep"]["block.1.relu"], x["flat"]["conv1"]), abs=1e-6)
    assert tuple(tabulate_layer_similarities({}).columns) == LAYER_SIMILARITIES.names


@pytest.mark.parametrize(
    ("layers", "chosen"),
    [
        ("all", LAYERS),
        ({"every": 2}, {"deep": ["conv1", "block.1.relu", "head"], "flat": ["head"]}),
        ({"every": 9}, {"deep": ["head"], "flat": ["head"]}),
        (
            ["head", "block.*.relu"],
            {"deep": ["block.0.relu", "block.1.relu", "block.2.relu", "head"], "flat": ["head"]},
        ),
        ("conv*", {"deep": ["conv1"], "flat": ["conv1"]}),
    ],
)
def test_layers_are_chosen_by_name_pattern_or_step_in_depth_order(features, layers, chosen):
    recipe = plan_layer_similarity_matrices(features, LayerSimilarityParams(layers=layers))[
        "digits/cka_linear_debiased"
    ].recipe
    found = {model: [] for model in LAYERS}
    for model, layer, depth in zip(recipe["models"], recipe["layers"], recipe["depths"], strict=True):
        found[model].append(layer)
        assert LAYERS[model][depth] == layer
    assert found == chosen


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"layers": "blok.*"}, r"'blok.\*' in layer_similarity.layers fits no layer that has features; "),
        ({"layers": "block.*.relu"}, "fits no layer of flat, which has conv1, head; add a pattern for it"),
        ({"models": ["deeep"]}, "no features of network 'deeep'; did you mean 'deep'"),
        ({"stimulus_sets": ["digit"]}, "no features of stimulus set 'digit'; did you mean 'digits'"),
    ],
)
def test_a_name_that_fits_nothing_is_refused_with_close_ones(features, params, message):
    with pytest.raises(UserError, match=message):
        plan_layer_similarity_matrices(features, LayerSimilarityParams(**params))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"measures": ["disagreement"]}, "disagreement compares outputs"),
        ({"measures": ["cka_liner_debiased"]}, "did you mean"),
        ({"layers": []}, "layers names no layer"),
        ({"layers": {"every": 0}}, "greater than 0"),
        ({"models": ["a", "a"]}, "models are listed twice"),
        ({"n_bootstrap": 20}, "20 resamples have no interval"),
        ({"compare": "among"}, "'within', 'between' or 'both'"),
    ],
)
def test_parameters_that_cannot_be_meant_are_refused(params, message):
    with pytest.raises(ValueError, match=message):
        LayerSimilarityParams(**params)


def test_no_networks_leave_the_analysis_out(features):
    assert plan_layer_similarity_matrices(features, LayerSimilarityParams(models=[])) == {}


def test_the_first_networks_by_name_are_a_small_default(features):
    recipe = plan_layer_similarity_matrices(features, LayerSimilarityParams(max_models=1))
    assert set(recipe["digits/cka_linear_debiased"].recipe["models"]) == {"deep"}
    whole = plan_layer_similarity_matrices(features, LayerSimilarityParams(max_models=9))
    assert set(whole["digits/cka_linear_debiased"].recipe["models"]) == set(LAYERS)
    gapped = Handles(features, {"digits/a_gone": "broken", "digits/zebra": "broken"}, {})
    plan = plan_layer_similarity_matrices(gapped, LayerSimilarityParams(max_models=2))
    assert plan.partial["digits/cka_linear_debiased"] == "made without a_gone, whose features are missing"


def test_networks_without_features_are_left_out_and_listed(features):
    gapped = Handles(features, {"digits/gone": "broken"}, {})
    plan = plan_layer_similarity_matrices(gapped, LayerSimilarityParams())
    assert "gone" in plan.partial["digits/cka_linear_debiased"]
    assert set(plan["digits/cka_linear_debiased"].recipe["models"]) == set(LAYERS)


def test_two_hundred_layers_in_one_call(tmp_path):
    members = {
        f"digits/net{k}": make_features(draw_layers(k, [f"b{i:02d}" for i in range(50)])) for k in range(4)
    }
    handles = compare(tmp_path, store(tmp_path / "features", members))
    matrix = handles["digits/cka_linear_debiased"].matrix()
    assert matrix.values.shape == (200, 200)
    assert np.isfinite(matrix.values).all()
    last, other = (
        draw_layers(3, [f"b{i:02d}" for i in range(50)])["b49"],
        draw_layers(0, [f"b{i:02d}" for i in range(50)]),
    )
    assert matrix.values[199, 7] == pytest.approx(value(last, other["b07"]), abs=1e-6)
