"""The diagnostics pipeline on small networks with drawn weights."""

import logging
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tests.reference import neighbour_dimensions as neighbours
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

from rep_kedro.analyses.diagnostics.params import DiagnosticsParams
from rep_kedro.analyses.diagnostics.receptive_fields import compute_receptive_fields
from rep_kedro.datasets import Planned, Tensors
from rep_kedro.datasets.validators import TableContract
from rep_kedro.models.trained import preprocessing_of, restore_trained_network
from rep_kedro.pipelines.diagnostics.nodes import compute_layer_diagnostics, plan_spectra
from rep_kedro.schemas.diagnostics import LAYER_DIAGNOSTICS, RECEPTIVE_FIELDS

N_STIMULI = 12
LAYERS = ("relu1", "relu2", "relu3", "relu5")


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, size=(N_STIMULI + 3, 16, 16, 3), dtype=np.uint8)


def _images_of(handle, pixels):
    """Return the subset's images, which takes the set backwards and leaves the first three out."""
    chosen = pixels[3:][::-1].transpose(0, 3, 1, 2).copy()
    return preprocessing_of(handle).scale(torch.from_numpy(chosen))


def _activations(handle, pixels):
    network = restore_trained_network(handle)
    with torch.no_grad():
        return {layer: network.run(_images_of(handle, pixels), stop_at=layer) for layer in LAYERS}


@pytest.fixture
def study(tmp_path, pixels):
    networks = {"cnn_supervised_s0": make_network("cnn", seed=0, n_classes=3, stimulus_set="noise")}
    networks = store(tmp_path / "networks", networks)
    sets = {"noise": make_stimuli(pixels, [0] * len(pixels), ["test"] * len(pixels))}
    sets = store(tmp_path / "stimulus_sets", sets, ARROW)
    subset = make_subset([0] * len(pixels), ["test"] * len(pixels))
    subset = subset.take(list(range(3, len(pixels)))[::-1])
    subsets = store(tmp_path / "stimulus_subsets", {"noise/analysis": subset}, ARROW)
    activations = _activations(networks["cnn_supervised_s0"], pixels)
    pooled = {layer: x.mean(dim=(2, 3)).numpy() for layer, x in activations.items()}
    rng = np.random.default_rng(1)
    features = {
        "noise/cnn_supervised_s0": make_features(pooled),
        "noise/from_elsewhere": make_features({"block": rng.normal(size=(N_STIMULI, 5))}),
    }
    return sets, subsets, store(tmp_path / "features", features), networks


def _spectra(tmp_path, study, **params):
    return run_plan(tmp_path / "spectra", plan_spectra(*study, DiagnosticsParams(**params)))


