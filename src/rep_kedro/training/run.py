"""One training under way: its epochs, its moments, its stored state."""

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor

from rep_kedro.errors import UserError
from rep_kedro.kernels.precision import accumulation_dtype
from rep_kedro.models.building import build_network
from rep_kedro.models.network import Network
from rep_kedro.models.projector import Projector
from rep_kedro.training.divergence import describe_divergence, require_finite
from rep_kedro.training.evaluation import evaluate
from rep_kedro.training.monitors.protocol import Step, Training
from rep_kedro.training.monitors.watching import Watching
from rep_kedro.training.objectives.protocol import Objective
from rep_kedro.training.own_code import OwnCode
from rep_kedro.training.repeatable import drawing, make_stream, repeatable
from rep_kedro.training.schedule import Schedule
from rep_kedro.training.spec import Precision
from rep_kedro.training.state import StateFile, TrainingState
from rep_kedro.training.steps import Steps

if TYPE_CHECKING:
    from rep_kedro.training.data_parallel import Processes

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedNetwork:
    """A network and how it came about.

    Attributes:
        network: On the CPU, in evaluation mode.
        projector: Trained with it, likewise; None where the objective has none.
        history: One dict of metrics per epoch, from epoch 0 (as drawn) on.
        watched: Tensors of the monitors, as `<monitor>/<name>`.
        watched_meta: What the monitors say, by monitor.
        n_updates: Of the weights.
        n_images_seen: In all forward passes of the training.
        ended: Why a monitor ended the training early, and after which epoch and step; None if none did.
    """

    network: Network
    history: list[dict[str, float]]
    projector: Projector | None = None
    n_updates: int = 0
    n_images_seen: int = 0
    watched: dict[str, Tensor] = field(default_factory=dict)
    watched_meta: dict[str, Any] = field(default_factory=dict)
    ended: dict[str, Any] | None = None


