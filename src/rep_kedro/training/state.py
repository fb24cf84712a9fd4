"""The stored state of a training under way, so that a killed training goes on where it was.

A state is one safetensors file with a JSON header, written atomically and sealed. Its recipe is that of the
network, and the platform that computed it: a state of another recipe or platform is never used. Resumed
trainings give the bytes of uninterrupted ones, because everything a later step depends on is in the file.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rep_kedro.datasets import Tensors, TensorsDataset
from rep_kedro.datasets.plan import digest_of
from rep_kedro.datasets.seal import DamagedMemberError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingState:
    """What a training needs to go on.

    Attributes:
        tensors: By `<part>/<name>`.
        facts: Plain JSON data: positions and the history.
    """

    tensors: dict[str, Tensor]
    facts: dict[str, Any]

    def part(self, name: str) -> dict[str, Tensor]:
        """Return the tensors of one part, by their names in it."""
        prefix = f"{name}/"
        return {k.removeprefix(prefix): v for k, v in self.tensors.items() if k.startswith(prefix)}


class StateFile:
    """The file of one training.

    Args:
        folder: Of all states.
        name: Of the network.
        identity: What the bytes depend on: digest of the recipe, and platform.
        seconds: Least time between two states.
        steps: Forward passes after which a state may be stored within an epoch; None for none.
    """

    def __init__(
        self, folder: Path, name: str, identity: Mapping[str, Any], *, seconds: float, steps: int | None
    ) -> None:
        self.path = state_path(folder, name)
        self.steps = steps
        self._name, self._identity, self._seconds = name, dict(identity), seconds
        self._stored_at = monotonic()

    def is_due(self) -> bool:
        """Return whether it is long enough ago that a state was stored."""
        return monotonic() - self._stored_at >= self._seconds

    def save(self, state: TrainingState) -> None:
        """Replace the file."""
        dataset = TensorsDataset(filepath=str(self.path), key=self._name, recipe=self._identity)
        dataset.save(Tensors(state.tensors, state.facts))
        self._stored_at = monotonic()

    def load(self) -> TrainingState | None:
        """Return the stored state; None, with a line in the log, if it is damaged or of another recipe."""
        try:
            handle = TensorsDataset.open_checked(self.path)
            handle.verify()
        except FileNotFoundError:
            return None
        except DamagedMemberError as problem:
            _log.warning("network %r is trained from the start: its stored state %s", self._name, problem)
            return None
        if handle.digest != digest_of(self._identity):
            _log.info(
                "network %r is trained from the start: %s is of another recipe or machine",
                self._name,
                self.path,
            )
            return None
        tensors = {name: torch.from_numpy(np.array(handle.tensor(name))) for name in handle.names}
        return TrainingState(tensors, dict(handle.meta))


def state_path(folder: Path, name: str) -> Path:
    """Return the file of a network's state."""
    return folder / f"{name}{TensorsDataset.suffix}"


def pack_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return an optimiser's state as tensors by `<parameter>/<name>`; its settings are in the recipe."""
    found: dict[str, Tensor] = {}
    for index, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            if value is not None:
                found[f"{index}/{name}"] = torch.as_tensor(value)
    return found


def unpack_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give an optimiser of the same parameters and settings the state of :func:`pack_optimizer`."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition("/")
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
