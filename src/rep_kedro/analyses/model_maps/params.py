"""Parameters of maps and clusters of networks, checked before any node runs."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from rep_kedro.errors import UserError
from rep_kedro.measures import get_measure
from rep_kedro.parameter_model import PlainNumbers
from rep_kedro.parameter_rules import Seed

Positive = Annotated[float, Field(gt=0)]


class _Strict(PlainNumbers, BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TsneParams(_Strict):
    """t-SNE: who is whose neighbour, not how far apart they are.

    Attributes:
        perplexity: How many neighbours count, about; at most a third of the other networks are taken.
        init: Where the first start begins: ``classical`` scaling, or ``random``; further starts are random.
        n_starts: The map of smallest divergence is kept.
        max_iterations: Steps of the optimisation.
        seed: Of random starts.
    """

    perplexity: float = Field(default=5.0, gt=1)
    init: Literal["classical", "random"] = "classical"
    n_starts: int = Field(default=1, ge=1)
    max_iterations: int = Field(default=1000, ge=250)
    seed: Seed = 42


class MdsParams(_Strict):
    """Multidimensional scaling: distances on the map near to dissimilarities.

    Attributes:
        kind: ``metric`` (values count), ``nonmetric`` (their order counts) or ``classical`` (one
            eigenproblem; no start, nothing drawn).
        n_starts: Classical scaling and random starts; the map of smallest stress is kept.
        tolerance: Fall of the stress, as a share of squared distances, at which a start is done.
        max_iterations: Steps of the optimisation.
        seed: Of random starts.
    """

    kind: Literal["metric", "nonmetric", "classical"] = "metric"
    n_starts: int = Field(default=5, ge=1)
    tolerance: Positive = 1e-6
    max_iterations: int = Field(default=300, ge=1)
    seed: Seed = 42


class ClusterParams(_Strict):
    """How networks are grouped.

    Attributes:
        method: ``spectral``, ``average_linkage``, or ``affinity_propagation``, which finds the number of
            clusters itself.
        n_clusters: How many clusters; each number gives a grouping of its own.
        affinity: For spectral clustering with a measure that grows with similarity: ``absolute`` similarity,
            or its ``positive`` part.
        assign_labels: How spectral clustering ends: ``kmeans``, ``discretize`` or ``cluster_qr``.
        damping: Of affinity propagation.
        seed: Of k-means, discretize and affinity propagation.
    """

    method: Literal["spectral", "average_linkage", "affinity_propagation"] = "spectral"
    n_clusters: tuple[Annotated[int, Field(ge=2)], ...] = Field(default=(2, 3, 4), min_length=1)
    affinity: Literal["absolute", "positive"] = "absolute"
    assign_labels: Literal["kmeans", "discretize", "cluster_qr"] = "kmeans"
    damping: float = Field(default=0.75, ge=0.5, lt=1)
    seed: Seed = 0

    @field_validator("n_clusters")
    @classmethod
    def _each_once(cls, numbers: tuple[int, ...]) -> tuple[int, ...]:
        doubled = sorted({number for number in numbers if numbers.count(number) > 1})
        if doubled:
            raise UserError(f"numbers of clusters are listed twice: {doubled}")
        return numbers


class ModelMapsParams(_Strict):
    """Which maps and clusters of networks are made, of their similarities.

    Attributes:
        measures: Ids of measures, of those that similarity.measures has; None: all of these.
        methods: Kinds of maps; empty: none.
        tsne: Of maps by t-SNE.
        mds: Of maps by multidimensional scaling.
        clusters: Of the clusters.
    """

    measures: list[str] | None = None
    methods: list[Literal["tsne", "mds"]] = ["tsne", "mds"]
    tsne: TsneParams = TsneParams()
    mds: MdsParams = MdsParams()
    clusters: ClusterParams = ClusterParams()

    @field_validator("measures")
    @classmethod
    def _known_measures(cls, measures: list[str] | None) -> list[str] | None:
        for measure_id in measures or ():
            get_measure(measure_id)
        _require_once(measures or (), "measures")
        return measures

    @field_validator("methods")
    @classmethod
    def _different_methods(cls, methods: list[Literal["tsne", "mds"]]) -> list[Literal["tsne", "mds"]]:
        _require_once(methods, "methods")
        return methods


def _require_once(names: Sequence[str], what: str) -> None:
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise UserError(f"{what} are listed twice: {doubled}")
