"""Solvers, seeds, few shots, class weights and several labels, from parameters to the table."""

import json

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError
from sklearn.metrics import average_precision_score, balanced_accuracy_score
from tests.small_collections import ARROW, make_features, make_subset, run_plan, store

from rep_kedro.analyses.probing.final_predictions import read_final_predictions
from rep_kedro.analyses.probing.fitting import make_probes
from rep_kedro.analyses.probing.params import ProbingParams
from rep_kedro.errors import UserError
from rep_kedro.kernels.probes.probe import bound_mean
from rep_kedro.pipelines.probing.nodes import plan_probes, tabulate_probe_results

N_TRAIN, N_TEST = 70, 35
SPLITS = ["train"] * N_TRAIN + ["test"] * N_TEST
LABELS = [10 + i % 7 for i in range(N_TRAIN + N_TEST)]
SEVERAL = [[label - 10, 20] if label % 2 else [label - 10] for label in LABELS]


@pytest.fixture
def study(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(7, 12))[[label - 10 for label in LABELS]] + 0.7 * rng.normal(size=(len(LABELS), 12))
    subset = make_subset(LABELS, SPLITS).append_column("label:tags", pa.array(SEVERAL, pa.list_(pa.int32())))
    meta = {"label_columns": {"kind": []}, "multi_label_columns": {"tags": []}}
    subset = subset.replace_schema_metadata({b"meta": json.dumps(meta).encode()})
    features = store(tmp_path / "features", {"set/net": make_features({"wide": x, "narrow": x[:, :5]})})
    return features, store(tmp_path / "subsets", {"set/analysis": subset}, ARROW)


def _probe(tmp_path, study, **params):
    return run_plan(tmp_path / "probes", plan_probes(*study, ProbingParams(**params)))


