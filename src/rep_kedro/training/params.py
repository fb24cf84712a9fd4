"""Parameters of the training pipeline, checked before any node runs."""

import json
from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from rep_kedro.errors import UserError, suggest
from rep_kedro.machine import count_cores
from rep_kedro.parameter_model import Parameters
from rep_kedro.training.grids import NetworkGrid, Override
from rep_kedro.training.spec import SNAPSHOT_MARK, NetworkSpec

DEFAULT_MEMORY_BYTES = 4 * 2**30
_MOST_AT_ONCE = 4


class Checkpoints(Parameters):
    """When and where the state of a training is stored; part of no recipe.

    Attributes:
        folder: One file for each network under way; it is removed when the network is stored.
        seconds: At least so long after the last one, at the end of an epoch; 0 for every epoch.
        steps: Also after so many forward passes of an epoch; None for its end alone.
    """

    folder: str = "data/06_models/training_state"
    seconds: float = Field(default=5.0, ge=0)
    steps: PositiveInt | None = None


class TrainingParams(Parameters):
    """Which networks to train on what.

    Attributes:
        stimulus_set: Name of the stimulus set; its splits `train` and `test` are used.
        portable: Train on the CPU so that every x86-64 processor with AVX2 gives the same bytes. False trains
            with whatever the machine is fastest with.
        device: Where to compute, such as `cpu` or `cuda`; another than `cpu` only where `portable` is false.
            Part of no recipe: networks trained elsewhere are kept, though their last digits would differ.
        devices: Devices of this kind on which each network is trained, a share of each batch on each; more
            than one only where `portable` is false. Part of no recipe either.
        processes: Networks that are trained at the same time, each on one core, in a process of its own that
            needs about 300 MB; `auto` for one on each core, at most 4, and for one at a time on a GPU or on
            several `devices`. Part of no recipe: it changes no byte.
        checkpoints: When and where a training is stored, so that it goes on where it was stopped.
        memory_bytes: Images of a stimulus set that need more, decoded, are read from a temporary file.
        grids: Networks, by objective; empty in a study of imported networks alone.
        overrides: By network name, as `cnn_simclr_s0`.
    """

    stimulus_set: str
    portable: bool = True
    device: str = "cpu"
    devices: PositiveInt = 1
    processes: Literal["auto"] | PositiveInt = 1
    checkpoints: Checkpoints = Checkpoints()
    memory_bytes: PositiveInt = DEFAULT_MEMORY_BYTES
    grids: tuple[NetworkGrid, ...] = ()
    overrides: dict[str, Override] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _require_cpu_where_portable(self) -> Self:
        if self.portable and self.device != "cpu":
            raise UserError(
                f"training is portable on the CPU only, but device is {self.device!r};"
                " set training.portable to false, or training.device to cpu"
            )
        return self

    @model_validator(mode="after")
    def _require_one_device_where_portable(self) -> Self:
        if self.portable and self.devices > 1:
            raise UserError(
                f"training is portable on one device only, but devices is {self.devices};"
                " set training.portable to false, or training.devices to 1"
            )
        return self

    @model_validator(mode="after")
    def _require_processes_or_devices(self) -> Self:
        if self.devices > 1 and self.processes not in ("auto", 1):
            raise UserError(
                f"training.processes is {self.processes}, but each network is trained on training.devices"
                f" {self.devices}, one after the other; set one of them to 1"
            )
        return self

    @model_validator(mode="after")
    def _require_networks(self) -> Self:
        for name, spec in self.networks().items():
            if self.portable:
                _require_portable(name, spec)
            if self.devices > 1:
                _require_divisible(name, spec, self.devices)
        return self

    @property
    def n_at_once(self) -> int:
        """Networks that are trained at the same time here."""
        if self.processes != "auto":
            return self.processes
        return min(count_cores(), _MOST_AT_ONCE) if self.device == "cpu" and self.devices == 1 else 1

    def networks(self) -> dict[str, NetworkSpec]:
        """Return all networks by name, each followed by its snapshots.

        Names are `<architecture>_<objective>[_<label>][_<varying axes>]_s<seed>[_o<order seed>]`, and
        `<name>@<moment>`. Of trainings that differ in their names alone the first is there, see `repeats`.

        Raises:
            ValueError: If two grids give one name, or an override is for a network that is in none.
        """
        found: dict[str, NetworkSpec] = {}
        repeats = self.repeats()
        for grid in self.grids:
            for name, spec in grid.expand(self.stimulus_set, self.overrides):
                first = repeats.get(name, name)
                if first == name and name in found and _identify(found[name]) != _identify(spec):
                    raise UserError(f"network {name!r} is defined by two grids; give one of them a label")
                found.setdefault(first, spec)
                for moment in grid.snapshots.moments:
                    snapshot = spec.model_copy(update={"moment": moment})
                    found.setdefault(f"{first}{SNAPSHOT_MARK}{moment}", snapshot)
        trained = [name for name, spec in found.items() if spec.moment is None]
        for name in self.overrides:
            if name not in trained and name not in repeats:
                raise UserError(f"override for unknown network {name!r}; {suggest(name, trained)}")
        return found

    def repeats(self) -> dict[str, str]:
        """Return the names of trainings that an earlier one equals in everything else, with its name."""
        first: dict[str, str] = {}
        found: dict[str, str] = {}
        for grid in self.grids:
            for name, spec in grid.expand(self.stimulus_set, self.overrides):
                earlier = first.setdefault(_identify(spec), name)
                if earlier != name:
                    found[name] = earlier
        return found


def _require_portable(name: str, spec: NetworkSpec) -> None:
    """Refuse what does not give the same bytes on every processor."""
    if spec.schedule and spec.schedule.optimizer == "radam":
        raise UserError(
            f"network {name!r}: radam takes roots that differ between processors;"
            " set training.portable to false, or take adam or adamw"
        )
    if spec.own_code:
        raise UserError(
            f"network {name!r}: own code may compute other bytes on other processors;"
            " set training.portable to false"
        )
    if spec.precision != "float32":
        raise UserError(
            f"network {name!r}: training is portable in float32 only, but precision is"
            f" {spec.precision!r}; set training.portable to false"
        )


def _require_divisible(name: str, spec: NetworkSpec, n_devices: int) -> None:
    """Refuse what several devices cannot share."""
    from rep_kedro.training.monitors.registry import make_monitors

    if spec.schedule and spec.schedule.batch_size % n_devices:
        raise UserError(
            f"network {name!r}: batch_size {spec.schedule.batch_size} is not divisible by training.devices"
            f" {n_devices}; every device takes an equal share of a batch"
        )
    for monitor in make_monitors(spec.monitors):
        if monitor.reads_layers:
            raise UserError(
                f"network {name!r}: monitor {monitor.id!r} reads layers, of which each of training.devices"
                f" {n_devices} has a share; take the monitor from its grid, or set training.devices to 1"
            )


def _identify(spec: NetworkSpec) -> str:
    """Return all that a training depends on as one text."""
    from rep_kedro.training.objectives.registry import make_objective

    objective = make_objective(spec.objective, spec.options).as_json()
    return json.dumps({**spec.model_dump(mode="json"), "options": objective}, sort_keys=True)
