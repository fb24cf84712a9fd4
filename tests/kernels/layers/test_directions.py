"""Coherence, self-clustering and uniformity: their formulas, what leaves them unchanged, and hard inputs."""

import math

import pytest
import torch
from tests.reference import label_free as reference

from rep_kedro.kernels.layers import directions
from rep_kedro.kernels.layers.directions import measure_coherence, measure_self_cluster, measure_uniformity

FLOAT32 = 2.0**-23


def draw(n=30, k=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, k, generator=generator, dtype=torch.float64) + 0.5


def rotation(k=6):
    return torch.linalg.qr(draw(k, k, seed=9))[0]


def coherence(rows):
    return measure_coherence(rows, precision=FLOAT32).measured


ALL = {"coherence": coherence, "self_cluster": measure_self_cluster, "uniformity": measure_uniformity}


@pytest.mark.parametrize("shape", [(30, 6), (5, 12), (8, 8)])
@pytest.mark.parametrize("block_bytes", [1, 2**25])
def test_values_are_those_of_the_formulas(monkeypatch, shape, block_bytes):
    monkeypatch.setattr(directions, "BLOCK_BYTES", block_bytes)
    x = draw(*shape)
    assert coherence(x).value == pytest.approx(reference.coherence(x, min(shape)), rel=1e-9)
    assert measure_self_cluster(x).value == pytest.approx(reference.self_cluster(x), rel=1e-9)
    assert measure_uniformity(x).value == pytest.approx(reference.uniformity(x), rel=1e-9)


def test_golden_values():
    x = torch.tensor([[3.0, 0.0], [0.0, 1.0], [0.0, 2.0], [1.0, 1.0]], dtype=torch.float64)
    # Z'Z = [[10, 1], [1, 6]]; leverage of (3, 0): 9 * 6 / 59
    assert coherence(x).value == pytest.approx(4 / 2 * 54 / 59)
    # squared cosines of pairs: 0, 0, 1/2, 1, 1/2, 1/2, so |ZZ'|^2 = 9; E = 4 + 12 / 2
    assert measure_self_cluster(x).value == pytest.approx((9 - 10) / (16 - 10))
    cosines = [0, 0, 0.5**0.5, 1, 0.5**0.5, 0.5**0.5]
    mean = sum(math.exp(4 * c - 4) for c in cosines) / 6
    assert measure_uniformity(x).value == pytest.approx(math.log(mean))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("change", ["rotation", "scale", "order", "tiny", "huge", "float32"])
def test_what_changes_nothing(name, change):
    x = draw()
    changed = {
        "rotation": x @ rotation(),
        "scale": -7 * x,
        "order": x.flip(0),
        "tiny": 1e-200 * x,
        "huge": 1e200 * x,
        "float32": x.float(),
    }[change]
    assert ALL[name](changed).value == pytest.approx(
        ALL[name](x).value, rel=1e-5 if change == "float32" else 1e-9
    )


def test_coherence_is_blind_to_linear_maps_and_the_others_to_the_lengths_of_rows():
    x, lengths = draw(), torch.logspace(-12, 12, 30, dtype=torch.float64)[:, None]
    badly_scaled = x @ draw(6, 6, seed=3) * torch.tensor([1e3, 1, 1, 1, 1, 1e-1])
    assert coherence(badly_scaled).value == pytest.approx(coherence(x).value, rel=1e-6)
    for measure in (measure_self_cluster, measure_uniformity):
        assert measure(lengths * x).value == pytest.approx(measure(x).value, rel=1e-9)


def test_coherence_counts_independent_features_only():
    x = draw(30, 3)
    copied = torch.cat([x, x[:, :2], torch.zeros(30, 1)], dim=1)
    found = measure_coherence(copied, precision=FLOAT32)
    assert found.rank == 3
    assert found.measured.value == pytest.approx(coherence(x).value, rel=1e-9)
    line = torch.tensor([[1.0], [2.0], [-2.0]]) * torch.tensor([[3.0, 0.0, -1.0]])
    assert measure_coherence(line, precision=FLOAT32).rank == 1
    assert coherence(line).value == pytest.approx(3 * 4 / 9)
    alone = torch.cat([copied, torch.eye(30)[:, :1]], dim=1)
    assert measure_coherence(alone, precision=FLOAT32).measured.value == pytest.approx(30 / 4, rel=1e-9)


@pytest.mark.parametrize("shape", [(30, 3), (3, 30)])
def test_the_limit_of_rounding_grows_with_the_larger_side(shape):
    """Of 30 rows or features it is 3.6e-6 of the largest singular value in float32."""
    left, right = (torch.linalg.qr(draw(side, 3, seed=side))[0][:, :2] for side in shape)
    for size, rank in ((3e-6, 1), (4e-6, 2)):
        rows = left @ torch.diag(torch.tensor([1, size], dtype=torch.float64)) @ right.T
        assert measure_coherence(rows, precision=FLOAT32).rank == rank


def test_collapsed_and_even_directions_are_the_ends():
    line = torch.tensor([[1.0, 2.0, 3.0]]) * torch.tensor([[1.0], [2.0], [-5.0]])
    assert measure_self_cluster(line).value == pytest.approx(1)
    assert measure_uniformity(line.abs()).value == 0
    assert measure_self_cluster(torch.cat([torch.eye(4), -torch.eye(4)])).value == pytest.approx(-1 / 7)
    assert measure_uniformity(1e6 + draw()).value == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("rows", "name", "reason"),
    [
        (torch.zeros(4, 3), "coherence", "all features are zero"),
        (torch.eye(4)[:, :3], "self_cluster", "a stimulus has no direction: all its features are zero"),
        (torch.eye(4)[:, :3], "uniformity", "a stimulus has no direction: all its features are zero"),
        (torch.ones(1, 3), "self_cluster", "needs 2 stimuli and 2 features, got 1 and 3"),
        (torch.ones(4, 1), "self_cluster", "needs 2 stimuli and 2 features, got 4 and 1"),
        (torch.ones(1, 3), "uniformity", "needs 2 stimuli, got 1"),
    ],
)
def test_what_is_undefined_has_a_reason(rows, name, reason):
    found = ALL[name](rows)
    assert math.isnan(found.value)
    assert found.reason == reason