@pytest.mark.parametrize(
    ("fit", "chosen"),
    [
        ({"solver": "lbfgs", "descent": "float32"}, {"weight_decay"}),
        ({"solver": "adamw", "n_epochs": 5, "penalty": "l2"}, {"weight_decay", "learning_rate"}),
        ({"solver": "ridge"}, {"weight_decay"}),
        ({"solver": "knn", "weightings": ["uniform", 0.1]}, {"n_neighbours", "metric", "weighting"}),
        ({"solver": "prototype"}, set()),
        (
            {"solver": "mlp", "n_hidden": 32, "n_epochs": 40, "batch_size": 16},
            {"weight_decay", "learning_rate"},
        ),
    ],
    ids=lambda value: value.get("solver") if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("label", ["kind", "tags"])
def test_every_solver_fills_the_table(tmp_path, study, fit, chosen, label):
    probes = _probe(tmp_path, study, fit=fit, labels={"set": label})
    table = tabulate_probe_results(probes)
    row = table.iloc[0]
    options = ["weight_decay", "learning_rate", "n_neighbours", "metric", "weighting"]
    assert {name for name in options if table[name].notna().all()} == chosen
    assert row["solver"] == fit["solver"]
    assert row["convergence"] == ("converged" if fit["solver"] == "lbfgs" else "no optimum")
    assert row["test_accuracy" if label == "kind" else "mean_average_precision"] > 0.7
    assert row["top5_accuracy"] >= row["test_accuracy"]
    predictions = probes["set/net"].tensor("wide/predictions")
    probabilities = probes["set/net"].tensor("narrow/probabilities").astype(float)
    if label == "kind":
        assert row["balanced_accuracy"] == pytest.approx(
            balanced_accuracy_score(LABELS[N_TRAIN:], predictions)
        )
        assert 0.0 <= row["calibration_error"] <= 1.0
        assert np.isnan(row["mean_average_precision"])
        assert probabilities.sum(axis=1) == pytest.approx(np.ones(N_TEST), abs=1e-2)
        return
    hits = [p in several for p, several in zip(predictions, SEVERAL[N_TRAIN:], strict=True)]
    assert row["test_accuracy"] == np.mean(hits)
    classes = probes["set/net"].meta["classes"]
    assert classes == [0, 1, 2, 3, 4, 5, 6, 20]
    truth = np.array([[c in several for c in classes] for several in SEVERAL[N_TRAIN:]])
    expected = average_precision_score(truth, probabilities, average="macro")
    assert table.iloc[1]["mean_average_precision"] == pytest.approx(expected, abs=0.02)  # of float16
    assert table[["balanced_accuracy", "calibration_error"]].isna().all().all()
    assert list(read_final_predictions(probes, study[1])) == []


def test_seeds_give_a_mean_with_an_interval_and_leave_the_first_as_it_is(tmp_path, study):
    fit = {"solver": "adamw", "n_epochs": 2, "weight_decays": [0.1]}
    alone = tabulate_probe_results(_probe(tmp_path / "one", study, fit=fit, seed=3))
    probes = _probe(tmp_path / "three", study, fit=fit, seeds=[3, 1, 2])
    table = tabulate_probe_results(probes)
    changed = ["n_seeds", "seeds_mean", "seeds_low", "seeds_high"]
    assert table.drop(columns=changed).equals(alone.drop(columns=changed))
    assert alone["seeds_mean"].tolist() == alone["test_accuracy"].tolist()
    assert alone[["seeds_low", "seeds_high"]].isna().all().all()
    for i, row in enumerate(probes["set/net"].meta["layers"]):
        assert [each["seed"] for each in row["by_seed"]] == [3, 1, 2]
        found = [each["test_accuracy"] for each in row["by_seed"]]
        assert len(set(found)) > 1
        assert table.loc[i, "seeds_mean"] == pytest.approx(np.mean(found), rel=1e-12)
        assert table.loc[i, ["seeds_low", "seeds_high"]].tolist() == pytest.approx(bound_mean(found))


def test_few_shots_are_drawn_from_each_class_before_anything_is_fitted(tmp_path, study):
    given = {"few_shot": 4, "transform": ["standardise"], "fit": {"solver": "ridge"}}
    few = _probe(tmp_path / "few", study, **given)
    assert set(tabulate_probe_results(few)["n_train"]) == {28}
    others = _probe(tmp_path / "others", study, **given, seed=1)
    tensors = [p["set/net"].tensor("wide/weight") for p in (few, others)]
    assert not np.array_equal(*tensors)
    # what was not drawn changes nothing: neither the transform nor the probe
    features, subsets = study
    x = {name: features["set/net"].tensor(name).copy() for name in ("wide", "narrow")}
    is_drawn = _drawn(few, x["wide"])
    for values in x.values():
        values[:N_TRAIN][~is_drawn] *= 100.0
    changed = store(tmp_path / "changed", {"set/net": make_features(x)})
    again = _probe(tmp_path / "again", (changed, subsets), **given)
    np.testing.assert_array_equal(again["set/net"].tensor("wide/weight"), tensors[0])


def _drawn(probes, x):
    """Return which training stimuli the stored transform was fitted on: the only 4 of each class that fit."""
    import torch

    from rep_kedro.analyses.probing.labels import Targets, draw_few

    labels = torch.tensor(LABELS) - 10
    is_train = torch.arange(len(LABELS)) < N_TRAIN
    drawn = draw_few(Targets(list(range(10, 17)), labels, is_train, ~is_train), 4, 0)
    assert torch.bincount(labels[drawn]).tolist() == [4] * 7
    offset = next(
        probes["set/net"].tensor(name)
        for name in probes["set/net"].names
        if "wide/transform/0-standardise/offset" in name
    )
    np.testing.assert_allclose(offset, x[drawn.numpy()].mean(axis=0), rtol=1e-5, atol=1e-6)
    return drawn.numpy()[:N_TRAIN]


def test_class_weights_change_the_probe_and_nothing_else(tmp_path, study):
    rare = [label if i % 3 == 0 or label != 16 else 10 for i, label in enumerate(LABELS)]
    subsets = store(tmp_path / "rare", {"set/analysis": make_subset(rare, SPLITS)}, ARROW)
    plain, fair = (
        _probe(tmp_path / name, (study[0], subsets), class_weights=name)["set/net"]
        for name in ("none", "balanced")
    )
    n_rare = [(probe.tensor("narrow/predictions") == 16).sum() for probe in (plain, fair)]
    assert n_rare[0] < n_rare[1]
    assert plain.meta["classes"] == fair.meta["classes"]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"few_shot": 11}, "probing.few_shot is 11, but class 10 of set/analysis has 10 training stimuli"),
        (
            {"fit": {"solver": "knn", "n_neighbours": [60]}},
            "n_neighbours: 60 must be at most 56, the training stimuli of set/analysis that are not held out",
        ),
        (
            {"fit": {"solver": "knn", "n_neighbours": [57]}, "labels": {"set": "tags"}},
            "n_neighbours: 57 must be at most 56, the training stimuli of set/analysis that are not held out",
        ),
        ({"few_shot": 2, "labels": {"set": "tags"}}, "few_shot: stimuli of set/analysis have several labels"),
        ({"class_weights": "balanced", "labels": {"set": "tags"}}, "have several labels; use none"),
    ],
)
def test_what_labels_do_not_allow_is_refused_while_planning(study, params, message):
    with pytest.raises(UserError, match=message):
        plan_probes(*study, ProbingParams(**params))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"fit": {"solver": "nn"}}, "'lbfgs', 'adamw', 'ridge', 'knn', 'prototype', 'mlp'"),
        ({"fit": {"solver": "prototype"}, "class_weights": "balanced"}, "no effect on prototypes"),
        ({"few_shot": 3, "seeds": [0, 1], "transform": ["centre"]}, "each seed draws others"),
        ({"seeds": [1, 1]}, "listed twice"),
        ({"held_out_fraction": 0}, "nothing to choose among 3 settings by"),
        ({"fit": {"solver": "knn", "metrics": ["euclidean"], "weightings": [0.1]}}, "add cosine to metrics"),
    ],
)
def test_what_does_not_fit_together_is_refused(params, message):
    with pytest.raises((ValidationError, UserError), match=message):
        ProbingParams(**params)


