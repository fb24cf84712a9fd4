"""The range of disagreement that accuracies allow, against all predictions that there are."""

from itertools import product

import pytest
import torch

from rep_kedro.kernels.probes.agreement_bounds import bound_disagreement


@pytest.mark.parametrize(("n_stimuli", "n_classes"), [(1, 2), (4, 2), (3, 3), (2, 4)])
def test_bounds_are_the_extremes_over_all_predictions(n_stimuli, n_classes):
    every = list(product(range(n_classes), repeat=n_stimuli))
    truth = every[len(every) // 3]
    shares = {}
    for one in every:
        for other in every:
            right = tuple(sum(p == t for p, t in zip(x, truth, strict=True)) for x in (one, other))
            differ = sum(p != q for p, q in zip(one, other, strict=True)) / n_stimuli
            shares.setdefault(right, []).append(differ)
    low, high = bound_disagreement(torch.arange(n_stimuli + 1), n_stimuli=n_stimuli, n_classes=n_classes)
    assert set(shares) == set(product(range(n_stimuli + 1), repeat=2))
    for (a, b), found in shares.items():
        assert (low[a, b].item(), high[a, b].item()) == (min(found), max(found))


def test_bounds_in_accuracies_are_those_of_churn():
    right = torch.tensor([97, 80, 30])
    low, high = bound_disagreement(right, n_stimuli=100, n_classes=10)
    accuracy = right.double() / 100
    torch.testing.assert_close(low, (accuracy[:, None] - accuracy).abs())
    torch.testing.assert_close(high, (2 - accuracy[:, None] - accuracy).clamp(max=1))


@pytest.mark.parametrize(
    ("right", "n_stimuli", "n_classes", "message"),
    [
        ([1], 0, 2, "at least 1 stimulus and 2 classes, got 0 and 2"),
        ([1], 3, 1, "got 3 and 1"),
        ([4], 3, 2, r"integers from 0 to 3, got \[4\]"),
        ([-1], 3, 2, r"integers from 0 to 3, got \[-1\]"),
        ([0.5], 3, 2, "integers from"),
    ],
)
def test_impossible_counts_are_refused(right, n_stimuli, n_classes, message):
    with pytest.raises(ValueError, match=message):
        bound_disagreement(torch.tensor(right), n_stimuli=n_stimuli, n_classes=n_classes)
