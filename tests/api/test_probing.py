"""Probes of arrays: scikit-learn's optimum, and what the pipeline gives for the same features."""

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from tests.small_collections import ARROW, make_features, make_subset, run_plan, store

import rep_kedro
from rep_kedro.analyses.probing.params import ProbingParams
from rep_kedro.kernels.probes.choice import fit_layers
from rep_kedro.kernels.probes.settings import AttentiveFit
from rep_kedro.pipelines.probing.nodes import plan_probes, tabulate_probe_results

N_TRAIN, N_TEST = 60, 30
LABELS = np.arange(N_TRAIN + N_TEST) % 3


@pytest.fixture
def x():
    rng = np.random.default_rng(0)
    return (rng.normal(size=(3, 8))[LABELS] + 1.5 * rng.normal(size=(len(LABELS), 8))).astype(np.float32)


def probe(x, labels=LABELS, **options):
    return rep_kedro.probe(x[:N_TRAIN], labels[:N_TRAIN], x[N_TRAIN:], labels[N_TRAIN:], **options)


def test_the_probe_is_scikit_learns(x):
    scaler = StandardScaler().fit(x[:N_TRAIN])
    theirs = LogisticRegression(C=1.0 / (N_TRAIN * 0.05), tol=1e-8, max_iter=2000)
    theirs.fit(scaler.transform(x[:N_TRAIN]), LABELS[:N_TRAIN])
    found = probe(x, weight_decays=[0.05])
    np.testing.assert_array_equal(found.predictions, theirs.predict(scaler.transform(x[N_TRAIN:])))
    assert found.accuracy == np.mean(found.predictions == LABELS[N_TRAIN:])
    assert 0.5 < found.accuracy < 1.0
    wilson = binomtest(round(found.accuracy * N_TEST), N_TEST).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx(tuple(wilson), rel=1e-12)


def test_it_is_that_of_the_pipeline(tmp_path, x):
    subset = make_subset(LABELS.tolist(), ["train"] * N_TRAIN + ["test"] * N_TEST)
    features = store(tmp_path / "features", {"set/net": make_features({"layer": x})})
    subsets = store(tmp_path / "subsets", {"set/analysis": subset}, ARROW)
    probes = run_plan(tmp_path / "probes", plan_probes(features, subsets, ProbingParams()))
    (row,) = tabulate_probe_results(probes).itertuples()
    found = probe(x)
    assert (found.accuracy, found.low, found.high) == (row.test_accuracy, row.test_low, row.test_high)
    assert (found.weight_decay, found.validation_accuracy) == (row.weight_decay, row.validation_accuracy)
    assert found.train_accuracy == row.train_accuracy
    np.testing.assert_array_equal(found.predictions, probes["set/net"].tensor("layer/predictions"))


@pytest.mark.parametrize("solver", ["ridge", "knn", "prototype", "mlp", "adamw"])
def test_another_solver_is_that_of_the_pipeline(tmp_path, x, solver):
    subset = make_subset(LABELS.tolist(), ["train"] * N_TRAIN + ["test"] * N_TEST)
    features = store(tmp_path / "features", {"set/net": make_features({"layer": x})})
    subsets = store(tmp_path / "subsets", {"set/analysis": subset}, ARROW)
    params = ProbingParams(fit={"solver": solver})
    (row,) = tabulate_probe_results(
        run_plan(tmp_path / "probes", plan_probes(features, subsets, params))
    ).itertuples()
    found = probe(x, solver=solver)
    assert (found.accuracy, found.balanced_accuracy) == (row.test_accuracy, row.balanced_accuracy)
    assert found.validation_accuracy == row.validation_accuracy
    assert found.converged is None


@pytest.mark.parametrize("solver", ["lbfgs", "ridge", "knn", "prototype", "mlp", "adamw"])
def test_scale_and_offset_of_features_change_nothing(x, solver):
    expected = probe(x.astype(np.float64), solver=solver)
    scales = 10.0 ** np.array([0, 160, -160, 3, -3, 0, 200, -200])
    moved = (x.astype(np.float64) + 1e8) * scales
    found = probe(moved, solver=solver)
    assert found.accuracy == pytest.approx(expected.accuracy, abs=1 / N_TEST)
    assert np.mean(found.predictions == expected.predictions) > 0.9
    assert expected.accuracy > 0.5


