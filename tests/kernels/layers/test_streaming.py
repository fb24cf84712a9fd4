"""Streamed moments equal the moments of all samples at once, however they are cut."""

import pytest
import torch
from tests.reference import spectrum as reference

from rep_kedro.kernels.layers.streaming import StreamedMoments, flatten_positions

N_SAMPLES, N_FEATURES = 60, 5


@pytest.fixture
def samples():
    generator = torch.Generator().manual_seed(3)
    mixing = torch.randn(N_FEATURES, N_FEATURES, generator=generator, dtype=torch.float64)
    return torch.randn(N_SAMPLES, N_FEATURES, generator=generator, dtype=torch.float64) @ mixing + 2.0


def _stream(samples, sizes):
    moments = StreamedMoments(samples.shape[1])
    for batch in samples.split(sizes):
        moments.update(batch)
    return moments


@pytest.mark.parametrize("sizes", [60, 1, 7, [1, 58, 1], [30, 0, 30]])
def test_moments_agree_with_the_definition_for_every_batch_size(samples, sizes):
    moments = _stream(samples, sizes)
    assert moments.n_samples == N_SAMPLES
    for ddof in (0, 1):
        expected = torch.tensor(reference.covariance(samples.tolist(), ddof=ddof), dtype=torch.float64)
        torch.testing.assert_close(moments.covariance(ddof=ddof), expected, rtol=1e-12, atol=1e-13)
    expected = torch.tensor(reference.second_moment(samples.tolist()), dtype=torch.float64)
    torch.testing.assert_close(moments.second_moment(), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("shift", [1e6, 1e9])
def test_a_mean_far_above_the_spread_costs_no_digits(samples, shift):
    shifted = samples + shift  # the addition rounds; both sides see the same rounded samples
    expected = torch.tensor(reference.covariance((shifted - shift).tolist()), dtype=torch.float64)
    covariance = _stream(shifted, 7).covariance()
    assert (covariance - expected).abs().max() <= 1e-7 * expected.abs().max()
    naive = shifted.T @ shifted / N_SAMPLES - torch.outer(shifted.mean(0), shifted.mean(0))
    assert (naive - expected).abs().max() > 1e-5 * expected.abs().max()


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_covariance_scales_with_the_square_of_the_samples(samples, scale):
    covariance = _stream(samples * scale, 11).covariance()
    torch.testing.assert_close(
        covariance / scale**2, _stream(samples, 60).covariance(), rtol=1e-12, atol=1e-14
    )


def test_float32_batches_are_summed_in_float64(samples):
    single = samples.float()
    torch.testing.assert_close(
        _stream(single, 7).covariance(), _stream(single.double(), 60).covariance(), rtol=1e-13, atol=1e-14
    )


@pytest.mark.parametrize("cut", [0, 1, 23, 60])
def test_merged_states_equal_the_state_of_all_samples(samples, cut):
    left, right = _stream(samples[:cut], 5), _stream(samples[cut:], 8)
    before = right.scatter.clone()
    left.merge(right)
    whole = _stream(samples, 60)
    assert left.n_samples == N_SAMPLES
    torch.testing.assert_close(left.mean, whole.mean, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(left.scatter, whole.scatter, rtol=1e-12, atol=1e-12)
    assert torch.equal(right.scatter, before)


def test_the_covariance_is_exactly_symmetric(samples):
    covariance = _stream(samples, 7).covariance()
    assert torch.equal(covariance, covariance.T)


def test_samples_are_not_changed(samples):
    before = samples.clone()
    _stream(samples, 7)
    assert torch.equal(samples, before)


def test_constant_samples_are_recognised_beside_a_tiny_spread():
    constant = torch.full((50, 3), 0.1)
    assert _stream(constant, 7).is_constant()
    assert _stream(torch.zeros(4, 3), 2).is_constant()
    constant[0, 0] += 1e-6
    assert not _stream(constant, 7).is_constant()


@pytest.mark.parametrize(("spread", "is_constant"), [(1e-7, True), (1e-5, False)])
def test_a_spread_counts_relative_to_the_mean(spread, is_constant):
    samples = 1e6 + spread * torch.tensor([[1.0], [-1.0]], dtype=torch.float64).repeat(9, 1)
    assert _stream(samples, 4).is_constant() is is_constant


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: StreamedMoments(0), "need at least 1 feature, got 0"),
        (lambda: StreamedMoments(2).update(torch.zeros(4, 3)), r"shape \(n_samples, 2\), got \(4, 3\)"),
        (lambda: StreamedMoments(2).update(torch.tensor([[0.0, torch.nan]])), r"finite.*features \[1\]"),
        (lambda: StreamedMoments(2).merge(StreamedMoments(3)), "the same number of features, got 2 and 3"),
        (lambda: StreamedMoments(2).covariance(), "more than 0 samples, got 0"),
        (lambda: flatten_positions(torch.zeros(3)), r"got shape \(3,\)"),
    ],
)
def test_misuse_is_refused(act, message):
    with pytest.raises(ValueError, match=message):
        act()


