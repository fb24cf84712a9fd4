"""Optimisers take the steps of their formulas; schedules give the rates that are asked for."""

import math

import pytest
import torch
from torch import nn

from rep_kedro.training.optimizers import build_optimizer
from rep_kedro.training.schedule import PRESETS, Schedule

BASE = {"epochs": 2, "batch_size": 8, "learning_rate": 0.1}
MATRIX, VECTOR = [[1.0, -2.0], [3.0, 0.5]], [0.5, -1.0]
GRADIENTS = [([[0.5, 1.0], [-1.0, 2.0]], [1.0, 0.25]), ([[1.0, -0.5], [0.25, 1.0]], [-0.5, 2.0])]


def _walk(**settings):
    """Return a matrix and a vector after two steps."""
    schedule = Schedule(**{**BASE, **settings})
    matrix, vector = (nn.Parameter(torch.tensor(values)) for values in (MATRIX, VECTOR))
    optimizer = build_optimizer([matrix, vector], schedule)
    for gradients in GRADIENTS:
        for parameter, gradient in zip((matrix, vector), gradients, strict=True):
            parameter.grad = torch.tensor(gradient)
        optimizer.step()
    return matrix.detach().double(), vector.detach().double()


def _double(values):
    return torch.tensor(values, dtype=torch.float64)


def _sgd(start, gradients, *, decay, nesterov, momentum=0.9, rate=0.1):
    weights, velocity = _double(start), None
    for given in gradients:
        gradient = _double(given) + decay * weights
        velocity = gradient if velocity is None else momentum * velocity + gradient
        weights = weights - rate * (gradient + momentum * velocity if nesterov else velocity)
    return weights


def _adam(start, gradients, *, decay, decoupled, rate=0.1, betas=(0.9, 0.999), epsilon=1e-8):
    weights = _double(start)
    mean, square = torch.zeros_like(weights), torch.zeros_like(weights)
    for t, given in enumerate(gradients, 1):
        gradient = _double(given)
        if decoupled:
            weights = weights * (1 - rate * decay)
        else:
            gradient = gradient + decay * weights
        mean = betas[0] * mean + (1 - betas[0]) * gradient
        square = betas[1] * square + (1 - betas[1]) * gradient**2
        root = (square / (1 - betas[1] ** t)).sqrt()
        weights = weights - rate * mean / (1 - betas[0] ** t) / (root + epsilon)
    return weights


def _lars(start, gradients, *, decay, adapt, momentum=0.9, rate=0.1, trust=0.001, epsilon=1e-8):
    weights, velocity = _double(start), None
    for given in gradients:
        gradient = _double(given)
        if adapt:
            norms = weights.norm(), gradient.norm()
            ratio = trust * norms[0] / (norms[1] + decay * norms[0] + epsilon)
            gradient = (gradient + decay * weights) * ratio
        velocity = gradient if velocity is None else momentum * velocity + gradient
        weights = weights - rate * velocity
    return weights


@pytest.mark.parametrize("decay_of", ["matrices", "all"])
@pytest.mark.parametrize(
    ("settings", "reference"),
    [
        ({"optimizer": "sgd"}, lambda *x, decay: _sgd(*x, decay=decay, nesterov=True)),
        ({"optimizer": "sgd", "nesterov": False}, lambda *x, decay: _sgd(*x, decay=decay, nesterov=False)),
        ({"optimizer": "adam"}, lambda *x, decay: _adam(*x, decay=decay, decoupled=False)),
        ({"optimizer": "adamw"}, lambda *x, decay: _adam(*x, decay=decay, decoupled=True)),
    ],
    ids=["nesterov", "sgd", "adam", "adamw"],
)
def test_two_steps_are_those_of_the_formula(settings, reference, decay_of):
    matrix, vector = _walk(**settings, weight_decay=0.05, decay_of=decay_of)
    gradients = list(zip(*GRADIENTS, strict=True))
    assert torch.allclose(matrix, reference(MATRIX, gradients[0], decay=0.05), rtol=1e-5)
    own = 0.05 if decay_of == "all" else 0.0
    assert torch.allclose(vector, reference(VECTOR, gradients[1], decay=own), rtol=1e-5)


@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_lars_adapts_matrices_always_and_vectors_never(decay):
    matrix, vector = _walk(optimizer="lars", weight_decay=decay)
    gradients = list(zip(*GRADIENTS, strict=True))
    assert torch.allclose(matrix, _lars(MATRIX, gradients[0], decay=decay, adapt=True), rtol=1e-5)
    assert torch.allclose(vector, _lars(VECTOR, gradients[1], decay=0.0, adapt=False), rtol=1e-5)


