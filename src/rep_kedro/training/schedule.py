"""Length, optimiser and learning rate of a training, as plain data; presets; the rate of each update."""

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal, Self

from pydantic import (
    Field,
    ModelWrapValidatorHandler,
    PositiveFloat,
    PositiveInt,
    PrivateAttr,
    model_validator,
)

from rep_kedro.errors import UserError, suggest
from rep_kedro.parameter_model import Parameters
from rep_kedro.training.own_code import OwnCode

OptimizerName = Literal["adam", "adamw", "lars", "radam", "sgd"]
_AS_TORCH: dict[str, Any] = {"curve": "constant", "warmup_fraction": 0.0, "decay_of": "all"}
_SGD: dict[str, Any] = {
    **_AS_TORCH, "optimizer": "sgd", "nesterov": False, "momentum": 0.9, "weight_decay": 5e-4,
}  # fmt: skip
PRESETS: dict[str, dict[str, Any]] = {
    "adam": {**_AS_TORCH, "optimizer": "adam", "learning_rate": 1e-3, "weight_decay": 0.0},
    "adamw": {**_AS_TORCH, "optimizer": "adamw", "learning_rate": 1e-3, "weight_decay": 1e-2},
    "radam": {**_AS_TORCH, "optimizer": "radam", "learning_rate": 1e-3, "weight_decay": 0.0},
    "sgd": {**_SGD, "learning_rate": 0.01},
    "lrs": {**_SGD, "learning_rate": 0.1, "curve": "step", "step_epochs": 10},
    "lrs60": {**_SGD, "learning_rate": 0.1, "curve": "step", "step_epochs": 20},
}
"""Settings by name, those of Richter et al. 2021 (arXiv:2106.12307); any may be replaced."""


DEFAULT_WARMUP = 0.1
"""Share of the updates, where a schedule gives no warm-up."""


_CONSTANT_EPOCHS = 10  # of curve: as_written


