"""Small networks behind features, trained by AdamW with automatic gradients, all settings at once."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rep_kedro.kernels.probes.adamw import AdamWSettings, DivergedError, Moments, cosine


class Part(NamedTuple):
    """One weight tensor of all settings.

    Attributes:
        weight: Shape (n_settings, n_rows, n_columns); trained in place.
        n_biases: Its last rows that are not decayed.
    """

    weight: Tensor
    n_biases: int


def descend(
    parts: Sequence[Part],
    read: Callable[[Sequence[Tensor], Tensor], Tensor],
    labels: Tensor,
    *,
    settings: AdamWSettings,
    generator: torch.Generator,
    class_weights: Tensor | None,
) -> list[Tensor]:
    """Train weights for each setting; what one gives does not depend on the others, up to rounding.

    Args:
        parts: First weights.
        read: From weights and the places of some samples to their logits, (n_settings, n_chosen, n_classes).
        labels: Class indices, (n_samples,), or which classes each sample has, (n_samples, n_classes).
        settings: Learning rates, decoupled weight decays, epochs, size of batches.
        generator: Orders the samples.
        class_weights: Weight of the samples of each class in the mean of a batch, (n_classes,).

    Returns:
        The trained weights, in the order of `parts`.

    Raises:
        DivergedError: If a weight is not finite at the end.

    Source:
        Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2 (AdamW); 2017, arXiv:1608.03983 (cosine).
    """
    weights = [part.weight.requires_grad_() for part in parts]
    moments = [Moments(w.data, betas=settings.betas, epsilon=settings.epsilon) for w in weights]
    rates = weights[0].new_tensor(settings.learning_rates)[:, None, None]
    decays = weights[0].new_tensor(settings.weight_decays)[:, None, None]
    steps_of_epoch = math.ceil(len(labels) / settings.batch_size)
    for epoch in range(settings.n_epochs):
        order = torch.randperm(len(labels), generator=generator).to(labels.device)
        for i, chosen in enumerate(torch.split(order, settings.batch_size)):
            loss = sum_losses(read(weights, chosen), labels[chosen], class_weights)
            rate = rates * cosine(epoch * steps_of_epoch + i, settings.n_epochs * steps_of_epoch)
            gradients = torch.autograd.grad(loss, weights)
            for part, moment, gradient in zip(parts, moments, gradients, strict=True):
                moment.weight[:, : moment.weight.shape[1] - part.n_biases] *= 1.0 - rate * decays
                moment.step(gradient, rate)
    if not all(bool(torch.isfinite(w).all()) for w in weights):
        raise DivergedError("probes diverged to NaN or infinity; use smaller learning rates")
    return [w.detach() for w in weights]


def sum_losses(logits: Tensor, labels: Tensor, class_weights: Tensor | None) -> Tensor:
    """Return the sum over settings of their mean cross-entropy, so that each has the gradient of its own.

    Args:
        logits: Shape (n_settings, n_samples, n_classes).
        labels: Class indices, (n_samples,), or which classes each sample has, (n_samples, n_classes).
        class_weights: Weight of the samples of each class in the mean, (n_classes,).
    """
    if labels.ndim != 1:
        target = labels.to(logits).expand_as(logits)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="sum")
        return loss / len(labels)
    weight = None if class_weights is None else class_weights.to(logits)
    target = labels.expand(len(logits), -1)
    loss = torch.nn.functional.cross_entropy(logits.mT, target, weight=weight, reduction="sum")
    return loss / (len(labels) if weight is None else weight[labels].sum())
