"""The properties of a similarity measure, without arithmetic.

A measure names its family and the function that compares all models under measures of the family: it prepares
every model once and answers all of them from that preparation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from math import isfinite
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

    from rep_kedro.kernels.undefined import Reasons

    Representations: TypeAlias = Sequence[Tensor]
    Answer: TypeAlias = tuple[str, Tensor, Reasons]

Json: TypeAlias = str | int | float | bool | None
Requests: TypeAlias = Mapping[str, Mapping[str, Any]]
Refusal: TypeAlias = Callable[[int, int, int], str | None]

NOTATION = (
    "x_i, y_i: features of stimulus i for the row and the column; X, Y: all of them, centred "
    "(X₁, Y₁: then scaled"
    " to Frobenius norm 1); A, B, C: covariances of x, of y and of x with y; n: number of stimuli;"
    " ‖·‖: Frobenius norm; ‖·‖₊: sum of singular values; ⟨·, ·⟩: sum of products of entries; R: a rotation or"
    " reflection; N(i): the k nearest neighbours of stimulus i"
)
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
    STIMULUS_PERMUTATION = "permutation of stimuli"


class Family(StrEnum):
    """Measures that share what they prepare for a model; the value names what is shared."""

    CKA = "gram matrices"
    RSA = "dissimilarity matrices"
    LINEAR_MAP = "linear maps"
    PREDICTIVITY = "held-out predictions"
    SAMPLING = "samples of stimuli and features"
    REWEIGHTING = "weighted dissimilarities of features"
    MATCHING = "matched units"
    NEIGHBOUR = "nearest neighbours"
    ALIGNMENT = "aligned stimuli"
    DISTANCE = "distances between stimuli"
    DESCRIPTION = "descriptions of single models"
    FUNCTIONAL = "model outputs"


@dataclass(frozen=True)
class FewestStimuli:
    """The number of stimuli for which a measure of two models is defined.

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


class Runner(Protocol):
    """A function that compares all models under measures of one family."""

    __module__: str

    def __call__(
        self, representations: Representations, requests: Requests, *, memory_bytes: int
    ) -> Iterator[Answer]:
        """Yield id, values and reasons of each measure.

        Args:
            representations: Matrices, shape (n_stimuli, n_features_i), checked and on one device.
            requests: Parameters of each measure by its id.
            memory_bytes: Working memory.

        Yields:
            Id, a float64 tensor (n_models, n_models), NaN where undefined, and a reason for each NaN by its
            (row, column). Entry (a, b) of a directed measure goes *from* a *to* b.
        """


class RdmRunner(Protocol):
    """A function that compares given dissimilarity matrices under measures of one family."""

    def __call__(
        self,
        representations: Representations,
        rdms: Representations,
        requests: Requests,
        *,
        memory_bytes: int,
    ) -> Iterator[Answer]:
        """Yield id, values and reasons of each measure.

        Args:
            representations: Matrices, shape (n_stimuli, n_features_i); may be none.
            rdms: Symmetric matrices, shape (n_stimuli, n_stimuli).
            requests: Parameters of each measure by its id.
            memory_bytes: Working memory.

        Yields:
            Id, a float64 tensor (n_rdms, n_models + n_rdms), NaN where undefined, and a reason for each NaN
            by its row and column.

        Raises:
            ValueError: If the memory does not suffice.
        """


@dataclass(frozen=True)
class Inference:
    """What can be inferred about values of a measure that has a permutation null.

    Attributes:
        is_biased: Whether the value on few stimuli differs on average from that on very many.
        no_interval: Why there is no bootstrap interval over stimuli; empty where there is one.
        has_standard_error: Whether there is a jackknife standard error.
    """

    is_biased: bool
    no_interval: str = ""
    has_standard_error: bool = False

    def recipe(self) -> dict[str, Json]:
        """Return as plain JSON what stored nulls and intervals depend on."""
        return asdict(self)


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
        runner: Compares all models under measures of the family.
        source: Where the formula is from: authors, year, identifier.
        formula: What is computed of two models, in the letters of ``NOTATION``.
        value_range: Smallest and largest possible value.
        larger_is_more_similar: False for distances.
        invariances: Changes of one representation that leave the value alone; each is tested.
        parameters: What the family's function needs to know; plain JSON.
        symmetric: False for a directed measure.
        fewest_stimuli: How many stimuli it needs; with fewer it has no value but a reason.
        refusal: Reason why (n_stimuli, n_features_a, n_features_b) cannot be compared, or None.
        compares: What its rows are: features, or outputs (logits) of classifiers.
        inference: What is known of its null; None if it has no permutation null.
        is_cosine: Whether it is the cosine of what it prepares for each model, so that noise ceilings exist.
        is_extreme_for_itself: Whether a model compared with itself has the most similar value of the range.
        rdm_runner: Compares dissimilarity matrices that are given; None if features are needed.
        averages_cosines: Whether it averages cosines of stimuli though their lengths count elsewhere in it.
    """

    id: str
    title: str
    family: Family
    runner: Runner
    source: str
    formula: str
    value_range: tuple[float, float]
    larger_is_more_similar: bool
    invariances: frozenset[Invariance]
    parameters: Mapping[str, Json] = field(default_factory=dict)
    symmetric: bool = True
    fewest_stimuli: FewestStimuli = FewestStimuli()
    refusal: Refusal = never_refuse
    compares: Literal["features", "outputs"] = "features"
    inference: Inference | None = None
    is_cosine: bool = False
    is_extreme_for_itself: bool = True
    rdm_runner: RdmRunner | None = None
    averages_cosines: bool = False

    @property
    def has_interval(self) -> bool:
        """Whether it has bootstrap intervals over stimuli, and curves over their number."""
        return self.inference is not None and not self.inference.no_interval

    @property
    def self_value(self) -> float | None:
        """What a model compared with itself gives; None where that depends on the model.

        Measures without bounds have the units of the features, so that no one tolerance fits them.
        """
        if not (self.is_extreme_for_itself and all(map(isfinite, self.value_range))):
            return None
        return self.value_range[1 if self.larger_is_more_similar else 0]

    def recipe(self) -> dict[str, Json | dict[str, Json]]:
        """Return as plain JSON all that a value depends on, the code apart."""
        return {"id": self.id, "family": self.family.value, "parameters": dict(self.parameters)}

    @property
    def module(self) -> str:
        """Module whose code makes the values; the code revision of a recipe is taken from it."""
        return self.runner.__module__
