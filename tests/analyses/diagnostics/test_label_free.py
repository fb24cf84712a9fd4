"""Measures without labels, as rows: their values, the reasons where there is none, and the caution."""

import json

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tests.reference import label_free as of_rows
from tests.reference import spectrum as reference
from tests.small_collections import (
    ARROW,
    make_features,
    make_network,
    make_stimuli,
    make_subset,
    run_plan,
    store,
)

from rep_kedro.analyses.diagnostics import final_layers
from rep_kedro.analyses.diagnostics.label_free import MEASURES, measure_label_free
from rep_kedro.analyses.diagnostics.params import DiagnosticsParams
from rep_kedro.datasets import Planned
from rep_kedro.datasets.validators import TableContract
from rep_kedro.kernels.layers.view_scatter import ViewScatter
from rep_kedro.models.trained import restore_trained_network
from rep_kedro.pipelines.diagnostics.nodes import plan_spectra
from rep_kedro.training.objectives.views import Views

N, K = 60, 6
OF_VIEWS = ["lidar", "alignment"]


def _table(tmp_path, features, n_classes=0, **params):
    params = DiagnosticsParams(**params)
    handles = store(
        tmp_path / "features",
        {
            f"noise/{name}": make_features({"first": np.ones((len(x), 2)), "last": x})
            for name, x in features.items()
        },
    )
    spectra = run_plan(tmp_path / "spectra", plan_spectra({}, {}, handles, {}, params))
    table = measure_label_free(spectra, {"noise": n_classes}, params)
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
        "coherence": of_rows.coherence(torch.from_numpy(x), K),
        "self_cluster": of_rows.self_cluster(torch.from_numpy(x)),
        "uniformity": of_rows.uniformity(torch.from_numpy(x)),
    }
    for measure, value in expected.items():
        assert rows.loc[measure, "value"] == pytest.approx(value, rel=1e-5), measure
    assert list(rows.index) == list(MEASURES)
    assert rows.loc["clid", "reason"] == "standardised over networks: needs 3, got 1"
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
    assert reasons["constant", "condition_number"] == "a singular value is zero up to rounding"
    assert reasons["line", "alpha_req"] == "1 eigenvalues exceed rounding, the window begins at 11"
    assert rows.loc[("constant", "rankme"), "value"] == pytest.approx(1, abs=1e-4)
    for measure in ("effective_rank", "participation_ratio", "nesum", "alpha_req"):
        assert np.isnan(rows.loc[("constant", measure), "value"])
        assert reasons["constant", measure] == reasons["constant", "effective_rank"] != ""
    assert reasons["zero", "coherence"] == "all features are zero"
    assert set(reasons[:, "lidar"]) == set(reasons[:, "alignment"])
    assert set(reasons[:, "lidar"]) == {"views are drawn for networks trained here only"}
    assert reasons["line", "clid"] == reasons["line", "two_nn_dimension"] == "neighbours are equally far"
    assert reasons["constant", "clid"] == reasons["constant", "cluster_learnability"] != ""
    assert ((reasons != "") == rows["value"].isna()).all()


def test_directions_that_are_only_rounding_count_neither_as_decay_nor_as_condition(tmp_path):
    few = np.random.default_rng(0).integers(-8, 9, size=(N, 20)).astype(np.float32)
    doubled = np.hstack([few, few[:, :12] + few[:, 8:]])  # exact sums: 20 of 32 directions
    rows = _table(tmp_path, {"few": few, "doubled": doubled}, alpha_req_window=(5, 100))
    window = json.loads(rows.loc[("doubled", "alpha_req"), "settings"])
    assert (window["first"], window["last"]) == (5, 20)
    eigenvalues = torch.linalg.svdvals(torch.from_numpy(doubled - doubled.mean(axis=0)).double()) ** 2
    alpha = reference.power_law(eigenvalues.tolist(), 5, 20)[0]
    assert rows.loc[("doubled", "alpha_req"), "value"] == pytest.approx(alpha, rel=1e-6)
    assert rows.loc[("doubled", "condition_number"), "reason"] == "a singular value is zero up to rounding"
    assert rows.loc[("few", "condition_number"), "value"] < 100
    assert rows.loc[("doubled", "numerical_rank"), "value"] == 20


