"""Streamed maps equal dense least squares, with penalties and masks too."""

import math

import pytest
import torch
from tests.reference import stitching as reference

from rep_kedro.kernels.stitching import maps, moments
from rep_kedro.kernels.stitching.maps import (
    AffineMap,
    apply_affine_map,
    choose_ridge,
    describe_weight,
    fit_affine_map,
    fit_masked_map,
    fit_orthogonal_map,
    fit_reduced_rank_map,
    fit_ridge_map,
    measure_mahalanobis,
    measure_map_error,
    measure_map_r2,
    zero_small_weights,
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
    swapped = _stream(front, end).swapped()
    fitted = fit_affine_map(swapped)
    weight, bias = reference.affine_map(end, front)
    expected = (end @ weight.T + bias - front).square().mean().item()
    assert measure_map_error(fitted, swapped) == pytest.approx(expected, rel=1e-9)
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


def test_a_channel_that_nearly_repeats_another_still_takes_part():
    front, end = _draw_pair()
    near = torch.cat([front, front[:, :1] + 1e-3 * end[:, :1]], dim=1)
    fitted = fit_affine_map(_stream(near, end))
    weight, _ = reference.affine_map(near, end)
    assert fitted.rank == N_FRONT + 1
    torch.testing.assert_close(fitted.weight, weight, rtol=1e-6, atol=1e-6)


def test_dead_and_repeated_channels_lower_the_rank_and_not_the_fit():
    front, end = _draw_pair()
    dead = torch.full((N_SAMPLES, 1), 0.1, dtype=torch.float64)
    wide = torch.cat([front, dead, front[:, :2] * 3.0], dim=1)
    moments = _stream(wide, end)
    fitted = fit_affine_map(moments)
    assert fitted.rank == N_FRONT
    assert torch.isfinite(fitted.weight).all()
    assert (fitted.weight[:, N_FRONT] == 0.0).all()
    assert fit_ridge_map(moments, ridge=0.1).rank == N_FRONT + 2  # all but the dead one
    weight, bias = reference.affine_map(front, end)
    expected = front @ weight.T + bias
    torch.testing.assert_close(wide @ fitted.weight.T + fitted.bias, expected, rtol=1e-8, atol=1e-8)
    assert measure_map_r2(fitted, moments) == pytest.approx(reference.r2(weight, bias, front, end), rel=1e-10)


def test_a_front_that_does_not_vary_gives_the_mean_of_the_end():
    _, end = _draw_pair()
    moments = _stream(torch.full((N_SAMPLES, 2), 0.3, dtype=torch.float64), end)
    fitted = fit_affine_map(moments)
    assert (fitted.rank, fit_reduced_rank_map(moments, rank=1).rank) == (0, 0)
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


@pytest.mark.parametrize("ridge", [1e-6, 0.1, 100.0])
def test_the_ridge_map_is_least_squares_with_penalty_samples(ridge):
    front, end = _draw_pair()
    fitted = fit_ridge_map(_stream(front * 3.0, end), ridge=ridge)
    weight, bias = reference.ridge_map(front * 3.0, end, ridge)
    torch.testing.assert_close(fitted.weight, weight, rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(fitted.bias, bias, rtol=1e-8, atol=1e-9)


def test_the_ridge_is_the_one_that_explains_most_of_held_out_samples():
    front, end = _draw_pair(noise=8.0)
    fit, held_out = _stream(front[:20], end[:20]), _stream(front[20:], end[20:])
    chosen, explained = choose_ridge(fit, held_out, [1e-4, 0.3, 1e4])
    for ridge, r2 in explained.items():
        weight, bias = reference.ridge_map(front[:20], end[:20], ridge)
        assert r2 == pytest.approx(reference.r2(weight, bias, front[20:], end[20:]), rel=1e-9)
    assert chosen == max(explained, key=explained.get)
    flat = _stream(front, torch.ones(N_SAMPLES, N_END, dtype=torch.float64))
    assert choose_ridge(fit, flat, [1.0, 2.0])[0] == 2.0  # nothing to explain: the stronger


def test_merged_moments_are_those_of_all_samples():
    front, end = _draw_pair()
    both = _stream(front[:30], end[:30]).merged(_stream(front[30:], end[30:]))
    torch.testing.assert_close(fit_affine_map(both).weight, fit_affine_map(_stream(front, end)).weight)


@pytest.mark.parametrize("block", [1, 60, 2**22])
def test_the_masked_map_is_least_squares_on_what_each_row_keeps(block, monkeypatch):
    monkeypatch.setattr(maps, "_BLOCK", block)
    front, end = _draw_pair()
    mask = torch.tensor([[1, 0, 1, 0, 0], [0, 0, 0, 1, 0], [1, 1, 1, 1, 1]]).bool()
    fitted = fit_masked_map(_stream(front, end), mask)
    weight, bias = reference.masked_map(front, end, mask)
    torch.testing.assert_close(fitted.weight, weight, rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(fitted.bias, bias, rtol=1e-8, atol=1e-9)
    assert (fitted.weight[~mask] == 0.0).all()
    nothing = fit_masked_map(_stream(front, end), torch.zeros(3, 5).bool())
    assert not nothing.weight.any()
    torch.testing.assert_close(nothing.bias, end.mean(dim=0))


def test_small_weights_become_zero_and_the_bias_stays():
    weight, bias = torch.tensor([[1.0, -1e-5], [0.2, -0.1]]), torch.tensor([1e-6, 2.0])
    fitted = AffineMap(weight.double(), bias.double(), 2)
    sparse = zero_small_weights(fitted, 0.1)
    assert sparse.weight.tolist() == [[1.0, 0.0], [pytest.approx(0.2), pytest.approx(-0.1)]]
    assert torch.equal(sparse.bias, fitted.bias)
    assert describe_weight(sparse) == {"weight_rank": 2, "nonzero_fraction": 0.75}
    assert zero_small_weights(fitted, 5.0).rank == 0


def test_errors_and_distances_read_off_moments_are_those_of_the_samples():
    front, end = _draw_pair()
    other, _ = _draw_pair(seed=1)
    train = _stream(front, end)
    fitted = fit_ridge_map(train, ridge=0.5)
    mapped = front @ fitted.weight.T + fitted.bias
    assert measure_map_error(fitted, train) == pytest.approx((mapped - end).square().mean().item(), rel=1e-9)
    unseen = _stream(other, end)
    expected = reference.mahalanobis(other @ fitted.weight.T + fitted.bias, end)
    assert measure_mahalanobis(fitted, unseen, train) == pytest.approx(expected, rel=1e-8)


def test_the_ends_own_activations_are_at_distance_one_and_far_ones_further():
    _, end = _draw_pair()
    own = _stream(end, end)
    eye = AffineMap(torch.eye(N_END).double(), torch.zeros(N_END).double(), N_END)
    assert measure_mahalanobis(eye, own, own) == pytest.approx(1.0, rel=1e-9)
    far = AffineMap(eye.weight, torch.full((N_END,), 50.0).double(), N_END)
    assert measure_mahalanobis(far, own, own) > 10.0
    flat = _stream(end, torch.full((N_SAMPLES, N_END), 0.1).double())
    assert math.isnan(measure_mahalanobis(eye, own, flat))
    twice = torch.cat([end, 2.0 * end[:, :1]], dim=1)  # its covariance has no inverse
    both, eye = _stream(twice, twice), AffineMap(torch.eye(4).double(), torch.zeros(4).double(), 4)
    assert measure_mahalanobis(eye, both, both) == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: PairedMoments(0, 2), "got 0 and 2"),
        (lambda: PairedMoments(2, 0), "got 2 and 0"),
        (lambda: PairedMoments(2, 2).update(torch.zeros(3, 2), torch.zeros(4, 2)), r"\(3, 2\) and \(4, 2\)"),
        (lambda: PairedMoments(2, 2).update(torch.zeros(3, 1), torch.zeros(3, 3)), r"\(3, 1\) and \(3, 3\)"),
        (lambda: fit_affine_map(PairedMoments(2, 2)), "at least 1 sample"),
        (lambda: fit_orthogonal_map(_stream(*_draw_pair())), "equal width, got 5 and 3"),
        (lambda: fit_reduced_rank_map(_stream(*_draw_pair()), rank=0), "at least 1, got 0"),
        (lambda: fit_ridge_map(_stream(*_draw_pair()), ridge=0.0), "above 0 and finite, got 0.0"),
        (lambda: choose_ridge(PairedMoments(2, 2), PairedMoments(2, 2), []), "at least 1, got none"),
        (lambda: fit_masked_map(_stream(*_draw_pair()), torch.ones(5, 3)), r"shape \(3, 5\), got \(5, 3\)"),
        (lambda: zero_small_weights(fit_affine_map(_stream(*_draw_pair())), math.nan), "got nan"),
    ],
)
def test_misuse_is_refused(act, message):
    with pytest.raises(ValueError, match=message):
        act()


@pytest.mark.parametrize("part", [1, 35, 10**6])
def test_moments_do_not_depend_on_how_many_samples_are_taken_at_a_time(monkeypatch, part):
    generator = torch.Generator().manual_seed(0)
    front, end = (torch.randn(23, n, generator=generator).double() + 5 for n in (3, 4))
    monkeypatch.setattr(moments, "_PART", part)
    found = PairedMoments(3, 4)
    found.update(front, end)
    both = torch.cat([front, end], dim=1)
    centred = both - both.mean(dim=0)
    torch.testing.assert_close(found.joint.scatter, centred.T @ centred, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.joint.mean, both.mean(dim=0), rtol=1e-12, atol=1e-12)
    assert found.joint.n_samples == 23
