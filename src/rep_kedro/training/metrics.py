"""Metrics of class logits on test images: by name, or code of one's own."""

import math
import re
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from rep_kedro.errors import UserError, suggest
from rep_kedro.kernels.probes.quality import measure_top_k
from rep_kedro.parameter_rules import require_once
from rep_kedro.training.own_code import OwnCode

MOST_CLASSES_OF_CONFUSION = 100
_TOP = re.compile(r"top([1-9]\d*)_accuracy")
_SHOWN_TOP = "top5_accuracy"


def _balanced_accuracy(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Mean of the recalls of the classes that are among the labels."""
    confusion = _confusion_of(logits, labels).double()
    counts = confusion.sum(dim=1)
    return {"balanced_accuracy": float((confusion.diagonal() / counts)[counts > 0].mean())}


def _mcc(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Matthews correlation coefficient of several classes.

    Gorodkin 2004, doi:10.1016/j.compbiolchem.2004.09.006. Left out where all predictions, or all labels, are
    of one class.
    """
    confusion = _confusion_of(logits, labels).double()
    n, rows, columns = confusion.sum(), confusion.sum(dim=1), confusion.sum(dim=0)
    spread = (n**2 - rows @ rows) * (n**2 - columns @ columns)
    if spread == 0:
        return {}
    return {"mcc": float((n * confusion.trace() - rows @ columns) / spread.sqrt())}


def _cross_entropy(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Mean over all images, in nats."""
    return {"cross_entropy": float(nn.functional.cross_entropy(logits.double(), labels))}


def _recall_per_class(logits: Tensor, labels: Tensor) -> dict[str, float]:
    confusion = _confusion_of(logits, labels).double()
    counts = confusion.sum(dim=1).tolist()
    n_right = confusion.diagonal().tolist()
    return {f"recall_of_class_{i}": n_right[i] / count for i, count in enumerate(counts) if count}


def _confusion(logits: Tensor, labels: Tensor) -> dict[str, float]:
    counts = _confusion_of(logits, labels).tolist()
    return {
        f"confusion_of_class_{i}_with_{j}": float(count)
        for i, row in enumerate(counts)
        for j, count in enumerate(row)
    }


def _confusion_of(logits: Tensor, labels: Tensor) -> Tensor:
    """Return how many images of each class (rows) are predicted as each class (columns), int64."""
    n_classes = logits.shape[1]
    places = labels * n_classes + logits.argmax(dim=1)
    return torch.bincount(places, minlength=n_classes**2).view(n_classes, n_classes)


METRICS: dict[str, Callable[[Tensor, Tensor], dict[str, float]]] = {
    "balanced_accuracy": _balanced_accuracy,
    "confusion": _confusion,
    "cross_entropy": _cross_entropy,
    "mcc": _mcc,
    "recall_per_class": _recall_per_class,
}
"""Of logits (n, n_classes) and labels (n,), n >= 1; `top<k>_accuracy` is any k."""


def measure_metrics(metrics: Sequence[str | OwnCode], logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Return metrics by name; undefined ones are left out.

    Raises:
        UserError: If code of one's own fails, or gives something else than numbers; names the metric.
    """
    found: dict[str, float] = {}
    for metric in metrics:
        if isinstance(metric, OwnCode):
            own = _measure_own(metric, logits, labels)
            if taken := found.keys() & own.keys():
                raise UserError(
                    f"{metric.file}: {metric.name} gives {min(taken)!r}, the name of another metric"
                )
            found |= own
        elif top := _TOP.fullmatch(metric):
            found[metric] = measure_top_k(logits, labels, k=int(top[1]))
        else:
            found |= METRICS[metric](logits, labels)
    return found


def _measure_own(code: OwnCode, logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Return a metric of the user's, or several, which then have its name in front; NaN is undefined."""
    found = code.call(logits.clone(), labels.clone())
    try:
        values = (
            {f"{code.name}_{name}": float(value) for name, value in found.items()}
            if isinstance(found, Mapping)
            else {code.name: float(found)}
        )
    except (TypeError, ValueError, RuntimeError) as problem:
        raise UserError(f"{code.file}: {code.name} gives no number: {problem}") from problem
    if odd := [name for name in values if not (name.isprintable() and name == name.strip())]:
        raise UserError(
            f"metric {odd[0]!r} of {code.file} has a name that no column may have; return names without line"
            " breaks and spaces at their ends"
        )
    if infinite := [name for name, value in values.items() if math.isinf(value)]:
        raise UserError(
            f"metric {infinite[0]!r} of {code.file} is infinite; return NaN where it is undefined"
        )
    return {name: value for name, value in values.items() if not math.isnan(value)}


def require_metrics(metrics: Sequence[str | OwnCode], n_classes: int | None = None) -> None:
    """Refuse unknown metrics, those that need another number of classes, and names that are taken.

    Args:
        metrics: Names, or code of one's own, whose file is not read here.
        n_classes: None where it is not known yet.

    Raises:
        UserError: Names the metric.
    """
    names = [each if isinstance(each, str) else each.name for each in metrics]
    require_once([each for each in metrics if isinstance(each, str)], "metrics of a training")
    for name in {each.name for each in metrics if isinstance(each, OwnCode)}:
        if name in {*METRICS, "accuracy"} or _TOP.fullmatch(name) or names.count(name) > 1:
            raise UserError(
                f"metric {name!r} of one's own has the name of another metric; give it another name"
            )
    for name in (each for each in metrics if isinstance(each, str)):
        top = _TOP.fullmatch(name)
        if not top and name not in METRICS:
            raise UserError(f"unknown metric {name!r} of a training; {suggest(name, [*METRICS, _SHOWN_TOP])}")
        if n_classes is None:
            continue
        if top and int(top[1]) >= n_classes:
            raise UserError(
                f"metric {name!r} needs more than {top[1]} classes, the stimulus set has {n_classes}"
            )
        if name == "confusion" and n_classes > MOST_CLASSES_OF_CONFUSION:
            raise UserError(
                f"metric {name!r} has one row for each pair of at most {MOST_CLASSES_OF_CONFUSION} classes,"
                f" the stimulus set has {n_classes}; use recall_per_class"
            )