def test_few_stimuli_for_the_width_are_cautioned(tmp_path):
    table = _table(tmp_path, {"few": _features(5 * K - 1), "enough": _features(5 * K)})
    assert set(table.loc["few", "caution"]) == {"fewer than 5 stimuli per feature"}
    assert set(table.loc["enough", "caution"]) == {""}


def test_clid_adds_learnability_and_dimension_standardised_over_networks(tmp_path):
    features = {f"net{i}": _features(k=3 + i) for i in range(4)} | {"stuck": np.ones((N, K), np.float32)}
    table = _table(tmp_path, features, label_free={"n_clusters": 3, "n_neighbours": 2})
    values = table["value"].unstack().drop("stuck")
    parts = values[["cluster_learnability", "two_nn_dimension"]]
    assert parts.nunique().min() > 1
    standardised = (parts - parts.mean()) / parts.std(ddof=0)
    assert values["clid"].tolist() == pytest.approx(standardised.sum(axis=1).tolist())
    assert json.loads(table.loc[("net0", "clid"), "settings"]) == {"n_networks": 4}
    assert json.loads(table.loc[("net0", "cluster_learnability"), "settings"]) == {
        **{"n_clusters": 3, "n_neighbours": 2, "n_stimuli": N, "seed": 0}
    }


def test_ranks_above_the_number_of_classes_are_cautioned(tmp_path):
    table = _table(tmp_path, {"net": _features()}, n_classes=5).loc["net"]
    words = "above the 5 classes, beyond which a rank says little about a linear probe"
    assert table.loc["numerical_rank", "value"] == K
    assert table.loc["numerical_rank", "caution"] == words
    above = table.index[table["caution"] == words]
    assert list(above) == [name for name in above if MEASURES[name].is_rank and table.loc[name, "value"] > 5]
    assert set(table["caution"].drop(above)) == {""}


@pytest.fixture
def trained(tmp_path):
    """A network on 20 images: sets, subsets, features and a function that stores it with a recipe."""
    pixels = np.random.default_rng(0).integers(0, 256, size=(20, 16, 16, 3), dtype=np.uint8)
    table = make_stimuli(pixels, [0] * 20, ["test"] * 20)
    sets = store(tmp_path / "sets", {"noise": table}, ARROW)
    subset = make_subset([0] * 20, ["test"] * 20)
    subsets = store(tmp_path / "subsets", {"noise/analysis": subset}, ARROW)
    features = store(tmp_path / "features", {"noise/cnn": make_features({"relu5": np.ones((20, 24))})})
    network = make_network("cnn", seed=0, n_classes=3, stimulus_set="noise")

    def measure(objective, **params):
        plan = {"cnn": Planned({"objective": objective}, lambda: network)}
        networks = run_plan(tmp_path / "networks", plan)
        given = DiagnosticsParams(**params)
        spectra = run_plan(tmp_path / "spectra", plan_spectra(sets, subsets, features, networks, given))
        return measure_label_free(spectra, {"noise": 0}, given).set_index("measure"), networks["cnn"], pixels

    return measure


def _expected(handle, pixels, changes, n_views):
    """Draw views of all images in order, and pool what the network gives for them."""
    module, generator = restore_trained_network(handle), torch.Generator().manual_seed(3)
    images = torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()).float() / 255
    views = [Views(**changes[i % len(changes)]).draw(images, generator) for i in range(n_views)]
    with torch.no_grad():
        maps = [module.run((view - 0.5) / 0.5, stop_at="relu5") for view in views]
    scatter = ViewScatter(24)
    scatter.update(torch.stack([each.mean(dim=(2, 3)) for each in maps], dim=1))
    return [scatter.lidar(delta=1e-3).value, scatter.alignment().value]


