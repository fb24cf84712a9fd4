"""Parameters of maps and clusters of networks, checked before any node runs."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from rep_kedro.analyses.similarity.params import MEASURES_EXIST
from rep_kedro.parameter_model import Parameters
from rep_kedro.parameter_rules import Seed, require_once

Positive = Annotated[float, Field(gt=0)]


class TsneParams(Parameters):
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


class MdsParams(Parameters):
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


class ClusterParams(Parameters):
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
        require_once(numbers, "numbers of clusters")
        return numbers


class ModelMapsParams(Parameters):
    """Which maps and clusters of networks are made, of their similarities.

    Attributes:
        measures: Ids of measures, of those that similarity.measures has; None: all of these.
        methods: Kinds of maps; empty: none.
        tsne: Of maps by t-SNE.
        mds: Of maps by multidimensional scaling.
        clusters: Of the clusters.
    """

    measures: Annotated[list[str], MEASURES_EXIST] | None = None
    methods: list[Literal["tsne", "mds"]] = ["tsne", "mds"]
    tsne: TsneParams = TsneParams()
    mds: MdsParams = MdsParams()
    clusters: ClusterParams = ClusterParams()

    @field_validator("methods")
    @classmethod
    def _different_methods(cls, methods: list[Literal["tsne", "mds"]]) -> list[Literal["tsne", "mds"]]:
        require_once(methods, "methods")
        return methods