class Run:
    """One training under way.

    Attributes:
        history: One row for each epoch that is over, from epoch 0 on.
        n_updates: Of the weights.
        n_images_seen: In all forward passes of the training.
        ended: Why a monitor ended the training; None as long as none did.
    """

    def __init__(
        self,
        training: Training,
        objective: Objective,
        schedule: Schedule | None,
        watching: Watching,
        *,
        metrics: Sequence[str | OwnCode],
        precision: Precision,
        processes: "Processes | None" = None,
    ) -> None:
        self._training, self._objective, self._watching = training, objective, watching
        self._metrics, self._processes = metrics, processes
        self._steps = None if schedule is None else Steps(training, schedule, precision, processes)
        self._order = make_stream(training.seed, "order")
        self._views = make_stream(training.seed, "views")
        self._images_per_update = schedule.images_per_update if schedule else 0
        train = training.stimuli.train
        self._images = train.images if train.is_streamed else train.images.to(training.device)
        self._epoch, self._n_passes = 0, 0  # epochs that are over; forward passes of the next one
        self._order_of_epoch = self._order.get_state()
        self._batches: Iterator[Tensor] = iter(())
        self._sums: dict[str, Tensor] = {}
        self._missed: list[str] = []
        self.ended: dict[str, Any] | None = None
        self.history: list[dict[str, float]] = []

    def advance(
        self, moments: Sequence[str], state_file: StateFile | None
    ) -> "Iterator[tuple[str, TrainedNetwork]]":
        """Train to the end, from the stored state if there is one; yield the network at some moments.

        A moment is yielded before a later state is stored, so that whoever stores what is yielded finds it
        in front of the state after a kill. A state behind a moment that is still wanted is not used.
        """
        waiting = list(moments)
        state = state_file.load() if state_file and self._steps else None
        if state is not None and not any(self._is_over(moment, state.facts) for moment in waiting):
            self._unpack(state)
            _log.info("training of network %r goes on after %s", self._training.name, self._place())
        else:
            with repeatable(self._training.device):
                self._record({})
        while True:
            if (moment := self._moment(waiting)) is not None:
                waiting.remove(moment)
                yield moment, self._snapshot()
                continue
            if self._is_over_all():
                break
            if state_file is not None and self._may_store() and state_file.is_due():
                state_file.save(self._pack())
            with repeatable(self._training.device):
                self._train_to_next_stop(waiting, state_file.steps if state_file else None)
        self._missed = waiting

    def finish(self) -> TrainedNetwork:
        """Return the network, moved to the CPU, and all that was recorded."""
        watching = self._watching
        network, projector = self._training.network.cpu().eval(), self._training.projector.cpu().eval()
        return TrainedNetwork(
            network,
            self.history,
            self._objective.stored_projector(projector),
            n_updates=self.n_updates,
            n_images_seen=self.n_images_seen,
            watched=watching.tensors(),
            watched_meta=watching.meta(),
            ended=self.ended,
        )

    def require_moments(self) -> None:
        """Refuse moments that did not come."""
        if self._missed:
            raise UserError(
                f"network {self._training.name!r} has no snapshot {self._missed[0]}: its training ended after"
                f" {self._place()}"
            )

    def _is_over_all(self) -> bool:
        return self._steps is None or self.ended is not None or self._epoch == self._training.n_epochs

    def _may_store(self) -> bool:
        """Return whether a state would be whole, and later than the network as drawn."""
        return (
            self._steps is not None and self._steps.is_between_updates and bool(self._epoch + self._n_passes)
        )

    def _moment(self, waiting: Sequence[str]) -> str | None:
        """Return a moment that is now."""
        now = {f"step{self._steps.n_updates}"} if self._steps and self._steps.is_between_updates else set()
        if self._n_passes == 0:
            now.add(f"epoch{self._epoch}")
        return next((moment for moment in waiting if moment in now), None)

    def _is_over(self, moment: str, facts: dict[str, Any]) -> bool:
        if moment.startswith("step"):
            return int(moment.removeprefix("step")) < int(facts["n_updates"])
        at = int(moment.removeprefix("epoch"))
        return (at, 0) < (int(facts["epoch"]), int(facts["n_passes"]))

    def _place(self) -> str:
        within = f" and {self._n_passes} forward passes" if self._n_passes else ""
        return f"{self._epoch} epochs{within}"

    def _train_to_next_stop(self, waiting: Sequence[str], every: int | None) -> None:
        """Take steps until the epoch ends, a moment is there, or so many forward passes are done."""
        steps, training = self._require_steps(), self._training
        if self._n_passes == 0:
            self._order_of_epoch, self._sums = self._order.get_state(), {}
            self._batches = steps.batches(self._order)
        training.network.train()
        training.projector.train()
        for rows in self._batches:
            self._take(rows)
            if self.ended or self._n_passes == steps.per_epoch:
                break
            is_due = every is not None and self._n_passes % every == 0
            if steps.is_between_updates and (is_due or self._moment(waiting)):
                return
        self._end_epoch()

    def _take(self, rows: Tensor) -> None:
        """Take one step."""
        steps, training, stimuli = self._require_steps(), self._training, self._training.stimuli.train
        step = Step(self._epoch + 1, self._n_passes, steps.per_epoch)
        self._watching.before_step(step)
        images = self._images[rows].to(training.device).float() / 255
        labels = stimuli.labels_or_zeros(rows).to(training.device)
        process = self._processes.rank if self._processes else 0
        masks = f"masks of epoch {step.epoch}, pass {step.index}, process {process}"
        with steps.forward_precision(), drawing(training.seed, masks, training.device):
            losses = self._objective.compute_losses(
                training.network, training.projector, images, labels, self._views
            )
        if not math.isfinite(losses["loss"].item()):
            with self._processes.apart() if self._processes else nullcontext():
                raise describe_divergence(training, step, losses, images)
        if steps.take(losses["loss"]):
            self._objective.after_update(training.network, training.projector, steps.progress)
        widest = accumulation_dtype(training.device)
        for part, value in losses.items():
            self._sums[part] = self._sums.get(part, 0.0) + value.detach().to(widest)
        self._n_passes += 1
        self._watching.after_step(step, losses)
        self._note_end()

    def _end_epoch(self) -> None:
        n_passes = self._n_passes
        means = {part: total.item() / n_passes for part, total in self._sums.items()}
        self._epoch, self._n_passes = self._epoch + 1, 0
        require_finite(self._training.name, self._epoch, means)
        self._record(means)
        if self.ended is None and (reason := self._watching.reason_to_end()):
            self._end(self._epoch, n_passes, reason)

    def _record(self, means: dict[str, float]) -> None:
        """Evaluate the network and add a row to the history."""
        training, epoch = self._training, self._epoch
        announce = partial(self._watching.before_evaluation, epoch)
        metrics = evaluate(
            training.network,
            training.projector,
            training.stimuli,
            training.device,
            announce=announce,
            metrics=self._metrics,
        )
        own = {"epoch": float(epoch), **means, **metrics}
        watched = self._watching.end_epoch(epoch)
        if twice := sorted(own.keys() & watched.keys()):
            raise UserError(f"network {training.name!r}: a monitor gives metric {twice[0]!r} of the training")
        self.history.append({**own, **watched})

    def _note_end(self) -> None:
        if self.ended is None and (reason := self._watching.reason_to_end()):
            self._end(self._epoch + 1, self._n_passes, reason)

    def _end(self, epoch: int, step: int, reason: str) -> None:
        self.ended = {"epoch": epoch, "step": step, "reason": reason}
        _log.warning("training of network %r ended in epoch %d: %s", self._training.name, epoch, reason)

    def _snapshot(self) -> TrainedNetwork:
        """Return a copy of the network as it is, with the history so far."""
        network = self._training.network
        copy = build_network(network.architecture, n_classes=network.n_classes, seed=0)
        copy.load_state_dict({name: value.cpu() for name, value in network.state_dict().items()})
        projector = deepcopy(self._objective.stored_projector(self._training.projector))
        return TrainedNetwork(
            copy.eval(),
            [*self.history],
            projector and projector.cpu().eval(),
            n_updates=self.n_updates,
            n_images_seen=self.n_images_seen,
        )

    @property
    def n_updates(self) -> int:
        """Updates of the weights so far."""
        return self._steps.n_updates if self._steps else 0

    @property
    def n_images_seen(self) -> int:
        """Images in the forward passes of these updates."""
        return self.n_updates * self._images_per_update

    def _pack(self) -> TrainingState:
        steps, training = self._require_steps(), self._training
        optimizer, positions = steps.pack()
        parts = {
            "network": training.network.state_dict(),
            "projector": training.projector.state_dict(),
            "optimizer": optimizer,
            "sums": self._sums if self._n_passes else {},
            "monitors": self._watching.state(),
            "generators": {"order": self._order_of_epoch, "views": self._views.get_state()},
        }
        if self._n_passes == 0:
            parts["generators"]["order"] = self._order.get_state()
        tensors = {f"{part}/{name}": value for part, named in parts.items() for name, value in named.items()}
        facts = {"epoch": self._epoch, "n_passes": self._n_passes, "history": self.history, **positions}
        return TrainingState(tensors, facts)

    def _unpack(self, state: TrainingState) -> None:
        steps, training = self._require_steps(), self._training
        training.network.load_state_dict(state.part("network"))
        training.projector.load_state_dict(state.part("projector"))
        steps.unpack(state.part("optimizer"), state.facts)
        self._epoch, self._n_passes = state.facts["epoch"], state.facts["n_passes"]
        self.history = [dict(row) for row in state.facts["history"]]
        self._sums = {part: value.to(training.device) for part, value in state.part("sums").items()}
        generators = state.part("generators")
        self._order.set_state(generators["order"])
        self._views.set_state(generators["views"])
        self._watching.load_state(state.part("monitors"))
        if self._n_passes:
            self._order_of_epoch = generators["order"]
            self._batches = steps.batches(self._order, skip=self._n_passes)

    def _require_steps(self) -> Steps:
        if self._steps is None:
            raise RuntimeError("a training without a schedule takes no steps")
        return self._steps
