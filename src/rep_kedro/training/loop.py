"""The training loop: one network, one objective, one seed; the same bits every time.

Weights, batch order and augmentations have random streams of their own, all derived from the seed. On a CPU
the loop runs on one thread, so that the result does not depend on how many there are; several networks are
trained side by side instead.
"""

import hashlib
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rep_kedro.errors import NotFiniteError, UserError
from rep_kedro.kernels.layers.spectrum import measure_rankme_uncentred_sigma
from rep_kedro.kernels.precision import accumulation_dtype, full_precision
from rep_kedro.models.architecture import DefinedNetwork
from rep_kedro.models.network import Network, build_network
from rep_kedro.training.objectives.protocol import Objective, embed
from rep_kedro.training.schedule import Schedule

EVALUATION_BATCH = 512


@dataclass(frozen=True)
class LabelledImages:
    """Images of one split.

    Attributes:
        images: uint8, (n, c, h, w).
        labels: int64, (n,), from 0; None where a stimulus set has none.
    """

    images: Tensor
    labels: Tensor | None


@dataclass(frozen=True)
class TrainingStimuli:
    """What a network learns from, and what it is tried on.

    Attributes:
        train: Images to learn from.
        test: Images for the reported accuracy only; nothing is chosen by them.
        n_classes: Classes of the stimulus set; None where it has no labels.
    """

    train: LabelledImages
    test: LabelledImages
    n_classes: int | None


@dataclass(frozen=True)
class TrainedNetwork:
    """A network and how it came about: one dict of metrics per epoch, from epoch 0 (as drawn) on."""

    network: Network
    history: list[dict[str, float]]


def train_network(
    name: str,
    architecture: DefinedNetwork,
    objective: Objective,
    *,
    seed: int,
    schedule: Schedule | None,
    stimuli: TrainingStimuli,
    device: str = "cpu",
) -> TrainedNetwork:
    """Train one network.

    Args:
        name: For error messages.
        architecture: What to build.
        objective: What to minimise.
        seed: Of weights, batch order and augmentations.
        schedule: None for an objective that does not train.
        stimuli: Images; the number of classes is used only by objectives with a head.
        device: Where to compute, such as `cpu` or `cuda`.

    Returns:
        The network on the CPU, in evaluation mode, and its history: `epoch`, `loss` and its parts as means
        over the epoch's steps, and where there is a head `train_accuracy` and `test_accuracy`, else
        `embedding_rankme` of the training images; the last four measured after the epoch.

    Raises:
        ValueError: If the images do not fit the objective or the schedule.
        FloatingPointError: If the loss is not finite; names network and epoch.
    """
    _require_fit(name, objective, schedule, stimuli)
    n_classes = stimuli.n_classes if objective.has_head else None
    network = build_network(architecture, n_classes=n_classes, seed=seed).to(device)
    width = network.output_width
    projector = objective.build_projector(width, _stream(seed, "projector")).to(device)
    images, labels = stimuli.train.images.to(device), _labels_or_zeros(stimuli.train).to(device)
    with _repeatable(device):
        history = [{"epoch": 0.0, **_evaluate(network, projector, stimuli, device)}]
        if objective.trains and schedule is not None:
            steps = _Steps(network, projector, schedule, n_images=len(images))
            order, augmentation = _stream(seed, "order"), _stream(seed, "views")
            for epoch in range(1, schedule.epochs + 1):
                sums: dict[str, Tensor] = {}
                widest = accumulation_dtype(device)
                for rows in steps.batches(order):
                    losses = objective.compute_losses(
                        network, projector, images[rows].float() / 255, labels[rows], augmentation
                    )
                    steps.take(losses["loss"])
                    for part, value in losses.items():
                        sums[part] = sums.get(part, 0.0) + value.detach().to(widest)
                means = {part: total.item() / steps.per_epoch for part, total in sums.items()}
                _require_finite(name, epoch, means)
                history.append(
                    {"epoch": float(epoch), **means, **_evaluate(network, projector, stimuli, device)}
                )
    return TrainedNetwork(network.cpu().eval(), history)


class _Steps:
    """Optimiser, learning rate and batches of one training."""

    def __init__(
        self, network: nn.Module, projector: nn.Module, schedule: Schedule, *, n_images: int
    ) -> None:
        parameters = [*network.parameters(), *projector.parameters()]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": schedule.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        rate = schedule.learning_rate
        self._optimizer: torch.optim.Optimizer = (
            torch.optim.AdamW(groups, lr=rate, fused=True)  # exact roots: see kernels.portable
            if schedule.optimizer == "adamw"
            else torch.optim.SGD(groups, lr=rate, momentum=schedule.momentum, nesterov=schedule.momentum > 0)
        )
        self._schedule = schedule
        self._n_images = n_images
        self._taken = 0
        self._network, self._projector = network, projector
        self.per_epoch = n_images // schedule.batch_size

    def batches(self, order: torch.Generator) -> Iterator[Tensor]:
        """Yield the rows of each batch of one epoch."""
        self._network.train()
        self._projector.train()
        rows = torch.randperm(self._n_images, generator=order)
        size = self._schedule.batch_size
        for i in range(self.per_epoch):
            yield rows[i * size : (i + 1) * size]

    def take(self, loss: Tensor) -> None:
        """Take one step down the gradient of `loss`."""
        for group in self._optimizer.param_groups:
            group["lr"] = self._schedule.learning_rate * rate_fraction(
                self._taken, self._schedule.epochs * self.per_epoch, self._schedule.warmup_fraction
            )
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._taken += 1


