"""Parameters of the similarity of layers, checked before any node runs."""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, field_validator, model_validator

from rep_kedro.errors import UserError
from rep_kedro.features.spec import Transform
from rep_kedro.measures import get_measure
from rep_kedro.parameter_model import Parameters
from rep_kedro.parameter_rules import Count, Seed, require_once, require_percentiles

Compare = Literal["within", "between", "both"]


class EveryNth(Parameters):
    """Every n-th layer, counted back from the last one, which is always among them.

    Attributes:
        every: n.
    """

    every: PositiveInt


class LayerSimilarityParams(Parameters):
    """Which layers are compared with which, on which images, and how.

    Attributes:
        stimulus_sets: Names of stimulus sets, or ``all`` that have features.
        models: Names of networks, or ``all`` that have features; ``[]`` leaves this analysis out.
        max_models: Of ``all``, at most so many, the first by name; null takes all. Lists are taken whole.
        layers: ``all`` that have features, names or patterns (``*`` within one part of a dotted name, ``**``
            for anything), or ``{every: n}``.
        compare: Layers ``within`` each network, ``between`` different networks, or ``both``.
        subset: Name of the stimulus subset on which layers are compared; null takes all stimuli of the
            features.
        transform: As ``similarity.transform``.
        measures: Ids of similarity measures of features.
        n_permutations: Permutations of the stimuli for the p-values of best matches; 0 leaves them out.
        n_bootstrap: Resamples of the stimuli for their intervals; 0 leaves them out.
        confidence: Coverage that the intervals aim at.
        level: Chance of unrelated networks to exceed the threshold.
        max_stimuli: Best matches, their p-values and intervals use at most so many stimuli, drawn without
            replacement.
        seed: Of permutations, resamples and drawn stimuli.
        memory_bytes: Working memory of the matrices, where it changes speed alone; best matches that need
            more are refused before they are computed.
        device: Where to compute: ``auto`` takes a GPU where there is one.
    """

    stimulus_sets: Literal["all"] | list[str] = "all"
    models: Literal["all"] | list[str] = "all"
    max_models: PositiveInt | None = None
    layers: Annotated[str | list[str] | EveryNth, Field(union_mode="left_to_right")] = "all"
    compare: Compare = "both"
    subset: str | None = None
    transform: Transform = ()
    measures: list[str] = Field(default=["cka_linear_debiased"], min_length=1)
    n_permutations: Count = 199
    n_bootstrap: Count = 200
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    level: Annotated[float, Field(gt=0, lt=1)] = 0.05
    max_stimuli: int = Field(default=300, ge=5)
    seed: Seed = 0
    memory_bytes: int = Field(default=1_000_000_000, gt=0)
    device: str = "auto"

    @field_validator("measures")
    @classmethod
    def _measures_of_features(cls, measures: list[str]) -> list[str]:
        for measure_id in measures:
            if get_measure(measure_id).compares != "features":
                raise UserError(
                    f"{measure_id} compares outputs (logits) of classifiers, not layers; leave it out"
                )
        require_once(measures, "measures")
        return measures

    @model_validator(mode="after")
    def _lists_are_sound(self) -> Self:
        for name in ("stimulus_sets", "models", "layers"):
            names = getattr(self, name)
            if isinstance(names, list):
                require_once(names, name)
        if self.layers == []:
            raise UserError("layers names no layer; write all, a pattern, or {every: 2}")
        require_percentiles(self.n_bootstrap, self.confidence)
        return self