@pytest.mark.parametrize("batch_size", [7, 256])
def test_views_are_those_of_the_training_and_batches_change_nothing(trained, batch_size):
    first, second = {"crop_area": [0.3, 1.0], "noise_std": 0.1}, {"flip_probability": 1.0}
    settings = {"n_images": 20, "n_views": 3, "lidar_delta": 1e-3, "seed": 3}
    rows, handle, pixels = trained(
        {"views": first, "second_view": second}, label_free=settings, batch_size=batch_size
    )
    expected = _expected(handle, pixels, [first, first | second], 3)
    assert rows.loc[OF_VIEWS, "value"].tolist() == pytest.approx(expected, rel=1e-5)
    of = {"n_images": 20, "n_views": 3, "seed": 3, "views": "training"}
    assert json.loads(rows.loc["lidar", "settings"]) == {**of, "delta": 1e-3, "epsilon": 1e-7}
    assert json.loads(rows.loc["alignment", "settings"]) == of
    assert rows.loc["lidar", "caution"].endswith("; 20 images bound it by 19")
    assert "bound" not in rows.loc["alignment", "caution"]


def test_networks_without_views_get_those_of_the_parameters_or_say_why_there_are_none(trained, monkeypatch):
    views = {"noise_std": 0.2}
    settings = {"n_images": 20, "n_views": 2, "views": views, "lidar_delta": 1e-3, "seed": 3}
    rows, handle, pixels = trained({"id": "untrained"}, label_free=settings)
    assert rows.loc[OF_VIEWS, "value"].tolist() == pytest.approx(
        _expected(handle, pixels, [views], 2), rel=1e-5
    )
    assert json.loads(rows.loc["lidar", "settings"])["views"] == "parameters"
    rows, _, _ = trained({"views": Views().model_dump(mode="json")})
    why = "the network was trained without views; diagnostics.label_free.views can give some"
    assert set(rows.loc[OF_VIEWS, "reason"]) == {why}
    rows, _, _ = trained({"views": views}, label_free={"n_images": 0})
    assert set(rows.loc[OF_VIEWS, "reason"]) == {"diagnostics.label_free.n_images is 0"}
    monkeypatch.setattr(final_layers, "MOST_FEATURES", 23)
    rows, _, _ = trained({"views": views})
    assert set(rows.loc[OF_VIEWS, "reason"]) == {"24 features; scatter matrices are made of 23 at most"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"n_views": 1},
            "n_images 64, n_views 1: LiDAR and alignment compare at least 2 views of at least 2",
        ),
        ({"n_images": 1}, "n_images 1, n_views 4: LiDAR and alignment compare at least 2 views"),
        ({"n_neighbours": 2000}, "n_neighbours 2000 must be below n_stimuli, 2000"),
        ({"n_clusters": 30, "n_stimuli": 20}, "n_clusters 30 must be below n_stimuli, 20"),
        ({"views": {"zom": [1, 2]}}, "unknown setting of views 'zom'; did you mean 'zoom'?"),
        ({"views": {"noise_std": -1}}, "greater than or equal to 0"),
        ({"n_view": 3}, "Extra inputs are not permitted"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings, words):
    with pytest.raises(ValidationError, match="label_free") as caught:
        DiagnosticsParams(label_free=settings)
    assert words in str(caught.value)


def test_a_window_that_ends_before_it_begins_is_refused():
    with pytest.raises(
        ValidationError, match="the window ends at 11, which is not after 100, where it begins"
    ):
        DiagnosticsParams(alpha_req_window=(100, 11))


def test_what_is_not_finite_names_set_and_network(tmp_path):
    x = _features()
    x[3, 2] = np.nan
    handles = store(tmp_path / "features", {"noise/net": make_features({"last": x})})
    with pytest.raises(
        Exception, match=r"noise/net.*samples must be finite, got NaN or infinity in features \[2\]"
    ):
        run_plan(tmp_path / "spectra", plan_spectra({}, {}, handles, {}, DiagnosticsParams()))
