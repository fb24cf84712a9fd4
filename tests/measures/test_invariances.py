"""Every registered measure keeps every invariance, the symmetry and the range that it declares."""

import math

import numpy as np
import pytest
import torch

from rep_kedro.measures import MEASURES, Invariance, compare_models

N_STIMULI, WIDTHS = 48, (6, 9)
ROUNDING = 1e-9
ARCCOS_ROUNDING = 1e-6  # the arccosine of one less 1e-13
STRETCH = 1e5  # by which one feature or stimulus outgrows the others
CONDITION = 1e6  # of an invertible map

# PLS of all components is least squares, which sees no scale; test_predictivity.py has fewer
UNSEEN_IN_FEW_FEATURES = {("pls_25_r_mean", Invariance.COLUMN_SCALING)}


def draw_pair(seed=0, widths=WIDTHS):
    """Two related models, stimuli about 0.3 apart, so that kernels of absolute width see something."""
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(N_STIMULI, 4, generator=generator, dtype=torch.float64)
    return [
        (
            shared @ torch.randn(4, d, generator=generator, dtype=torch.float64)
            + torch.randn(N_STIMULI, d, generator=generator, dtype=torch.float64)
        )
        * 0.04
        for d in widths
    ]


def draw_outputs():
    """Two related classifiers' logits for the same classes."""
    return draw_pair(widths=WIDTHS[:1] * 2)


def draw(compares):
    return draw_pair() if compares == "features" else draw_outputs()


def change(x, invariance, generator):
    n, d = x.shape

    def positive(*shape):
        factors = torch.rand(*shape, generator=generator, dtype=x.dtype) + 0.5
        factors[0] *= STRETCH
        return factors

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=x.dtype)

    changes = {
        Invariance.ROTATION: lambda: x @ torch.linalg.qr(normal(d, d)).Q,
        Invariance.ISOTROPIC_SCALING: lambda: x * 1.7 * STRETCH,
        Invariance.TRANSLATION: lambda: x + 100 * normal(d),
        Invariance.INVERTIBLE_LINEAR: lambda: (
            x
            @ (torch.linalg.qr(normal(d, d)).Q * CONDITION ** torch.linspace(0, 1, d, dtype=x.dtype))
            @ torch.linalg.qr(normal(d, d)).Q
        ),
        Invariance.UNIT_PERMUTATION: lambda: x[:, torch.randperm(d, generator=generator)],
        Invariance.COLUMN_SCALING: lambda: x * positive(d),
        Invariance.ROW_SCALING: lambda: x * positive(n, 1),
        Invariance.ROW_TRANSLATION: lambda: x + 0.1 * normal(n, 1),
        Invariance.STIMULUS_PERMUTATION: lambda: x[torch.randperm(n, generator=generator)],
    }
    return changes[invariance]()


def similarities(alter, names=None):
    """Compare under each measure what it is made for, after ``alter`` of each representation."""
    values = {}
    for compares in ("features", "outputs"):
        chosen = [name for name in names or MEASURES if MEASURES[name].compares == compares]
        representations = [alter(index, x) for index, x in enumerate(draw(compares))]
        answers = compare_models(representations, chosen, memory_bytes=2**26)
        values |= {name: comparison.values for name, comparison in answers}
    return values


@pytest.fixture(scope="module")
def before():
    return similarities(lambda index, x: x)


@pytest.fixture(scope="module")
def after():
    generator = torch.Generator().manual_seed(1)
    return {
        invariance: similarities(lambda index, x, invariance=invariance: change(x, invariance, generator))
        for invariance in Invariance
    }


@pytest.mark.parametrize("invariance", Invariance)
def test_declared_invariances_hold_and_undeclared_ones_do_not(invariance, before, after):
    assert after[invariance].keys() == before.keys()
    for name, there in after[invariance].items():
        here = before[name]
        assert not np.isnan(here).any(), name
        if invariance in MEASURES[name].invariances:
            np.testing.assert_allclose(there, here, atol=ARCCOS_ROUNDING, err_msg=name)
            np.testing.assert_allclose(there[0, 1], here[0, 1], atol=ROUNDING, err_msg=name)
            np.testing.assert_allclose(there[1, 0], here[1, 0], atol=ROUNDING, err_msg=name)
        elif (name, invariance) not in UNSEEN_IN_FEW_FEATURES:
            change_of = np.abs(there - here)[[0, 1], [1, 0]]  # NaN where it leaves the value undefined
            assert not (change_of <= ROUNDING).all(), name


@pytest.mark.parametrize("name", MEASURES)
def test_a_value_lies_in_the_declared_range_and_is_symmetric_if_declared(name, before):
    low, high = MEASURES[name].value_range
    values = before[name]
    assert (values >= low - ROUNDING).all()
    assert (values <= high + ROUNDING).all()
    if MEASURES[name].symmetric:
        assert (values == values.T).all()
    else:
        assert values[0, 1] != values[1, 0]


@pytest.mark.parametrize("name", sorted(name for name in MEASURES if MEASURES[name].is_extreme_for_itself))
def test_no_model_is_more_similar_to_another_than_to_itself(name, before):
    values = before[name] if MEASURES[name].larger_is_more_similar else -before[name]
    assert values[0, 0] >= values[0, 1] - ARCCOS_ROUNDING
    assert values[1, 1] >= values[1, 0] - ARCCOS_ROUNDING
    best = MEASURES[name].value_range[1 if MEASURES[name].larger_is_more_similar else 0]
    if math.isfinite(best):
        np.testing.assert_allclose(np.diag(before[name]), best, atol=ARCCOS_ROUNDING)
