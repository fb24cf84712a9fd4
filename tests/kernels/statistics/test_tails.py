"""The tail of a network: a naive reference from the formula, published curves, bounds, refusals."""

import numpy as np
import pytest

from rep_kedro.kernels.statistics.tails import find_tail

# Probe accuracies of VGG-16 on CIFAR-10, read from figure 3 of arXiv:2102.01582, by side of the image.
VGG16_32 = [0.38, 0.53, 0.68, 0.75, 0.81, 0.86, 0.885, 0.90, 0.905, 0.905, 0.905, 0.905, 0.905, 0.905]
VGG16_160 = [0.38, 0.44, 0.48, 0.51, 0.59, 0.62, 0.625, 0.68, 0.76, 0.80, 0.83, 0.87, 0.90, 0.916]


def _reference(accuracies, epsilon):
    for place in range(1, len(accuracies)):
        if max(accuracies[place:]) - max(accuracies[:place]) < epsilon:
            return place
    return None


@pytest.mark.parametrize("seed", range(20))
def test_the_tail_is_that_of_the_formula(seed):
    rng = np.random.default_rng(seed)
    accuracies = np.sort(rng.random(rng.integers(2, 12))) - 0.3 * (rng.random() < 0.5) * rng.random()
    accuracies[rng.integers(len(accuracies))] *= rng.random()
    for epsilon in (1e-6, 0.01, 0.1, 0.5, 2.0):
        assert find_tail(accuracies, epsilon) == _reference(accuracies.tolist(), epsilon)


def test_published_curves_have_their_published_tails():
    assert find_tail(np.array(VGG16_32), 0.01) == 8
    assert find_tail(np.array(VGG16_32), 0.025) == 7  # its border layer
    assert find_tail(np.array(VGG16_160), 0.01) is None


def test_dips_are_no_gain_and_slow_gains_add_up():
    assert find_tail(np.array([0.4, 0.8, 0.5, 0.8, 0.2, 0.8]), 0.01) == 2
    assert find_tail(np.linspace(0.5, 0.59, 10), 0.025) == 8  # 0.01 a layer


@pytest.mark.parametrize(("accuracies", "epsilon"), [([], 0.1), ([0.1, np.nan], 0.1), ([0.1, 0.2], 0.0)])
def test_what_has_no_tail_is_refused(accuracies, epsilon):
    with pytest.raises(ValueError, match="have no tail"):
        find_tail(np.array(accuracies), epsilon)


def test_one_layer_has_no_tail():
    assert find_tail(np.array([0.5]), 0.1) is None
