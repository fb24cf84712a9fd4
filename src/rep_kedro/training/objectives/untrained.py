"""The control: random weights."""

from typing import ClassVar

from rep_kedro.training.objectives.protocol import Objective


class Untrained(Objective):
    """No training at all; shows what architecture and input alone bring."""

    id: ClassVar[str] = "untrained"
    source: ClassVar[str] = "control"
    has_head: ClassVar[bool] = True
    trains: ClassVar[bool] = False