def test_a_single_setting_needs_nothing_held_out(tmp_path, study):
    probes = _probe(tmp_path, study, held_out_fraction=0, fit={"solver": "prototype"})
    assert tabulate_probe_results(probes)["validation_accuracy"].isna().all()


def test_the_preset_of_the_paper_is_its_grid_with_its_seeds():
    params = ProbingParams(fit={"solver": "adamw", "preset": "paper", "n_epochs": 3})
    assert params.all_seeds == (0, 1, 2)
    assert ProbingParams(seeds=[5]).all_seeds == (5,)
    assert (params.fit.n_epochs, params.fit.batch_size, params.fit.ties) == (3, 1024, "first_rate")
    assert len(params.fit.weight_decays) == 64
    assert params.fit.weight_decays[9] == pytest.approx(1e-5, rel=1e-12)


def test_as_many_neighbours_as_are_left_are_planned_and_found(tmp_path, study):
    for label in ("kind", "tags"):
        fit = {"solver": "knn", "n_neighbours": [56]}
        _probe(tmp_path / label, study, fit=fit, labels={"set": label})


def test_too_many_neighbours_that_were_not_planned_name_the_parameter(study):
    features, subsets = study
    params = ProbingParams(fit={"solver": "knn", "n_neighbours": [57]})
    with pytest.raises(UserError, match=r"neighbours must be 1 to 56, .*\(probing.fit.n_neighbours\)"):
        make_probes(features["set/net"], subsets["set/analysis"], params)
