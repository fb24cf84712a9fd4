"""Probes with one hidden layer, trained by AdamW, all settings as one weight tensor."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rep_kedro.kernels.probes.adamw import AdamWSettings
from rep_kedro.kernels.probes.descent import Part, descend
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
        He et al. 2015, arXiv:1502.01852, as torch.nn.Linear begins; trained by :func:`descent.descend`.
    """
    require_labels(labels, n_classes=n_classes, n_samples=len(x))
    generator = torch.Generator().manual_seed(settings.seeds[0])
    n_settings = len(settings.learning_rates)
    parts = [
        Part(_draw_first(n_inputs, n_outputs, generator).to(x).repeat(n_settings, 1, 1), n_biases=1)
        for n_inputs, n_outputs in ((x.shape[1], n_hidden), (n_hidden, n_classes))
    ]

    def read(weights: Sequence[Tensor], chosen: Tensor) -> Tensor:
        return compute_logits(MlpWeights(*weights), x[chosen])

    trained = descend(
        parts, read, labels, settings=settings, generator=generator, class_weights=class_weights
    )
    return MlpWeights(*trained)


def compute_logits(weights: MlpWeights, x: Tensor) -> Tensor:
    """Return (n_settings, n_samples, n_classes)."""
    hidden = (x @ weights.hidden[:, :-1] + weights.hidden[:, -1:]).relu()
    return hidden @ weights.output[:, :-1] + weights.output[:, -1:]


def _draw_first(n_inputs: int, n_outputs: int, generator: torch.Generator) -> Tensor:
    return (2.0 * torch.rand(n_inputs + 1, n_outputs, generator=generator) - 1.0) / math.sqrt(n_inputs)
