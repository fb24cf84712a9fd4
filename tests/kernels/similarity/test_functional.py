"""Measures on the outputs of classifiers, against their definitions and hand-made cases."""

import numpy as np
import pytest
import torch
from sklearn.metrics import cohen_kappa_score
from tests.reference import functional as reference

from rep_kedro.kernels.similarity.functional import (
    compare_functional,
    pairwise_cohen_kappa,
    pairwise_disagreement,
    pairwise_error_consistency,
    pairwise_jensen_shannon,
)


def draw_logits(n_models=4, n_stimuli=50, n_classes=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(n_stimuli, n_classes, generator=generator)
    return [shared + torch.randn(n_stimuli, n_classes, generator=generator) for _ in range(n_models)]


def pick(logits):
    return torch.stack([x.argmax(dim=1) for x in logits])


def table(function, rows, *more):
    return [[function(p, q, *more) for q in rows] for p in rows]


def test_disagreement_and_kappa_equal_their_definitions_and_scikit_learn():
    classes = pick(draw_logits())
    rows = classes.tolist()
    np.testing.assert_allclose(
        pairwise_disagreement(classes), table(reference.disagreement, rows), atol=1e-15
    )
    kappa, reasons = pairwise_cohen_kappa(classes)
    assert not reasons
    np.testing.assert_allclose(kappa, table(reference.cohen_kappa, rows), atol=1e-14)
    np.testing.assert_allclose(kappa, table(cohen_kappa_score, rows), atol=1e-14)


def test_error_consistency_equals_its_definition_and_differs_from_agreement():
    classes = pick(draw_logits())
    labels = torch.arange(50) % 5
    kappa, reasons = pairwise_error_consistency(classes, labels)
    assert not reasons
    expected = table(reference.error_consistency, classes.tolist(), labels.tolist())
    np.testing.assert_allclose(kappa, expected, atol=1e-14)
    assert (kappa - pairwise_cohen_kappa(classes)[0]).abs().max() > 0.05


def test_error_consistency_of_a_hand_made_case():
    labels = torch.zeros(8, dtype=torch.int64)
    classes = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1, 0, 0], [2, 2, 2, 2, 0, 0, 0, 0]])
    kappa, _ = pairwise_error_consistency(classes, labels)
    assert kappa.tolist() == [[1, 0, -1], [0, 1, 0], [-1, 0, 1]]


@pytest.mark.parametrize("memory_bytes", [1, 5000, 2**24])
def test_jensen_shannon_equals_its_definition_whatever_the_memory(memory_bytes):
    probabilities = [x.double().softmax(dim=1) for x in draw_logits()]
    probabilities[2] = torch.nn.functional.one_hot(probabilities[2].argmax(dim=1), 5).double()
    values = pairwise_jensen_shannon(probabilities, memory_bytes=memory_bytes)
    expected = table(reference.jensen_shannon, [x.tolist() for x in probabilities])
    np.testing.assert_allclose(values, expected, atol=1e-14)
    assert torch.equal(values, values.T)
    assert values.diagonal().tolist() == [0, 0, 0, 0]


def test_certain_and_opposed_models_are_one_bit_apart():
    values = pairwise_jensen_shannon([torch.eye(3), torch.eye(3)[[1, 2, 0]]], memory_bytes=2**20)
    assert values.tolist() == [[0, 1], [1, 0]]


def test_nearly_equal_probabilities_keep_their_small_divergence():
    p = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    q = p + torch.tensor([[1e-7, -1e-7]], dtype=torch.float64)
    value = pairwise_jensen_shannon([p, q], memory_bytes=2**20)[0, 1].item()
    assert value == pytest.approx(1e-14 / 2 / np.log(2), rel=0.05)


