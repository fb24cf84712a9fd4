"""The training loop: one network, one objective, one seed; the same bits every time.

Weights, batch order and augmentations have random streams of their own, all derived from the seed. On a CPU
the loop runs on one thread, so that the result does not depend on how many there are; several networks are
trained side by side instead.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rep_kedro.errors import NotFiniteError, UserError
from rep_kedro.kernels.precision import accumulation_dtype
from rep_kedro.models.architecture import Architecture
from rep_kedro.models.network import LayeredNetwork, build_network
from rep_kedro.training.evaluation import evaluate
from rep_kedro.training.monitors.protocol import MonitorSettings, Step, Training
from rep_kedro.training.monitors.watching import Watching
from rep_kedro.training.objectives.protocol import Objective
from rep_kedro.training.repeatable import make_stream, repeatable
from rep_kedro.training.schedule import Schedule
from rep_kedro.training.steps import Steps
from rep_kedro.training.stimuli import LabelledImages, TrainingStimuli

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedNetwork:
    """A network and how it came about.

    Attributes:
        network: On the CPU, in evaluation mode.
        history: One dict of metrics per epoch, from epoch 0 (as drawn) on.
        watched: Tensors of the monitors, as `<monitor>/<name>`.
        watched_meta: What the monitors say, by monitor.
        ended: Why a monitor ended the training early, and after which epoch and step; None if none did.
    """

    network: LayeredNetwork
    history: list[dict[str, float]]
    watched: dict[str, Tensor] = field(default_factory=dict)
    watched_meta: dict[str, Any] = field(default_factory=dict)
    ended: dict[str, Any] | None = None


def train_network(
    name: str,
    architecture: Architecture,
    objective: Objective,
    *,
    seed: int,
    schedule: Schedule | None,
    stimuli: TrainingStimuli,
    device: str = "cpu",
    monitors: Sequence[MonitorSettings] = (),
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
        monitors: What watches the training; the weights are the same without them.

    Returns:
        The network and its history: `epoch`, `loss` and its parts as means over the epoch's steps, and where
        there is a head `train_accuracy` and `test_accuracy`, else `embedding_rankme` of the training images
        (these three measured after the epoch), and the metrics of the monitors.

    Raises:
        ValueError: If the images do not fit the objective or the schedule.
        FloatingPointError: If the loss is not finite; names network and epoch.
    """
    _require_fit(name, objective, schedule, stimuli)
    n_classes = stimuli.n_classes if objective.has_head else None
    network = build_network(architecture, n_classes=n_classes, seed=seed).to(device)
    width = math.prod(network.shapes[network.layer_names[-1]])
    projector = objective.build_projector(width, make_stream(seed, "projector")).to(device)
    plan = schedule if objective.trains else None
    training = Training(
        name,
        network,
        projector,
        stimuli,
        seed=seed,
        n_epochs=plan.epochs if plan else 0,
        steps_per_epoch=len(stimuli.train.images) // plan.batch_size if plan else 0,
        batch_size=plan.batch_size if plan else 0,
        device=device,
    )
    watching = Watching(monitors, training)
    try:
        with repeatable(device):
            run = _Run(training, objective, watching)
            if plan is not None:
                run.train(plan)
        return TrainedNetwork(
            network.cpu().eval(), run.history, watching.tensors(), watching.meta(), run.ended
        )
    finally:
        watching.close()


class _Run:
    """One training under way; evaluates the network as drawn when it is made."""

    def __init__(self, training: Training, objective: Objective, watching: Watching) -> None:
        self._training, self._objective, self._watching = training, objective, watching
        device, train = training.device, training.stimuli.train
        self._images, self._labels = train.images.to(device), _labels_or_zeros(train).to(device)
        self._order = make_stream(training.seed, "order")
        self._views = make_stream(training.seed, "views")
        self.ended: dict[str, Any] | None = None
        self.history: list[dict[str, float]] = []
        self._record(0, {})

    def train(self, schedule: Schedule) -> None:
        """Take all steps, unless a monitor ends the training."""
        training = self._training
        steps = Steps(training.network, training.projector, schedule, n_images=len(self._images))
        for epoch in range(1, schedule.epochs + 1):
            means = self._train_epoch(epoch, steps)
            _require_finite(training.name, epoch, means)
            self._record(epoch, means)
            self._note_end(epoch, steps.per_epoch)
            if self.ended:
                return

    def _train_epoch(self, epoch: int, steps: Steps) -> dict[str, float]:
        """Take the steps of one epoch; return the mean of each part of the loss."""
        training, watching = self._training, self._watching
        training.network.train()
        training.projector.train()
        sums: dict[str, Tensor] = {}
        widest = accumulation_dtype(training.device)
        n_taken = 0
        for index, rows in enumerate(steps.batches(self._order)):
            step = Step(epoch, index, steps.per_epoch)
            watching.before_step(step)
            images = self._images[rows].float() / 255
            losses = self._objective.compute_losses(
                training.network, training.projector, images, self._labels[rows], self._views
            )
            steps.take(losses["loss"])
            for part, value in losses.items():
                sums[part] = sums.get(part, 0.0) + value.detach().to(widest)
            n_taken += 1
            watching.after_step(step, losses)
            self._note_end(epoch, n_taken)
            if self.ended:
                break
        return {part: total.item() / n_taken for part, total in sums.items()}

    def _record(self, epoch: int, means: dict[str, float]) -> None:
        """Evaluate the network and add a row to the history."""
        training = self._training
        announce = partial(self._watching.before_evaluation, epoch)
        metrics = evaluate(training.network, training.projector, training.stimuli, training.device, announce)
        own = {"epoch": float(epoch), **means, **metrics}
        watched = self._watching.end_epoch(epoch)
        if twice := sorted(own.keys() & watched.keys()):
            raise UserError(f"network {training.name!r}: a monitor gives metric {twice[0]!r} of the training")
        self.history.append({**own, **watched})

    def _note_end(self, epoch: int, n_steps: int) -> None:
        if self.ended is None and (reason := self._watching.reason_to_end()):
            self.ended = {"epoch": epoch, "step": n_steps, "reason": reason}
            _log.warning("training of network %r ended in epoch %d: %s", self._training.name, epoch, reason)


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
