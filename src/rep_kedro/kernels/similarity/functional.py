"""Similarity of the decisions of classifiers, for all pairs of models at once.

Disagreement and agreement beyond chance look at the class that a model picks, the Jensen-Shannon divergence
at all its probabilities, error consistency at which stimuli it gets right.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import log
from typing import Any

import torch
from torch import Tensor

from rep_kedro.kernels.undefined import Reasons, Undefined

SUM_TOLERANCE = 1e-3  # how far rows of probabilities, stored in float16 or better, may be from 1
BYTES_PER_PROBABILITY = 6 * 8


def compare_functional(
    representations: Sequence[Tensor],
    requests: Mapping[str, Mapping[str, Any]],
    *,
    memory_bytes: int,
) -> Iterator[tuple[str, Tensor, Reasons]]:
    """Compare all models by their outputs for the same stimuli.

    Args:
        representations: Logits of each model, shape (n_stimuli, n_classes), finite, row s for the same
            stimulus and column c for the same class in all.
        requests: By a name of the caller's: ``statistic``: disagreement, cohen_kappa or jensen_shannon.
        memory_bytes: Bound for blocks of work, one stimulus at least.

    Yields:
        Name, values of shape (n_models, n_models), float64, symmetric, NaN where undefined, and the reason of
        each NaN.

    Raises:
        ValueError: If the logits are not matrices of one shape.
    """
    _require_one_shape(representations, "logits")
    classes = torch.stack([x.argmax(dim=1) for x in representations])
    for name, parameters in requests.items():
        match parameters["statistic"]:
            case "disagreement":
                yield name, pairwise_disagreement(classes), {}
            case "cohen_kappa":
                yield name, *pairwise_cohen_kappa(classes)
            case "jensen_shannon":
                probabilities = [x.double().softmax(dim=1) for x in representations]
                yield name, pairwise_jensen_shannon(probabilities, memory_bytes=memory_bytes), {}


def pairwise_disagreement(classes: Tensor) -> Tensor:
    """Return the share of stimuli that two models put into different classes.

    Args:
        classes: Class ids, shape (n_models, n_stimuli), integers.

    Returns:
        In [0, 1], shape (n_models, n_models), float64, symmetric, zeros on the diagonal.

    Raises:
        ValueError: If the ids are not a matrix of integers with at least one stimulus.
    """
    _require_classes(classes)
    return torch.stack([(classes != own).double().mean(dim=1) for own in classes])


def pairwise_cohen_kappa(classes: Tensor) -> tuple[Tensor, Reasons]:
    """Return the agreement in classes beyond what independent picks of the same frequencies give.

    Args:
        classes: Class ids, shape (n_models, n_stimuli), integers.

    Returns:
        At most 1, 0 for independent models, shape (n_models, n_models), float64, symmetric; NaN where both
        models put all stimuli into one and the same class, with the reason.

    Raises:
        ValueError: If the ids are not a matrix of integers with at least one stimulus.

    Source: Cohen 1960, doi:10.1177/001316446002000104.
    """
    _require_classes(classes)
    return _exceed_chance(classes, "put every stimulus into the same class")


def pairwise_error_consistency(classes: Tensor, labels: Tensor) -> tuple[Tensor, Reasons]:
    """Return how far two models err on the same stimuli beyond what their accuracies alone bring about.

    Args:
        classes: Class ids that the models pick, shape (n_models, n_stimuli), integers.
        labels: True class ids, shape (n_stimuli,).

    Returns:
        Cohen's kappa of being right, in [-1, 1], shape (n_models, n_models), float64, symmetric; NaN where
        both models are always right or both always wrong, with the reason.

    Raises:
        ValueError: If the ids are not a matrix of integers with as many stimuli as labels.

    Source: Geirhos et al. 2020, arXiv:2006.16736, equations 1 and 2.
    """
    _require_classes(classes)
    if labels.shape != classes.shape[1:]:
        raise ValueError(
            f"labels have shape {tuple(labels.shape)}, the classes of a model {tuple(classes.shape[1:])}"
        )
    return _exceed_chance(
        (classes == labels).long(), "are right on every stimulus, or wrong on every stimulus"
    )


def pairwise_jensen_shannon(probabilities: Sequence[Tensor], *, memory_bytes: int) -> Tensor:
    """Return the mean Jensen-Shannon divergence between the class probabilities of two models.

    Args:
        probabilities: One matrix for each model, shape (n_stimuli, n_classes), rows sum to 1; sums off by up
            to 1e-3 are taken for rounding and put right.
        memory_bytes: Bound for blocks of work, one stimulus at least.

    Returns:
        In [0, 1] bit, shape (n_models, n_models), float64, symmetric, zeros on the diagonal.

    Raises:
        ValueError: If shapes differ, or a row is not a probability distribution.

    Source: Lin 1991, doi:10.1109/18.61115.
    """
    _require_one_shape(probabilities, "probabilities")
    for model, rows in enumerate(probabilities):
        _require_distributions(model, rows)
    n_models, (n_stimuli, n_classes) = len(probabilities), probabilities[0].shape
    rows_per_block = max(1, memory_bytes // (BYTES_PER_PROBABILITY * n_models * n_classes))
    summed = torch.zeros(n_models, n_models, dtype=torch.float64, device=probabilities[0].device)
    for start in range(0, n_stimuli, rows_per_block):
        block = torch.stack([rows[start : start + rows_per_block].double() for rows in probabilities])
        block /= block.sum(dim=2, keepdim=True)
        for a in range(n_models):
            middle = (block[a] + block[a:]) / 2
            # p log(p / m), 0 for p = 0; the difference of entropies would cancel for similar models
            gains = _relative_entropy(block[a], middle) + _relative_entropy(block[a:], middle)
            summed[a, a:] += gains.sum(dim=(1, 2))
    upper = summed.clamp(min=0) / (2 * log(2) * n_stimuli)
    return (upper + upper.triu(1).T).clamp(max=1.0)


def _relative_entropy(probability: Tensor, middle: Tensor) -> Tensor:
    return torch.where(probability > 0, probability * (probability / middle).log(), 0.0)


def _exceed_chance(classes: Tensor, what_both_do: str) -> tuple[Tensor, Reasons]:
    """Return Cohen's kappa from whole counts, which are exact, and the reason of each NaN."""
    n_stimuli = classes.shape[1]
    agreed = torch.stack([(classes == own).sum(dim=1) for own in classes]).double()
    by_chance = torch.zeros_like(agreed)
    for class_id in sorted(set(classes.flatten().tolist())):
        counts = (classes == class_id).sum(dim=1).double()
        by_chance += torch.outer(counts, counts)
    kappa = (n_stimuli * agreed - by_chance) / (n_stimuli**2 - by_chance)
    undefined = by_chance == n_stimuli**2
    reason = Undefined(f"both models {what_both_do}: agreement beyond chance is 0 / 0")
    return kappa.masked_fill(undefined, torch.nan), {
        (a, b): (reason,) for a, b in undefined.nonzero().tolist()
    }