def test_the_first_steps_of_radam_are_those_of_momentum():
    """Liu et al. 2020, arXiv:1908.03265: as long as the variance of the adaptive rate is undefined."""
    matrix, _ = _walk(optimizer="radam", weight_decay=0.0)
    weights, mean = _double(MATRIX), 0.0
    for t, (given, _) in enumerate(GRADIENTS, 1):
        mean = 0.9 * mean + 0.1 * _double(given)
        weights = weights - 0.1 * mean / (1 - 0.9**t)
    assert torch.allclose(matrix, weights, rtol=1e-5)


def _rates(per_epoch=4, **settings):
    schedule = Schedule(**{**BASE, "learning_rate": 1.0, **settings})
    return [schedule.rate(update, per_epoch) for update in range(schedule.epochs * per_epoch)]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"curve": "constant", "warmup_fraction": 0}, [1] * 8),
        ({"curve": "step", "step_epochs": 1, "warmup_fraction": 0}, [1] * 4 + [0.1] * 4),
        (
            {"curve": "multistep", "milestones": [0.25, 0.75], "step_factor": 0.5, "warmup_fraction": 0},
            [1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25],
        ),
        ({"curve": "constant", "warmup_steps": 4}, [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]),
        ({"curve": "constant", "warmup_epochs": 0.5}, [0.5, 1, 1, 1, 1, 1, 1, 1]),
        (
            {"final_rate": 0.2, "warmup_fraction": 0},
            [0.2 + 0.8 * (1 + math.cos(math.pi * i / 8)) / 2 for i in range(8)],
        ),
        ({"curve": "constant", "rate_per_images": 256, "warmup_fraction": 0}, [8 / 256] * 8),
        ({"curve": "constant", "rate_per_images": 64, "accumulate": 4, "warmup_fraction": 0}, [0.5] * 8),
    ],
)
def test_rates_of_each_update(settings, expected):
    assert _rates(**settings) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("per_epoch", "last_logged", "expected"),
    [(48, 4700, 0.9157), (97, 9600, 0.02109)],  # every hundredth update was logged; SimCLR and VICReg
)
def test_the_rates_of_the_rankme_study_are_those_it_logged(per_epoch, last_logged, expected):
    schedule = Schedule(epochs=100, batch_size=1024, learning_rate=0.5, curve="as_written")
    rates = [schedule.rate(update, per_epoch) for update in range(100 * per_epoch)]
    assert rates[: 11 * per_epoch] == [0.5] * (11 * per_epoch)
    assert rates[11 * per_epoch] < 0.5
    assert rates[last_logged] / 0.5 == pytest.approx(expected, rel=1e-3)


def test_presets_are_those_of_the_publication():
    lrs = Schedule(preset="lrs", epochs=30, batch_size=64)
    assert [lrs.rate(epoch, 1) for epoch in (0, 9, 10, 20, 29)] == pytest.approx([0.1, 0.1, 0.01, 1e-3, 1e-3])
    lrs60 = lrs.changed({"preset": "lrs60", "epochs": 60})
    assert [lrs60.rate(epoch, 1) for epoch in (19, 20, 40)] == pytest.approx([0.1, 0.01, 0.001])
    assert (lrs.momentum, lrs.weight_decay, lrs.uses_nesterov, lrs.decay_of) == (0.9, 5e-4, False, "all")
    assert {*PRESETS} >= {"adam", "adamw", "radam", "sgd", "lrs", "lrs60"}
    for name in PRESETS:
        Schedule(preset=name, epochs=1, batch_size=8, warmup_epochs=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preset": "lr60"}, "unknown preset 'lr60' of a schedule; did you mean 'lrs60'"),
        ({"warmup_steps": 1, "warmup_epochs": 1}, "one warm-up, but warmup_epochs and warmup_steps"),
        ({"curve": "step"}, "step_epochs belongs to curve: step, which needs it"),
        ({"milestones": [0.5]}, "milestones belong to curve: multistep"),
        ({"curve": "multistep", "milestones": [0.5, 0.2]}, r"must ascend between 0 and 1, got \[0.5, 0.2\]"),
        ({"curve": "constant", "final_rate": 0.1}, "final_rate belongs to curve: cosine"),
        (
            {"curve": "as_written", "warmup_epochs": 2},
            "as_written has no warm-up, but warmup_epochs is given",
        ),
        ({"betas": [0.9, 1.0]}, r"betas must be in \[0, 1\)"),
        ({"optimizer": "adamx"}, "adamx"),
    ],
)
def test_schedules_that_cannot_be_meant_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Schedule(**{**BASE, **settings})
