"""Parameters of the similarity pipeline, checked before any node runs."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from rep_kedro.measures import get_measure

Fraction = Annotated[float, Field(gt=0, lt=1)]


class SimilarityParams(BaseModel):
    """Which networks to compare on which images, and how.

    Attributes:
        stimulus_sets: Names of stimulus sets, or ``all`` that have features.
        models: Names of networks, or ``all`` that have features.
        layer: Name of a layer that all chosen networks have, or ``final`` for each network's last.
        outputs_layer: Name of the layer that holds the logits of all chosen networks, for measures of
            outputs.
        measures: Ids of similarity measures (``kedro measures`` lists them).
        memory_bytes: Working memory; changes speed, not results.
        device: Where to compute: ``auto`` takes a GPU where there is one.
    """

    model_config = ConfigDict(extra="forbid")

    stimulus_sets: Literal["all"] | list[str] = "all"
    models: Literal["all"] | list[str] = "all"
    layer: str = "final"
    outputs_layer: str | None = None
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

    @model_validator(mode="after")
    def _outputs_are_known(self) -> Self:
        of_outputs = [name for name in self.measures if get_measure(name).compares == "outputs"]
        if of_outputs and self.outputs_layer is None:
            raise ValueError(
                f"{of_outputs[0]} compares outputs (logits) of classifiers, and layer {self.layer!r} need "
                "not hold them; name the layer of the logits with similarity.outputs_layer, "
                "or leave the measure out"
            )
        return self


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
