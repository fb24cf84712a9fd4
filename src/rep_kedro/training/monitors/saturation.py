"""Saturation while training: spectra of every convolution, linear layer and LSTM, in training and evaluation.

In training mode an epoch's samples come from its steps, while the weights change; in evaluation mode from the
evaluation after the epoch. Each is one spectrum per layer and epoch. What is drawn at random depends on epoch
and step alone, so that the spectra in evaluation mode are those that the stored weights give again.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor

from rep_kedro.errors import UserError
from rep_kedro.kernels.layers.positions import Way
from rep_kedro.models.network import Network
from rep_kedro.models.watched_layers import (
    Amount,
    WatchedLayer,
    bytes_of_sums,
    choose_amount,
    find_watched_layers,
)
from rep_kedro.models.watching import LayerWatch
from rep_kedro.parameter_model import Parameters
from rep_kedro.training.monitors.protocol import Monitor, MonitorSettings, Seen, Step, Training
from rep_kedro.training.monitors.spectra_log import SpectraLog
from rep_kedro.training.stimuli import EVALUATION_BATCH, Split, TrainingStimuli


class Nearest(Parameters):
    """A regular grid of positions.

    Attributes:
        nearest: Positions along each axis, as the published experiments read 1 or 4.
    """

    nearest: PositiveInt


class SaturationSettings(MonitorSettings):
    """What is read of each layer.

    Attributes:
        way: From positions to samples: each position (`channelwise`), one value per channel (`mean`, `max`,
            `median`), or the whole map (`flatten`).
        positions: `auto`, `all`, the number of random ones of each stimulus, or a grid.
        every: One of so many training steps and evaluation batches is read; `auto` as the share allows.
        share: Of the multiply-adds of a step that `auto` may add to it.
        split: Whose images are read in evaluation mode; `train` where no test images are evaluated.
        n_neighbours: The first evaluated images that TwoNN is measured on, averaged over positions; 0: none.
        memory_bytes: Refuse to watch where the sums would take more.
    """

    id = "saturation"
    source = "Richter et al. 2021, arXiv:2006.08679, section 3"
    is_part_of_recipe = False  # the same weights come out, and stored networks can be read later
    reads_layers = True

    way: Way = "channelwise"
    positions: Literal["auto", "all"] | PositiveInt | Nearest = "auto"
    every: Literal["auto"] | PositiveInt = "auto"
    share: Annotated[float, Field(gt=0, le=10)] = 0.08
    split: Split = "test"
    n_neighbours: NonNegativeInt = 0
    memory_bytes: PositiveInt = 4 * 2**30

    def reading(self) -> dict[str, Any]:
        """Return what the spectra depend on, as plain JSON."""
        return self.model_dump(mode="json", exclude={"memory_bytes"})

    def watch(self, training: Training) -> "SaturationMonitor":
        """Return the monitor of one training."""
        return SaturationMonitor(self, training)

    def amount(
        self, layers: Iterable[WatchedLayer], *, n_batches: int, batch_size: int, is_step: bool
    ) -> Amount:
        """Return how much of a pass is read."""
        chosen = choose_amount(
            tuple(layers),
            self.way,
            share=self.share,
            n_batches=n_batches,
            batch_size=batch_size,
            is_step=is_step,
        )
        every = chosen.every if self.every == "auto" else min(self.every, max(1, n_batches))
        if self.positions == "auto":
            return Amount(chosen.n_positions, every)
        return Amount(self.positions if isinstance(self.positions, int) else None, every)


class SaturationMonitor(Monitor):
    """Watches one training; `rep_kedro.analyses.saturation` reads what it stores."""

    def __init__(self, settings: SaturationSettings, training: Training) -> None:
        self._training = training
        self._reading = Reading(settings, training.network, training.stimuli, training.device)
        self._amount = settings.amount(
            self._reading.layers,
            n_batches=training.steps_per_epoch,
            batch_size=training.batch_size,
            is_step=True,
        )
        self._reading.require_memory(training.name, self._amount)
        self._watch = self._reading.watch
        self._log = SpectraLog()
        self._has_trained = False

    def before_step(self, step: Step) -> None:
        """Read the step, if it is one of those that are read."""
        self._has_trained = True
        if step.index % self._amount.every == 0:
            stream = self._training.stream(f"saturation:train:{step.epoch}:{step.index}")
            self._watch.start(n_positions=self._amount.n_positions, generator=stream)

    def after_step(self, step: Step, seen: Seen) -> None:
        """Let what follows go by."""
        self._watch.pause()

    def before_evaluation(self, epoch: int, split: Split) -> None:
        """Close the epoch's training, and read the evaluation of the chosen split."""
        if self._has_trained:
            self._log.note("train", epoch, self._watch.take())
            self._has_trained = False
        self._watch.pause()
        if split == self._reading.split:
            self._reading.start(self._training.stream(evaluation_purpose(epoch)))

    def end_epoch(self, epoch: int) -> dict[str, float]:
        """Close the epoch's evaluation."""
        self._log.note("eval", epoch, self._watch.take())
        return {}

    def tensors(self) -> dict[str, Tensor]:
        """Return the spectra, see `SpectraLog`."""
        return self._log.tensors()

    def meta(self) -> dict[str, Any]:
        """Return what was read, and see `SpectraLog`."""
        return {**self._reading.describe(), "train_amount": vars(self._amount), **self._log.meta()}

    def state(self) -> dict[str, Tensor]:
        """Return the spectra so far, and the sums of an epoch that has not ended."""
        parts = {"sums": self._watch.state(), "log": self._log.state()}
        return {f"{part}/{name}": value for part, state in parts.items() for name, value in state.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from an earlier state."""
        parts: dict[str, dict[str, Tensor]] = {"sums": {}, "log": {}}
        for key, value in state.items():
            part, _, name = key.partition("/")
            parts[part][name] = value
        self._watch.load_state(parts["sums"], self._training.device)
        if parts["log"]:  # else the training began without the monitor
            self._log.load_state(parts["log"])
        self._has_trained = bool(parts["sums"])

    def close(self) -> None:
        """Remove the hooks."""
        self._watch.close()


class Reading:
    """Reads the layers of a network in evaluation mode, in a training or with stored weights.

    Attributes:
        layers: What is watched.
        split: Whose images are read: the wanted ones, if a training evaluates them.
        watch: The hooks.
    """

    def __init__(
        self, settings: SaturationSettings, network: Network, stimuli: TrainingStimuli, device: str
    ) -> None:
        self._settings = settings
        spec = network.architecture.input
        example = torch.zeros(1, spec.channels, spec.size_px, spec.size_px, device=device)
        self.layers = find_watched_layers(network, example)
        has_test = network.n_classes is not None and stimuli.test.labels is not None
        self.split: Split = (
            "test" if settings.split == "test" and has_test and len(stimuli.test.images) else "train"
        )
        self.images = (stimuli.test if self.split == "test" else stimuli.train).images
        self._amount = settings.amount(
            self.layers,
            n_batches=math.ceil(len(self.images) / EVALUATION_BATCH),
            batch_size=min(EVALUATION_BATCH, len(self.images)),
            is_step=False,
        )
        nearest = settings.positions.nearest if isinstance(settings.positions, Nearest) else None
        self.watch = LayerWatch(
            network, self.layers, way=settings.way, nearest=nearest, n_neighbours=settings.n_neighbours
        )

    def start(self, generator: torch.Generator) -> None:
        """Read the passes over the images that follow."""
        amount = self._amount
        self.watch.start(
            n_positions=amount.n_positions, generator=generator, every=amount.every, neighbours=True
        )

    def require_memory(self, name: str, *others: Amount) -> None:
        """Refuse to watch where the sums take too much memory.

        Raises:
            UserError: Names the network, the widest layer and what helps.
        """
        for amount in (self._amount, *others):
            found = bytes_of_sums(self.layers, self._settings.way, amount.n_positions)
            if sum(found.values()) > self._settings.memory_bytes:
                widest = max(found, key=lambda layer: found[layer])
                raise UserError(
                    f"network {name!r}: the sums of the saturation monitor take {sum(found.values()):,}"
                    f" bytes, of layer {widest!r} alone {found[widest]:,}, and memory_bytes is"
                    f" {self._settings.memory_bytes:,}; choose another way or fewer positions, or raise it"
                )

    def describe(self) -> dict[str, Any]:
        """Return what is read, as plain JSON."""
        return {
            "reading": self._settings.reading(),
            "split": self.split,
            "eval_amount": vars(self._amount),
            "layers": [layer.name for layer in self.layers],
        }


def evaluation_purpose(epoch: int) -> str:
    """Return the name of the random stream for the evaluation after an epoch."""
    return f"saturation:eval:{epoch}"
