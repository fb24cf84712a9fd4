"""Probes trained together equal probes trained one by one, and convex probes reach their optimum."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from tests.reference import probes as reference

from rep_kedro.kernels.probes.adamw import AdamWSettings, fit_probes_adamw
from rep_kedro.kernels.probes.lbfgs import fit_probes_lbfgs
from rep_kedro.kernels.probes.probe import (
    draw_held_out,
    fit_standardisation,
    measure_accuracy,
    measure_balanced_accuracy,
    select_weight_decay,
)

N_CLASSES = 3


def _draw_problem(n=90, d=6, seed=0, overlap=1.5):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % N_CLASSES
    centres = torch.randn(N_CLASSES, d, generator=generator)
    return centres[labels] + overlap * torch.randn(n, d, generator=generator), labels


@pytest.fixture
def problem():
    return _draw_problem()


# --- convex ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight_decay", [1e-4, 1e-2, 1.0])
def test_the_convex_probe_is_scikit_learns_optimum(problem, weight_decay):
    x, labels = problem
    fit = fit_probes_lbfgs([x], labels, n_classes=N_CLASSES, weight_decays=[weight_decay])
    theirs = LogisticRegression(C=1.0 / (len(x) * weight_decay), tol=1e-10, max_iter=5000)
    theirs.fit(x.double().numpy(), labels.numpy())
    weights = torch.tensor(np.vstack([theirs.coef_.T, theirs.intercept_]))
    assert bool(fit.converged.all())
    ours = fit.weights[0][0]
    loss = reference.penalised_loss(ours, x, labels, weight_decay=weight_decay)
    assert fit.loss.item() == pytest.approx(loss, rel=1e-10)
    assert loss == pytest.approx(
        reference.penalised_loss(weights, x, labels, weight_decay=weight_decay), abs=1e-8
    )
    torch.testing.assert_close(ours[:-1], weights[:-1], rtol=0, atol=1e-3)
    predictions = reference.predict_logits(ours, x).argmax(dim=-1)
    assert measure_accuracy(predictions, labels).item() == theirs.score(x.double().numpy(), labels.numpy())


def test_layers_and_decays_fitted_together_equal_each_alone(problem):
    x, labels = problem
    layers = [x, _draw_problem(d=2, seed=5)[0], x[:, :4] * 3.0 + 1.0]
    decays = [1e-3, 1e-1, 1.0]
    together = fit_probes_lbfgs(layers, labels, n_classes=N_CLASSES, weight_decays=decays, tolerance=1e-8)
    assert [tuple(w.shape) for w in together.weights] == [(3, 7, 3), (3, 3, 3), (3, 5, 3)]
    for i, layer in enumerate(layers):
        for k, decay in enumerate(decays):
            alone = fit_probes_lbfgs(
                [layer], labels, n_classes=N_CLASSES, weight_decays=[decay], tolerance=1e-8
            )
            torch.testing.assert_close(together.weights[i][k], alone.weights[0][0], rtol=0, atol=1e-6)


def test_the_gradient_vanishes_at_the_optimum(problem):
    x, labels = problem
    fit = fit_probes_lbfgs([x], labels, n_classes=N_CLASSES, weight_decays=[0.01], tolerance=1e-9)
    weights = fit.weights[0][0].clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy(reference.predict_logits(weights, x), labels)
    (loss + 0.005 * weights[:-1].square().sum()).backward()
    assert weights.grad.abs().max() < 1e-8


def test_a_shift_of_the_features_changes_the_bias_alone(problem):
    x, labels = problem
    x = x.double()
    near = fit_probes_lbfgs([x], labels, n_classes=N_CLASSES, weight_decays=[0.01], tolerance=1e-8)
    far = fit_probes_lbfgs([x + 1e5], labels, n_classes=N_CLASSES, weight_decays=[0.01], tolerance=1e-8)
    torch.testing.assert_close(near.weights[0][:, :-1], far.weights[0][:, :-1], rtol=0, atol=1e-6)


def test_more_features_than_samples_are_solved_in_the_span_of_the_samples():
    x, labels = _draw_problem(n=12, d=40)
    fit = fit_probes_lbfgs([x], labels, n_classes=N_CLASSES, weight_decays=[0.1], tolerance=1e-8)
    theirs = LogisticRegression(C=1.0 / (12 * 0.1), tol=1e-10, max_iter=5000).fit(x.double().numpy(), labels)
    torch.testing.assert_close(fit.weights[0][0][:-1], torch.tensor(theirs.coef_.T.copy()), rtol=0, atol=1e-5)


def test_separable_classes_and_dead_features_still_have_an_optimum():
    labels = torch.arange(30) % N_CLASSES
    x = torch.cat([torch.eye(N_CLASSES)[labels] * 50.0, torch.zeros(30, 2)], dim=1)
    fit = fit_probes_lbfgs([x], labels, n_classes=N_CLASSES, weight_decays=[1e-4])
    assert bool(fit.converged.all())
    assert (fit.weights[0][0][3:5].abs() < 1e-9).all()
    assert measure_accuracy(reference.predict_logits(fit.weights[0][0], x).argmax(-1), labels) == 1.0


def test_features_without_information_give_the_class_frequencies():
    labels = torch.tensor([0] * 6 + [1] * 3 + [2])
    fit = fit_probes_lbfgs([torch.ones(10, 2)], labels, n_classes=4, weight_decays=[0.1], max_iterations=60)
    probabilities = fit.weights[0][0][-1].softmax(dim=0)
    expected = torch.tensor([0.6, 0.3, 0.1, 0.0], dtype=torch.float64)
    torch.testing.assert_close(probabilities, expected, rtol=0, atol=1e-4)


def test_an_unconverged_probe_says_so(problem):
    x, labels = problem
    fit = fit_probes_lbfgs([x], labels, n_classes=N_CLASSES, weight_decays=[1e-6, 1e2], max_iterations=12)
    assert fit.converged.tolist() == [[False, True]]
    assert fit.n_iterations == 12
    assert fit.gradient_norm[0, 0] > 1e-6


# --- stochastic --------------------------------------------------------------------------------------------


def test_probes_trained_together_equal_torchs_adamw_one_by_one(problem):
    x, labels = problem
    layers = torch.stack([x, _draw_problem(seed=7)[0]]).double()
    rates, decays, seeds = (0.01, 0.1, 0.1), (0.0, 0.01, 2.0), (0, 3)
    settings = AdamWSettings(rates, decays, seeds=seeds, n_epochs=5, batch_size=32)
    weights = fit_probes_adamw(layers, labels, n_classes=N_CLASSES, settings=settings)
    assert weights.shape == (2, 2, 3, 7, 3)
    for i in range(2):
        for j, seed in enumerate(seeds):
            for k in range(3):
                alone = reference.train_adamw(
                    layers[i],
                    labels,
                    n_classes=N_CLASSES,
                    learning_rate=rates[k],
                    weight_decay=decays[k],
                    seed=seed,
                    n_epochs=5,
                    batch_size=32,
                )
                torch.testing.assert_close(weights[i, j, k], alone, rtol=1e-9, atol=1e-10)


def test_one_layer_and_seed_take_many_settings(problem):
    x, labels = problem
    rates = (0.01, 0.1)
    settings = AdamWSettings(rates, (0.0, 0.0), n_epochs=2, batch_size=32)
    together = fit_probes_adamw(x[None], labels, n_classes=N_CLASSES, settings=settings)[0, 0]
    for k, rate in enumerate(rates):
        alone = AdamWSettings((rate,), (0.0,), n_epochs=2, batch_size=32)
        weights = fit_probes_adamw(x[None], labels, n_classes=N_CLASSES, settings=alone)[0, 0, 0]
        torch.testing.assert_close(together[k], weights, rtol=1e-4, atol=1e-6)


def test_equal_seeds_give_equal_weights_and_other_seeds_do_not(problem):
    x, labels = problem
    settings = AdamWSettings((0.01,), (0.1,), seeds=(4, 4, 5), n_epochs=2, batch_size=16)
    weights = fit_probes_adamw(x[None], labels, n_classes=N_CLASSES, settings=settings)[0]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_long_training_without_decay_comes_near_the_convex_optimum(problem):
    x, labels = problem
    settings = AdamWSettings((0.02,), (0.0,), n_epochs=150, batch_size=90)
    weights = fit_probes_adamw(x[None], labels, n_classes=N_CLASSES, settings=settings)[0, 0, 0]
    best = fit_probes_lbfgs([x], labels, n_classes=N_CLASSES, weight_decays=[1e-6], max_iterations=2000)
    loss = torch.nn.functional.cross_entropy(reference.predict_logits(weights, x), labels).item()
    assert loss == pytest.approx(best.loss.item(), abs=5e-3)


def test_divergence_is_an_error(problem):
    x, labels = problem
    settings = AdamWSettings((1e38,), (1.0,), n_epochs=2, batch_size=16)
    with pytest.raises(ValueError, match="diverged"):
        fit_probes_adamw(x[None], labels, n_classes=N_CLASSES, settings=settings)


# --- around the fits ---------------------------------------------------------------------------------------


def test_standardisation_is_fitted_once_and_leaves_constant_features_out():
    train = torch.tensor([[1.0, 7.0, 1e6], [3.0, 7.0, 1e6 + 2]])
    fitted = fit_standardisation(train)
    assert fitted.apply(train)[:, 0].tolist() == [-1.0, 1.0]
    assert fitted.apply(train)[:, 1].tolist() == [0.0, 0.0]
    test = fitted.apply(torch.tensor([[5.0, 9.0, 1e6]]))
    assert test[0].tolist() == [3.0, 0.0, -1.0]


@pytest.mark.parametrize("scale", [1.0, 1e200, 1e-200, 1e-300, [1e160, 1.0, 1e-160, 1e-290]])
@pytest.mark.parametrize("offset", [0.0, 1e8, 1e12])
def test_standardisation_in_float64_at_any_scale_and_offset(scale, offset):
    x = torch.randn(40, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    moved = (x + offset) * torch.as_tensor(scale, dtype=torch.float64)
    ready = fit_standardisation(moved).apply(moved)
    kept = x + offset - offset  # what float64 keeps of it
    expected = (kept - kept.mean(dim=0)) / kept.std(dim=0, correction=0)
    torch.testing.assert_close(ready, expected, rtol=0, atol=1e-15 * offset + 1e-6)  # of the mean


def test_a_spread_counts_as_none_within_the_rounding_of_the_type():
    for dtype, rounding in ((torch.float32, 1e-7), (torch.float64, 1e-14)):
        constant = torch.full((1000, 1), 0.1, dtype=dtype)
        assert fit_standardisation(constant).scale.item() == 0
        varying = torch.tensor([[1.0], [1.0 + 100 * rounding]], dtype=dtype)
        assert fit_standardisation(varying).scale.item() == pytest.approx(50 * rounding, rel=0.2)
    with pytest.raises(ValueError, match="so large that their sum is infinite"):
        fit_standardisation(torch.full((3, 1), 1e308, dtype=torch.float64))


@pytest.mark.parametrize("fraction", [0.2, 0.5])
def test_the_held_out_part_takes_the_same_share_of_every_class(fraction):
    labels = torch.tensor([0] * 50 + [1] * 20 + [2] * 10 + [5])
    held_out = draw_held_out(labels, fraction=fraction, generator=torch.Generator().manual_seed(0))
    counts = torch.bincount(labels[held_out], minlength=6).tolist()
    assert counts == [round(fraction * 50), round(fraction * 20), round(fraction * 10), 0, 0, 0]
    again = draw_held_out(labels, fraction=fraction, generator=torch.Generator().manual_seed(0))
    other = draw_held_out(labels, fraction=fraction, generator=torch.Generator().manual_seed(1))
    assert torch.equal(held_out, again)
    assert not torch.equal(held_out, other)


def test_accuracies_agree_with_counting():
    generator = torch.Generator().manual_seed(2)
    labels = torch.tensor([0] * 20 + [1] * 5 + [3] * 2)
    predictions = torch.randint(4, (3, 27), generator=generator)
    expected = [reference.balanced_accuracy(row, labels.tolist()) for row in predictions.tolist()]
    assert measure_balanced_accuracy(predictions, labels).tolist() == pytest.approx(expected, rel=1e-12)
    hits = [sum(p == y for p, y in zip(row, labels.tolist(), strict=True)) for row in predictions.tolist()]
    assert measure_accuracy(predictions, labels).tolist() == pytest.approx([h / 27 for h in hits], rel=1e-12)


def test_ties_go_to_the_larger_decay():
    assert select_weight_decay([0.9, 0.9, 0.9], [0.1, 10.0, 1.0]) == 1
    assert select_weight_decay([0.91, 0.9], [0.1, 10.0]) == 0


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda x, y: fit_probes_lbfgs([], y, n_classes=3, weight_decays=[1.0]), "got 0 and 1"),
        (lambda x, y: fit_probes_lbfgs([x], y, n_classes=3, weight_decays=[0.0]), r"above 0, got \[0.0\]"),
        (
            lambda x, y: fit_probes_lbfgs([x], y, n_classes=1, weight_decays=[1.0]),
            "at least 2 classes, got 1",
        ),
        (
            lambda x, y: fit_probes_lbfgs([x], y, n_classes=2, weight_decays=[1.0]),
            "between 0 and 1, got 0 to 2",
        ),
        (
            lambda x, y: fit_probes_lbfgs([x[:5]], y, n_classes=3, weight_decays=[1.0]),
            "layer 0 must have shape",
        ),
        (
            lambda x, y: fit_probes_lbfgs([x * torch.nan], y, n_classes=3, weight_decays=[1.0]),
            "must be finite",
        ),
        (lambda x, y: AdamWSettings((0.1, 0.2), (0.0,)), "got 2, 1 and 1"),
        (lambda x, y: AdamWSettings((0.0,), (0.0,)), "got 0.0 and 0.0"),
        (lambda x, y: AdamWSettings((0.1,), (0.0,), n_epochs=0), "got 0 and 128"),
        (
            lambda x, y: fit_probes_adamw(x, y, n_classes=3, settings=AdamWSettings((0.1,), (0.0,))),
            r"n_features\), got \(90, 6\)",
        ),
        (lambda x, y: fit_standardisation(x[:0]), r"got \(0, 6\)"),
        (lambda x, y: fit_standardisation(x * torch.inf), "must be finite"),
        (
            lambda x, y: draw_held_out(y, fraction=1.0, generator=torch.Generator()),
            "from 0 to below 1, got 1.0",
        ),
        (lambda x, y: draw_held_out(y, fraction=0.01, generator=torch.Generator()), "nothing to hold out"),
        (lambda x, y: measure_accuracy(y[:0], y[:0]), "at least 1 sample"),
        (lambda x, y: select_weight_decay([0.5], [0.1, 0.2]), "got 1 for 2 of them"),
        (lambda x, y: select_weight_decay([float("nan")], [0.1]), "got NaN"),
    ],
)
def test_misuse_is_refused(problem, act, message):
    with pytest.raises(ValueError, match=message):
        act(*problem)
