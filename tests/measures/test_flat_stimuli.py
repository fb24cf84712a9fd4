"""Stimuli that are flat for one of two networks are left out of their comparison alone, and counted."""

import numpy as np
import pytest
import torch

from rep_kedro.errors import UserError
from rep_kedro.kernels.similarity.flat_stimuli import find_flat
from rep_kedro.measures import MEASURES, compare_models, get_measure
from rep_kedro.measures.flat_stimuli import compare_without_flat, flatness_of

COSINE, CORRELATION, NEITHER = "rsa_cosine_pearson", "rsa_correlation_spearman", "cka_linear_debiased"


def draw(n=30, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(n, d, generator=generator).to(dtype)
        for name, d in (("a", 5), ("b", 7), ("c", 6), ("d", 5))
    }


def plain(names, rows, measure):
    kept = [draw()[name][rows] for name in names]
    [(_, comparison)] = compare_models(kept, [measure], memory_bytes=2**22)
    return comparison.values[0, 1]


def compare(representations, *measures):
    found = compare_without_flat(representations, map(get_measure, measures), memory_bytes=2**22)
    return {comparison.measure.id: comparison for comparison in found}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_each_pair_is_compared_on_the_stimuli_that_are_flat_for_neither(dtype):
    models = draw(dtype=dtype)
    models["b"][[3, 4]] = 0
    models["c"][[4, 9, 10]] = 0
    models["d"][[3, 4]] = 2.5  # no flat cosine, flat correlations
    found = compare(models, COSINE, CORRELATION, NEITHER)
    assert found[COSINE].n_left_out.tolist() == [[0, 2, 3, 0], [2, 2, 4, 2], [3, 4, 3, 3], [0, 2, 3, 0]]
    assert found[CORRELATION].n_left_out.tolist() == [[0, 2, 3, 2], [2, 2, 4, 2], [3, 4, 3, 4], [2, 2, 4, 2]]
    assert not found[NEITHER].n_left_out.any()
    without = {
        count: [r for r in range(30) if r not in left] for count, left in ((2, {3, 4}), (4, {3, 4, 9, 10}))
    }
    for measure in (COSINE, CORRELATION):
        assert not np.isnan(found[measure].values).any()
        assert found[measure].values[0, 1] == pytest.approx(plain("ab", without[2], measure), abs=1e-6)
        assert found[measure].values[2, 1] == pytest.approx(plain("cb", without[4], measure), abs=1e-6)
        assert not found[measure].reasons
    expected = dict(compare_models(list(models.values()), [NEITHER], memory_bytes=2**22))[NEITHER].values
    np.testing.assert_array_equal(found[NEITHER].values, expected)


@pytest.mark.parametrize("factor", [1e-300, 1e300])
@pytest.mark.parametrize("centred", [True, False])
def test_the_size_of_features_does_not_make_a_stimulus_flat(factor, centred):
    x = draw(dtype=torch.float64)["a"]
    x[3], x[4] = 0, 2.5
    expected = [row == 3 or (row == 4 and centred) for row in range(30)]
    assert find_flat(x * factor, centred=centred).tolist() == expected


def test_without_flat_stimuli_nothing_changes():
    names = [COSINE, CORRELATION, "mutual_knn_10", "ridge_r2"]
    found = compare(draw(), *names)
    for name, comparison in compare_models(list(draw().values()), names, memory_bytes=2**22):
        np.testing.assert_array_equal(found[name].values, comparison.values)
        assert not found[name].n_left_out.any()


def test_too_few_stimuli_that_are_left_are_a_reason_for_the_pair_alone():
    models = draw()
    models["b"][:27] = 0
    found = compare(models, COSINE, "mutual_knn_10")[COSINE]
    assert np.isnan(found.values).tolist() == [[m == "b" or o == "b" for m in "abcd"] for o in "abcd"]
    assert found.reasons["a", "b"] == "only 3 stimuli are flat for neither network, need at least 4"
    assert set(found.reasons) == {(m, o) for m in "abcd" for o in "abcd" if "b" in (m, o)}


@pytest.mark.parametrize("name", [n for n, m in MEASURES.items() if m.compares == "features"])
def test_what_counts_as_flat_is_what_leaves_a_measure_undefined(name):
    """A stimulus of zeros, and one of equal features, in an otherwise ordinary model."""
    models = draw()
    models["b"][3] = 0
    models["c"][3] = 2.5
    shared = torch.randn(30, 1, generator=torch.Generator().manual_seed(1))
    models = {
        m: torch.where((x == x[:, :1]).all(dim=1, keepdim=True), x, x + 2 * shared) for m, x in models.items()
    }
    [(_, comparison)] = compare_models(list(models.values()), [name], memory_bytes=2**22)
    undefined = tuple(bool(np.isnan(comparison.values[0, column])) for column in (1, 2))
    assert (
        undefined
        == {None: (False, False), "zero": (True, False), "equal": (True, True)}[flatness_of(MEASURES[name])]
    )
    assert not np.isnan(compare(models, name)[name].values).any()


def test_what_cannot_be_compared_is_refused_by_name():
    with pytest.raises(UserError, match="b has 29 stimuli, a has 30"):
        compare_without_flat({**draw(), "b": draw()["b"][:29]}, [], memory_bytes=2**22)