def test_tokens_are_read_by_attentive_probes_as_the_kernel_fits_them(x):
    tokens = np.stack([x, -x, 0.5 * x + 1.0], axis=1)
    found = probe(tokens, solver="attentive")
    fit = {"n_classes": 3, "fit": AttentiveFit(), "held_out_fraction": 0.2, "seed": 0}
    kernel = fit_layers({"x": torch.from_numpy(tokens[:N_TRAIN])}, torch.from_numpy(LABELS[:N_TRAIN]), **fit)[
        "x"
    ]
    expected = kernel.predict(torch.from_numpy(tokens[N_TRAIN:]))
    np.testing.assert_array_equal(found.predictions, expected)
    assert found.validation_accuracy == kernel.validation_accuracy


def test_labels_are_numbers_or_strings_and_arrays_of_any_library(x):
    expected = probe(x)
    words = np.array(["ant", "bee", "cat"])
    named = probe(x, words[LABELS])
    np.testing.assert_array_equal(named.predictions, words[expected.predictions])
    assert named == expected
    assert probe(x, words.astype(object)[LABELS]) == expected
    assert probe(torch.from_numpy(x), torch.from_numpy(LABELS)) == expected
    assert probe(x, LABELS == 0).n_classes == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_y": LABELS[:5]}, r"train_y has shape \(5,\); give one label for each of 60 samples"),
        ({"train_y": LABELS[:N_TRAIN] * 1.0}, r"train_y has type float64; give integers, booleans"),
        ({"train_y": np.zeros(N_TRAIN, int)}, r"train_y holds one class; a probe needs at least two"),
        ({"train_y": np.array([*LABELS[: N_TRAIN - 1], None])}, r"train_y has type object; give integers"),
        ({"train_y": np.ma.masked_equal(LABELS[:N_TRAIN], 2)}, r"train_y has 20 masked values"),
        ({"train_y": torch.ones(N_TRAIN).bfloat16()}, r"train_y has type torch.bfloat16; give integers"),
        ({"train_y": torch.ones(N_TRAIN).to_sparse()}, r"train_y is a sparse or nested tensor"),
        ({"test_y": LABELS[N_TRAIN:].astype(np.uint64)}, r"train_y has type int64, test_y uint64; give both"),
        ({"test_y": np.full(N_TEST, "a")}, r"train_y has type int64, test_y <U1; give both as numbers"),
        ({"test_x": np.ones((N_TEST, 3))}, r"train_x has 8 features, test_x 3"),
        ({"test_x": np.full((N_TEST, 8), np.inf)}, r"test_x holds NaN or infinity in 30 of 30 samples"),
        ({"train_x": np.ones(N_TRAIN)}, r"train_x has shape \(60,\); give \(n_samples, n_features\)"),
        ({"test_x": np.ones((0, 8)), "test_y": LABELS[:0]}, r"test_x has shape \(0, 8\); give at least 1"),
        ({"weight_decays": []}, r"weight_decays must be finite and above 0, at least one"),
        ({"weight_decays": [0.0]}, r"weight_decays must be finite and above 0"),
        ({"weight_decays": [1e-3, float("nan")]}, r"weight_decays must be finite and above 0"),
        ({"solver": "knnn"}, r"unknown solver 'knnn'; did you mean 'knn'"),
        ({"solver": "attentive"}, r"train_x has shape .*; give \(n_samples, n_tokens, n_features\)"),
        ({"solver": "knn", "weight_decays": [1.0]}, r"weight_decays are of lbfgs and ridge, got knn"),
        ({"held_out_fraction": 1.0}, r"held_out_fraction must be between 0 and 1"),
        ({"held_out_fraction": 0.001}, r"nothing to hold out.*; give more training samples of each class"),
    ],
)  # fmt: skip
def test_what_cannot_be_probed_is_refused_in_one_line(x, change, message):
    given = {
        "train_x": x[:N_TRAIN],
        "train_y": LABELS[:N_TRAIN],
        "test_x": x[N_TRAIN:],
        "test_y": LABELS[N_TRAIN:],
    }
    with pytest.raises(rep_kedro.UserError, match=message):
        rep_kedro.probe(**(given | change))


def test_one_weight_decay_needs_no_held_out_samples(x):
    found = probe(x, weight_decays=[0.1], held_out_fraction=0.001)
    assert found.validation_accuracy is None
    assert found.weight_decay == 0.1