class Schedule(Parameters):
    """How long and how fast a network learns.

    Attributes:
        epochs: Passes over the training images.
        batch_size: Images per forward pass; a last, smaller batch is left out (it differs with every epoch's
            order).
        accumulate: Forward passes per update, whose gradients are averaged.
        learning_rate: Highest rate, reached after the warm-up.
        rate_per_images: The learning rate is for so many images per update, such as 256, and grows in
            proportion to them; None for a rate that is taken as it is.
        curve: How the rate falls after the warm-up: on half a `cosine` to `final_rate`, by `step_factor`
            every `step_epochs` epochs (`step`) or at `milestones` (`multistep`), or not at all (`constant`).
            `as_written` is the curve of the RankMe study's code: constant for ten epochs, then a cosine whose
            half period is as many epochs as an epoch has updates, so that it may rise again; no warm-up.
        final_rate: End of the cosine, as a fraction of `learning_rate`.
        step_factor: Of each step.
        step_epochs: Epochs between steps.
        milestones: Fractions of the training after which the rate falls, ascending.
        warmup_fraction: Share of the updates over which the rate rises linearly; by default 0.1 where neither
            `warmup_epochs` nor `warmup_steps` is given.
        warmup_epochs: The same in epochs.
        warmup_steps: The same in updates.
        optimizer: `adamw` (decoupled decay), `adam`, `radam`, `sgd`, or `lars` (You et al. 2017,
            arXiv:1708.03888; parameters with one dimension are not adapted).
        momentum: Of sgd and lars.
        nesterov: Of sgd and lars; by default where there is momentum in sgd, and not in lars.
        betas: Decay rates of the averages of adam, adamw and radam.
        epsilon: Added to the root in adam, adamw and radam.
        weight_decay: Of the weights that are decayed.
        own_optimizer: A class or function of one's own instead of `optimizer`; it is called with torch's
            groups of parameters, each with its `weight_decay`, with `lr`, and with its options.
        own_curve: A function of one's own instead of `curve`; it is called with the share of the updates that
            are over and with its options, and returns a factor of the highest rate.
        decay_of: `matrices` decays parameters with at least two dimensions, never biases and norms; `all`
            decays all parameters, as torch does by default.
    """

    epochs: PositiveInt
    batch_size: int = Field(ge=2)
    accumulate: PositiveInt = 1
    learning_rate: float = Field(gt=0)
    rate_per_images: PositiveInt | None = None
    curve: Literal["cosine", "constant", "step", "multistep", "as_written"] = "cosine"
    final_rate: float = Field(default=0.0, ge=0, le=1)
    step_factor: float = Field(default=0.1, gt=0, le=1)
    step_epochs: PositiveInt | None = None
    milestones: tuple[float, ...] = ()
    weight_decay: float = Field(default=1e-4, ge=0)
    decay_of: Literal["matrices", "all"] = "matrices"
    warmup_fraction: float | None = Field(default=None, ge=0, lt=1)
    warmup_epochs: float | None = Field(default=None, ge=0)
    warmup_steps: int | None = Field(default=None, ge=0)
    optimizer: OptimizerName = "adamw"
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool | None = None
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: PositiveFloat = 1e-8
    own_optimizer: OwnCode | None = None
    own_curve: OwnCode | None = None

    _given: dict[str, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _fill_preset(cls, given: Any, make: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(given, Mapping):
            return make(given)
        schedule = make(_with_preset(given))
        schedule._given = dict(given)
        return schedule

    @model_validator(mode="after")
    def _require_consistent(self) -> Self:
        warmups = ("warmup_fraction", "warmup_epochs", "warmup_steps")
        given = [name for name in warmups if getattr(self, name) is not None]
        if self.curve == "as_written" and any(getattr(self, name) for name in given):
            raise UserError(f"curve: as_written has no warm-up, but {given[0]} is given")
        if len(given) > 1:
            raise UserError(f"a schedule has one warm-up, but {' and '.join(given)} are given")
        if (self.curve == "step") != (self.step_epochs is not None):
            raise UserError("step_epochs belongs to curve: step, which needs it")
        if (self.curve == "multistep") != bool(self.milestones):
            raise UserError("milestones belong to curve: multistep, which needs them")
        if any(low >= high for low, high in pairwise((0, *self.milestones, 1))):
            raise UserError(f"milestones must ascend between 0 and 1, got {list(self.milestones)}")
        if self.curve != "cosine" and self.final_rate:
            raise UserError("final_rate belongs to curve: cosine")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise UserError(f"betas must be in [0, 1), got {list(self.betas)}")
        return self

    @property
    def own_code(self) -> tuple[OwnCode, ...]:
        """What runs code of the user."""
        return tuple(code for code in (self.own_optimizer, self.own_curve) if code is not None)

    def as_json(self) -> dict[str, Any]:
        """Return what the bytes of a training depend on, as plain JSON data; own code by its digest."""
        own = {name: getattr(self, name) for name in ("own_optimizer", "own_curve")}
        settings = self.model_dump(mode="json", exclude={*own})
        return settings | {name: code.as_json() for name, code in own.items() if code is not None}

    def changed(self, changes: Mapping[str, Any]) -> "Schedule":
        """Return a schedule with other settings, which may be another preset under the same settings."""
        return Schedule.model_validate({**self._given, **changes})

    @property
    def images_per_update(self) -> int:
        """Images whose gradients are averaged in one update."""
        return self.batch_size * self.accumulate

    @property
    def highest_rate(self) -> float:
        """The learning rate after the warm-up."""
        if self.rate_per_images is None:
            return self.learning_rate
        return self.learning_rate * self.images_per_update / self.rate_per_images

    @property
    def uses_nesterov(self) -> bool:
        """Whether sgd or lars looks ahead."""
        if self.nesterov is None:
            return self.momentum > 0 and self.optimizer == "sgd"
        return self.nesterov

    def rate(self, update: int, per_epoch: int) -> float:
        """Return the learning rate of an update, counted from 0, where each epoch has `per_epoch` of them.

        Example:
            >>> schedule = Schedule(epochs=2, batch_size=8, learning_rate=1.0, warmup_fraction=0.25)
            >>> [round(schedule.rate(update, 4), 3) for update in range(8)]
            [0.5, 1.0, 1.0, 0.933, 0.75, 0.5, 0.25, 0.067]
        """
        return self.highest_rate * self._fraction(update, per_epoch)

    def _fraction(self, update: int, per_epoch: int) -> float:
        n_updates, n_warmup = self.epochs * per_epoch, self._n_warmup(per_epoch)
        if update < n_warmup:
            return (update + 1) / n_warmup
        if self.own_curve is not None:
            return float(self.own_curve.call(update / n_updates))
        if self.curve == "cosine":
            falling = (1 + math.cos(math.pi * (update - n_warmup) / (n_updates - n_warmup))) / 2
            return self.final_rate + (1 - self.final_rate) * falling
        return self._stepped_fraction(update, per_epoch)

    def _stepped_fraction(self, update: int, per_epoch: int) -> float:
        match self.curve:
            case "as_written":
                n_falling = max(0, update // per_epoch - _CONSTANT_EPOCHS)
                return (1 + math.cos(math.pi * n_falling / per_epoch)) / 2
            case "step":
                return self.step_factor ** (update // per_epoch // (self.step_epochs or 1))
            case "multistep":
                n_updates = self.epochs * per_epoch
                return self.step_factor ** sum(update >= part * n_updates for part in self.milestones)
        return 1.0

    def _n_warmup(self, per_epoch: int) -> int:
        if self.warmup_steps is not None:
            return self.warmup_steps
        if self.warmup_epochs is not None:
            return round(self.warmup_epochs * per_epoch)
        if self.curve == "as_written":
            return 0
        fraction = DEFAULT_WARMUP if self.warmup_fraction is None else self.warmup_fraction
        return round(self.epochs * per_epoch * fraction)


def _with_preset(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with those of the preset that they name."""
    rest = {key: value for key, value in given.items() if key != "preset"}
    name = given.get("preset")
    if name is None:
        return rest
    if not isinstance(name, str):
        raise UserError(f"preset of a schedule should be a name ({', '.join(PRESETS)}), got {name!r}")
    if name not in PRESETS:
        raise UserError(f"unknown preset {name!r} of a schedule; {suggest(name, PRESETS)}")
    preset = PRESETS[name]
    if {"warmup_epochs", "warmup_steps"} & rest.keys():
        preset = {key: value for key, value in preset.items() if key != "warmup_fraction"}
    return {**preset, **rest}
