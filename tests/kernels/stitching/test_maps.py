"""Streamed maps equal dense least squares; outputs are compared by counting."""

import math

import pytest
import torch
from tests.reference import stitching as reference

from rep_kedro.kernels.stitching.comparison import compare_outputs
from rep_kedro.kernels.stitching.maps import (
    AffineMap,
    apply_affine_map,
    fit_affine_map,
    fit_orthogonal_map,
    fit_reduced_rank_map,
    measure_map_r2,
)
from rep_kedro.kernels.stitching.moments import PairedMoments

N_SAMPLES, N_FRONT, N_END = 80, 5, 3


def _draw_pair(seed=0, n_front=N_FRONT, n_end=N_END, noise=0.5, shift=2.0):
    generator = torch.Generator().manual_seed(seed)
    front = torch.randn(N_SAMPLES, n_front, generator=generator, dtype=torch.float64) + shift
    truth = torch.randn(n_front, n_end, generator=generator, dtype=torch.float64)
    rest = torch.randn(N_SAMPLES, n_end, generator=generator, dtype=torch.float64)
    return front, front @ truth + noise * rest - 1.0


def _stream(front, end, size=17):
    moments = PairedMoments(front.shape[1], end.shape[1])
    for some, others in zip(front.split(size), end.split(size), strict=True):
        moments.update(some, others)
    return moments


