"""Probes with one hidden layer, trained by AdamW, all settings as one weight tensor."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from rep_kedro.kernels.probes.adamw import AdamWSettings, DivergedError, Moments, cosine
from rep_kedro.kernels.probes.probe import require_labels


class MlpWeights(NamedTuple):
    """Weights of one network for each setting; the last row of each matrix is the bias.

    Attributes:
        hidden: Shape (n_settings, n_features + 1, n_hidden).
        output: Shape (n_settings, n_hidden + 1, n_classes).
    """

    hidden: Tensor
    output: Tensor


def fit_probes_mlp(
    x: Tensor,
    labels: Tensor,
    *,
    n_classes: int,
    n_hidden: int,
    settings: AdamWSettings,
    class_weights: Tensor | None = None,
) -> MlpWeights:
    """Train a network of one hidden layer of rectified units for each setting.

    Equal seeds give equal first weights (uniform within one over the root of the inputs) and batches.

    Args:
        x: Standardised features, (n_samples, n_features), float32.
        labels: Class indices, (n_samples,), or which classes each sample has, (n_samples, n_classes).
        n_classes: Number of classes, at least 2.
        n_hidden: Hidden units.
        settings: Learning rates, decoupled weight decays (biases are not decayed), epochs; its first seed.
        class_weights: Weight of the samples of each class in the mean of a batch, (n_classes,).

    Raises:
        ValueError: If shapes or labels do not fit, or a weight is not finite at the end.

    Source:
        Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2 (AdamW); He et al. 2015, arXiv:1502.01852,
        as torch.nn.Linear begins.
    """
    require_labels(labels, n_classes=n_classes, n_samples=len(x))
    generator = torch.Generator().manual_seed(settings.seeds[0])
    n_settings = len(settings.learning_rates)
    weights = [
        _draw_first(n_inputs, n_outputs, generator).to(x).repeat(n_settings, 1, 1).requires_grad_()
        for n_inputs, n_outputs in ((x.shape[1], n_hidden), (n_hidden, n_classes))
    ]
    moments = [Moments(w.data, betas=settings.betas, epsilon=settings.epsilon) for w in weights]
    rates = x.new_tensor(settings.learning_rates)[:, None, None]
    decays = x.new_tensor(settings.weight_decays)[:, None, None]
    n_steps = settings.n_epochs * math.ceil(len(x) / settings.batch_size)
    for epoch in range(settings.n_epochs):
        order = torch.randperm(len(x), generator=generator).to(x.device)
        for i, chosen in enumerate(torch.split(order, settings.batch_size)):
            logits = compute_logits(MlpWeights(*weights), x[chosen])
            loss = _cross_entropy(logits, labels[chosen], class_weights)
            rate = rates * cosine(epoch * (n_steps // settings.n_epochs) + i, n_steps)
            for moment, gradient in zip(moments, torch.autograd.grad(loss, weights), strict=True):
                moment.weight[:, :-1] *= 1.0 - rate * decays
                moment.step(gradient, rate)
    if not all(bool(torch.isfinite(w).all()) for w in weights):
        raise DivergedError("probes diverged to NaN or infinity; use smaller learning rates")
    return MlpWeights(*(w.detach() for w in weights))


def compute_logits(weights: MlpWeights, x: Tensor) -> Tensor:
    """Return (n_settings, n_samples, n_classes)."""
    hidden = (x @ weights.hidden[:, :-1] + weights.hidden[:, -1:]).relu()
    return hidden @ weights.output[:, :-1] + weights.output[:, -1:]


def _draw_first(n_inputs: int, n_outputs: int, generator: torch.Generator) -> Tensor:
    return (2.0 * torch.rand(n_inputs + 1, n_outputs, generator=generator) - 1.0) / math.sqrt(n_inputs)


def _cross_entropy(logits: Tensor, labels: Tensor, class_weights: Tensor | None) -> Tensor:
    """Return the sum over settings of their mean loss, so that each has the gradient of its own."""
    if labels.ndim != 1:
        target = labels.to(logits).expand_as(logits)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="sum")
        return loss / len(labels)
    weight = None if class_weights is None else class_weights.to(logits)
    target = labels.expand(len(logits), -1)
    loss = torch.nn.functional.cross_entropy(logits.mT, target, weight=weight, reduction="sum")
    return loss / (len(labels) if weight is None else weight[labels].sum())