def rate_fraction(step: int, n_steps: int, warmup_fraction: float) -> float:
    """Return the share of the highest learning rate at a step: a linear rise, then half a cosine to zero.

    Example:
        >>> [round(rate_fraction(step, 8, 0.25), 3) for step in range(8)]
        [0.5, 1.0, 1.0, 0.933, 0.75, 0.5, 0.25, 0.067]
    """
    n_warmup = round(n_steps * warmup_fraction)
    if step < n_warmup:
        return (step + 1) / n_warmup
    return (1 + math.cos(math.pi * (step - n_warmup) / (n_steps - n_warmup))) / 2


def measure_accuracy(network: Network, images: LabelledImages, device: str = "cpu") -> float | None:
    """Return the fraction of images whose highest logit is their label; None without labels or images."""
    if images.labels is None or len(images.images) == 0:
        return None
    predictions = [logits.argmax(dim=1).cpu() for logits in _outputs(network, nn.Identity(), images, device)]
    return int((torch.cat(predictions) == images.labels).sum()) / len(images.images)


def _outputs(network: Network, projector: nn.Module, images: LabelledImages, device: str) -> Iterator[Tensor]:
    network.eval()
    projector.eval()
    with torch.no_grad():
        for start in range(0, len(images.images), EVALUATION_BATCH):
            batch = images.images[start : start + EVALUATION_BATCH]
            yield embed(network, projector, batch.to(device).float() / 255)


def _evaluate(
    network: Network, projector: nn.Module, stimuli: TrainingStimuli, device: str
) -> dict[str, float]:
    if network.n_classes is None:
        outputs = torch.cat(list(_outputs(network, projector, stimuli.train, device)))
        embeddings = outputs.to(accumulation_dtype(device))
        if not bool(torch.isfinite(embeddings).all()):
            return {}
        return {"embedding_rankme": measure_rankme_uncentred_sigma(torch.linalg.svdvals(embeddings).cpu())}
    accuracies = {
        "train_accuracy": measure_accuracy(network, stimuli.train, device),
        "test_accuracy": measure_accuracy(network, stimuli.test, device),
    }
    return {metric: value for metric, value in accuracies.items() if value is not None}


def _stream(seed: int, purpose: str) -> torch.Generator:
    """Return a generator of its own for each purpose."""
    digest = hashlib.sha256(f"{seed}:{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@contextmanager
def _repeatable(device: str) -> Iterator[None]:
    """Compute in the same order every time, in full float32."""
    memory: Any = torch.utils.deterministic
    threads, filling = torch.get_num_threads(), memory.fill_uninitialized_memory
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    if torch.device(device).type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS may not repeat itself
    try:
        if torch.device(device).type == "cpu":
            torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
        memory.fill_uninitialized_memory = False  # nothing here reads memory that was not written
        convolutions = torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        )
        with full_precision(), convolutions:
            yield
    finally:
        memory.fill_uninitialized_memory = filling
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.set_num_threads(threads)


def _labels_or_zeros(images: LabelledImages) -> Tensor:
    return images.labels if images.labels is not None else torch.zeros(len(images.images), dtype=torch.int64)


def _require_fit(
    name: str, objective: Objective, schedule: Schedule | None, stimuli: TrainingStimuli
) -> None:
    train = stimuli.train
    if objective.trains and schedule is None:
        raise UserError(f"network {name!r}: objective {objective.id!r} needs a schedule, got none")
    if objective.has_head and (stimuli.n_classes is None or train.labels is None):
        raise UserError(
            f"network {name!r}: objective {objective.id!r} needs labels, and the stimulus set has none"
        )
    if schedule is not None and objective.trains and schedule.batch_size > len(train.images):
        raise UserError(
            f"network {name!r}: batch_size {schedule.batch_size} exceeds"
            f" the {len(train.images)} training images"
        )


def _require_finite(name: str, epoch: int, means: dict[str, float]) -> None:
    broken = [f"{part} = {value}" for part, value in means.items() if not math.isfinite(value)]
    if broken:
        raise NotFiniteError(
            f"training of network {name!r} diverged in epoch {epoch}: {', '.join(broken)};"
            " lower the learning rate or lengthen the warm-up"
        )
