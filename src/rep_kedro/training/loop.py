"""The training loop: one network, one objective, one seed; the same bits every time.

Weights, batch order and augmentations have random streams of their own, all derived from the seed. On a CPU
the loop runs on one thread, so that the result does not depend on how many there are; several networks are
trained side by side instead.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rep_kedro.errors import UserError
from rep_kedro.models.architecture import DefinedNetwork
from rep_kedro.models.building import build_network
from rep_kedro.training.monitors.protocol import MonitorSettings, Training
from rep_kedro.training.monitors.watching import Watching
from rep_kedro.training.objectives.protocol import Objective
from rep_kedro.training.own_code import OwnCode
from rep_kedro.training.repeatable import make_stream
from rep_kedro.training.run import Run, TrainedNetwork
from rep_kedro.training.schedule import Schedule
from rep_kedro.training.spec import Precision
from rep_kedro.training.state import StateFile
from rep_kedro.training.stimuli import TrainingStimuli

if TYPE_CHECKING:
    from rep_kedro.training.data_parallel import Processes


def train_network(
    name: str, architecture: DefinedNetwork, objective: Objective, **how: Any
) -> TrainedNetwork:
    """Train one network; arguments and errors are those of :func:`train_in_moments`."""
    *_, (_, trained) = train_in_moments(name, architecture, objective, **how)
    return trained


def train_in_moments(  # noqa: PLR0913 - all that a training depends on
    name: str,
    architecture: DefinedNetwork,
    objective: Objective,
    *,
    seed: int,
    schedule: Schedule | None,
    stimuli: TrainingStimuli,
    order_seed: int | None = None,
    device: str = "cpu",
    precision: Precision = "float32",
    monitors: Sequence[MonitorSettings] = (),
    metrics: Sequence[str | OwnCode] = (),
    moments: Sequence[str] = (),
    state_file: StateFile | None = None,
    processes: "Processes | None" = None,
) -> Iterator[tuple[str | None, TrainedNetwork]]:
    """Train one network; yield it at some moments, and at last as it is trained.

    Args:
        name: For error messages.
        architecture: What to build.
        objective: What to minimise.
        seed: Of weights and, without `order_seed`, of batch order and augmentations.
        schedule: None for an objective that does not train.
        stimuli: Images; the number of classes is used only by objectives with a head.
        order_seed: Of batch order and augmentations.
        device: Where to compute, such as `cpu` or `cuda`.
        precision: Of the forward passes while training; evaluation is in float32.
        monitors: What watches the training; the weights are the same without them.
        metrics: Further metrics of the test images.
        moments: When to yield the network as it is then, as `epoch3` or `step100`.
        state_file: Where the training's state is stored, and taken from if it is there.
        processes: Those that call this with the same arguments but for the device, and share the work.

    Yields:
        A moment and the network at that moment; None and the trained network. Networks are on the CPU, in
        evaluation mode. The history has `epoch`, `loss` and its parts as means over the epoch's steps, and
        where there is a head `train_accuracy` and `test_accuracy`, else `embedding_rankme` of the training
        images (these three measured after the epoch), the further metrics, and those of the monitors.

    Raises:
        ValueError: If the images do not fit the objective or the schedule, or a moment never comes.
        FloatingPointError: If the loss is not finite; names network, epoch, step and the first layer whose
            output is not finite.
    """
    _require_fit(name, objective, schedule, stimuli)
    n_classes = stimuli.n_classes if objective.has_head else None
    network = build_network(architecture, n_classes=n_classes, seed=seed).to(device)
    if processes is not None:
        processes.share(network)
    projector = objective.build_projector(network, make_stream(seed, "projector")).to(device)
    plan = schedule if objective.trains else None
    training = Training(
        name,
        network,
        projector,
        stimuli,
        seed=seed if order_seed is None else order_seed,
        n_epochs=plan.epochs if plan else 0,
        steps_per_epoch=len(stimuli.train.images) // plan.images_per_update * plan.accumulate if plan else 0,
        batch_size=plan.batch_size if plan else 0,
        device=device,
    )
    watching = Watching(monitors, training)
    try:
        run = Run(
            training, objective, plan, watching, metrics=metrics, precision=precision, processes=processes
        )
        yield from run.advance(moments, state_file)
        yield None, run.finish()
        run.require_moments()
    finally:
        watching.close()


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
