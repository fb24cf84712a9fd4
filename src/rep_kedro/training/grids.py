"""Grids of trainings: every combination of the values of several axes, each a network with a name.

An axis is a field of the network (`architecture`, `stimulus_set`, `input_px`, `objective`, `precision`), one
of its settings (`schedule.learning_rate`, `options.temperature`, `options.views.flip_probability`), or a set
of settings by name (`schedule: {fast: {...}, slow: {...}}`). The name of a network has its architecture, its
objective, the label, and the values of the axes that vary.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple, Self

from pydantic import Field, PositiveInt, model_validator

from rep_kedro.errors import UserError, suggest
from rep_kedro.models.architecture_files import load_definition
from rep_kedro.parameter_model import Parameters
from rep_kedro.parameter_rules import Seed, Side, require_once
from rep_kedro.training.own_code import OwnCode
from rep_kedro.training.schedule import Schedule
from rep_kedro.training.spec import NetworkSpec, Precision, Snapshots

_FIELDS = ("architecture", "stimulus_set", "input_px", "objective", "precision")
_SETTINGS = ("schedule", "options")
_SHORT = {
    "batch_size": "schedule.batch_size",
    "optimizer": "schedule.optimizer",
    "views": "options.views",
}
_IN_NAMES = {"input_px": "px", "schedule.batch_size": "bs", "schedule.learning_rate": "lr"}
_WITHOUT_AXIS = {"stimulus_set", "precision", "schedule.optimizer", "schedule.preset"}
_ALWAYS_NAMED = ("architecture", "objective")
_NAMES = (*_ALWAYS_NAMED, "stimulus_set")
_OF_SCHEDULE = ("preset", *Schedule.model_fields)
_MOST_NETWORKS = 20_000  # of one grid: more are a slip, and take minutes to check
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9.+=-]+")


class _Choice(NamedTuple):
    """A value of an axis and how names show it."""

    label: str
    value: Any


class NetworkGrid(Parameters):
    """Every combination of architectures, seeds and the values of further axes.

    Attributes:
        architectures: Names of architectures; `<name>_w<n>` widens one n times.
        objective: Name of an objective.
        label: Set apart grids of one objective with other options, such as `t01`; part of the networks'
            names.
        seeds: Of the weights and, without `order_seeds`, of batch order and augmentations.
        order_seeds: Of batch order and augmentations, each with each seed of the weights.
        schedule: How long and how fast; none for objectives that do not train.
        options: Settings of the objective that differ from its defaults.
        monitors: What watches the trainings: settings by name.
        metrics: What else is measured on test images after each epoch: names, or code of one's own.
        stimulus_set: Where it differs from that of `training`.
        labels: Label column to learn, where it is not the set's own label; several labels of an image are
            learnt by a loss for each class.
        input_px: Side to which images are resized, where it differs from that of the architecture.
        precision: Of the forward passes while training.
        n_test: The most test images that are measured after each epoch, the same for all networks; by default
            all.
        snapshots: When networks are stored while they are trained.
        product: Values by axis; every one is combined with all others.
        paired: Values by axis, the first of each axis together, then the second, and so on.
        exclude: Combinations to leave out: values by axis.
    """

    architectures: tuple[str, ...] = ()
    objective: str = ""
    label: str = Field(default="", pattern=r"^[A-Za-z0-9.-]*$")
    seeds: tuple[Seed, ...] = Field(min_length=1)
    order_seeds: tuple[Seed, ...] = ()
    schedule: Schedule | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    monitors: dict[str, dict[str, Any]] = Field(default_factory=dict)
    metrics: tuple[str | OwnCode, ...] = ()
    stimulus_set: str | None = None
    labels: str | None = None
    input_px: Side | None = None
    precision: Precision = "float32"
    n_test: PositiveInt | None = None
    snapshots: Snapshots = Snapshots()
    product: dict[str, list[Any] | dict[str, Any]] = Field(default_factory=dict)
    paired: dict[str, list[Any] | dict[str, Any]] = Field(default_factory=dict)
    exclude: tuple[dict[str, Any], ...] = ()

    @model_validator(mode="after")
    def _require_sound(self) -> Self:
        from rep_kedro.training.metrics import require_metrics
        from rep_kedro.training.monitors.registry import make_monitors

        make_monitors(self.monitors)
        require_metrics(self.metrics)
        for _, spec in self.expand("", {}):
            load_definition(spec.architecture)
            for epoch in self.snapshots.epochs:
                if epoch > (last := spec.schedule.epochs if spec.schedule else 0):
                    raise UserError(f"snapshot epoch{epoch} is after the last epoch ({last})")
        return self

    def expand(
        self, stimulus_set: str, overrides: "Mapping[str, Override]"
    ) -> Iterator[tuple[str, NetworkSpec]]:
        """Yield name and spec of each network, without snapshots.

        Args:
            stimulus_set: Where the grid names none.
            overrides: Changes by name.

        Raises:
            ValueError: If an axis, a value or a combination cannot be meant.
        """
        axes = {axis: _read_choices(axis, values) for axis, values in self._axes().items()}
        combinations = self._combine(axes)
        if not combinations:
            raise UserError("the grid is empty: exclude leaves no combination")
        for chosen in combinations:
            for seed, order in product(self.seeds, self.order_seeds or (None,)):
                name = self._name(chosen, axes, seed, order)
                spec = self._make_spec(name, chosen, overrides.get(name, Override()))
                own = {"seed": seed, "order_seed": order, "stimulus_set": spec.stimulus_set or stimulus_set}
                yield name, spec.model_copy(update=own)

    def _axes(self) -> dict[str, Any]:
        """Return the values of each axis by its full name; refuse axes that are unknown or named twice."""
        found: dict[str, Any] = {}
        if self.architectures:
            found["architecture"] = list(self.architectures)
        if self.objective:
            found["objective"] = [self.objective]
        for given in (self.product, self.paired):
            for axis, values in given.items():
                full = _SHORT.get(axis, axis)
                if full not in _FIELDS and full.partition(".")[0] not in _SETTINGS:
                    known = [
                        *_FIELDS,
                        *_SETTINGS,
                        *_SHORT,
                        *(f"schedule.{each}" for each in _OF_SCHEDULE),
                    ]
                    raise UserError(f"unknown axis {axis!r} of a grid; {suggest(axis, known)}")
                if full in found:
                    raise UserError(f"axis {axis!r} of a grid is given twice")
                found[full] = values
        for axis in _ALWAYS_NAMED:
            if axis not in found:
                raise UserError(f"the grid is empty: it names no {axis}")
        return found

    def _combine(self, axes: "Mapping[str, Sequence[_Choice]]") -> list[dict[str, _Choice]]:
        paired = [_SHORT.get(axis, axis) for axis in self.paired]
        lengths = {axis: len(axes[axis]) for axis in paired}
        if len(set(lengths.values())) > 1:
            counts = ", ".join(f"{axis} {n}" for axis, n in lengths.items())
            raise UserError(f"paired axes of a grid need equal numbers of values, got {counts}")
        free = [axis for axis in axes if axis not in paired]
        n_rows = min(lengths.values(), default=1) * math.prod(len(axes[axis]) for axis in free)
        n_networks = n_rows * len(self.seeds) * max(1, len(self.order_seeds))
        if n_networks > _MOST_NETWORKS:
            raise UserError(
                f"the grid has {n_networks:,} networks before exclude; a grid may have {_MOST_NETWORKS:,}: "
                "give fewer values, or make several grids"
            )
        rows = [
            dict(zip(paired, row, strict=True)) for row in zip(*(axes[axis] for axis in paired), strict=True)
        ]
        self._require_distinct({axis: axes[axis] for axis in free}, rows)
        combinations = [
            {**dict(zip(free, chosen, strict=True)), **row}
            for chosen in product(*(axes[axis] for axis in free))
            for row in rows or [{}]
        ]
        for exclusion in self.exclude:
            combinations = _exclude(combinations, exclusion)
        return combinations

    def _require_distinct(
        self, free: "Mapping[str, Sequence[_Choice]]", rows: Sequence[Mapping[str, _Choice]]
    ) -> None:
        """Refuse what would give two networks one name: values, seeds or rows of paired axes that repeat."""
        for axis, choices in free.items():
            require_once([choice.label for choice in choices], f"values of axis {axis!r} of a grid")
            _require_unequal(f"values of axis {axis!r}", [[choice] for choice in choices])
        paired = [", ".join(choice.label for choice in row.values()) for row in rows]
        require_once(paired, f"values of the paired axes {', '.join(self.paired)} of a grid")
        _require_unequal(
            f"values of the paired axes {', '.join(self.paired)}", [[*row.values()] for row in rows]
        )
        for name, seeds in (("seeds", self.seeds), ("order_seeds", self.order_seeds)):
            require_once(list(map(str, seeds)), f"{name} of a grid")

    def _name(
        self,
        chosen: Mapping[str, _Choice],
        axes: "Mapping[str, Sequence[_Choice]]",
        seed: int,
        order: int | None,
    ) -> str:
        parts = [*(chosen[axis].label for axis in _ALWAYS_NAMED), self.label]
        for axis, choice in chosen.items():
            if axis not in _ALWAYS_NAMED and len({each.label for each in axes[axis]}) > 1:
                is_set = axis in _SETTINGS or axis in _WITHOUT_AXIS
                parts.append(choice.label if is_set else f"{_short_name(axis)}{choice.label}")
        parts.append(f"s{seed}")
        if len(self.order_seeds) > 1:
            parts.append(f"o{order}")
        return "_".join(part for part in parts if part)

    def _make_spec(self, name: str, chosen: Mapping[str, _Choice], change: "Override") -> NetworkSpec:
        """Return the spec of one combination, with seed 0."""
        from rep_kedro.training.monitors.registry import make_monitors
        from rep_kedro.training.objectives.registry import make_objective

        fields: dict[str, Any] = {"stimulus_set": self.stimulus_set or "", "precision": self.precision}
        fields |= {"input_px": self.input_px, "labels": self.labels, "n_test": self.n_test}
        settings: dict[str, dict[str, Any]] = {"schedule": {}, "options": dict(self.options)}
        for axis, choice in chosen.items():
            place, _, rest = axis.partition(".")
            if place not in _SETTINGS:
                fields[place] = choice.value
            elif rest:
                settings[place] = _placed(settings[place], rest.split("."), choice.value)
            else:
                settings[place] |= _require_settings(axis, choice)
        options = {**settings["options"], **change.options}
        objective = make_objective(fields["objective"], options)
        changes = {**settings["schedule"], **change.schedule}
        schedule = self._make_schedule(name, objective.id, objective.trains, changes)
        if schedule is not None:
            objective.require_batch(schedule.batch_size)
        for monitor in make_monitors(self.monitors):
            monitor.require_objective(objective)
        return NetworkSpec(
            **fields, seed=0, schedule=schedule, options=options, monitors=self.monitors, metrics=self.metrics
        )

    def _make_schedule(
        self, name: str, objective: str, trains: bool, changes: Mapping[str, Any]
    ) -> Schedule | None:
        for key in changes:
            if key not in _OF_SCHEDULE:
                raise UserError(
                    f"unknown key {key!r} of the schedule of {name!r}; {suggest(key, _OF_SCHEDULE)}"
                )
        given = self.schedule is not None or bool(changes)
        if trains != given:
            if changes and self.schedule is None:
                raise UserError(
                    f"override of {name!r} has a schedule, but objective {objective!r} takes none"
                )
            raise UserError(f"objective {objective!r} {'needs a' if trains else 'takes no'} schedule")
        if not changes:
            return self.schedule
        return self.schedule.changed(changes) if self.schedule else Schedule.model_validate(dict(changes))


class Override(Parameters):
    """What one network does differently from its grid.

    Attributes:
        schedule: Settings of the schedule to replace.
        options: Settings of the objective to replace.
    """

    schedule: dict[str, Any] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)


def _read_choices(axis: str, values: Any) -> list[_Choice]:
    """Return the values of an axis with their labels."""
    if isinstance(values, Mapping):
        choices = [_Choice(_slug(name), value) for name, value in values.items()]
    else:
        for value in values:
            if isinstance(value, Mapping):
                raise UserError(f"axis {axis!r} of a grid has sets of settings: give each a name")
        choices = [_Choice(_slug(value), value) for value in values]
    if not choices:
        raise UserError(f"the grid is empty: axis {axis!r} has no value")
    for choice in choices:
        if axis in _NAMES and not isinstance(choice.value, str):
            shown = "null" if choice.value is None else repr(choice.value)
            raise UserError(f"axis {axis!r} of a grid needs names, got {shown}")
    if axis in _ALWAYS_NAMED:  # names of architectures and objectives are names already
        choices = [_Choice(choice.value, choice.value) for choice in choices]
    return choices


def _require_unequal(what: str, rows: Sequence[Sequence[_Choice]]) -> None:
    """Refuse rows of values that are one but for the way their numbers are written, as 32 and 32.0."""
    found: dict[tuple[object, ...], str] = {}
    for row in rows:
        values = tuple(float(each.value) if type(each.value) in {int, float} else each.label for each in row)
        label = ", ".join(each.label for each in row)
        if values in found:
            raise UserError(f"{what} of a grid are equal: {found[values]} and {label}; leave one out")
        found[values] = label


def _exclude(
    combinations: list[dict[str, _Choice]], exclusion: Mapping[str, Any]
) -> list[dict[str, _Choice]]:
    wanted = {_SHORT.get(axis, axis): value for axis, value in exclusion.items()}
    for axis in wanted:
        if combinations and axis not in combinations[0]:
            raise UserError(f"unknown axis {axis!r} of exclude; {suggest(axis, combinations[0])}")
    kept = [
        each
        for each in combinations
        if not all(value in (each[axis].value, each[axis].label) for axis, value in wanted.items())
    ]
    if len(kept) == len(combinations):
        raise UserError(f"exclude {dict(exclusion)} of a grid fits no combination")
    return kept


def _placed(settings: Mapping[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    """Return settings with a value at a path."""
    if len(path) == 1:
        return {**settings, path[0]: value}
    inner = settings.get(path[0]) or {}
    if not isinstance(inner, Mapping):
        raise UserError(
            f"an axis sets {'.'.join(path)!r}, but {path[0]!r} should be `key: value` lines, got {inner!r}"
        )
    return {**settings, path[0]: _placed(inner, path[1:], value)}


def _require_settings(axis: str, choice: _Choice) -> dict[str, Any]:
    if not isinstance(choice.value, Mapping):
        raise UserError(f"axis {axis!r} of a grid needs sets of settings by name, got {choice.value!r}")
    return dict(choice.value)


def _short_name(axis: str) -> str:
    return _IN_NAMES.get(axis, axis.rpartition(".")[2].replace("_", "-"))


def _slug(value: Any) -> str:
    text = "-".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return _NOT_IN_NAMES.sub("-", text)
