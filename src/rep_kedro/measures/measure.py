"""What a similarity measure is and what it promises; no arithmetic here.

A measure names its family. A family is one function of ``rep_kedro.kernels`` that prepares every
model once and then answers all measures of the family from that preparation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, TypeAlias

Json: TypeAlias = str | int | float | bool | None
Refusal: TypeAlias = Callable[[int, int, int], str | None]

MIN_STIMULI = 4  # below it no debiased measure exists, and three stimuli have three distances


class Invariance(StrEnum):
    """A change of one of two representations that must not change their similarity."""

    ROTATION = "rotation or reflection of feature space"
    ISOTROPIC_SCALING = "one positive factor for all features"
    TRANSLATION = "one vector added to every stimulus"
    INVERTIBLE_LINEAR = "invertible linear map of feature space"
    UNIT_PERMUTATION = "permutation of units"
    COLUMN_SCALING = "one positive factor for each unit"
    ROW_SCALING = "one positive factor for each stimulus"
    ROW_TRANSLATION = "one number for each stimulus added to all its features"


class Family(StrEnum):
    """Measures that share what they prepare for a model; the value names what is shared."""

    CKA = "gram matrices"
    RSA = "dissimilarity matrices"
    LINEAR_MAP = "linear maps"
    MATCHING = "matched units"
    NEIGHBOUR = "nearest neighbours"
    FUNCTIONAL = "model outputs"

    @property
    def runner(self) -> str:
        """``module:function`` that compares all models under measures of this family.

        The function takes ``(representations, requests, *, memory_bytes)``: the matrices, shape
        (n_stimuli, n_features_i), checked and on one device; and the parameters of each measure by
        its id. It yields ``(id, values, reasons)`` for each of them: a float64 tensor (n_models,
        n_models), NaN where undefined, and a sentence for each NaN by its (row, column). Entry
        (a, b) of a directed measure says what is asked *from* a *of* b.
        """
        return _RUNNERS[self]


_RUNNERS = {
    Family.CKA: "rep_kedro.kernels.cka:compare_cka",
    Family.RSA: "rep_kedro.kernels.rsa:compare_rsa",
    Family.LINEAR_MAP: "rep_kedro.kernels.linear_maps:compare_linear_maps",
    Family.MATCHING: "rep_kedro.kernels.matching:compare_units",
    Family.NEIGHBOUR: "rep_kedro.kernels.neighbours:compare_neighbours",
    Family.FUNCTIONAL: "rep_kedro.kernels.functional:compare_functional",
}


@dataclass(frozen=True)
class FewestStimuli:
    """How many stimuli a measure needs to say something of two models.

    Attributes:
        constant: Stimuli needed whatever the models; with ``counts``, on top of what is counted.
        counts: What is counted for a model: nothing, the rank of its centred features (their number, unless
            some depend on others), or the components that the measure keeps of them.
        of: Whether it is counted for both models or for the row, the model that is asked.
    """

    constant: int = MIN_STIMULI
    counts: Literal["nothing", "ranks", "components"] = "nothing"
    of: Literal["both", "row"] = "both"

    def given(self, row: int, column: int) -> int:
        """Return the fewest stimuli for two models of which so many ranks or components count."""
        counted = {"both": row + column, "row": row}[self.of] if self.counts != "nothing" else 0
        return max(MIN_STIMULI, self.constant + counted)

    def __str__(self) -> str:
        """Return the rule in letters: r for ranks, c for components; a is the row, b the column."""
        if self.counts == "nothing":
            return str(self.constant)
        letter = self.counts[0]
        counted = f"{letter}_a + {letter}_b" if self.of == "both" else f"{letter}_a"
        return f"{counted} + {self.constant}" if self.constant else counted


def never_refuse(n_stimuli: int, n_features_a: int, n_features_b: int) -> str | None:
    """Refuse nothing: the measure is defined at any size that ``compare_models`` lets in."""
    return None


@dataclass(frozen=True)
class Measure:
    """One way to compare two representations of the same stimuli.

    Attributes:
        id: Stable name, used in file names and recipes; parameters are part of it.
        title: Name for readers and figures.
        family: Which preparation it needs.
        source: Where the formula is from: authors, year, identifier.
        value_range: Smallest and largest possible value.
        larger_is_more_similar: False for distances.
        invariances: Changes of one representation that leave the value alone; each is tested.
        parameters: What the family's function needs to know; plain JSON.
        symmetric: False for a directed measure.
        fewest_stimuli: How many stimuli it needs; with fewer it has no value but a reason.
        refusal: Reason why (n_stimuli, n_features_a, n_features_b) cannot be compared, or None.
        compares: What its rows are: features, or outputs (logits) of classifiers.
    """

    id: str
    title: str
    family: Family
    source: str
    value_range: tuple[float, float]
    larger_is_more_similar: bool
    invariances: frozenset[Invariance]
    parameters: Mapping[str, Json] = field(default_factory=dict)
    symmetric: bool = True
    fewest_stimuli: FewestStimuli = FewestStimuli()
    refusal: Refusal = never_refuse
    compares: Literal["features", "outputs"] = "features"

    def recipe(self) -> dict[str, Json | dict[str, Json]]:
        """Return as plain JSON all that a value depends on, the code apart."""
        return {"id": self.id, "family": self.family.value, "parameters": dict(self.parameters)}

    @property
    def module(self) -> str:
        """Module whose code makes the values; the code revision of a recipe is taken from it."""
        return self.family.runner.partition(":")[0]