def test_every_position_of_a_map_becomes_a_sample_of_its_channels():
    maps = torch.arange(2 * 3 * 2 * 2).reshape(2, 3, 2, 2)
    rows = flatten_positions(maps)
    assert rows.shape == (8, 3)
    for image in range(2):
        for y in range(2):
            for x in range(2):
                assert torch.equal(rows[image * 4 + y * 2 + x], maps[image, :, y, x])
    tokens = torch.arange(12).reshape(2, 3, 2)
    assert torch.equal(flatten_positions(tokens), tokens.reshape(6, 2))


def _stream_float32(samples, sizes):
    moments = StreamedMoments(samples.shape[1], products=torch.float32)
    for batch in samples.split(sizes):
        moments.update(batch)
    return moments


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_products_in_float32_keep_six_digits_of_hard_samples(samples, dtype, offset, scale):
    hard = ((samples + offset) * scale).to(dtype)
    expected = torch.tensor(reference.covariance(hard.double().tolist()), dtype=torch.float64)
    for sizes in (60, 7, [1, 58, 1]):
        found = _stream_float32(hard, sizes)
        assert (found.covariance() - expected).abs().max() <= 1e-6 * expected.abs().max()
        torch.testing.assert_close(found.mean, hard.double().mean(dim=0), rtol=1e-12, atol=0.0)


def test_products_in_float32_see_a_mean_that_moves_between_batches(samples):
    moving = torch.cat([samples[:20], samples[20:40] + 1e3, samples[40:] - 1e3]).float()
    expected = torch.tensor(reference.covariance(moving.double().tolist()), dtype=torch.float64)
    found = _stream_float32(moving, 20).covariance()
    assert (found - expected).abs().max() <= 1e-6 * expected.abs().max()


@pytest.mark.parametrize("products", [torch.float32, torch.float64])
def test_shards_merge_to_the_whole_at_ten_digits(samples, products):
    batches = samples.float().split(6)
    whole, shards = (
        StreamedMoments(N_FEATURES, products=products),
        [StreamedMoments(N_FEATURES, products=products) for _ in range(3)],
    )
    for i, batch in enumerate(batches):
        whole.update(batch)
        shards[i % 3].update(batch)
    merged = StreamedMoments(N_FEATURES, products=products)
    for shard in shards:
        merged.merge(shard)
    merged.merge(StreamedMoments(N_FEATURES))
    torch.testing.assert_close(merged.mean, whole.mean, rtol=1e-13, atol=1e-13)
    assert (merged.covariance() - whole.covariance()).abs().max() <= 1e-10 * whole.covariance().abs().max()


@pytest.mark.parametrize("products", [torch.float32, torch.float64])
def test_one_sample_and_constant_channels_have_no_spread(products):
    moments = StreamedMoments(3, products=products)
    moments.update(torch.tensor([[0.1, 1e6, -3e-8]]))
    assert moments.is_constant()
    assert not moments.covariance().any()
    moments = StreamedMoments(2, products=products)
    for batch in torch.stack([torch.full((50,), 1e6 + 0.1), torch.arange(50.0)], dim=1).split(7):
        moments.update(batch)
    assert moments.covariance()[0, 0] <= 1e-24 * 1e12
    assert moments.covariance()[1, 1] == pytest.approx((50**2 - 1) / 12, rel=1e-6)


def test_what_is_not_checked_stays_in_the_sums():
    moments = StreamedMoments(2, products=torch.float32)
    moments.update(torch.tensor([[0.0, torch.nan]]), check=False)
    moments.update(torch.tensor([[0.0, 1.0]]), check=False)
    assert torch.isnan(moments.covariance()[1, 1])
