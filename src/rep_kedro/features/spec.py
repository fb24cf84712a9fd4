"""Parameters of transforms of features and of combinations of networks."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    PositiveInt,
    Tag,
    field_validator,
    model_validator,
)

from rep_kedro.errors import UserError, close_names, suggest
from rep_kedro.parameter_model import Parameters

PLAIN_STEPS = ("unit_length", "centre", "standardise")


class PcaSize(Parameters):
    """How many principal components are kept; one of the two.

    Attributes:
        n_components: At most so many; fewer where the features vary in fewer directions.
        variance: The fewest whose share of the variance is larger than this.
    """

    n_components: PositiveInt | None = None
    variance: Annotated[float, Field(gt=0, lt=1)] | None = None

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if (self.n_components is None) == (self.variance is None):
            raise UserError("pca needs either n_components or variance, such as {pca: {variance: 0.99}}")
        return self


class PcaStep(Parameters):
    """Principal components of centred features.

    Attributes:
        pca: How many.
    """

    pca: PcaSize


def _require_known_step(step: Any) -> Any:
    if isinstance(step, str) and step not in PLAIN_STEPS:
        hint = suggest(step, [*PLAIN_STEPS, "pca"])
        if step == "pca" or "pca" in close_names(step, [*PLAIN_STEPS, "pca"])[:1]:
            hint = "principal components are written {pca: {variance: 0.99}} or {pca: {n_components: 50}}"
        raise UserError(f"unknown transform {step!r}; {hint}")
    if not isinstance(step, str | Mapping | PcaStep):
        raise UserError(f"a transform is one of {', '.join(PLAIN_STEPS)} or {{pca: ...}}, got {step!r}")
    return step


def _kind(step: Any) -> str:
    return "name" if isinstance(step, str) else "components"


Step = Annotated[
    Annotated[Literal["unit_length", "centre", "standardise"], Tag("name")]
    | Annotated[PcaStep, Tag("components")],
    Discriminator(_kind),
    BeforeValidator(_require_known_step),
]
Transform = tuple[Step, ...]
"""Steps in their order; none leaves features as they are stored."""


def _require_known_reduction(reduction: Any) -> Any:
    if reduction != "none" and not isinstance(reduction, Mapping | PcaStep):
        raise UserError(f"reduce is none or {{pca: {{variance: 0.99}}}}, got {reduction!r}")
    return reduction


Reduction = Annotated[
    Annotated[Literal["none"], Tag("name")] | Annotated[PcaStep, Tag("components")],
    Discriminator(_kind),
    BeforeValidator(_require_known_reduction),
]


class Combination(Parameters):
    """Several networks as one: their features side by side, reduced, rows of length one.

    Attributes:
        models: Names of at least two networks; their order is that of the features.
        layer: Name of a layer that all of them have, or ``final`` for each network's last.
        reduce: ``none``, or principal components of the standardised features.
    """

    models: tuple[str, ...] = Field(min_length=2)
    layer: str = "final"
    reduce: Reduction = "none"

    @field_validator("models")
    @classmethod
    def _each_once(cls, models: tuple[str, ...]) -> tuple[str, ...]:
        doubled = sorted({name for name in models if models.count(name) > 1})
        if doubled:
            raise UserError(f"a combination names networks twice: {', '.join(doubled)}")
        return models

    @property
    def transform(self) -> Transform:
        """What is done to the features side by side.

        Source: Ciernik et al. 2025, arXiv:2411.05561, public code (``concat`` and ``concat_pca``).
        """
        return ("unit_length",) if self.reduce == "none" else ("standardise", self.reduce, "unit_length")


def describe(transform: Transform) -> list[Any]:
    """Return a transform as plain data, for recipes.

    Example:
        >>> describe(("unit_length", PcaStep(pca=PcaSize(variance=0.99))))
        ['unit_length', {'pca': {'variance': 0.99}}]
    """
    return [
        step if isinstance(step, str) else step.model_dump(mode="json", exclude_none=True)
        for step in transform
    ]
