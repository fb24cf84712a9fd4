"""Linear probes by stochastic gradient descent, hundreds of settings as one weight tensor.

Settings that see the same batches (learning rates x weight decays) are columns of one matrix, so a
step is two matrix products for all of them; seeds and layers, which have batches of their own, are the
batch axis of those products. Gradient and AdamW are written out: the gradient of softmax and sigmoid is their
value minus the label.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rep_kedro.kernels.probes.probe import require_labels

INITIAL_SPREAD = 0.01  # standard deviation of the first weights; the first bias is 0
BLOCK_NUMBERS = 1 << 17  # of weights that are updated at a time, so that they stay in the cache
NEGLIGIBLE_SHRINKAGE = 1e-3  # of the weights over a run: below it, decays do the same


class DivergedError(ValueError):
    """Training left the finite numbers."""


@dataclass(frozen=True)
class AdamWSettings:
    """How probes are trained by AdamW with a cosine schedule.

    Attributes:
        learning_rates: One for each setting; it falls to 0 over all steps along half a cosine.
        weight_decays: One for each setting; the bias is not decayed.
        seeds: Every setting runs once with each; a seed gives the first weights and the order of samples.
        n_epochs: Passes over the samples.
        batch_size: Samples of a step; the last step of a pass takes what is left.
        betas: Memory of the gradient and of its square.
        epsilon: Added to the root of the squared gradient, as in the paper.
        penalty: ``weight_decay`` (decoupled); ``l1`` or ``l2``: the decay times the sum of |W| or W^2 in the
            loss.
        precision: ``float32`` (that of the layers), or ``bfloat16`` for the two matrix products alone.
    """

    learning_rates: tuple[float, ...]
    weight_decays: tuple[float, ...]
    seeds: tuple[int, ...] = (0,)
    n_epochs: int = 20
    batch_size: int = 128
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    penalty: str = "weight_decay"
    precision: str = "float32"

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


def fit_probes_adamw(
    layers: Tensor,
    labels: Tensor,
    *,
    n_classes: int,
    settings: AdamWSettings,
    class_weights: Tensor | None = None,
) -> Tensor:
    """Train a linear classifier for each layer, seed and setting.

    The value of one probe does not depend on which others are trained with it, up to rounding. Equal
    seeds give equal values on one device and thread count.

    Args:
        layers: Standardised features, (n_layers, n_samples, n_features), float32; layers of other widths need
            another call.
        labels: Class indices from 0 to n_classes - 1, shape (n_samples,), for a softmax; or which classes
            each sample has, (n_samples, n_classes), 0 or 1, for one sigmoid for each class.
        n_classes: Number of classes, at least 2.
        settings: Learning rates, weight decays, seeds, epochs.
        class_weights: Weight of the samples of each class in the mean of a batch, (n_classes,); of class
            indices alone.

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
    weight_of = None if class_weights is None else class_weights.to(layers)
    n_steps = settings.n_epochs * math.ceil(n_samples / settings.batch_size)
    for _ in range(settings.n_epochs):
        order = torch.stack([torch.randperm(n_samples, generator=g) for g in generators]).to(layers.device)
        for chosen in torch.split(order, settings.batch_size, dim=1):
            weights = None if weight_of is None else weight_of[targets[chosen]]
            gradient = grid.gradient(features[:, chosen], targets[chosen], weights)
            grid.step(gradient, n_steps=n_steps)
    trained = grid.weights()
    if not bool(torch.isfinite(trained).all()):
        raise DivergedError("probes diverged to NaN or infinity; use smaller learning rates")
    return trained


def group_equal_runs(settings: AdamWSettings, *, n_samples: int) -> list[list[int]]:
    """Return which settings are so close that one run serves them all.

    Over a run with a cosine schedule a decoupled decay w shrinks the weights by exp(-w * rate * (n_steps + 1)
    / 2). Settings of one rate for which that exponent is below 1e-3 differ by less than a thousandth.

    Args:
        settings: Learning rates and weight decays.
        n_samples: Samples of a pass.

    Returns:
        Places of the settings of each run, the one with the smallest decay first; each setting is in one.

    Example:
        >>> group_equal_runs(AdamWSettings((0.1, 0.1, 0.1), (1e-6, 1e-5, 1.0)), n_samples=128)
        [[0, 1], [2]]
    """
    n_steps = settings.n_epochs * math.ceil(n_samples / settings.batch_size)
    decays = settings.weight_decays
    runs: list[list[int]] = []
    run_of_rate: dict[float, list[int]] = {}
    for place in sorted(range(len(decays)), key=lambda i: decays[i]):
        rate = settings.learning_rates[place]
        is_negligible = decays[place] * rate * (n_steps + 1) / 2 < NEGLIGIBLE_SHRINKAGE
        if is_negligible and settings.penalty == "weight_decay" and rate in run_of_rate:
            run_of_rate[rate].append(place)
            continue
        runs.append([place])
        if is_negligible:
            run_of_rate[rate] = runs[-1]
    return runs


def cosine(n_done: int, n_steps: int) -> float:
    """Return the share of the learning rate after some of the steps: half a cosine from 1 to 0."""
    return 0.5 * (1.0 + math.cos(math.pi * n_done / n_steps))


