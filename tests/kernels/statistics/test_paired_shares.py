"""Intervals of the ratio of two shares that were counted on the same stimuli."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from tests.reference import paired_shares as reference

from rep_kedro.kernels.statistics.paired_shares import bound_ratio

COUNTS = [(80, 2, 10), (8000, 50, 200), (3, 4, 2), (0, 3, 4), (5, 0, 2), (5, 2, 0), (0, 0, 7), (20, 0, 0)]


@pytest.mark.parametrize("counts", COUNTS)
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_ends_are_where_the_score_test_begins_to_refuse(counts, confidence):
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    low, high = bound_ratio(*counts, confidence=confidence)
    assert reference.deviate(*counts, high) == pytest.approx(-z, rel=1e-6)
    if counts[0] + counts[1]:
        assert reference.deviate(*counts, low) == pytest.approx(z, rel=1e-6)
    else:
        assert low == 0


@pytest.mark.parametrize("counts", [counts for counts in COUNTS if counts[0] + counts[1]])
def test_exchanging_the_shares_inverts_the_interval(counts):
    both, first, second = counts
    low, high = bound_ratio(*counts)
    assert bound_ratio(both, second, first) == pytest.approx((1 / high, 1 / low), rel=1e-9)


def test_stimuli_that_never_differ_leave_an_interval_about_one():
    z_squared = NormalDist().inv_cdf(0.975) ** 2  # by the formula: n / (n + z^2) to its inverse
    assert bound_ratio(80, 0, 0) == pytest.approx((80 / (80 + z_squared), (80 + z_squared) / 80))


@pytest.mark.parametrize(("n", "shares"), [(12, (0.5, 0.1, 0.2)), (100, (0.8, 0.0, 0.05))])
def test_intervals_cover_the_true_ratio(n, shares):
    both, first, second = shares
    drawn = np.random.default_rng(0).multinomial(n, [*shares, 1 - sum(shares)], size=500)
    intervals = {tuple(row): bound_ratio(*row) for row in drawn[:, :3].tolist()}
    ends = np.array([intervals[tuple(row)] for row in drawn[:, :3].tolist()])
    ratio = (both + first) / (both + second)
    assert 0.93 <= ((ends[:, 0] <= ratio) & (ratio <= ends[:, 1])).mean() <= 0.98


def test_a_ratio_to_nothing_is_undefined_and_negative_counts_are_refused():
    assert all(math.isnan(end) for end in bound_ratio(0, 3, 0))
    with pytest.raises(ValueError, match="counts must not be negative, got 5, -1 and 2"):
        bound_ratio(5, -1, 2)
