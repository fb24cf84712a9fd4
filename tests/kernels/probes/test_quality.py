"""Top k, calibration and average precision agree with counting and with scikit-learn."""

import numpy as np
import pytest
import torch
from scipy.stats import t
from sklearn.metrics import average_precision_score, top_k_accuracy_score
from tests.reference import probes as reference

from rep_kedro.kernels.probes.probe import bound_mean
from rep_kedro.kernels.probes.quality import (
    measure_average_precision,
    measure_calibration_error,
    measure_top_k,
)


@pytest.fixture
def drawn():
    rng = np.random.default_rng(0)
    return torch.tensor(rng.normal(size=(50, 7))), torch.tensor(rng.integers(7, size=50))


@pytest.mark.parametrize("k", [1, 3, 6])
def test_top_k_is_scikit_learns(drawn, k):
    logits, labels = drawn
    expected = top_k_accuracy_score(labels.numpy(), logits.numpy(), k=k, labels=range(7))
    assert measure_top_k(logits, labels, k=k) == expected
    several = torch.nn.functional.one_hot(labels, 7)
    assert measure_top_k(logits, several, k=k) == expected
    several[:, 0] = 1
    assert measure_top_k(logits, several, k=6) >= expected


def test_the_calibration_error_is_that_of_counted_bins(drawn):
    logits, labels = drawn
    for sharpness in (0.1, 1.0, 10.0):
        probabilities = (sharpness * logits).softmax(dim=1)
        expected = reference.calibration_error(probabilities.tolist(), labels.tolist(), 15)
        assert measure_calibration_error(probabilities, labels) == pytest.approx(expected, abs=1e-12)
    sure = torch.nn.functional.one_hot(labels, 7).double()
    assert measure_calibration_error(sure, labels) == 0.0
    assert measure_calibration_error(sure, (labels + 1) % 7) == 1.0


@pytest.mark.parametrize(
    ("confidences", "expected"),
    [
        ((0.06, 0.1), (0.94 + 0.1) / 2),  # two bins
        ((0.07, 0.1), (0.93 - 0.1) / 2),  # one
        ((0.25, 0.5), (0.75 + 0.5) / 2),
        ((0.45, 0.5), (0.55 - 0.5) / 2),  # the upper end, 0.5, belongs to the bin below it
    ],
)
def test_bins_are_half_open_from_below(confidences, expected):
    probabilities = torch.zeros(2, 20, dtype=torch.float64)
    for row, confidence in enumerate(confidences):
        probabilities[row] = (1 - confidence) / 19
        probabilities[row, 3] = confidence
    labels = torch.tensor([3, 4])  # the first is a hit
    n_bins = 15 if min(confidences) < 0.2 else 8
    assert measure_calibration_error(probabilities, labels, n_bins=n_bins) == pytest.approx(expected)


def test_the_average_precision_is_scikit_learns_also_with_equal_logits(drawn):
    logits, _ = drawn
    several = (torch.arange(50)[:, None] % torch.tensor([2, 3, 5, 7, 11, 13, 60]) == 1).long()
    several[:, 6] = 0  # a class that no sample has
    for scores in (logits, logits.round(), torch.zeros_like(logits)):
        found = measure_average_precision(scores, several)
        expected = [average_precision_score(several[:, c], scores[:, c]) for c in range(6)]
        assert found.of_classes[:6].tolist() == pytest.approx(expected, rel=1e-12)
        assert found.of_classes[6].isnan()
        assert found.mean == pytest.approx(np.mean(expected), rel=1e-12)
    with pytest.raises(ValueError, match="a sample with a class"):
        measure_average_precision(logits, torch.zeros(50, 7))


def test_the_interval_of_a_mean_is_students():
    values = [0.5, 0.6, 0.8]
    expected = t.interval(0.95, 2, loc=np.mean(values), scale=np.std(values, ddof=1) / np.sqrt(3))
    assert bound_mean(values) == pytest.approx(expected, rel=1e-12)


def test_nothing_to_count_is_refused():
    with pytest.raises(ValueError, match="at least 1 sample"):
        measure_top_k(torch.zeros(0, 7), torch.zeros(0), k=5)
    with pytest.raises(ValueError, match="k must be from 1 to 2, got 3"):
        measure_top_k(torch.zeros(4, 3), torch.zeros(4), k=3)
    with pytest.raises(ValueError, match="at least 1 sample"):
        measure_calibration_error(torch.zeros(0, 7), torch.zeros(0))
