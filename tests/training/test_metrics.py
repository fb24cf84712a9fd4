"""Metrics of logits agree with scikit-learn's, and with counting by hand."""

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as theirs

from rep_kedro.errors import UserError
from rep_kedro.training.metrics import METRICS, measure_metrics, require_metrics

N, N_CLASSES = 60, 7


@pytest.fixture(params=[0, 1, 2])
def case(request):
    generator = torch.Generator().manual_seed(request.param)
    labels = torch.randint(0, N_CLASSES - request.param, (N,), generator=generator)
    logits = torch.randn(N, N_CLASSES, generator=generator)
    logits[torch.arange(N), labels] += 1
    return logits, labels


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_metrics_are_those_of_scikit_learn(case):
    logits, labels = case
    found = measure_metrics([*METRICS, "top3_accuracy", "top1_accuracy"], logits, labels)
    predictions, classes = logits.argmax(dim=1).numpy(), np.arange(N_CLASSES)
    assert found["balanced_accuracy"] == pytest.approx(theirs.balanced_accuracy_score(labels, predictions))
    assert found["mcc"] == pytest.approx(theirs.matthews_corrcoef(labels, predictions))
    assert found["top1_accuracy"] == pytest.approx(theirs.accuracy_score(labels, predictions))
    for k in (1, 3):
        expected = theirs.top_k_accuracy_score(labels, logits.numpy(), k=k, labels=classes)
        assert found[f"top{k}_accuracy"] == pytest.approx(expected)
    shares = logits.double().softmax(dim=1).numpy()
    assert found["cross_entropy"] == pytest.approx(theirs.log_loss(labels, shares, labels=classes))
    confusion = theirs.confusion_matrix(labels, predictions, labels=classes)
    for i in classes:
        for j in classes:
            assert found[f"confusion_of_class_{i}_with_{j}"] == confusion[i, j]
        if confusion[i].sum():
            assert found[f"recall_of_class_{i}"] == pytest.approx(confusion[i, i] / confusion[i].sum())
        else:
            assert f"recall_of_class_{i}" not in found


def test_equal_logits_are_ordered_by_class():
    logits, labels = torch.zeros(4, 4), torch.arange(4)
    assert [measure_metrics([f"top{k}_accuracy"], logits, labels)[f"top{k}_accuracy"] for k in (1, 2, 3)] == [
        0.25, 0.5, 0.75,
    ]  # fmt: skip


def test_undefined_metrics_are_left_out():
    logits, labels = torch.eye(3), torch.zeros(3, dtype=torch.int64)
    assert "mcc" not in measure_metrics(["mcc"], logits, labels)
    assert measure_metrics(["balanced_accuracy"], logits, labels)["balanced_accuracy"] == pytest.approx(1 / 3)
    assert math.isfinite(measure_metrics(["cross_entropy"], 1e4 * logits, labels)["cross_entropy"])


@pytest.mark.parametrize(
    ("names", "n_classes", "message"),
    [
        (["top5_acuracy"], None, "unknown metric 'top5_acuracy' of a training; did you mean 'top5_accuracy'"),
        (["mc"], None, "unknown metric 'mc'"),
        (["mcc", "top2_accuracy", "mcc"], None, r"metrics of a training are listed twice: \['mcc'\]"),
        (["top5_accuracy"], 5, "'top5_accuracy' needs more than 5 classes, the stimulus set has 5"),
        (["confusion"], 101, "at most 100 classes, the stimulus set has 101; use recall_per_class"),
    ],
)
def test_metrics_that_cannot_be_measured_are_refused(names, n_classes, message):
    with pytest.raises(UserError, match=message):
        require_metrics(names, n_classes)
