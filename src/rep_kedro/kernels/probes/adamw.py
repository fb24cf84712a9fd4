"""Linear probes by stochastic gradient descent, hundreds of settings as one weight tensor.

Settings that see the same batches (learning rates x weight decays) are columns of one matrix, so a
step is two matrix products for all of them; seeds and layers, which have batches of their own, are the
batch axis of those products. Gradient and AdamW are written out: the softmax's gradient is its value minus
the label.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rep_kedro.kernels.probes.probe import require_labels

INITIAL_SPREAD = 0.01  # standard deviation of the first weights; the first bias is 0


class DivergedError(ValueError):
    """Training left the finite numbers."""


@dataclass(frozen=True)
class AdamWSettings:
    """How probes are trained by AdamW with a cosine schedule.

    Attributes:
        learning_rates: One for each setting; it falls to 0 over all steps along half a cosine.
        weight_decays: One for each setting, decoupled; the bias is not decayed.
        seeds: Every setting runs once with each; a seed gives the first weights and the order of samples.
        n_epochs: Passes over the samples.
        batch_size: Samples of a step; the last step of a pass takes what is left.
        betas: Memory of the gradient and of its square.
        epsilon: Added to the root of the squared gradient, as in the paper.
    """

    learning_rates: tuple[float, ...]
    weight_decays: tuple[float, ...]
    seeds: tuple[int, ...] = (0,)
    n_epochs: int = 20
    batch_size: int = 128
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        if len(self.learning_rates) != len(self.weight_decays) or not self.learning_rates or not self.seeds:
            raise ValueError(
                "give as many learning rates as weight decays, and at least one seed, "
                f"got {len(self.learning_rates)}, {len(self.weight_decays)} and {len(self.seeds)}"
            )
        if min(self.learning_rates) <= 0.0 or min(self.weight_decays) < 0.0:
            raise ValueError(
                "learning rates must be positive and weight decays not negative, "
                f"got {min(self.learning_rates)} and {min(self.weight_decays)}"
            )
        if self.n_epochs < 1 or self.batch_size < 1:
            raise ValueError(
                f"epochs and batch size must be at least 1, got {self.n_epochs} and {self.batch_size}"
            )


def fit_probes_adamw(layers: Tensor, labels: Tensor, *, n_classes: int, settings: AdamWSettings) -> Tensor:
    """Train a linear classifier for each layer, seed and setting.

    The value of one probe does not depend on which others are trained with it, up to rounding. Equal
    seeds give equal values on one device and thread count.

    Args:
        layers: Standardised features, (n_layers, n_samples, n_features), float32; layers of other widths need
            another call.
        labels: Class indices from 0 to n_classes - 1, shape (n_samples,).
        n_classes: Number of classes, at least 2.
        settings: Learning rates, weight decays, seeds, epochs.

    Returns:
        Weights (n_layers, n_seeds, n_settings, n_features + 1, n_classes), dtype of the layers; the last
        row is the bias.

    Raises:
        ValueError: If shapes or labels do not fit, or a weight is not finite at the end.

    Cost:
        Each step 4 * batch_size * n_features * n_classes multiply-adds for every layer, seed and setting.

    Source:
        Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2 (AdamW); 2017, arXiv:1608.03983 (cosine).
    """
    if layers.ndim != 3:
        raise ValueError(
            f"layers must have shape (n_layers, n_samples, n_features), got {tuple(layers.shape)}"
        )
    require_labels(labels, n_classes=n_classes, n_samples=layers.shape[1])
    ones = layers.new_ones(*layers.shape[:2], 1)
    features = torch.cat([layers, ones], dim=2)
    generators = [torch.Generator().manual_seed(seed) for seed in settings.seeds]
    grid = _Grid(features, n_classes, settings, generators)
    n_samples = layers.shape[1]
    targets = labels.to(layers.device)
    n_steps = settings.n_epochs * math.ceil(n_samples / settings.batch_size)
    for _ in range(settings.n_epochs):
        order = torch.stack([torch.randperm(n_samples, generator=g) for g in generators]).to(layers.device)
        for chosen in torch.split(order, settings.batch_size, dim=1):
            gradient = grid.gradient(features[:, chosen], targets[chosen])
            grid.step(gradient, n_steps=n_steps)
    weights = grid.weights()
    if not bool(torch.isfinite(weights).all()):
        raise DivergedError("probes diverged to NaN or infinity; use smaller learning rates")
    return weights


class _Grid:
    """Weights of all settings, (layers * seeds, features + 1, classes, settings), and the memory of AdamW."""

    def __init__(
        self, features: Tensor, n_classes: int, settings: AdamWSettings, generators: Sequence[torch.Generator]
    ) -> None:
        n_layers, _, width = features.shape
        self.settings = settings
        self.outer = (n_layers, len(generators))
        self.shape = (n_layers * len(generators), width, n_classes, len(settings.learning_rates))
        first = torch.stack([torch.randn(width, n_classes, generator=g) for g in generators])
        first = (first * INITIAL_SPREAD).to(features)
        first[:, -1] = 0.0
        self.weight = first[None, ..., None].expand(*self.outer, *self.shape[1:]).clone().reshape(self.shape)
        self.mean = torch.zeros_like(self.weight)
        self.square = torch.zeros_like(self.weight)
        self.update = torch.empty_like(self.weight)
        self.rate = features.new_tensor(settings.learning_rates)
        self.decay = features.new_tensor(settings.weight_decays)
        self.n_done = 0

    def gradient(self, batch: Tensor, targets: Tensor) -> Tensor:
        """Return the gradient of the mean cross-entropy over a batch.

        ``batch`` has shape (layers, seeds, samples, features + 1), ``targets`` (seeds, samples).
        """
        x = batch.flatten(0, 1)
        logits = torch.bmm(x, self.weight.flatten(2))
        residual = logits.view(*x.shape[:2], *self.shape[2:]).softmax(dim=2)
        target = targets.repeat(self.outer[0], 1)[:, :, None, None].expand(-1, -1, 1, self.shape[3])
        residual.scatter_add_(2, target, residual.new_full((), -1.0).expand(target.shape))
        gradient = torch.bmm(x.mT, residual.flatten(2))
        return gradient.div_(x.shape[1]).view(self.shape)

    def step(self, gradient: Tensor, *, n_steps: int) -> None:
        """Move all weights by one step of AdamW."""
        first, second = self.settings.betas
        rate = self.rate * (0.5 * (1.0 + math.cos(math.pi * self.n_done / n_steps)))
        self.n_done += 1
        self.weight[:, :-1] *= 1.0 - rate * self.decay
        self.mean.lerp_(gradient, 1.0 - first)
        self.square.mul_(second).addcmul_(gradient, gradient, value=1.0 - second)
        torch.sqrt(self.square, out=self.update)
        self.update.div_(math.sqrt(1.0 - second**self.n_done)).add_(self.settings.epsilon)
        torch.div(self.mean, self.update, out=self.update)
        self.update *= rate / (1.0 - first**self.n_done)
        self.weight -= self.update

    def weights(self) -> Tensor:
        """Return (layers, seeds, settings, features + 1, classes)."""
        return self.weight.permute(0, 3, 1, 2).reshape(*self.outer, self.shape[3], *self.shape[1:3])
