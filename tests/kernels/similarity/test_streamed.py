"""Streamed CKA: the unbiased HSIC of every batch by its formula, summed and normalised."""

import pytest
import torch

from rep_kedro.kernels.similarity.cka import compare_cka
from rep_kedro.kernels.similarity.streamed import StreamedCka

SIZES, WIDTHS = (12, 12, 9, 5), (7, 30, 3)


def draw(seed=0, scale=1.0, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(sum(SIZES), 2, generator=generator)
    return [
        scale
        * (shared @ torch.randn(2, d, generator=generator) + torch.randn(sum(SIZES), d, generator=generator))
        + shift
        for d in WIDTHS
    ]


def stream(representations, sizes=SIZES, order=None):
    streamed = StreamedCka(len(representations))
    for rows in torch.arange(sum(sizes)).split(list(sizes)):
        for index in order or range(len(representations)):
            streamed.put(index, representations[index][rows])
        streamed.end_batch()
    return streamed.finish()


def unbiased_hsic(x, y):
    """Return the unbiased HSIC by equation 5 of Song et al. 2012, entry by entry in float64."""
    n = len(x)
    k, l = (torch.outer(torch.ones(n), torch.ones(n)).double() * (z.double() @ z.double().T) for z in (x, y))  # noqa: E741
    k.fill_diagonal_(0)
    l.fill_diagonal_(0)
    ones = torch.ones(n, dtype=torch.float64)
    total = (k @ l).trace() + (ones @ k @ ones) * (ones @ l @ ones) / ((n - 1) * (n - 2))
    return (total - 2 / (n - 2) * (ones @ k @ l @ ones)) / (n * (n - 3))


def reference(representations, sizes=SIZES):
    n = len(representations)
    inner = torch.zeros(n, n, dtype=torch.float64)
    for rows in torch.arange(sum(sizes)).split(list(sizes)):
        for a in range(n):
            for b in range(n):
                inner[a, b] += unbiased_hsic(representations[a][rows], representations[b][rows])
    return inner / torch.outer(inner.diagonal(), inner.diagonal()).sqrt()


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1e-12, 0.0), (1e10, 3.0), (1.0, 300.0)])
def test_it_is_the_mean_of_the_unbiased_hsic_over_batches_of_any_size(scale, shift):
    representations = draw(scale=scale, shift=shift)
    values, reasons = stream(representations)
    assert reasons == {}
    tolerance = 1e-6 if shift < 10 else 1e-4  # float32 has four digits left of what varies around 300
    torch.testing.assert_close(values, reference(representations), rtol=0, atol=tolerance)
    torch.testing.assert_close(values.diagonal(), torch.ones(3, dtype=torch.float64))


def test_one_batch_is_debiased_cka_and_maps_are_flattened():
    representations = draw()
    values, _ = stream(representations, sizes=(38,))
    request = {"whole": {"kernel": "linear", "estimator": "debiased"}}
    [(_, whole, _)] = compare_cka(representations, request, memory_bytes=10**7)
    torch.testing.assert_close(values, whole, rtol=0, atol=1e-6)
    maps = [x.reshape(38, 1, -1, 1) for x in representations]
    torch.testing.assert_close(stream(maps, sizes=(38,))[0], values, rtol=0, atol=0)


def test_the_order_in_which_layers_come_changes_nothing():
    representations = draw()
    torch.testing.assert_close(stream(representations, order=[2, 0, 1])[0], stream(representations)[0])


def test_golden_values():
    values, _ = stream([x.double() for x in draw(seed=3)])
    expected = torch.tensor([0.737546, 0.492152, 0.781584], dtype=torch.float64)
    torch.testing.assert_close(values[[0, 0, 1], [1, 2, 2]], expected, rtol=0, atol=1e-6)


def test_features_that_never_differ_have_a_reason_and_a_single_flat_batch_none():
    x, y, z = draw()
    values, reasons = stream([x, torch.full((38, 4), 2.5), z])
    assert values[1].isnan().all()
    assert values[0, 2].isfinite()
    assert "same features" in reasons[0, 1][0].why
    y[:12] = 1.5
    values, reasons = stream([x, y, z])
    assert reasons == {}
    assert values.isfinite().all()


def test_batches_that_cannot_be_summed_are_refused():
    streamed, x = StreamedCka(2), torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="a batch of 3 stimuli has no unbiased HSIC; give at least 4"):
        streamed.put(0, x[:3])
    streamed.put(0, x)
    with pytest.raises(ValueError, match="representation 0: give the 6 stimuli"):
        streamed.put(0, x)
    with pytest.raises(ValueError, match="representation 1: give the 5 stimuli"):
        streamed.put(1, x[:5])
    with pytest.raises(ValueError, match=r"representations \[1\] were not given"):
        streamed.end_batch()
