"""Outputs are compared by counting; resamples are comparisons of repeated stimuli."""

import math

import pytest
import torch
from tests.reference import stitching as reference

from rep_kedro.kernels.statistics.resampling import draw_bootstrap_counts
from rep_kedro.kernels.stitching.comparison import RESAMPLED, compare_outputs, find_hits, resample_outputs


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
    assert compared.class_averaged_cross_entropy == pytest.approx(expected / 3, rel=1e-12)
    divergence = reference.js_divergence(stitched.tolist(), end.tolist())
    assert compared.js_divergence == pytest.approx(divergence, rel=1e-9)


def test_a_network_against_itself_agrees_with_no_divergence():
    logits = torch.randn(20, 4, generator=torch.Generator().manual_seed(0)) * 50.0
    compared = compare_outputs(logits, logits, logits.argmax(dim=1))
    assert (compared.relative_accuracy, compared.agreement, compared.kl_divergence) == (1.0, 1.0, 0.0)


def test_different_mistakes_are_no_agreement():
    compared = compare_outputs(torch.tensor([[0.0, 1, 0]]), torch.tensor([[0.0, 0, 1]]), torch.tensor([0]))
    assert (compared.n_both_wrong, compared.agreement) == (1, 0.0)


def test_relative_accuracy_to_a_network_that_is_never_right_is_undefined():
    end = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    compared = compare_outputs(-end, end, torch.tensor([1, 1]))
    assert math.isnan(compared.relative_accuracy)
    assert compared.accuracy == 1.0


def test_outputs_that_share_nothing_diverge_by_log_two():
    stitched, end = torch.tensor([[1e4, 0.0]]), torch.tensor([[0.0, 1e4]])
    compared = compare_outputs(stitched, end, torch.tensor([0]))
    assert compared.js_divergence == pytest.approx(math.log(2.0), rel=1e-12)
    assert compared.kl_divergence == pytest.approx(1e4, rel=1e-12)


def test_a_resample_is_the_comparison_of_repeated_stimuli():
    generator = torch.Generator().manual_seed(0)
    stitched = torch.randn(3, 25, 4, generator=generator)
    end = torch.randn(25, 4, generator=generator)
    labels = torch.randint(4, (25,), generator=generator)
    drawn = draw_bootstrap_counts(torch.zeros(25), 6, generator=generator)
    counts = torch.cat([torch.ones(1, 25).long(), drawn])
    found = resample_outputs(stitched, end, labels, counts)
    assert set(found) == set(RESAMPLED)
    for replicate, own in enumerate(counts):
        rows = torch.arange(25).repeat_interleave(own)
        for place in range(3):
            compared = compare_outputs(stitched[place, rows], end[rows], labels[rows])
            for name in RESAMPLED:
                expected = pytest.approx(getattr(compared, name), rel=1e-9, abs=1e-12)
                assert found[name][replicate, place].item() == expected


def test_relative_accuracy_is_undefined_in_resamples_where_the_end_is_never_right():
    end = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    counts = torch.tensor([[2, 0], [0, 2]])
    found = resample_outputs(end[None], end, torch.tensor([1, 0]), counts)["relative_accuracy"]
    assert math.isnan(found[0, 0])
    assert found[1, 0] == 1.0


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (
            lambda: compare_outputs(torch.zeros(2, 3), torch.zeros(2, 4), torch.zeros(2)),
            r"\(2, 3\), \(2, 4\) and \(2,\)",
        ),
        (
            lambda: compare_outputs(torch.full((1, 2), torch.nan), torch.zeros(1, 2), torch.zeros(1)),
            "must be finite",
        ),
        (
            lambda: resample_outputs(
                torch.zeros(1, 2, 3), torch.zeros(2, 3), torch.zeros(2).long(), torch.ones(4, 3)
            ),
            r"shape \(n_resamples, 2\)",
        ),
    ],
)
def test_misuse_is_refused(act, message):
    with pytest.raises(ValueError, match=message):
        act()


def test_outputs_of_several_labels_are_compared_class_by_class():
    generator = torch.Generator().manual_seed(1)
    stitched, end = (torch.randn(7, 3, generator=generator) for _ in range(2))
    labels = torch.randint(2, (7, 3), generator=generator)
    labels[0] = 0
    compared = compare_outputs(stitched, end, labels)
    entropy, divergence = reference.compare_several(stitched.tolist(), end.tolist())
    own, _ = reference.compare_several(end.tolist(), end.tolist())
    assert compared.cross_entropy == pytest.approx(entropy, rel=1e-9)
    assert compared.class_averaged_cross_entropy == pytest.approx(entropy / 3, rel=1e-9)
    assert compared.kl_divergence == pytest.approx(entropy - own, rel=1e-9)
    assert compared.js_divergence == pytest.approx(divergence, rel=1e-9)
    chosen = [max(range(3), key=lambda c, row=row: row[c]) for row in stitched.tolist()]
    hits = [labels[n, c].item() for n, c in enumerate(chosen)]
    assert compared.accuracy == sum(hits) / 7
    assert not find_hits(stitched, labels)[0]
    itself = compare_outputs(end, end, labels)
    assert itself.agreement == 1.0
    assert itself.js_divergence == pytest.approx(0.0, abs=1e-12)
    assert itself.kl_divergence == pytest.approx(0.0, abs=1e-12)
    counts = torch.ones(1, 7).long()
    resampled = resample_outputs(stitched[None], end, labels, counts)
    for name in RESAMPLED:
        assert resampled[name].item() == pytest.approx(getattr(compared, name), rel=1e-9)


def test_labels_of_other_stimuli_are_refused():
    logits = torch.zeros(4, 3)
    for labels in (torch.zeros(3), torch.zeros(4, 2), torch.zeros(3, 3)):
        with pytest.raises(ValueError, match="labels for each stimulus, got"):
            compare_outputs(logits, logits, labels)
