"""The interface of a monitor: what watches a training, adds to its history, and may end it.

A monitor is two classes in one file of this package. `MonitorSettings` is a frozen record of its settings,
read from the parameters (`monitors: {<id>: {<setting>: <value>}}` of an entry of `training.grids`) and, where
they do not exclude themselves, part of the network's recipe. Its `watch` returns a `Monitor`, the object that
exists as long as the training. To add one, write the file and name the settings in `registry.py`.

The loop calls, in this order:

    watch(training)                            once; hooks on layers are registered here
    before_evaluation(0, split)                for each split that is evaluated, in evaluation mode
    end_epoch(0)                               the network as drawn
    for each epoch from 1 on:
        before_step(step), after_step(step, seen)   for each step of the epoch; in training mode
        before_evaluation(epoch, split)             then the forward passes over that split
        end_epoch(epoch)                            its numbers join the epoch's row of the history
    close()                                    hooks are removed, also after an error
    tensors(), meta()                          stored with the network

After each step and each epoch the loop reads `reason_to_end`; a text ends the training. A step that ends it
is the last of its epoch, which is evaluated and recorded as any other. With a checkpoint the loop stores
`state()`; a resumed training calls `watch`, then `load_state`, and goes on behind the last stored step.

A monitor changes no weight: it draws random numbers only from `training.stream(<purpose>)`, never from
torch's global generator, and leaves training and evaluation mode, gradients and buffers as they are. Its
numbers are functions of the recipe: it reads no clock, and a resumed training shows it the same steps.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from rep_kedro.models.network import Network
from rep_kedro.parameter_model import Parameters
from rep_kedro.training.repeatable import make_stream
from rep_kedro.training.stimuli import Split, TrainingStimuli

if TYPE_CHECKING:
    from rep_kedro.training.objectives.protocol import Objective


@dataclass(frozen=True)
class Training:
    """What a monitor may look at.

    Attributes:
        name: Of the network, for messages.
        network: On its device; the same object during the whole training.
        projector: Between representation and loss; `nn.Identity` where the objective has none.
        stimuli: Images to train on and to evaluate with.
        seed: Of the training; random numbers come from `stream`.
        n_epochs: As planned; 0 for a control that is not trained.
        steps_per_epoch: Steps of the optimiser.
        batch_size: Images per step.
        device: Where the network is.
    """

    name: str
    network: Network
    projector: nn.Module
    stimuli: TrainingStimuli
    seed: int
    n_epochs: int
    steps_per_epoch: int
    batch_size: int
    device: str

    def stream(self, purpose: str) -> torch.Generator:
        """Return a CPU generator for one purpose of a monitor; the loop uses none of these."""
        return make_stream(self.seed, f"monitor:{purpose}")


@dataclass(frozen=True)
class Step:
    """One step of the optimiser.

    Attributes:
        epoch: From 1.
        index: Within the epoch, from 0.
        n_steps: Of the epoch.
    """

    epoch: int
    index: int
    n_steps: int


@dataclass(frozen=True)
class Seen:
    """What one step computed; detached from the graph, on the training's device, in float32.

    Attributes:
        losses: `loss` and its parts, as the objective returned them.
        representations: What the projector was given, one tensor (n, width) for each of its calls (class
            logits, where the network has a head).
        embeddings: What the projector returned, in the same order.
    """

    losses: Mapping[str, Tensor]
    representations: tuple[Tensor, ...]
    embeddings: tuple[Tensor, ...]


class Monitor:
    """Base of all monitors; every method may be left as it is.

    Attributes:
        reason_to_end: Why the training should end now; None to go on.
    """

    reason_to_end: str | None = None

    def before_step(self, step: Step) -> None:
        """Prepare for a step: the forward pass follows, in training mode."""

    def after_step(self, step: Step, seen: Seen) -> None:
        """Look at a step whose update is done."""

    def before_evaluation(self, epoch: int, split: Split) -> None:
        """Prepare for forward passes over all images of a split, in order, in evaluation mode.

        Networks with a head are evaluated on `train`, then `test`; others on `train`. A split without images
        or, for networks with a head, labels is left out.
        """

    def end_epoch(self, epoch: int) -> dict[str, float]:
        """Return numbers for the epoch's row of the history, by metric; names that no other monitor uses."""
        return {}

    def tensors(self) -> dict[str, Tensor]:
        """Return what is stored with the network, as `monitor/<id>/<name>`; finite numbers only."""
        return {}

    def meta(self) -> dict[str, Any]:
        """Return plain JSON data for the network's meta, under `monitors.<id>`."""
        return {}

    def state(self) -> dict[str, Tensor]:
        """Return all that `load_state` needs to go on from here, copied: later steps must not change it."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned in an earlier process."""

    def close(self) -> None:
        """Remove hooks."""


class MonitorSettings(Parameters):
    """Base of the settings of a monitor.

    Attributes:
        id: Name in parameters, tensors and meta.
        source: Paper and section.
        is_part_of_recipe: Whether a network is trained again where the settings change. Not so for a monitor
            that only looks, and whose results an analysis can also get from the stored weights.
        reads_layers: Whether it looks into the network: on several devices, each has a part of what is there.
    """

    id: ClassVar[str]
    source: ClassVar[str]
    is_part_of_recipe: ClassVar[bool] = True
    reads_layers: ClassVar[bool] = False

    def require_objective(self, objective: "Objective") -> None:
        """Refuse objectives that give the monitor nothing to watch.

        Raises:
            UserError: Says what the monitor needs.
        """

    def watch(self, training: Training) -> Monitor:
        """Return a monitor of one training."""
        raise NotImplementedError

    def as_json(self) -> dict[str, Any]:
        """Return id and settings as plain JSON data."""
        return {"id": self.id, **self.model_dump(mode="json")}
