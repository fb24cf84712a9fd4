"""The steps of one training: batches, precision, gradients, optimiser, learning rate.

Lower precision is torch's own: `autocast` around the forward pass, and for float16 a `GradScaler`.
Lightning's Fabric would call the same two (docs/adr/0013).
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rep_kedro.training.monitors.protocol import Training
from rep_kedro.training.optimizers import build_optimizer
from rep_kedro.training.schedule import Schedule
from rep_kedro.training.spec import Precision
from rep_kedro.training.state import pack_optimizer, unpack_optimizer

if TYPE_CHECKING:
    from rep_kedro.training.data_parallel import Processes

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Steps:
    """What turns losses into weights.

    Attributes:
        per_epoch: Forward passes of an epoch; images of a last, incomplete update are left out.
        n_updates: Updates so far.
    """

    def __init__(
        self,
        training: Training,
        schedule: Schedule,
        precision: Precision = "float32",
        processes: "Processes | None" = None,
    ) -> None:
        self._processes = processes
        self._of_network = [*training.network.parameters()]
        self._trained_along = [each for each in training.projector.parameters() if each.requires_grad]
        self._optimizer = build_optimizer([*self._of_network, *self._trained_along], schedule)
        self._schedule, self._n_images = schedule, len(training.stimuli.train.images)
        self._device_type, self._dtype = torch.device(training.device).type, _DTYPES.get(precision)
        self._scaler = torch.amp.GradScaler(self._device_type, enabled=precision == "float16")
        self._updates_per_epoch = self._n_images // schedule.images_per_update
        self._n_waiting = 0
        self.per_epoch = self._updates_per_epoch * schedule.accumulate
        self.n_updates = 0

    def batches(self, order: torch.Generator, skip: int = 0) -> Iterator[Tensor]:
        """Yield the rows of each batch of one epoch, without the first `skip`."""
        rows = torch.randperm(self._n_images, generator=order)
        size = self._schedule.batch_size
        for i in range(skip, self.per_epoch):
            yield rows[i * size : (i + 1) * size]

    def forward_precision(self) -> AbstractContextManager[Any]:
        """Return the context of forward passes."""
        return torch.autocast(self._device_type, dtype=self._dtype, enabled=self._dtype is not None)

    def take(self, loss: Tensor) -> bool:
        """Add the gradient of `loss`; return whether this completed an update, which is taken then."""
        n_passes = self._schedule.accumulate
        if self._n_waiting == 0:
            self._optimizer.zero_grad(set_to_none=True)
        scaled: Any = self._scaler.scale(loss if n_passes == 1 else loss / n_passes)
        scaled.backward()
        self._n_waiting += 1
        if self._n_waiting < n_passes:
            return False
        if self._processes is not None:
            self._processes.join_gradients(self._of_network, self._trained_along)
        for group in self._optimizer.param_groups:
            group["lr"] = self._schedule.rate(self.n_updates, self._updates_per_epoch)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._n_waiting = 0
        self.n_updates += 1
        return True

    @property
    def progress(self) -> float:
        """Share of the training's updates that are done."""
        return self.n_updates / (self._schedule.epochs * self._updates_per_epoch)

    @property
    def is_between_updates(self) -> bool:
        """Whether no gradient waits for its update; only then a state is whole."""
        return self._n_waiting == 0

    def pack(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the optimiser's tensors, and positions as plain JSON data."""
        return pack_optimizer(self._optimizer), {
            "n_updates": self.n_updates,
            "scaler": self._scaler.state_dict(),
        }

    def unpack(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Go on from what `pack` returned."""
        unpack_optimizer(self._optimizer, tensors)
        self.n_updates = facts["n_updates"]
        if facts["scaler"]:
            self._scaler.load_state_dict(dict(facts["scaler"]))
