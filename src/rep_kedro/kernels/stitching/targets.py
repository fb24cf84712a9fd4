"""What a stitched network should answer: each target is one function to probabilities, computed once.

All are minimised as the cross-entropy with one matrix. The mean of the cross-entropies with two targets is
that with the mean of their probabilities.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def aim_at_labels(labels: Tensor, front: Tensor | None, end: Tensor, temperature: float) -> Tensor:
    """Return the labels, one-hot."""
    return torch.nn.functional.one_hot(labels.long(), end.shape[1]).to(torch.float64)


def aim_at_front(labels: Tensor, front: Tensor | None, end: Tensor, temperature: float) -> Tensor:
    """Return the probabilities of the front network."""
    return _soften(_require_front(front), temperature)


def aim_at_end(labels: Tensor, front: Tensor | None, end: Tensor, temperature: float) -> Tensor:
    """Return the probabilities of the end network."""
    return _soften(end, temperature)


def aim_at_mean_probabilities(
    labels: Tensor, front: Tensor | None, end: Tensor, temperature: float
) -> Tensor:
    """Return the mean of both networks' probabilities."""
    return (_soften(_require_front(front), temperature) + _soften(end, temperature)) / 2.0


def aim_at_mean_logits(labels: Tensor, front: Tensor | None, end: Tensor, temperature: float) -> Tensor:
    """Return the probabilities of the mean of both networks' logits."""
    return _soften((_require_front(front).to(torch.float64) + end) / 2.0, temperature)


TARGETS: dict[str, Callable[[Tensor, Tensor | None, Tensor, float], Tensor]] = {
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
        labels: Class indices, (n_stimuli,).
        front: Logits of the front network, (n_stimuli, n_classes); None where the target does not need them.
        end: Logits of the end network, (n_stimuli, n_classes).
        temperature: Divides the logits; above 0.

    Returns:
        Shape (n_stimuli, n_classes), float32, rows sum to 1.

    Raises:
        ValueError: If shapes differ, a label is no class, or the front's logits are needed and missing.

    Source:
        Csiszárik et al. 2021, arXiv:2110.14633, section 4; Hinton et al. 2015, arXiv:1503.02531
        (temperature).
    """
    if labels.shape != end.shape[:1] or (front is not None and front.shape != end.shape):
        shapes = [tuple(x.shape) for x in (labels, end) if x is not None]
        raise ValueError(
            f"labels and logits must be of the same stimuli and classes, got shapes {shapes}"
            f" and {None if front is None else tuple(front.shape)}"
        )
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < end.shape[1]:
        raise ValueError(
            f"labels must be in 0 to {end.shape[1] - 1}, got {int(labels.min())} to {int(labels.max())}"
        )
    return TARGETS[name](labels, front, end, temperature).to(torch.float32)


def _soften(logits: Tensor, temperature: float) -> Tensor:
    return (logits.to(torch.float64) / temperature).softmax(dim=1)


def _require_front(front: Tensor | None) -> Tensor:
    if front is None:
        raise ValueError("this target needs the logits of the front network, got none")
    return front
