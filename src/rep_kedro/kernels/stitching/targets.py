"""What a stitched network should answer: each target is one function to probabilities, computed once.

All are minimised as the cross-entropy with one matrix. The mean of the cross-entropies with two targets is
that with the mean of their probabilities. If a stimulus has one label, probabilities are those of a softmax;
if it may have several, each class has a sigmoid of its own.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Answers(NamedTuple):
    """What targets are made of, for the same stimuli and classes.

    Attributes:
        labels: Which classes each stimulus has, 0 or 1, (n_stimuli, n_classes), float64.
        front: Logits of the front network, (n_stimuli, n_classes); None where no target needs them.
        end: Logits of the end network, (n_stimuli, n_classes).
        soften: From logits to probabilities.
    """

    labels: Tensor
    front: Tensor | None
    end: Tensor
    soften: Callable[[Tensor], Tensor]


def aim_at_labels(given: Answers) -> Tensor:
    """Return the labels."""
    return given.labels


def aim_at_front(given: Answers) -> Tensor:
    """Return the probabilities of the front network."""
    return given.soften(_require_front(given.front))


def aim_at_end(given: Answers) -> Tensor:
    """Return the probabilities of the end network."""
    return given.soften(given.end)


def aim_at_mean_probabilities(given: Answers) -> Tensor:
    """Return the mean of both networks' probabilities."""
    return (given.soften(_require_front(given.front)) + given.soften(given.end)) / 2.0


def aim_at_mean_logits(given: Answers) -> Tensor:
    """Return the probabilities of the mean of both networks' logits."""
    return given.soften((_require_front(given.front).to(torch.float64) + given.end) / 2.0)


TARGETS: dict[str, Callable[[Answers], Tensor]] = {
    "hard": aim_at_labels,
    "soft_1": aim_at_front,
    "soft_2": aim_at_end,
    "soft_12": aim_at_mean_probabilities,
    "soft_1_plus_2": aim_at_mean_logits,
}


def make_target(
    name: str, *, labels: Tensor, front: Tensor | None, end: Tensor, temperature: float = 1.0
) -> Tensor:
    """Return the probabilities that a stitched network is trained towards.

    Args:
        name: One of ``TARGETS``.
        labels: Class indices, (n_stimuli,); or which classes each stimulus has, 0 or 1,
            (n_stimuli, n_classes).
        front: Logits of the front network, (n_stimuli, n_classes); None where the target does not need them.
        end: Logits of the end network, (n_stimuli, n_classes).
        temperature: Divides the logits; above 0.

    Returns:
        Shape (n_stimuli, n_classes), float32; rows sum to 1 if a stimulus has one label.

    Raises:
        ValueError: If shapes differ, a label is not a class, or the front's logits are needed and missing.

    Source:
        Csiszárik et al. 2021, arXiv:2110.14633, section 4; Hinton et al. 2015, arXiv:1503.02531
        (temperature).
    """
    wanted = end.shape[:1] if labels.ndim == 1 else end.shape
    if labels.shape != wanted or (front is not None and front.shape != end.shape):
        shapes = [tuple(x.shape) for x in (labels, end) if x is not None]
        raise ValueError(
            f"labels and logits must be of the same stimuli and classes, got shapes {shapes}"
            f" and {None if front is None else tuple(front.shape)}"
        )
    highest = end.shape[1] - 1 if labels.ndim == 1 else 1
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) <= highest:
        raise ValueError(f"labels must be in 0 to {highest}, got {int(labels.min())} to {int(labels.max())}")
    if labels.ndim == 1:
        matrix = torch.nn.functional.one_hot(labels.long(), end.shape[1])
        given = Answers(matrix.to(torch.float64), front, end, lambda x: _scale(x, temperature).softmax(dim=1))
    else:
        given = Answers(labels.to(torch.float64), front, end, lambda x: _scale(x, temperature).sigmoid())
    return TARGETS[name](given).to(torch.float32)


def _scale(logits: Tensor, temperature: float) -> Tensor:
    return logits.to(torch.float64) / temperature


def _require_front(front: Tensor | None) -> Tensor:
    if front is None:
        raise ValueError("this target needs the logits of the front network, got none")
    return front
