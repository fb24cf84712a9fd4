"""Measures without labels, as rows: their values, the reasons where there is none, and the caution."""

import json

import numpy as np
import pytest
import torch
from tests.reference import spectrum as reference
from tests.small_collections import make_features, run_plan, store

from rep_kedro.analyses.diagnostics.label_free import MEASURES, measure_label_free
from rep_kedro.analyses.diagnostics.params import DiagnosticsParams
from rep_kedro.datasets.validators import TableContract
from rep_kedro.pipelines.diagnostics.nodes import plan_spectra

N, K = 60, 6


def _table(tmp_path, features, **params):
    params = DiagnosticsParams(**params)
    handles = store(
        tmp_path / "features",
        {
            f"noise/{name}": make_features({"first": np.ones((len(x), 2)), "last": x})
            for name, x in features.items()
        },
    )
    spectra = run_plan(tmp_path / "spectra", plan_spectra({}, {}, handles, {}, params))
    table = measure_label_free(spectra, params)
    TableContract("label_free_measures").validate(table)
    return table.set_index(["model", "measure"])


def _features(n=N, k=K):
    scales = 2.0 ** -np.arange(k)
    return (np.random.default_rng(0).normal(size=(n, k)) * scales + 1).astype(np.float32)


def test_every_measure_of_the_final_layer_is_that_of_its_formula(tmp_path):
    x = _features()
    rows = _table(tmp_path, {"net": x}, alpha_req_window=(2, 5), rankme_epsilon=1e-5).loc["net"]
    sigma = torch.linalg.svdvals(torch.from_numpy(x).double())
    eigenvalues = torch.linalg.svdvals(torch.from_numpy(x - x.mean(axis=0)).double()).square() / N
    alpha, r2 = reference.power_law(eigenvalues.tolist(), 2, 5)[:2]
    expected = {
        "rankme": reference.exp_entropy(sigma.tolist(), 1e-5),
        "stable_rank": float(sigma.square().sum() / sigma[0] ** 2),
        "numerical_rank": K,
        "condition_number": float(sigma[0] / sigma[-1]),
        "effective_rank": reference.exp_entropy(eigenvalues.tolist()),
        "participation_ratio": reference.participation_ratio(eigenvalues.tolist()),
        "nesum": float(eigenvalues.sum() / eigenvalues[0]),
        "alpha_req": alpha,
    }
    for measure, value in expected.items():
        assert rows.loc[measure, "value"] == pytest.approx(value, rel=1e-5), measure
    assert list(rows.index) == list(MEASURES)
    assert set(rows["layer"]) == {"last"}
    assert (set(rows["n"]), set(rows["k"]), set(rows["caution"])) == ({N}, {K}, {""})
    assert json.loads(rows.loc["rankme", "settings"]) == {"epsilon": 1e-5}
    window = json.loads(rows.loc["alpha_req", "settings"])
    assert (window["first"], window["last"]) == (2, 5)
    assert window["r2"] == pytest.approx(r2, rel=1e-5)


def test_what_has_no_value_says_why(tmp_path):
    constant, one = np.ones((N, K), np.float32), np.ones((N, 3), np.float32)
    one[:, 0] = np.arange(N)
    rows = _table(tmp_path, {"zero": constant * 0, "constant": constant, "line": one})
    reasons = rows["reason"]
    assert reasons["zero", "rankme"] == reasons["zero", "stable_rank"] == "all features are zero"
    assert reasons["constant", "condition_number"] == "a singular value is zero"
    assert reasons["line", "alpha_req"] == "1 eigenvalues are positive, the window begins at 11"
    assert rows.loc[("constant", "rankme"), "value"] == pytest.approx(1, abs=1e-4)
    for measure in ("effective_rank", "participation_ratio", "nesum", "alpha_req"):
        assert np.isnan(rows.loc[("constant", measure), "value"])
        assert reasons["constant", measure] == reasons["constant", "effective_rank"] != ""
    assert ((reasons != "") == rows["value"].isna()).all()


def test_few_stimuli_for_the_width_are_cautioned(tmp_path):
    table = _table(tmp_path, {"few": _features(5 * K - 1), "enough": _features(5 * K)})
    assert set(table.loc["few", "caution"]) == {"fewer than 5 stimuli per feature"}
    assert set(table.loc["enough", "caution"]) == {""}