def _require_one_shape(outputs: Sequence[Tensor], what: str) -> None:
    if not outputs:
        raise ValueError(f"no {what} to compare; at least one model is needed")
    for model, x in enumerate(outputs):
        if x.ndim != 2 or 0 in x.shape:
            raise ValueError(
                f"{what} of model {model} have shape {tuple(x.shape)}, need (n_stimuli, n_classes)"
            )
        if x.shape != outputs[0].shape:
            raise ValueError(
                f"{what} of model {model} have shape {tuple(x.shape)}, of model 0 {tuple(outputs[0].shape)};"
                " all models need the same stimuli and classes"
            )
        if not torch.isfinite(x).all():
            raise ValueError(f"{what} of model {model} contain NaN or infinity, need finite numbers")


def _require_distributions(model: int, rows: Tensor) -> None:
    sums = rows.double().sum(dim=1)
    wrong = (rows < 0).any(dim=1) | ((sums - 1).abs() > SUM_TOLERANCE)
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise ValueError(
            f"row {row} of model {model} is not a probability distribution: smallest entry"
            f" {rows[row].min().item():.3g}, sum {sums[row].item():.6g}; take the softmax of logits first"
        )


def _require_classes(classes: Tensor) -> None:
    if classes.ndim != 2 or 0 in classes.shape or classes.is_floating_point():
        raise ValueError(
            f"classes have shape {tuple(classes.shape)} and type {classes.dtype}, need integers of shape"
            " (n_models, n_stimuli), both at least 1"
        )