class Moments:
    """What Adam remembers of the gradients of one weight tensor, which it moves in place, block by block.

    All operations on a block follow one another while it is in the processor's cache.
    """

    def __init__(self, weight: Tensor, *, betas: tuple[float, float], epsilon: float) -> None:
        self.weight, self.betas, self.epsilon = weight, betas, epsilon
        self.mean = torch.zeros_like(weight)
        self.square = torch.zeros_like(weight)
        self.n_rows = max(1, BLOCK_NUMBERS // max(1, weight[0].numel()))
        self.update = torch.empty_like(weight[: self.n_rows])
        self.n_done = 0

    def step(self, gradient: Tensor, rate: Tensor) -> None:
        """Move the weights against a gradient.

        Args:
            gradient: Of the weights.
            rate: Broadcast to the weights; if it has as many axes, along the first one number for each row.
        """
        first, second = self.betas
        self.n_done += 1
        bias = math.sqrt(1.0 - second**self.n_done)
        rate = rate * (bias / (1.0 - first**self.n_done))
        by_row = rate.ndim == self.weight.ndim
        for start in range(0, len(self.weight), self.n_rows):
            rows = slice(start, start + self.n_rows)
            mean, square, slope = self.mean[rows], self.square[rows], gradient[rows]
            update = self.update[: len(mean)]
            mean.lerp_(slope, 1.0 - first)
            square.mul_(second).addcmul_(slope, slope, value=1.0 - second)
            torch.sqrt(square, out=update)
            update.add_(self.epsilon * bias)
            torch.div(mean, update, out=update)
            self.weight[rows].addcmul_(update, rate[rows] if by_row else rate, value=-1.0)


class _Grid:
    """Weights of all settings, (layers * seeds, features + 1, classes, settings), and the memory of AdamW.

    Settings are the last axis: the products are large, and softmax and update pass over contiguous numbers.
    """

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
        self.moments = Moments(self.weight.flatten(0, 1), betas=settings.betas, epsilon=settings.epsilon)
        self.slope = torch.empty_like(self.weight.flatten(2))
        self.rate = features.new_tensor(settings.learning_rates)
        self.decay = features.new_tensor(settings.weight_decays)
        self.product_dtype = torch.bfloat16 if settings.precision == "bfloat16" else features.dtype
        self.n_done = 0

    def gradient(self, batch: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        """Return the gradient of the mean cross-entropy over a batch; the next call overwrites it.

        ``batch`` has shape (layers, seeds, samples, features + 1), ``targets`` (seeds, samples) or (seeds,
        samples, classes), ``weights`` (seeds, samples).
        """
        x = batch.flatten(0, 1).to(self.product_dtype)
        logits = torch.bmm(x, self.weight.flatten(2).to(self.product_dtype))
        share = 1.0 / x.shape[1]
        if weights is not None:
            weights, share = weights / weights.sum(dim=1, keepdim=True), 1.0
        n_rows = max(1, BLOCK_NUMBERS // (len(x) * logits.shape[2]))
        for start in range(0, x.shape[1], n_rows):
            rows = slice(start, start + n_rows)
            self._to_residual(
                logits[:, rows], targets[:, rows], None if weights is None else weights[:, rows]
            )
        if self.product_dtype == self.weight.dtype:
            torch.baddbmm(self.slope, x.mT, logits, beta=0.0, alpha=share, out=self.slope)
        else:
            self.slope.copy_(torch.bmm(x.mT, logits)).mul_(share)
        return self.slope.view(self.shape)

    def _to_residual(self, logits: Tensor, targets: Tensor, weights: Tensor | None) -> None:
        """Replace the logits of some samples by probabilities minus labels, times the weights of samples."""
        values = logits.to(self.weight.dtype).view(*logits.shape[:2], *self.shape[2:])
        n_layers = self.outer[0]
        if targets.ndim == 2:
            residual = values.softmax(dim=2)
            target = targets.repeat(n_layers, 1)[:, :, None, None].expand(-1, -1, 1, self.shape[3])
            residual.scatter_add_(2, target, residual.new_full((), -1.0).expand(target.shape))
        else:
            residual = values.sigmoid().sub_(targets.repeat(n_layers, 1, 1)[..., None])
        if weights is not None:
            residual *= weights.repeat(n_layers, 1)[:, :, None, None]
        logits.copy_(residual.flatten(2))

    def step(self, gradient: Tensor, *, n_steps: int) -> None:
        """Move all weights by one step of AdamW; the penalty of l1 and l2 is part of the gradient."""
        rate = self.rate * cosine(self.n_done, n_steps)
        self.n_done += 1
        linear = self.weight[:, :-1]
        if self.settings.penalty == "weight_decay":
            linear *= 1.0 - rate * self.decay
        else:
            slope = linear.sign() if self.settings.penalty == "l1" else 2.0 * linear
            gradient[:, :-1] += self.decay * slope
        self.moments.step(gradient.flatten(0, 1), rate)

    def weights(self) -> Tensor:
        """Return (layers, seeds, settings, features + 1, classes)."""
        return self.weight.permute(0, 3, 1, 2).reshape(*self.outer, self.shape[3], *self.shape[1:3])
