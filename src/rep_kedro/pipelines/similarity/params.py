"""Parameters of the similarity pipeline, checked before any node runs."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from rep_kedro.measures import get_measure

Fraction = Annotated[float, Field(gt=0, lt=1)]


class SimilarityParams(BaseModel):
    """Which networks to compare on which images, and how.

    Attributes:
        stimulus_sets: Names of stimulus sets, or ``all`` that have features.
        models: Names of networks, or ``all`` that have features.
        layer: Name of a layer that all chosen networks have, or ``final`` for each network's last.
        measures: Ids of similarity measures (``kedro measures`` lists them).
        memory_bytes: Working memory; changes speed, not results.
        device: Where to compute: ``auto`` takes a GPU where there is one.
    """

    model_config = ConfigDict(extra="forbid")

    stimulus_sets: Literal["all"] | list[str] = "all"
    models: Literal["all"] | list[str] = "all"
    layer: str = "final"
    measures: list[str] = Field(min_length=1)
    memory_bytes: int = Field(default=1_000_000_000, gt=0)
    device: str = "auto"

    @field_validator("measures")
    @classmethod
    def _known_measures(cls, measures: list[str]) -> list[str]:
        for measure_id in measures:
            get_measure(measure_id)
        if len(set(measures)) != len(measures):
            raise ValueError(
                f"measures are listed twice: {sorted({m for m in measures if measures.count(m) > 1})}"
            )
        return measures


class ConsistencyParams(BaseModel):
    """How similarities are compared across stimulus sets.

    Attributes:
        categories: Columns of the model cards by which pairs of networks are grouped, besides all pairs.
        n_bootstrap: Replicates of the bootstrap over networks; 0 leaves the intervals out.
        confidence: Coverage that the intervals aim at.
        seed: Of the bootstrap.
    """

    model_config = ConfigDict(extra="forbid")

    categories: list[Literal["objective", "architecture", "source", "trained_on"]] = ["objective"]
    n_bootstrap: int = Field(default=1000, ge=0)
    confidence: Fraction = 0.95
    seed: int = Field(default=0, ge=0)
