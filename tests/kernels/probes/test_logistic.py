"""A single logistic regression is scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from tests.reference import probes as reference

from rep_kedro.kernels.probes.lbfgs import fit_probes_lbfgs
from rep_kedro.kernels.probes.logistic import fit_logistic


def _draw_problem(n=90, d=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    x = torch.randn(3, d, generator=generator)[labels] + 1.5 * torch.randn(n, d, generator=generator)
    return x, labels


@pytest.mark.parametrize("c", [0.01, 1.0, 100.0])
def test_it_is_scikit_learns_optimum_step_by_step(c):
    x, labels = _draw_problem()
    theirs = LogisticRegression(C=c, tol=1e-6, max_iter=500).fit(x.double().numpy(), labels.numpy())
    ours = fit_logistic(x.double(), labels, n_classes=3, c=c, tolerance=1e-6, max_iterations=500)
    assert ours.converged
    assert ours.n_iterations == theirs.n_iter_[0]
    np.testing.assert_allclose(ours.weights[:-1].T, theirs.coef_, atol=1e-6)
    loss = reference.penalised_loss(ours.weights, x, labels, weight_decay=1 / (90 * c))
    assert ours.loss == pytest.approx(loss, rel=1e-10)


def test_it_is_the_optimum_of_the_joint_solver():
    x, labels = _draw_problem(40, 60)
    joint = fit_probes_lbfgs([x], labels, n_classes=3, weight_decays=[1 / 40], tolerance=1e-8)
    single = fit_logistic(x.double(), labels, n_classes=3, tolerance=1e-8, max_iterations=1000)
    torch.testing.assert_close(single.weights[:-1], joint.weights[0][0][:-1], rtol=0, atol=1e-6)


def test_float32_features_give_the_same_probe():
    x, labels = _draw_problem()
    narrow, wide = (fit_logistic(each, labels, n_classes=3) for each in (x, x.double()))
    torch.testing.assert_close(narrow.weights, wide.weights, rtol=0, atol=2e-3)


def test_one_that_stops_early_says_so():
    x, labels = _draw_problem()
    found = fit_logistic(x, labels, n_classes=3, tolerance=1e-9, max_iterations=2)
    assert (found.converged, found.n_iterations) == (False, 2)
    assert found.gradient_size > 1e-9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"c": 0.0}, "C must be above 0, got 0.0"),
        ({"n_classes": 1}, "at least 2 classes, got 1"),
        ({"x": torch.full((90, 2), torch.inf)}, "must be finite"),
        ({"labels": torch.zeros(3, dtype=torch.int64)}, r"shape \(90,\)"),
    ],
)
def test_misuse_is_refused(change, message):
    x, labels = _draw_problem()
    given = {"x": x, "labels": labels, "n_classes": 3} | change
    with pytest.raises(ValueError, match=message):
        fit_logistic(given.pop("x"), given.pop("labels"), **given)
