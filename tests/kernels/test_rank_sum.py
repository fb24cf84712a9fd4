"""The rank-sum test against counting, against scipy, and at its limits."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import ranksums
from tests.reference.rank_sum import rank_sum

from rep_kedro.kernels.rank_sum import rank_sum_test


@pytest.mark.parametrize("sizes", [(1, 1), (3, 3), (7, 40), (253, 253)])
@pytest.mark.parametrize("decimals", [None, 1, 0], ids=["no ties", "some ties", "many ties"])
@pytest.mark.parametrize("scale", [1.0, 1e-200, 1e200])
def test_statistic_and_p_value_agree_with_counting_and_with_scipy(sizes, decimals, scale):
    rng = np.random.default_rng(sum(sizes))
    first, second = rng.normal(size=sizes[0]) + 0.3, rng.normal(size=sizes[1])
    if decimals is not None:
        first, second = first.round(decimals), second.round(decimals)
    found = rank_sum_test(torch.tensor(first * scale), torch.tensor(second * scale))
    assert found == pytest.approx(rank_sum(first, second), rel=1e-12, abs=1e-13)
    theirs = ranksums(first, second)
    assert found == pytest.approx((theirs.statistic, theirs.pvalue), rel=1e-9, abs=1e-12)


def test_far_tails_keep_their_digits():
    first, second = torch.arange(253.0) + 1000, torch.arange(253.0)
    z, p_value = rank_sum_test(first, second)
    theirs = ranksums(first.numpy(), second.numpy())
    assert p_value == pytest.approx(theirs.pvalue, rel=1e-10)
    assert 0 < p_value < 1e-80
    assert z > 0


def test_exchanged_samples_change_the_sign_alone():
    rng = torch.Generator().manual_seed(0)
    first, second = torch.rand(9, generator=rng), torch.rand(5, generator=rng)
    one, other = rank_sum_test(first, second), rank_sum_test(second, first)
    assert one == (-other[0], other[1])


def test_undefined_values_are_left_out_and_empty_samples_have_no_answer():
    first, second = torch.tensor([3.0, math.nan, 1.0]), torch.tensor([2.0, 5.0])
    assert rank_sum_test(first, second) == rank_sum_test(torch.tensor([3.0, 1.0]), second)
    for pair in ((first, second[:0]), (first * math.nan, second)):
        assert all(math.isnan(number) for number in rank_sum_test(*pair))


def test_equal_samples_do_not_differ():
    assert rank_sum_test(torch.ones(4), torch.ones(7)) == (0, 1)