@pytest.mark.parametrize("batch_size", [5, 256])
def test_every_position_of_every_subset_image_is_a_sample(tmp_path, study, pixels, batch_size):
    handle = _spectra(tmp_path, study, batch_size=batch_size)["noise/cnn_supervised_s0"]
    for about, (layer, x) in zip(
        handle.meta["layers"], _activations(study[3]["cnn_supervised_s0"], pixels).items(), strict=True
    ):
        rows = x.permute(0, 2, 3, 1).flatten(0, 2).double()
        assert (about["layer"], about["n_samples"], about["n_channels"]) == (layer, *rows.shape)
        for name, moment in (
            ("eigenvalues", torch.cov(rows.T, correction=0)),
            ("uncentred_eigenvalues", rows.T @ rows / len(rows)),
        ):
            expected = torch.linalg.eigvalsh(moment).flip(0).clamp(min=0)
            np.testing.assert_allclose(handle.tensor(f"{layer}/{name}"), expected, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(handle.tensor(f"{layer}/mean"), rows.mean(dim=0), rtol=1e-6, atol=1e-9)
        assert about["trace"] == pytest.approx(rows.var(dim=0, correction=0).sum().item(), rel=1e-6)
    assert handle.meta["samples"] == "positions"


def test_other_networks_have_spectra_of_their_stored_features(tmp_path, study):
    handle = _spectra(tmp_path, study)["noise/from_elsewhere"]
    x = study[2]["noise/from_elsewhere"].tensor("block")
    expected = np.linalg.eigvalsh(np.array(reference.covariance(x.astype(float).tolist())))[::-1]
    np.testing.assert_allclose(handle.tensor("block/eigenvalues"), expected, rtol=1e-9)
    assert handle.meta["samples"] == "stimuli"


def test_the_table_says_what_the_spectra_say(tmp_path, study):
    spectra = _spectra(tmp_path, study)
    params = DiagnosticsParams(deltas=(0.9, 0.99))
    table = compute_layer_diagnostics(spectra, params)
    assert list(table.columns) == list(LAYER_DIAGNOSTICS.names)
    assert len(table) == 2 * (len(LAYERS) + 1)
    for row in table.itertuples():
        handle = spectra[f"{row.stimulus_set}/{row.model}"]
        eigenvalues = handle.tensor(f"{row.layer}/eigenvalues").tolist()
        assert row.intrinsic_dimension == reference.smallest_k_reaching(eigenvalues, row.delta)
        assert row.saturation == row.intrinsic_dimension / row.n_channels
        assert row.effective_rank == pytest.approx(reference.exp_entropy(eigenvalues), rel=1e-9)
        assert row.participation_ratio == pytest.approx(reference.participation_ratio(eigenvalues), rel=1e-9)
        x = study[2][f"{row.stimulus_set}/{row.model}"].tensor(row.layer).astype(np.float64)
        sigma = np.linalg.svd(x, compute_uv=False).tolist()
        assert row.rankme == pytest.approx(reference.exp_entropy(sigma, epsilon=1e-7), rel=1e-9)
        assert row.two_nn_dimension == pytest.approx(neighbours.two_nn(x), rel=1e-6)
        assert math.isnan(row.mle_dimension)  # of twelve stimuli
    delve = compute_layer_diagnostics(spectra, DiagnosticsParams(rule="delve"))
    assert (delve["intrinsic_dimension"].to_numpy() <= table["intrinsic_dimension"].to_numpy()[1::2]).all()


def test_a_layer_that_does_not_vary_has_no_dimension_and_the_log_says_why(tmp_path, study, caplog):
    dead = make_features({"dead": np.zeros((6, 4)), "stuck": np.full((6, 4), 0.1)})
    features = store(tmp_path / "dead", {"noise/from_elsewhere": dead})
    spectra = run_plan(tmp_path / "spectra", plan_spectra({}, {}, features, {}, DiagnosticsParams()))
    with caplog.at_level(logging.WARNING):
        table = compute_layer_diagnostics(spectra, DiagnosticsParams()).set_index("layer")
    undefined = ["intrinsic_dimension", "saturation", "effective_rank", "participation_ratio"]
    undefined += ["two_nn_dimension", "mle_dimension"]
    assert table[undefined].isna().all(axis=None)
    assert math.isnan(table.at["dead", "rankme"])
    assert table.at["stuck", "rankme"] == pytest.approx(1.0, abs=1e-4)
    assert "layer stuck of noise/from_elsewhere: the channels do not vary" in caplog.text
    assert "no RankMe of layer dead" in caplog.text


def test_one_set_that_fails_does_not_stop_the_others_of_a_network(tmp_path, study):
    sets, subsets, features, networks = study
    lost = make_subset([0] * 4, ["test"] * 4)
    lost = lost.set_column(0, "stimulus_id", [["nowhere-1", "nowhere-2", "nowhere-3", "nowhere-4"]])
    subsets = dict(subsets, **store(tmp_path / "lost", {"other/analysis": lost}, ARROW))
    sets = dict(sets, other=sets["noise"])
    shown = features["noise/cnn_supervised_s0"]
    copied = Tensors({name: shown.tensor(name) for name in LAYERS}, shown.meta)
    features = dict(features, **store(tmp_path / "more", {"other/cnn_supervised_s0": copied}))
    plan = plan_spectra(sets, subsets, features, networks, DiagnosticsParams())
    with pytest.raises(
        Exception, match=r"1 of 3 members failed[\s\S]*names 4 stimuli that set 'noise' does not hold"
    ):
        run_plan(tmp_path / "spectra", plan)
    assert (tmp_path / "spectra" / "noise" / "cnn_supervised_s0.safetensors").exists()


def test_a_batch_size_changes_no_recipe(study):
    recipes = [
        plan_spectra(*study, DiagnosticsParams(batch_size=size))["noise/cnn_supervised_s0"].recipe
        for size in (3, 256)
    ]
    assert recipes[0] == recipes[1]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"models": ["cnn_supervised_s1"]}, "did you mean 'cnn_supervised_s0'"),
        ({"stimulus_sets": ["nose"]}, "did you mean 'noise'"),
        ({"subset": "analyse"}, "unknown stimulus subset 'noise/analyse'; did you mean 'noise/analysis'"),
    ],
)
def test_unknown_names_are_refused_with_close_matches(study, params, message):
    with pytest.raises(ValueError, match=message):
        plan_spectra(*study, DiagnosticsParams(**params))


@pytest.mark.parametrize("params", [{"deltas": [0.0]}, {"deltas": []}, {"rule": "first"}, {"delta": 0.9}])
def test_parameters_that_make_no_sense_are_refused(params):
    with pytest.raises(ValidationError):
        DiagnosticsParams(**params)


def _stored(tmp_path, architecture):
    network = make_network(architecture, seed=0, n_classes=3, stimulus_set="noise")
    return run_plan(tmp_path / architecture, {f"{architecture}_s0": Planned({}, lambda: network)})


def test_receptive_fields_of_the_plain_network_are_those_of_the_recursion(tmp_path):
    table = compute_receptive_fields(_stored(tmp_path, "cnn"), DiagnosticsParams())
    assert list(table.columns) == list(RECEPTIVE_FIELDS.names)
    # r + (k - 1) j, strides 1 2 1 2 1: conv1 3, conv2 5, conv3 9, conv4 13, conv5 21 on 16 pixels.
    assert table[["layer", "depth", "receptive_field_px", "jump_px"]].values.tolist() == [
        ["relu1", 0, 3, 1],
        ["relu2", 1, 5, 2],
        ["relu3", 2, 9, 2],
        ["relu5", 3, 21, 4],
    ]
    assert set(table["input_px"]) == {16}
    # conv5 is the first to exceed the image and the last: nothing is fed by positions that see all.
    assert not table["is_border"].any()
    assert not table["is_beyond_border"].any()


def test_features_from_files_alone_have_a_table_without_rows():
    of_file = SimpleNamespace(recipe={"model": {"source": "features"}}, meta={"layers": ["V1"]})
    table = compute_receptive_fields({}, DiagnosticsParams(), {"photos/voxels": of_file})
    assert TableContract("receptive_fields").validate(table).empty


def test_the_first_kept_layer_behind_the_border_is_marked(tmp_path):
    networks = _stored(tmp_path, "small_resnet")
    for rule in ("input", "smallest_path"):
        table = compute_receptive_fields(networks, DiagnosticsParams(border_rule=rule))
        assert table["is_border"].sum() == int(table["is_beyond_border"].any())
        marked = table.loc[table["is_border"], "depth"].tolist()
        beyond = table.loc[table["is_beyond_border"], "depth"].tolist()
        assert beyond == list(range(marked[0], len(table))) if marked else beyond == []
