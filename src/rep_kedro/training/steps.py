"""The steps of one training: batches, optimiser, learning rate."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from rep_kedro.training.schedule import Schedule


class Steps:
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
        self.per_epoch = n_images // schedule.batch_size

    def batches(self, order: torch.Generator) -> Iterator[Tensor]:
        """Yield the rows of each batch of one epoch."""
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