@pytest.mark.parametrize("size", [1, 17, 80])
def test_the_affine_map_is_the_least_squares_solution(size):
    front, end = _draw_pair()
    fitted = fit_affine_map(_stream(front, end, size))
    weight, bias = reference.affine_map(front, end)
    torch.testing.assert_close(fitted.weight, weight, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(fitted.bias, bias, rtol=1e-9, atol=1e-10)
    assert fitted.rank == N_FRONT


def test_both_directions_come_from_one_state():
    front, end = _draw_pair()
    fitted = fit_affine_map(_stream(front, end).swapped())
    weight, bias = reference.affine_map(end, front)
    torch.testing.assert_close(fitted.weight, weight, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(fitted.bias, bias, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_a_badly_scaled_channel_still_takes_part(scale):
    front, end = _draw_pair()
    stretch = torch.ones(N_FRONT, dtype=torch.float64)
    stretch[2] = scale
    fitted = fit_affine_map(_stream(front * stretch, end))
    weight, bias = reference.affine_map(front, end)
    assert fitted.rank == N_FRONT
    torch.testing.assert_close(fitted.weight * stretch, weight, rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(fitted.bias, bias, rtol=1e-7, atol=1e-8)


def test_dead_and_repeated_channels_lower_the_rank_and_not_the_fit():
    front, end = _draw_pair()
    dead = torch.full((N_SAMPLES, 1), 0.1, dtype=torch.float64)
    wide = torch.cat([front, dead, front[:, :2] * 3.0], dim=1)
    moments = _stream(wide, end)
    fitted = fit_affine_map(moments)
    assert fitted.rank == N_FRONT
    assert torch.isfinite(fitted.weight).all()
    assert (fitted.weight[:, N_FRONT] == 0.0).all()
    weight, bias = reference.affine_map(front, end)
    expected = front @ weight.T + bias
    torch.testing.assert_close(wide @ fitted.weight.T + fitted.bias, expected, rtol=1e-8, atol=1e-8)
    assert measure_map_r2(fitted, moments) == pytest.approx(reference.r2(weight, bias, front, end), rel=1e-10)


def test_a_front_that_does_not_vary_gives_the_mean_of_the_end():
    _, end = _draw_pair()
    moments = _stream(torch.full((N_SAMPLES, 2), 0.3, dtype=torch.float64), end)
    fitted = fit_affine_map(moments)
    assert fitted.rank == 0
    assert (fitted.weight == 0.0).all()
    torch.testing.assert_close(fitted.bias, end.mean(dim=0), rtol=1e-12, atol=1e-12)
    assert measure_map_r2(fitted, moments) == pytest.approx(0.0, abs=1e-12)


def test_a_layer_mapped_to_itself_is_the_identity():
    front, _ = _draw_pair(shift=30.0)
    moments = _stream(front, front)
    for fitted in (fit_affine_map(moments), fit_orthogonal_map(moments)):
        torch.testing.assert_close(fitted.weight, torch.eye(N_FRONT, dtype=torch.float64), rtol=0, atol=1e-10)
        torch.testing.assert_close(fitted.bias, torch.zeros(N_FRONT, dtype=torch.float64), rtol=0, atol=1e-8)
        assert measure_map_r2(fitted, moments) == pytest.approx(1.0, abs=1e-12)


def test_r2_on_other_samples_counts_the_offset_too():
    fitted = fit_affine_map(_stream(*_draw_pair()))
    front, end = _draw_pair(seed=1)
    end = end + 4.0
    expected = reference.r2(fitted.weight, fitted.bias, front, end)
    assert expected < 0.5
    assert measure_map_r2(fitted, _stream(front, end)) == pytest.approx(expected, rel=1e-9)


def test_r2_of_an_end_that_does_not_vary_is_undefined():
    front, _ = _draw_pair()
    moments = _stream(front, torch.full((N_SAMPLES, 2), 0.1, dtype=torch.float64))
    assert math.isnan(measure_map_r2(fit_affine_map(moments), moments))


def test_a_rotation_is_recovered_and_stays_orthogonal():
    front, _ = _draw_pair()
    generator = torch.Generator().manual_seed(9)
    rotation = torch.linalg.qr(torch.randn(N_FRONT, N_FRONT, generator=generator, dtype=torch.float64)).Q
    fitted = fit_orthogonal_map(_stream(front, front @ rotation.T + 5.0))
    torch.testing.assert_close(fitted.weight, rotation, rtol=0, atol=1e-10)
    noisy = fit_orthogonal_map(_stream(front, _draw_pair(seed=3, n_end=N_FRONT)[1]))
    torch.testing.assert_close(
        noisy.weight @ noisy.weight.T, torch.eye(N_FRONT, dtype=torch.float64), rtol=0, atol=1e-12
    )


def test_reduced_rank_maps_are_the_best_of_their_rank():
    front, end = _draw_pair(n_end=4, noise=1.0)
    moments = _stream(front, end)
    full = fit_affine_map(moments)
    # The best fit of rank r is the truncated singular value decomposition of the fitted values.
    fitted_values = (front - front.mean(0)) @ full.weight.T
    left, sigma, right = torch.linalg.svd(fitted_values, full_matrices=False)
    for rank in (1, 2, 4):
        reduced = fit_reduced_rank_map(moments, rank=rank)
        best = left[:, :rank] * sigma[:rank] @ right[:rank]
        torch.testing.assert_close((front - front.mean(0)) @ reduced.weight.T, best, rtol=0, atol=1e-9)
        assert torch.linalg.matrix_rank(reduced.weight) == rank == reduced.rank
    torch.testing.assert_close(reduced.weight, full.weight, rtol=0, atol=1e-10)


@pytest.mark.parametrize("shape", [(2, 3, 2, 2), (2, 4, 3), (2, 3)])
def test_a_map_acts_on_the_channels_of_every_position(shape):
    generator = torch.Generator().manual_seed(0)
    activation = torch.randn(shape, generator=generator)
    fitted = AffineMap(torch.randn(2, 3, generator=generator).double(), torch.tensor([1.0, -1.0]).double(), 2)
    mapped = apply_affine_map(fitted, activation)
    assert mapped.dtype == torch.float32
    channels_last = activation.movedim(1, -1) if len(shape) == 4 else activation
    mapped_last = mapped.movedim(1, -1) if len(shape) == 4 else mapped
    for vector, image in zip(
        channels_last.reshape(-1, 3).tolist(), mapped_last.reshape(-1, 2).tolist(), strict=True
    ):
        expected = reference.mapped_position(fitted.weight.tolist(), fitted.bias.tolist(), vector)
        assert image == pytest.approx(expected, abs=1e-5)


def test_outputs_are_compared_by_counting():
    labels = torch.tensor([0, 1, 2, 0, 1])
    end = torch.tensor([[2.0, 0, 0], [0, 2, 0], [0, 2, 0], [0, 0, 2], [0, 3, 0]])
    stitched = torch.tensor([[1.0, 0, 0], [2, 0, 0], [0, 0, 1], [0, 0, 1], [0, 1, 0]])
    compared = compare_outputs(stitched, end, labels)
    assert compared.accuracy == 3 / 5
    assert compared.end_accuracy == 3 / 5
    assert compared.relative_accuracy == 1.0
    assert compared.agreement == 3 / 5
    hits = (compared.n_both_right, compared.n_stitched_right, compared.n_end_right, compared.n_both_wrong)
    assert hits == (2, 1, 1, 1)
    expected = reference.cross_entropy(stitched.tolist(), end.tolist())
    own = reference.cross_entropy(end.tolist(), end.tolist())
    assert compared.cross_entropy == pytest.approx(expected, rel=1e-12)
    assert compared.kl_divergence == pytest.approx(expected - own, rel=1e-12)


def test_a_network_against_itself_agrees_with_no_divergence():
    logits = torch.randn(20, 4, generator=torch.Generator().manual_seed(0)) * 50.0
    compared = compare_outputs(logits, logits, logits.argmax(dim=1))
    assert (compared.relative_accuracy, compared.agreement, compared.kl_divergence) == (1.0, 1.0, 0.0)


def test_relative_accuracy_to_a_network_that_is_never_right_is_undefined():
    end = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    compared = compare_outputs(-end, end, torch.tensor([1, 1]))
    assert math.isnan(compared.relative_accuracy)
    assert compared.accuracy == 1.0


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: PairedMoments(0, 2), "got 0 and 2"),
        (lambda: PairedMoments(2, 2).update(torch.zeros(3, 2), torch.zeros(4, 2)), r"\(3, 2\) and \(4, 2\)"),
        (lambda: PairedMoments(2, 2).update(torch.zeros(3, 1), torch.zeros(3, 3)), r"\(3, 1\) and \(3, 3\)"),
        (lambda: fit_affine_map(PairedMoments(2, 2)), "at least 1 sample"),
        (lambda: fit_orthogonal_map(_stream(*_draw_pair())), "equal width, got 5 and 3"),
        (lambda: fit_reduced_rank_map(_stream(*_draw_pair()), rank=0), "at least 1, got 0"),
        (
            lambda: compare_outputs(torch.zeros(2, 3), torch.zeros(2, 4), torch.zeros(2)),
            r"\(2, 3\), \(2, 4\) and \(2,\)",
        ),
        (
            lambda: compare_outputs(torch.full((1, 2), torch.nan), torch.zeros(1, 2), torch.zeros(1)),
            "must be finite",
        ),
    ],
)
def test_misuse_is_refused(act, message):
    with pytest.raises(ValueError, match=message):
        act()
