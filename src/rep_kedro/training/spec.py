"""One network to train, as plain data: what a grid gives, what a training process is sent."""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, PositiveInt

from rep_kedro.models.architecture import DefinedNetwork
from rep_kedro.models.architecture_files import load_definition
from rep_kedro.parameter_model import Parameters
from rep_kedro.parameter_rules import Count, Seed, Side
from rep_kedro.training.own_code import OwnCode
from rep_kedro.training.schedule import Schedule

Precision = Literal["float32", "bfloat16", "float16"]
SNAPSHOT_MARK = "@"


class Snapshots(Parameters):
    """When a network is stored while it is trained, each time as a member `<network>@<moment>`.

    Attributes:
        epochs: After so many epochs; 0 is the network as drawn.
        steps: After so many updates.
    """

    epochs: tuple[Count, ...] = ()
    steps: tuple[PositiveInt, ...] = ()

    @property
    def moments(self) -> tuple[str, ...]:
        """Names of the moments, such as `epoch3` and `step100`."""
        return (*(f"epoch{n}" for n in self.epochs), *(f"step{n}" for n in self.steps))


class NetworkSpec(Parameters):
    """One network to train.

    Attributes:
        architecture: Name of an architecture.
        objective: Name of an objective.
        stimulus_set: What it is trained on.
        seed: Of weights and, where `order_seed` is None, of batch order and augmentations.
        order_seed: Of batch order and augmentations.
        labels: Label column of the stimulus set; None for its own label.
        input_px: Side to which images are resized; None for that of the architecture.
        schedule: How long and how fast; None for objectives that do not train.
        options: Settings of the objective.
        monitors: Settings of what watches the training, by name.
        metrics: What is measured on test images after each epoch besides the accuracy: names, or own code.
        precision: Of the forward passes while training.
        n_test: The most test images that are measured after each epoch; None for all.
        moment: `epoch<n>` or `step<n>` of a snapshot; None for the trained network.
    """

    architecture: str
    objective: str
    stimulus_set: str
    seed: Seed
    order_seed: Seed | None = None
    labels: str | None = None
    input_px: Side | None = None
    schedule: Schedule | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    monitors: dict[str, dict[str, Any]] = Field(default_factory=dict)
    metrics: tuple[str | OwnCode, ...] = ()
    precision: Precision = "float32"
    n_test: PositiveInt | None = None
    moment: str | None = None

    @property
    def own_code(self) -> tuple[OwnCode, ...]:
        """What runs code of the user."""
        metrics = [each for each in self.metrics if isinstance(each, OwnCode)]
        return (*(self.schedule.own_code if self.schedule else ()), *metrics)

    def load_definition(self) -> DefinedNetwork:
        """Return the definition, with the network's own input side."""
        definition = load_definition(self.architecture)
        if self.input_px is None:
            return definition
        resized = definition.input.model_copy(update={"size_px": self.input_px})
        return definition.model_copy(update={"input": resized})


@dataclass(frozen=True)
class PlannedNetwork:
    """A network or a snapshot to make.

    Attributes:
        spec: What was asked for.
        architecture: Its definition.
        digest: Of the recipe of the trained network.
    """

    spec: NetworkSpec
    architecture: DefinedNetwork
    digest: str


def name_of_trained(name: str) -> str:
    """Return the name of the network that a snapshot is of; other names as they are.

    Example:
        >>> name_of_trained("cnn_supervised_s0@epoch3"), name_of_trained("cnn_supervised_s0")
        ('cnn_supervised_s0', 'cnn_supervised_s0')
    """
    return name.partition(SNAPSHOT_MARK)[0]
