"""Parameters of the training pipeline, checked before any node runs."""

from typing import Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rep_kedro.errors import UserError, suggest
from rep_kedro.models.architecture_files import load_definition
from rep_kedro.parameter_model import PlainNumbers
from rep_kedro.parameter_rules import Seed
from rep_kedro.training.schedule import Schedule


class _Strict(PlainNumbers, BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkGrid(_Strict):
    """Every architecture with every seed under one objective.

    Attributes:
        architectures: Names of architectures; `<name>_w<n>` widens one n times.
        objective: Name of an objective.
        label: Set apart grids of one objective with other options, such as `t01`; part of the networks'
            names.
        seeds: Of weights, batch order and augmentations.
        schedule: How long and how fast; none for objectives that do not train.
        options: Settings of the objective that differ from its defaults.
    """

    architectures: tuple[str, ...] = Field(min_length=1)
    objective: str
    label: str = Field(default="", pattern=r"^[A-Za-z0-9.-]*$")
    seeds: tuple[Seed, ...] = Field(min_length=1)
    schedule: Schedule | None = None
    options: dict[str, Any] = {}

    @model_validator(mode="after")
    def _require_known_names(self) -> Self:
        from rep_kedro.training.objectives.registry import make_objective

        objective = make_objective(self.objective, self.options)
        if objective.trains != (self.schedule is not None):
            raise UserError(
                f"objective {self.objective!r} {'needs a' if objective.trains else 'takes no'} schedule"
            )
        for name in self.architectures:
            load_definition(name)
        return self


class Override(_Strict):
    """What one network does differently from its grid.

    Attributes:
        schedule: Settings of the schedule to replace.
        options: Settings of the objective to replace.
    """

    schedule: dict[str, Any] = {}
    options: dict[str, Any] = {}


class NetworkSpec(NamedTuple):
    """One network to train."""

    architecture: str
    objective: str
    seed: int
    schedule: Schedule | None
    options: dict[str, Any]


class TrainingParams(_Strict):
    """Which networks to train on what.

    Attributes:
        stimulus_set: Name of the stimulus set; its splits `train` and `test` are used.
        portable: Train on the CPU so that every x86-64 processor with AVX2 gives the same bytes. False trains
            with whatever the machine is fastest with.
        device: Where to compute, such as `cpu` or `cuda`; another than `cpu` only where `portable` is false.
            Part of no recipe: networks trained elsewhere are kept, though their last digits would differ.
        grids: Networks, by objective; empty in a study of imported networks alone.
        overrides: By network name, as `cnn_simclr_s0`.
    """

    stimulus_set: str
    portable: bool = True
    device: str = "cpu"
    grids: tuple[NetworkGrid, ...] = ()
    overrides: dict[str, Override] = {}

    @model_validator(mode="after")
    def _require_cpu_where_portable(self) -> Self:
        if self.portable and self.device != "cpu":
            raise UserError(
                f"training is portable on the CPU only, but device is {self.device!r};"
                " set training.portable to false, or training.device to cpu"
            )
        return self

    @model_validator(mode="after")
    def _require_networks(self) -> Self:
        self.networks()
        return self

    def networks(self) -> dict[str, NetworkSpec]:
        """Return all networks by name, `<architecture>_<objective>[_<label>]_s<seed>`.

        Raises:
            ValueError: If two grids give one name, or an override is for a network that is in none.
        """
        found: dict[str, NetworkSpec] = {}
        for grid in self.grids:
            for architecture in grid.architectures:
                for seed in grid.seeds:
                    parts = [architecture, grid.objective, grid.label, f"s{seed}"]
                    name = "_".join(part for part in parts if part)
                    if name in found:
                        raise UserError(f"network {name!r} is defined by two grids; give one of them a label")
                    found[name] = self._make_spec(name, architecture, grid, seed)
        for name in self.overrides:
            if name not in found:
                raise UserError(f"override for unknown network {name!r}; {suggest(name, found)}")
        return found

    def _make_spec(self, name: str, architecture: str, grid: NetworkGrid, seed: int) -> NetworkSpec:
        change = self.overrides.get(name, Override())
        if change.schedule and grid.schedule is None:
            raise UserError(
                f"override of {name!r} has a schedule, but objective {grid.objective!r} takes none"
            )
        schedule = grid.schedule and Schedule.model_validate(
            {**grid.schedule.model_dump(), **change.schedule}
        )
        options = {**grid.options, **change.options}
        return NetworkSpec(architecture, grid.objective, seed, schedule, options)
