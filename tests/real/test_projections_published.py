"""The published Tiny10 network works in the leading directions of its layers, and not in random ones."""

import pytest
import torch
from tests.real.published import load_published, needs_published, read_cifar10

from rep_kedro.analyses.projections.directions import choose_layers, find_directions
from rep_kedro.analyses.projections.evaluation import Evaluation
from rep_kedro.analyses.projections.params import ProjectionParams

N_FIT, N_TEST, BATCH = 500, 2000, 100
CHANCE = 0.1


@needs_published
def test_tiny10_keeps_its_accuracy_in_the_leading_directions_alone():
    model = load_published("tiny10_in0_gn0")
    params = ProjectionParams(scopes=("all",), deltas=(0.99, 0.995))
    fit, _ = read_cifar10("core/cifar10/train_00000-01999.parquet")
    test, labels = read_cifar10()
    scale = model.preprocessing.scale
    layers, _ = choose_layers(model, scale(fit[:1]), params)
    assert len(layers) == 8
    directions = find_directions(model, layers, map(scale, fit[:N_FIT].split(BATCH)), params)
    evaluation = Evaluation(model, directions, 10, params)
    for pixels, known in zip(test[:N_TEST].split(BATCH), labels[:N_TEST].split(BATCH), strict=True):
        evaluation.add(scale(pixels), known)
    whole = evaluation.original()["accuracy"]
    found = {(row["directions"], row["delta"]): row["accuracy"] for row in evaluation.rows()}
    assert found["leading", 0.99] >= 0.98 * whole  # 0.987 on all 10,000 test images
    assert found["leading", 0.995] >= 0.99 * whole  # 0.996
    assert found["random", 0.99] < CHANCE + 0.25 * (whole - CHANCE)
    assert torch.isfinite(torch.tensor([row["loss"] for row in evaluation.rows()])).all()
    assert whole == pytest.approx(0.865, abs=0.02)
