"""Maps that join two layers, as a user writes them: each entry is one way to find the map of a joint."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from rep_kedro.errors import UserError, require_known
from rep_kedro.parameter_model import Parameters
from rep_kedro.parameter_rules import Count, Seed, require_once

SQUARE_STARTS = frozenset({"perm", "eye", "ones-zeros"})
"""Starts that need layers of equal width."""
STARTS = ("random", "perm", "eye", "ps_inv", "ones-zeros", "zeros")
LOW_RANK_STARTS = ("orthogonal", "ps_inv")
MASKS = (
    "identity",
    "semi-match",
    "abs-semi-match",
    "random-permutation",
    "permutation",
    "assignment",
    "variance",
)
RULES = ("semi-match", "abs-semi-match", "assignment", "random-permutation", "permutation")
TARGETS = ("hard", "soft_1", "soft_2", "soft_12", "soft_1_plus_2")
FRONT_TARGETS = frozenset({"soft_1", "soft_12", "soft_1_plus_2"})
"""Targets that are made from what the front network predicts."""
FEWEST_STEPS_OF_VARIANCE = 2
"""Steps of an epoch from which the mask `variance` can be made."""
_MOST_EPOCHS = 100_000  # the loss of every step is kept


def _once(what: str) -> Callable[[list[int]], list[int]]:
    def require(given: list[int]) -> list[int]:
        require_once([str(each) for each in given], what)
        return given

    return require


Seeds = Annotated[list[Seed], Field(min_length=1), AfterValidator(_once("seeds"))]


class _Map(Parameters):
    """What every map may say.

    Attributes:
        sparse: Entries of the weight below this become zero once the map is found; 0: none.
    """

    sparse: float = Field(default=0.0, ge=0)

    @property
    def is_trained(self) -> bool:
        """Whether the map is found by gradient descent."""
        return False

    @property
    def needs_equal_widths(self) -> bool:
        """Whether both layers must have equally many channels."""
        return False

    @property
    def needs_front_outputs(self) -> bool:
        """Whether the map is trained towards what the front network predicts."""
        return False

    @property
    def wanted_seeds(self) -> tuple[int, ...]:
        """Seeds for each of which there is a map; 0 where nothing is drawn."""
        return (0,)


class LeastSquaresMap(_Map):
    """The affine map with the least squared error.

    Attributes:
        ridge: Penalty of the weights, relative to the mean variance of the front's channels; the best of
            several is chosen on held-out training stimuli.
        relative_cutoff: Directions of the front with less variance than this, relative to the largest, are
            left out.
    """

    fit: Literal["least_squares"]
    ridge: float | list[float] = 0.0
    relative_cutoff: float = Field(default=1e-12, gt=0, lt=1)

    @field_validator("ridge")
    @classmethod
    def _require_penalties(cls, value: float | list[float]) -> float | list[float]:
        given = value if isinstance(value, list) else [value]
        if not given or min(given) < 0:
            raise UserError(f"ridge needs penalties of 0 or more, got {value}")
        require_once([f"{penalty:g}" for penalty in given], "penalties of ridge")
        return value


class OrthogonalMap(_Map):
    """The rotation or reflection, with bias, with the least squared error."""

    fit: Literal["orthogonal"]

    @property
    def needs_equal_widths(self) -> bool:
        """Whether both layers must have equally many channels."""
        return True


class ReducedRankMap(_Map):
    """The affine map of at most a rank with the least squared error."""

    fit: Literal["reduced_rank"]
    rank: PositiveInt


class MatchingMap(_Map):
    """Each end channel from one front channel, scaled and shifted by least squares.

    Attributes:
        rule: Which front channel: of the highest correlation (`semi-match`), of the highest absolute one
            (`abs-semi-match`), the optimal one-to-one assignment, or a random one.
        seed: Of random rules.
    """

    fit: Literal["matching"]
    rule: str = "semi-match"
    seed: Seed = 0

    @field_validator("rule")
    @classmethod
    def _require_rule(cls, value: str) -> str:
        return _known("rule", value, RULES)


class StartMap(_Map):
    """A start that is not trained: a control.

    Attributes:
        init: One of the starts.
        seeds: Of random starts.
    """

    fit: Literal["start"]
    init: str
    seeds: Seeds = [0]

    @field_validator("init")
    @classmethod
    def _require_start(cls, value: str) -> str:
        return _known("init", value, STARTS)

    @property
    def needs_equal_widths(self) -> bool:
        """Whether both layers must have equally many channels."""
        return self.init in SQUARE_STARTS

    @property
    def wanted_seeds(self) -> tuple[int, ...]:
        """Seeds for each of which there is a map."""
        return tuple(self.seeds)


class TaskMap(_Map):
    """A map that is trained through the end network, which does not change.

    It minimises its loss + l1 mean|W| + cka_penalty CKA + later_layers distance.

    Attributes:
        init: Where the training starts; with `rank` one of `orthogonal` and `ps_inv`.
        rank: At most this rank; null for a full matrix.
        mask: Which entries of the weight may differ from zero.
        mask_percentile: Of the mask `variance`: per cent of the entries, those that change least.
        loss: `task`, the cross-entropy with the target; `mse` or `cka` (1 - CKA) compare activations at the
            joint alone.
        target: What is to be predicted: labels (`hard`), or the probabilities of the front (`soft_1`), the
            end (`soft_2`), their mean (`soft_12`), or those of the mean of their logits (`soft_1_plus_2`).
        temperature: Divides logits; of soft targets only.
        l1: Weight of the mean absolute entry.
        cka_penalty: Weight of CKA with the end's activations; a positive one pushes CKA down.
        later_layers: Weight of the distance at all kept layers behind the joint.
        optimizer: `adam` or `sgd` (with Nesterov momentum 0.9).
        learning_rate: Of the first third of the steps; divided by 10 at one and at two thirds.
        weight_decay: Adds this times the parameter to its gradient.
        epochs: Passes over the training images.
        batch_size: Training images of a step.
        history: After how many steps the map is kept.
        seeds: One map is trained for each.
        path_from: Name of another map, from which a straight path of 11 points to this one is tested.
    """

    fit: Literal["task"] = "task"
    init: str = "ps_inv"
    rank: PositiveInt | None = None
    mask: str = "identity"
    mask_percentile: float = Field(default=10.0, gt=0, le=100)
    loss: Literal["task", "mse", "cka"] = "task"
    target: str = "soft_2"
    temperature: PositiveFloat = 1.0
    l1: float = Field(default=0.0, ge=0)
    cka_penalty: float = 0.0
    later_layers: float = Field(default=0.0, ge=0)
    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: PositiveFloat = 1e-3
    weight_decay: float = Field(default=0.0, ge=0)
    epochs: int = Field(default=30, ge=1, le=_MOST_EPOCHS)
    batch_size: PositiveInt = 128
    history: Annotated[list[Count], AfterValidator(_once("steps of history"))] = []
    seeds: Seeds = [0]
    path_from: str | None = None

    @model_validator(mode="after")
    def _require_fitting_names(self) -> Self:
        _known("mask", self.mask, MASKS)
        _known("target", self.target, TARGETS)
        if self.rank is None and self.init == "orthogonal":
            raise UserError("init 'orthogonal' is a start of low rank; give a rank, or choose another start")
        if self.rank is not None and self.init in STARTS and self.init not in LOW_RANK_STARTS:
            raise UserError(
                f"init {self.init!r} has no rank {self.rank}; known: {', '.join(LOW_RANK_STARTS)}"
            )
        _known("init", self.init, STARTS if self.rank is None else LOW_RANK_STARTS)
        if self.rank is not None and self.mask != "identity":
            raise UserError(f"a map has a rank or a mask, got rank {self.rank} with mask {self.mask!r}")
        if self.target == "hard" and self.temperature != 1.0:
            raise UserError(f"temperature {self.temperature:g} belongs to soft targets, not to hard labels")
        if self.batch_size == 1 and (self.loss == "cka" or self.cka_penalty):
            raise UserError("CKA compares images of a batch; set batch_size to at least 2")
        return self

    def require_steps(self, n_fit: int) -> None:
        """Refuse what needs more steps than there are.

        Args:
            n_fit: The most training images that there can be.

        Raises:
            UserError: If the history names a later step, or an epoch is too short for the mask.
        """
        n_per_epoch = max(1, n_fit // self.batch_size)
        last = self.epochs * n_per_epoch
        if self.history and max(self.history) > last:
            raise UserError(f"history names step {max(self.history)}, beyond the last one, {last} at most")
        if self.mask == "variance" and n_per_epoch < FEWEST_STEPS_OF_VARIANCE:
            raise UserError(
                f"mask 'variance' needs at least {FEWEST_STEPS_OF_VARIANCE} steps in an epoch, got"
                f" {n_per_epoch} of {n_fit} images; lower batch_size"
            )

    @property
    def is_trained(self) -> bool:
        """Whether the map is found by gradient descent."""
        return True

    @property
    def needs_equal_widths(self) -> bool:
        """Whether both layers must have equally many channels."""
        return self.rank is None and self.init in SQUARE_STARTS

    @property
    def needs_front_outputs(self) -> bool:
        """Whether the map is trained towards what the front network predicts."""
        return self.loss == "task" and self.target in FRONT_TARGETS

    @property
    def wanted_seeds(self) -> tuple[int, ...]:
        """Seeds for each of which there is a map."""
        return tuple(self.seeds)


StitchMap = LeastSquaresMap | OrthogonalMap | ReducedRankMap | MatchingMap | StartMap | TaskMap


def with_default_fit(entry: Any) -> Any:
    """Return an entry of a map, trained on the task where it does not say how it is found."""
    return {"fit": "task", **entry} if isinstance(entry, Mapping) else entry


def _known(kind: str, value: str, known: Sequence[str]) -> str:
    require_known(kind, value, known)
    return value
