"""Positions of networks on a plane, and their groups: the steps between dissimilarities and tables."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.model_maps.dissimilarity import SAME, Closeness, compute_affinities
from rep_kedro.analyses.model_maps.params import ClusterParams, MdsParams, TsneParams
from rep_kedro.errors import UserError
from rep_kedro.measures import Measure

if TYPE_CHECKING:
    from numpy import float64, int64
    from numpy.typing import NDArray

    Numbers = NDArray[float64]
    Labels = NDArray[int64]
else:
    Numbers = Labels = Any

MIN_MDS, MIN_TSNE = 3, 5
NOT_APART = "no two networks differ: there is nothing to map"
_START_SPREAD = 1e-4  # standard deviation of the first axis at the start of t-SNE, as usual
_N_KMEANS_STARTS = 50  # of few, the best may be a local optimum; all together take milliseconds


@dataclass(frozen=True)
class Placed:
    """A map of networks, or why there is none.

    Attributes:
        positions: Shape (n_models, 2); None without a map.
        stress: Kruskal's stress-1; NaN for t-SNE.
        divergence: Kullback-Leibler divergence in nats; NaN for multidimensional scaling.
        reason: Why there is no map.
    """

    positions: Numbers | None
    stress: float = float("nan")
    divergence: float = float("nan")
    reason: str = ""


@dataclass(frozen=True)
class Grouped:
    """A grouping of networks, or why there is none.

    Attributes:
        n_clusters: How many clusters there are, or were wanted; 0 where the method was to find out.
        labels: Cluster of each network; None without a grouping.
        silhouettes: Shape (n_models,), NaN where undefined.
        reason: Why there is no grouping.
    """

    n_clusters: int
    labels: Labels | None
    silhouettes: Numbers | None = None
    reason: str = ""


def place_by_mds(dissimilarities: Numbers, params: MdsParams) -> Placed:
    """Place networks so that distances are near to dissimilarities.

    Args:
        dissimilarities: Shape (n_models, n_models).
        params: How.
    """
    import numpy as np

    from rep_kedro.kernels.statistics.scaling import measure_stress, scale_by_majorization, scale_classically

    if len(dissimilarities) < MIN_MDS:
        return Placed(None, reason=f"{len(dissimilarities)} networks; a map needs {MIN_MDS}")
    if not dissimilarities.any():
        return Placed(None, reason=NOT_APART)
    if params.kind == "classical":
        positions = scale_classically(dissimilarities)
        return Placed(positions, measure_stress(dissimilarities, positions))
    found = scale_by_majorization(
        dissimilarities,
        np.random.default_rng(params.seed),
        is_metric=params.kind == "metric",
        n_starts=params.n_starts,
        tolerance=params.tolerance,
        max_iterations=params.max_iterations,
    )
    return Placed(found.positions, found.stress)


def place_by_tsne(dissimilarities: Numbers, params: TsneParams) -> Placed:
    """Place networks so that neighbours stay neighbours.

    Args:
        dissimilarities: Shape (n_models, n_models).
        params: How; the perplexity is limited (``limit_perplexity``).
    """
    import numpy as np
    from sklearn.manifold import TSNE

    from rep_kedro.kernels.statistics.scaling import scale_classically, turn_to_axes

    n = len(dissimilarities)
    if n < MIN_TSNE:
        return Placed(None, reason=f"{n} networks; t-SNE needs {MIN_TSNE}")
    if not dissimilarities.any():
        return Placed(None, reason=NOT_APART)
    generator = np.random.default_rng(params.seed)
    best = Placed(None)
    for start in range(params.n_starts):
        begin = generator.normal(size=(n, 2))
        if start == 0 and params.init == "classical":
            begin = scale_classically(dissimilarities)
        tsne = TSNE(
            perplexity=limit_perplexity(n, params),
            init=begin / begin[:, 0].std() * _START_SPREAD,
            max_iter=params.max_iterations,
            learning_rate="auto",
            metric="precomputed",
            method="exact",
            random_state=params.seed,
        )
        # a copy, since distances are squared in place; up to 1, so that the search for widths always ends
        distances = dissimilarities / dissimilarities.max()
        positions = np.asarray(tsne.fit_transform(distances), dtype=np.float64)
        if not best.divergence <= tsne.kl_divergence_:
            best = Placed(turn_to_axes(positions), divergence=float(tsne.kl_divergence_))
    return best


def limit_perplexity(n_models: int, params: TsneParams) -> float:
    """Return the perplexity that is taken: at most a third of the other networks.

    Example:
        >>> limit_perplexity(7, TsneParams(perplexity=30))
        2.0
    """
    return min(params.perplexity, (n_models - 1) / 3)


def group_networks(
    closeness: Closeness, measure: Measure, n_clusters: int | None, params: ClusterParams
) -> Grouped:
    """Group networks.

    Args:
        closeness: Values of one measure.
        measure: That measure.
        n_clusters: How many; None: the method finds out.
        params: How.

    Returns:
        Clusters numbered from 0 by their first network; silhouettes by the dissimilarities.
    """
    import numpy as np

    from rep_kedro.kernels.statistics.clusters import compute_silhouettes, renumber_clusters

    n = len(closeness.models)
    wanted = n_clusters or 0
    if n < max(wanted, 1):
        return Grouped(wanted, None, reason=f"{n} networks cannot form {wanted} clusters")
    apart = closeness.dissimilarities[np.triu_indices(n, 1)]
    if wanted < n and (n < 3 or np.ptp(apart) <= SAME * apart.max()):
        return Grouped(wanted, None, reason="all networks are equally far apart: there are no clusters")
    try:
        if wanted == n:
            labels = np.arange(n)
        elif params.method == "spectral":
            labels = _group_spectrally(
                compute_affinities(closeness, measure, params.affinity), wanted, params
            )
        elif params.method == "average_linkage":
            labels = _group_by_linkage(closeness.dissimilarities, wanted)
        else:
            labels = _group_by_exemplars(closeness.dissimilarities, params)
    except UserError as problem:
        return Grouped(wanted, None, reason=str(problem))
    labels = renumber_clusters(labels)
    n_found = int(labels.max()) + 1
    if wanted and n_found < wanted:
        return Grouped(wanted, None, reason=f"only {n_found} of {wanted} clusters can be distinguished")
    return Grouped(n_found, labels, compute_silhouettes(closeness.dissimilarities, labels))


def _group_spectrally(affinities: Numbers, n_clusters: int, params: ClusterParams) -> Labels:
    import warnings

    import numpy as np
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    from rep_kedro.kernels.statistics import clusters

    n_components = clusters.count_components(affinities)
    if n_components > n_clusters:
        raise UserError(
            f"networks fall into {n_components} groups without affinity, more than {n_clusters} clusters"
        )
    embedding = clusters.embed_affinities(affinities, n_clusters)
    if params.assign_labels == "cluster_qr":
        return clusters.assign_by_pivots(embedding)
    if params.assign_labels == "discretize":
        return clusters.assign_by_rotation(embedding, np.random.default_rng(params.seed))
    with warnings.catch_warnings():  # fewer distinct rows than clusters: the caller counts them
        warnings.simplefilter("ignore", ConvergenceWarning)
        labels = KMeans(n_clusters, n_init=_N_KMEANS_STARTS, random_state=params.seed).fit_predict(embedding)
    return np.asarray(labels, dtype=np.int64)


def _group_by_linkage(dissimilarities: Numbers, n_clusters: int) -> Labels:
    import numpy as np
    from sklearn.cluster import AgglomerativeClustering

    tree = AgglomerativeClustering(n_clusters, metric="precomputed", linkage="average")
    return np.asarray(tree.fit_predict(dissimilarities), dtype=np.int64)


def _group_by_exemplars(dissimilarities: Numbers, params: ClusterParams) -> Labels:
    """Group by affinity propagation on negative dissimilarities; the preference is their median."""
    import warnings

    import numpy as np
    from sklearn.cluster import AffinityPropagation
    from sklearn.exceptions import ConvergenceWarning

    apart = dissimilarities[np.triu_indices(len(dissimilarities), 1)]
    passing = AffinityPropagation(
        affinity="precomputed",
        damping=params.damping,
        preference=-float(np.median(apart)),
        max_iter=1000,
        random_state=params.seed,
    )
    with warnings.catch_warnings():  # labels of -1 show it
        warnings.simplefilter("ignore", ConvergenceWarning)
        labels = np.asarray(passing.fit_predict(-dissimilarities), dtype=np.int64)
    if (labels < 0).any():
        raise UserError("affinity propagation did not converge; raise clusters.damping")
    return labels
