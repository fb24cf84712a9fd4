"""Spectra and receptive fields: those of the definitions and of the diagnostics pipeline."""

import math

import numpy as np
import pytest
import torch
from tests.reference import neighbour_dimensions as neighbours
from tests.reference import spectrum as reference
from tests.small_collections import make_features, make_network, run_plan, store
from torch import nn

import rep_kedro
from rep_kedro.analyses.diagnostics.params import DiagnosticsParams
from rep_kedro.analyses.diagnostics.receptive_fields import compute_receptive_fields
from rep_kedro.errors import UserError
from rep_kedro.models.trained import restore_trained_network
from rep_kedro.pipelines.diagnostics.nodes import compute_layer_diagnostics, plan_spectra

X = np.random.default_rng(0).normal(size=(40, 6)) @ np.diag([5, 3, 2, 1, 0.5, 0.1]) + 2


@pytest.mark.parametrize("rule", ["reach", "delve"])
@pytest.mark.parametrize("delta", [0.9, 0.99])
def test_a_spectrum_is_that_of_the_definition(delta, rule):
    found = rep_kedro.spectrum(X, delta=delta, rule=rule)
    eigenvalues = np.linalg.eigvalsh(np.array(reference.covariance(X.tolist())))[::-1]
    np.testing.assert_allclose(found.eigenvalues, eigenvalues, rtol=1e-9)
    dimension = {"reach": reference.smallest_k_reaching, "delve": reference.delve_dimension}[rule]
    assert found.intrinsic_dimension == dimension(eigenvalues.tolist(), delta)
    assert found.saturation == found.intrinsic_dimension / 6
    assert found.effective_rank == pytest.approx(reference.exp_entropy(eigenvalues.tolist()), rel=1e-9)
    assert found.participation_ratio == pytest.approx(reference.participation_ratio(eigenvalues.tolist()))
    sigma = np.linalg.svd(X, compute_uv=False).tolist()
    assert found.rankme == pytest.approx(reference.exp_entropy(sigma, epsilon=1e-7), rel=1e-9)


def test_a_spectrum_is_that_of_the_pipeline(tmp_path):
    features = store(tmp_path / "features", {"set/net": make_features({"layer": X})})
    plan = plan_spectra({}, {}, features, {}, DiagnosticsParams())
    (row,) = compute_layer_diagnostics(run_plan(tmp_path / "spectra", plan), DiagnosticsParams()).itertuples()
    found = rep_kedro.spectrum(torch.from_numpy(X.astype(np.float32)))
    for name in ("intrinsic_dimension", "saturation", "rankme", "effective_rank", "participation_ratio"):
        assert getattr(found, name) == getattr(row, name), name
    near = rep_kedro.neighbour_dimensions(X.astype(np.float32))
    assert (near.two_nn, near.mle) == (row.two_nn_dimension, row.mle_dimension)
    assert near.two_nn == pytest.approx(neighbours.two_nn(X.astype(np.float32)), rel=1e-6)


def test_more_features_than_samples_have_the_spectrum_of_their_covariance():
    wide = np.hstack([X[:9], X[:9, ::-1] ** 2, np.sin(X[:9])])  # 9 samples of 18 features
    found = rep_kedro.spectrum(wide)
    expected = np.linalg.eigvalsh(np.cov(wide.T, bias=True))[::-1]
    np.testing.assert_allclose(found.eigenvalues, expected, rtol=1e-9, atol=1e-12 * expected[0])
    assert found.intrinsic_dimension == reference.smallest_k_reaching(found.eigenvalues.tolist(), 0.99)
    assert found.saturation == found.intrinsic_dimension / 18


@pytest.mark.parametrize("scale", [1e160, 1e300, 1e-160, 1e-300])
@pytest.mark.parametrize("n", [40, 4])
def test_dimensions_are_the_same_at_any_scale(scale, n):
    expected, found = rep_kedro.spectrum(X[:n]), rep_kedro.spectrum(scale * X[:n])
    for name in ("saturation", "rankme", "effective_rank", "participation_ratio"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-9), name
    assert found.reason == ""
    assert (found.eigenvalues[0] > 1e300) == (scale > 1)
    moderate = rep_kedro.spectrum(1e-30 * X[:n]).eigenvalues
    np.testing.assert_allclose(moderate, 1e-60 * expected.eigenvalues, atol=1e-15 * moderate[0])


