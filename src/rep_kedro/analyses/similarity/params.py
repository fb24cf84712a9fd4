"""Parameters of the similarity pipeline, checked before any node runs."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from rep_kedro.errors import UserError, require_known
from rep_kedro.features.spec import Transform
from rep_kedro.measures import get_measure
from rep_kedro.parameter_model import Parameters
from rep_kedro.parameter_rules import Count, Seed, require_once, require_percentiles, without_nulls

SetColumn = Literal["model", "objective", "architecture", "source", "trained_on", "training_data", "size"]
Category = Literal["objective", "architecture", "source", "trained_on", "training_data", "size"]
SIZE_LIMITS = {"small": 1e8, "medium": 3e8, "large": 4e8, "xlarge": None}  # of Ciernik et al. 2024
Fraction = Annotated[float, Field(gt=0, lt=1)]


def _known_once(measures: list[str]) -> list[str]:
    for measure_id in measures:
        get_measure(measure_id)
    require_once(measures, "measures")
    return measures


MEASURES_EXIST = AfterValidator(_known_once)


class SimilarityParams(Parameters):
    """Which networks to compare on which images, and how.

    Attributes:
        stimulus_sets: Names of stimulus sets, or ``all`` that have features.
        models: Names of networks, or ``all`` that have features.
        subset: Name of the stimulus subset on which networks are compared; it must be part of the one that
            the features were made of, which null takes whole.
        layer: Name of a layer that all chosen networks have, or ``final`` for each network's last.
        transform: What is done to the features first, in this order: ``unit_length`` (rows), ``centre``,
            ``standardise``, ``{pca: {variance: 0.99}}`` or ``{pca: {n_components: 50}}``; fitted on all
            stimuli that are compared.
        outputs_layer: Name of the layer that holds the logits of all chosen networks, for measures of
            outputs.
        measures: Ids of similarity measures (``kedro measures`` lists them).
        flat_stimuli: ``leave_out`` compares two networks without the stimuli of which one of them has no
            direction, where the measure needs one (all features zero for cosines, all equal for
            correlations), and counts them; ``keep`` leaves such a measure undefined for the network. Tests
            and intervals of ``similarity_inference`` keep all stimuli.
        memory_bytes: Working memory; changes speed, not results.
        device: Where to compute: ``auto`` takes a GPU where there is one.
    """

    stimulus_sets: Literal["all"] | list[str] = "all"
    models: Literal["all"] | list[str] = "all"
    subset: str | None = None
    layer: str = "final"
    transform: Transform = ()
    outputs_layer: str | None = None
    measures: Annotated[list[str], Field(min_length=1), MEASURES_EXIST]
    flat_stimuli: Literal["keep", "leave_out"] = "keep"
    memory_bytes: int = Field(default=1_000_000_000, gt=0)
    device: str = "auto"

    @field_validator("stimulus_sets", "models")
    @classmethod
    def _each_once(cls, names: list[str] | str, info: ValidationInfo) -> list[str] | str:
        if not isinstance(names, str):
            require_once(names, str(info.field_name))
        return names

    @model_validator(mode="after")
    def _outputs_are_known(self) -> Self:
        of_outputs = [name for name in self.measures if get_measure(name).compares == "outputs"]
        if of_outputs and self.outputs_layer is None:
            raise UserError(
                f"{of_outputs[0]} compares outputs (logits) of classifiers, which layer {self.layer!r} may "
                "not contain; name the layer of the logits with similarity.outputs_layer, "
                "or leave the measure out"
            )
        return self


class SetStep(Parameters):
    """One step of the making of a set of networks: take in, take out, or take in one.

    Attributes:
        include: ``all``, or values by column; a network is taken in that has one of the values in each
            column.
        exclude: Values by column; a network is taken out that has one of the values in each column.
        anchor: Name of the one network that is taken in.
    """

    include: Literal["all"] | dict[SetColumn, str | list[str]] | None = None
    exclude: dict[SetColumn, str | list[str]] | None = None
    anchor: str | None = None

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        if sum(value is not None for value in (self.include, self.exclude, self.anchor)) != 1:
            raise UserError("a step of a model set must be one of include, exclude and anchor")
        return self

    def conditions(self) -> dict[str, list[str]]:
        """Return the allowed values by column; no column: every network."""
        if self.anchor is not None:
            return {"model": [self.anchor]}
        chosen = self.include if self.exclude is None else self.exclude
        if chosen is None or isinstance(chosen, str):
            return {}
        return {column: [value] if isinstance(value, str) else value for column, value in chosen.items()}


class ConsistencyParams(Parameters):
    """How similarities are compared across stimulus sets.

    Attributes:
        categories: Columns of the model cards by which pairs of networks are grouped, in addition to all
            pairs; the bootstrap draws networks within the values of the first. ``size`` and ``training_data``
            are classes of ``n_parameters`` and ``trained_on``.
        training_data_classes: Training data that count as one value of the category ``training_data``, by
            its name; others keep their own.
        size_limits: Size classes for the category ``size``, by rising number of parameters that a network
            stays below; the last has no limit.
        model_sets: Sets of networks by name, each a list of steps that are followed in their order; null
            removes a set of ``conf/base``.
        set_pairs: Pairs of these sets; a set may be paired with itself.
        anchors: Names of networks, each compared with all others and with those of each value of each
            category.
        min_pairs: A group with fewer pairs of networks is listed in the summary alone.
        n_bootstrap: Replicates of the bootstrap, 40 or more for a confidence of 0.95; 0 leaves the intervals
            out.
        confidence: Coverage that the intervals aim at.
        n_permutations: Permutations of network names for the p-values; 0 leaves them out.
        correction: How p-values are corrected for the number of correlations of one measure within a family:
            all networks, each category, the model sets, each anchor.
        seed: Of bootstrap and permutations.
    """

    categories: list[Category] = ["objective"]
    training_data_classes: dict[str, list[str]] = {}
    size_limits: dict[str, float | None] = SIZE_LIMITS
    model_sets: dict[str, Annotated[list[SetStep], Field(min_length=1)]] = {}
    set_pairs: list[tuple[str, str]] = []
    anchors: list[str] = []
    min_pairs: int = Field(default=3, ge=3)
    n_bootstrap: Count = 1000
    confidence: Fraction = 0.95
    n_permutations: Count = 4999
    correction: Literal["holm", "bonferroni", "benjamini-hochberg"] = "holm"
    seed: Seed = 0

    @field_validator("model_sets", mode="before")
    @classmethod
    def _drop_nulls(cls, sets: Any) -> Any:
        return without_nulls(sets)

    @field_validator("size_limits")
    @classmethod
    def _limits_rise(cls, limits: dict[str, float | None]) -> dict[str, float | None]:
        *bounded, last = limits.values() if limits else [0.0]
        numbers = [limit for limit in bounded if limit is not None]
        if last is not None or len(numbers) < len(bounded) or numbers != sorted(set(numbers)):
            raise UserError(f"size limits must increase, and the last must be null, got {limits}")
        return limits

    @field_validator("training_data_classes")
    @classmethod
    def _one_class_each(cls, classes: dict[str, list[str]]) -> dict[str, list[str]]:
        names = [name for members in classes.values() for name in members]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise UserError(f"training data appear in two of training_data_classes: {doubled}")
        return classes

    @field_validator("anchors")
    @classmethod
    def _anchors_differ(cls, anchors: list[str]) -> list[str]:
        require_once(anchors, "anchors")
        return anchors

    @model_validator(mode="after")
    def _sets_are_known(self) -> Self:
        for name in (name for pair in self.set_pairs for name in pair):
            require_known("model set", name, self.model_sets)
        return self

    @model_validator(mode="after")
    def _percentiles_exist(self) -> Self:
        require_percentiles(self.n_bootstrap, self.confidence)
        return self


class InferenceParams(Parameters):
    """How similarities are set against chance.

    Attributes:
        measures: Ids of measures that have a permutation null.
        n_permutations: Permutations of the stimuli; 0 leaves nulls and p-values out.
        n_bootstrap: Resamples of the stimuli for the intervals, 40 or more for a confidence of 0.95; 0 leaves
            them out.
        confidence: Coverage that the intervals aim at.
        level: Chance of an unrelated pair to exceed the threshold.
        correction: How p-values are corrected for the number of pairs; ``maximum`` compares each value with
            the largest of all pairs under each permutation, and needs fewer permutations than the others.
        max_stimuli: More stimuli than these are not used; so many are drawn, without replacement.
        seed: Of permutations, resamples and drawn stimuli.
    """

    measures: Annotated[list[str], MEASURES_EXIST] = ["cka_linear_debiased"]
    n_permutations: Count = 199
    n_bootstrap: Count = 200
    confidence: Fraction = 0.95
    level: Fraction = 0.05
    correction: Literal["maximum", "holm", "bonferroni", "benjamini-hochberg"] = "maximum"
    max_stimuli: int = Field(default=1000, ge=5)
    seed: Seed = 0

    @model_validator(mode="after")
    def _percentiles_exist(self) -> Self:
        require_percentiles(self.n_bootstrap, self.confidence)
        return self


class SampleSizeParams(Parameters):
    """How similarities are followed over the number of stimuli.

    Attributes:
        measures: Ids of measures of CKA (linear, Gaussian or distance kernel; biased or debiased) and RSA
            (Pearson, Spearman).
        sizes: Numbers of stimuli; those above what there is are left out, and all there are comes last.
        n_orders: So many random orders of the stimuli; the subsets of one order are nested. 0: no curves.
        max_stimuli: More stimuli than these are not used.
        seed: Of the orders.
    """

    measures: Annotated[list[str], MEASURES_EXIST] = ["cka_linear_debiased", "cka_linear_biased"]
    sizes: list[Annotated[int, Field(ge=4)]] = [10, 20, 50, 100, 200, 500]
    n_orders: Count = 5
    max_stimuli: int = Field(default=1000, ge=5)
    seed: Seed = 0
