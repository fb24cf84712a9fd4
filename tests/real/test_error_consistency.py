"""Predictions of 30 published CIFAR-10 models and of people: known relations between them hold."""

from itertools import combinations

import numpy as np
import pytest
import torch
from tests.real.published import ROOT, needs_published, read_cifar10

from rep_kedro.kernels.similarity.functional import (
    pairwise_cohen_kappa,
    pairwise_disagreement,
    pairwise_error_consistency,
)

pytestmark = needs_published
SAME_FAMILY = [  # pairs that differ in nothing but size
    ("random_features_256k_no_aug", "random_features_32k_no_aug"),
    ("random_features_256k_aug", "random_features_32k_aug"),
    ("shake_shake_26_2x64d_SSI", "shake_shake_26_2x96d_SSI"),
    ("resnext_29_4x64d", "resnext_29_8x64d"),
]


@pytest.fixture(scope="module")
def predictions():
    with np.load(ROOT / "extra/cifar10/predictions_30_models.npz") as file:
        return {name: torch.from_numpy(file[name].astype(np.int64)) for name in file.files}


@pytest.fixture(scope="module")
def labels(predictions):
    return predictions["labels"]


@pytest.fixture(scope="module")
def classes(predictions):
    return torch.stack([chosen for name, chosen in predictions.items() if name != "labels"])


@pytest.fixture(scope="module")
def people():
    """Return the share of people who chose each class, (10000, 10)."""
    with np.load(ROOT / "extra/cifar10/cifar10h_counts.npz") as file:
        counts = torch.from_numpy(file["counts"].astype(np.float64))
    return counts / counts.sum(dim=1, keepdim=True)


def test_predictions_and_people_belong_to_the_test_images_in_their_order(classes, labels, people):
    assert torch.equal(labels, read_cifar10()[1])
    accuracies = (classes == labels).double().mean(dim=1)
    assert accuracies.min().item() == pytest.approx(0.8198)
    assert accuracies.max().item() == pytest.approx(0.9711)
    assert (people.argmax(dim=1) == labels).double().mean().item() == pytest.approx(0.9921)


def test_measures_agree_with_a_count_by_hand(classes, labels):
    few = classes[:4]
    disagreement = pairwise_disagreement(few)
    kappa, _ = pairwise_cohen_kappa(few)
    consistency, _ = pairwise_error_consistency(few, labels)
    for a, b in combinations(range(4), 2):
        x, y, truth = few[a].numpy(), few[b].numpy(), labels.numpy()
        assert disagreement[a, b].item() == pytest.approx(np.mean(x != y))
        chance = sum(np.mean(x == c) * np.mean(y == c) for c in range(10))
        assert kappa[a, b].item() == pytest.approx((np.mean(x == y) - chance) / (1 - chance))
        right, other = x == truth, y == truth
        p, q = right.mean(), other.mean()
        chance = p * q + (1 - p) * (1 - q)
        expected = (np.mean(right == other) - chance) / (1 - chance)
        assert consistency[a, b].item() == pytest.approx(expected)


def test_disagreement_lies_between_the_difference_and_the_sum_of_the_errors(classes, labels):
    errors = (classes != labels).double().mean(dim=1)
    disagreement = pairwise_disagreement(classes)
    assert (disagreement <= errors + errors[:, None] + 1e-12).all()
    assert (disagreement >= (errors - errors[:, None]).abs() - 1e-12).all()


def test_all_models_err_on_the_same_images_far_more_than_by_chance(classes, labels):
    consistency, reasons = pairwise_error_consistency(classes, labels)
    off_diagonal = consistency[~torch.eye(len(classes), dtype=torch.bool)]
    assert not reasons
    assert off_diagonal.min() > 0.15
    assert 0.39 < off_diagonal.mean() < 0.42
    torch.testing.assert_close(consistency.diagonal(), torch.ones(len(classes), dtype=torch.float64))


def test_models_of_one_family_err_most_alike(predictions, classes, labels):
    names = [name for name in predictions if name != "labels"]
    consistency, _ = pairwise_error_consistency(classes, labels)
    pairs = sorted(
        combinations(range(len(names)), 2), key=lambda pair: consistency[pair].item(), reverse=True
    )
    assert {(names[a], names[b]) for a, b in pairs[:4]} == set(SAME_FAMILY)


def test_people_err_on_other_images_than_models(classes, labels, people):
    generator = torch.Generator().manual_seed(0)
    persons = torch.stack([torch.multinomial(people, 1, generator=generator)[:, 0] for _ in range(2)])
    assert (persons == labels).double().mean().item() == pytest.approx(0.952, abs=0.004)
    consistency, _ = pairwise_error_consistency(torch.cat([persons, classes]), labels)
    among_models = consistency[2:, 2:][~torch.eye(len(classes), dtype=torch.bool)]
    between = consistency[:2, 2:]
    assert 0.05 < between.mean() < consistency[0, 1] < among_models.mean()


def test_models_err_where_people_are_in_doubt(classes, labels, people):
    doubt = torch.special.entr(people).sum(dim=1)
    hardest = doubt >= doubt.quantile(0.9)
    wrong = (classes != labels).double()
    assert 0.30 < (wrong[:, hardest].sum() / wrong.sum()).item() < 0.37  # by chance a tenth