@pytest.mark.parametrize("shape", [(5, 3), (3, 5)])
def test_what_does_not_vary_has_no_dimension_and_a_reason(shape):
    found = rep_kedro.spectrum(np.full(shape, 0.1))
    assert found.reason == "the features do not vary beyond rounding"
    assert found.intrinsic_dimension is None
    assert math.isnan(found.saturation)
    assert found.rankme == pytest.approx(1.0, abs=1e-4)
    assert math.isnan(rep_kedro.spectrum(np.zeros((5, 3))).rankme)


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (X[:1], {}, r"the representation has shape \(1, 6\); give at least 2 samples"),
        (X[0], {}, r"the representation has shape \(6,\); give \(n_samples, n_features\)"),
        (X * np.nan, {}, r"the representation holds NaN or infinity in 40 of 40 samples"),
        (X, {"delta": 2}, r"delta must be in \(0, 1\], got 2"),
        (X, {"rule": "delft"}, r"unknown rule 'delft'"),
        (X, {"epsilon": math.nan}, r"epsilon must be finite and not negative, got nan"),
        (np.ma.masked_less(X, 0), {}, r"the representation has \d+ masked values"),
    ],
)
def test_what_has_no_spectrum_is_refused_in_one_line(given, options, message):
    with pytest.raises(rep_kedro.UserError, match=message):
        rep_kedro.spectrum(given, **options)


@pytest.mark.parametrize("rule", ["input", "smallest_path"])
def test_receptive_fields_are_those_of_the_pipeline(tmp_path, rule):
    stored = {"net": make_network("resnet20", seed=0, n_classes=3, stimulus_set="noise")}
    networks = store(tmp_path / "networks", stored)
    expected = compute_receptive_fields(networks, DiagnosticsParams(border_rule=rule)).set_index("layer")
    size = int(networks["net"].meta["input_px"])
    found = rep_kedro.receptive_field(restore_trained_network(networks["net"]), size, border_rule=rule)
    shared = ["receptive_field_px", "jump_px", "is_beyond_border"]
    assert len(expected) > 3
    assert found.loc[expected.index, shared].values.tolist() == expected[shared].values.tolist()


def test_receptive_fields_of_a_plain_network_and_its_border():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 5, padding=2),
        nn.Conv2d(4, 4, 3, padding=1),
    ).train()  # fmt: skip
    weights = [parameter.clone() for parameter in network.parameters()]
    found = rep_kedro.receptive_field(network, 8)
    assert found["receptive_field_px"].tolist() == [3, 3, 4, 12, 16]
    assert found["jump_px"].tolist() == [1, 1, 2, 2, 2]
    assert found.index[found["is_border"]].tolist() == ["4"]
    assert found["is_beyond_border"].tolist() == [False] * 4 + [True]
    assert all(part.training for part in network.modules())
    assert all(map(torch.equal, network.parameters(), weights))
    assert {parameter.device.type for parameter in network.parameters()} == {"cpu"}


def test_layers_whose_receptive_field_is_not_known_say_why():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 4, 1, stride=2), nn.ReLU())  # with gaps
    found = rep_kedro.receptive_field(network, 8)
    assert found["receptive_field_px"].isna().tolist() == [False, True, True]
    assert found["reason"].tolist()[0] == ""
    assert all(found["reason"].tolist()[1:])


class _Folded(nn.Module):
    """Has a convolution before the one that the image meets, which reads what four pixels were folded to."""

    def __init__(self):
        super().__init__()
        self.head, self.stem = nn.Conv2d(8, 2, 1), nn.Conv2d(12, 8, 3)

    def forward(self, x):
        return self.head(self.stem(nn.functional.pixel_unshuffle(x, 2)))


@pytest.mark.parametrize(
    ("network", "size", "message"),
    [
        (_Folded(), 16, "8 channels, as layer 'head' has, which may not be the first: give ch"),
        (nn.Sequential(nn.Flatten(), nn.Linear(7, 2)), 16, "given 3 channels, as no layer says how many"),
    ],
)
def test_channels_that_are_not_sure_are_asked_for(network, size, message):
    with pytest.raises(UserError, match=message) as refused:
        rep_kedro.receptive_field(network, size)
    assert "\n" not in str(refused.value)


def test_channels_are_those_given_or_of_the_first_layer_that_reads_the_image():
    found = rep_kedro.receptive_field(_Folded(), 16, channels=3)
    assert found["receptive_field_px"].tolist() == [6, 6]
    flat = nn.Sequential(nn.Flatten(), nn.Linear(5 * 16**2, 2))
    assert rep_kedro.receptive_field(flat, 16)["sees_whole_map"].tolist() == [False, True]
    grouped = nn.Sequential(nn.Conv2d(4, 8, 3, groups=4), nn.Conv2d(8, 2, 1))
    assert rep_kedro.receptive_field(grouped, 16)["receptive_field_px"].tolist() == [3, 3]
    with pytest.raises(UserError, match="channels must be at least 1, got 0"):
        rep_kedro.receptive_field(grouped, 16, channels=0)


def test_networks_that_cannot_be_followed_are_refused_in_one_line():
    class Branching(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(
        rep_kedro.UserError, match="cannot follow Branching: its own forward branches on values"
    ):
        rep_kedro.receptive_field(Branching(), 8)
    with pytest.raises(rep_kedro.UserError, match="size must be at least 1, got 0"):
        rep_kedro.receptive_field(nn.Conv2d(3, 3, 3), 0)
    with pytest.raises(rep_kedro.UserError, match="unknown border_rule 'first'; known: input, smallest_path"):
        rep_kedro.receptive_field(nn.Conv2d(3, 3, 3), 8, border_rule="first")
