"""With the fewest stimuli that a measure declares it has a value, with one fewer a reason and no value."""

import math

import numpy as np
import pytest
import torch

from rep_kedro.measures import MEASURES, compare_models

ROW, COLUMN = 3, 5  # features of two models, none of which depend on others, so that these are ranks
NAMES = [name for name, measure in MEASURES.items() if measure.compares == "features"]


def draw(n, widths=(ROW, COLUMN)):
    generator = torch.Generator().manual_seed(n)
    return [torch.randn(n, d, generator=generator, dtype=torch.float64) * 0.3 for d in widths]


def compare(representations, name):
    [(_, comparison)] = compare_models(representations, [name], memory_bytes=2**22)
    return comparison


@pytest.mark.parametrize("name", NAMES)
def test_the_fewest_stimuli_are_enough(name):
    fewest = MEASURES[name].fewest_stimuli.given(ROW, COLUMN)
    shared = 3 * draw(fewest, (1,))[0]  # what has nothing in common has no value corrected for chance
    representations = [shared + x for x in draw(fewest)]
    assert math.isfinite(compare(representations, name).values[0, 1])


@pytest.mark.parametrize("name", NAMES)
def test_one_stimulus_fewer_is_refused_with_the_reason(name):
    fewer = MEASURES[name].fewest_stimuli.given(ROW, COLUMN) - 1
    if fewer < 4:
        with pytest.raises(ValueError, match="representation 0 has 3 stimuli, need at least 4"):
            compare(draw(fewer), name)
        return
    comparison = compare(draw(fewer), name)
    assert math.isnan(comparison.values[0, 1])
    assert f"{fewer}" in comparison.reasons[0, 1]


def test_a_directed_measure_counts_the_row_alone():
    fewest = MEASURES["linear_regression_r2"].fewest_stimuli
    assert (fewest.given(ROW, COLUMN), fewest.given(COLUMN, ROW)) == (5, 7)
    comparison = compare(draw(6), "linear_regression_r2")
    assert np.isnan(comparison.values).tolist() == [[False, False], [True, False]]
    assert "predictor of rank 5 fits any features of 6 centred stimuli" in comparison.reasons[1, 0]


def test_too_few_stimuli_for_one_measure_leave_the_others():
    names = ["cka_linear_debiased", "mutual_knn_10", "cca_mean", "jaccard_10", "information_imbalance"]
    answers = dict(compare_models(draw(6), names, memory_bytes=2**22))
    undefined = [name for name in names if np.isnan(answers[name].values[0, 1])]
    assert undefined == ["mutual_knn_10", "cca_mean", "jaccard_10"]
    assert answers["mutual_knn_10"].reasons[0, 0] == "mutual_knn_10 needs at least 11 stimuli, got 6"
    assert answers["cca_mean"].reasons[0, 1].startswith("ranks 3 and 5 add up to more than the 6 stimuli")


def test_canonical_correlations_of_more_features_than_stimuli_are_refused_but_for_a_model_with_itself():
    for name in ("cca_mean", "cca_mean_squared", "pwcca", "shape_angular_0", "eigenspace_overlap"):
        comparison = compare(draw(10, (12, 20)), name)
        assert np.isnan(comparison.values).tolist() == [[False, True], [True, False]]
        assert "use more stimuli or fewer features" in comparison.reasons[0, 1]


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("cka_linear_debiased", "4"),
        ("mutual_knn_10", "11"),
        ("cca_mean", "r_a + r_b"),
        ("svcca_0.99", "c_a + c_b"),
        ("linear_regression_r2", "r_a + 2"),
    ],
)
def test_the_rule_is_reported_in_letters(name, rule):
    assert str(MEASURES[name].fewest_stimuli) == rule