def test_rows_in_half_precision_are_put_right():
    logits = draw_logits()
    exact = pairwise_jensen_shannon([x.double().softmax(dim=1) for x in logits], memory_bytes=2**20)
    rounded = pairwise_jensen_shannon([x.softmax(dim=1).half() for x in logits], memory_bytes=2**20)
    torch.testing.assert_close(rounded, exact, atol=1e-4, rtol=0)
    off = [x.double().softmax(dim=1) * 1.0005 for x in logits]
    torch.testing.assert_close(
        pairwise_jensen_shannon(off, memory_bytes=2**20), exact, atol=1e-15, rtol=1e-13
    )


def test_unrelated_models_agree_at_chance():
    generator = torch.Generator().manual_seed(0)
    classes = torch.randint(0, 4, (12, 2000), generator=generator)
    apart = ~torch.eye(12, dtype=torch.bool)
    assert pairwise_disagreement(classes)[apart].mean().item() == pytest.approx(0.75, abs=0.005)
    assert pairwise_cohen_kappa(classes)[0][apart].mean().item() == pytest.approx(0, abs=0.005)
    labels = torch.randint(0, 4, (2000,), generator=generator)
    assert pairwise_error_consistency(classes, labels)[0][apart].mean().item() == pytest.approx(0, abs=0.01)


def test_agreement_where_none_else_was_possible_has_a_reason():
    classes = torch.tensor([[1, 1, 1], [1, 1, 1], [1, 0, 1]])
    kappa, reasons = pairwise_cohen_kappa(classes)
    assert set(reasons) == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert reasons[0, 1][0].why.startswith("both models put every stimulus into the same class")
    assert kappa.isnan().nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert kappa[0, 2] == 0
    kappa, reasons = pairwise_error_consistency(classes, torch.tensor([1, 1, 1]))
    assert set(reasons) == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert reasons[0, 1][0].why.startswith(
        "both models are right on every stimulus, or wrong on every stimulus"
    )


def test_logits_are_compared_by_their_classes_and_softmax():
    logits = draw_logits()
    names = ("disagreement", "cohen_kappa", "jensen_shannon")
    requests = {name: {"statistic": name} for name in names}
    answers = {name: values for name, values, _ in compare_functional(logits, requests, memory_bytes=2**20)}
    assert torch.equal(answers["disagreement"], pairwise_disagreement(pick(logits)))
    assert torch.equal(answers["cohen_kappa"], pairwise_cohen_kappa(pick(logits))[0])
    probabilities = [x.double().softmax(dim=1) for x in logits]
    expected = pairwise_jensen_shannon(probabilities, memory_bytes=2**20)
    assert torch.equal(answers["jensen_shannon"], expected)


def test_what_cannot_be_compared_is_refused():
    logits = draw_logits()
    request = {"it": {"statistic": "disagreement"}}
    with pytest.raises(ValueError, match=r"logits of model 1 have shape \(50, 4\), of model 0 \(50, 5\)"):
        list(compare_functional([logits[0], logits[1][:, :4]], request, memory_bytes=1))
    with pytest.raises(ValueError, match="no logits to compare"):
        list(compare_functional([], request, memory_bytes=1))
    with pytest.raises(ValueError, match="logits of model 0 contain NaN or infinity"):
        list(compare_functional([logits[0] / 0], request, memory_bytes=1))
    with pytest.raises(ValueError, match=r"probabilities of model 0 have shape \(5,\)"):
        pairwise_jensen_shannon([torch.ones(5)], memory_bytes=1)
    with pytest.raises(ValueError, match=r"row 0 of model 0 is not a probability distribution: .* softmax"):
        pairwise_jensen_shannon([logits[0]], memory_bytes=1)
    with pytest.raises(ValueError, match=r"classes have shape \(5,\) and type torch.float32, need integers"):
        pairwise_disagreement(torch.ones(5))
    with pytest.raises(ValueError, match=r"labels have shape \(3,\), the classes of a model \(50,\)"):
        pairwise_error_consistency(pick(logits), torch.zeros(3, dtype=torch.int64))
