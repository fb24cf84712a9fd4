"""Sets of networks by strategy, all draws of a strategy at once."""

from typing import TYPE_CHECKING, Any
from zlib import crc32

from rep_kedro.pipelines.probing.selection_params import Strategy

if TYPE_CHECKING:
    from numpy import float64, int64
    from numpy.random import Generator
    from numpy.typing import NDArray

    Numbers = NDArray[float64]
    Indices = NDArray[int64]
else:
    Generator = Indices = Numbers = Any


def choose_sets(
    strategy: Strategy,
    size: int,
    accuracies: Numbers,
    clusters: Indices | None,
    *,
    n_draws: int,
    generator: Generator,
) -> Indices:
    """Return sets of networks, rows of indices that rise.

    Args:
        strategy: How to choose.
        size: Networks in a set.
        accuracies: Of each network, shape (n_models,); of equal ones the first goes before.
        clusters: Cluster of each network, -1 for none, shape (n_models,); None where there are no clusters.
        n_draws: Number of sets where chance decides; they need not differ.
        generator: Draws them.

    Returns:
        Shape (n_sets, size); one set where nothing is drawn.

    Raises:
        ValueError: If there are too few networks, no clusters, or none that fits the strategy.
    """
    import numpy as np

    n = len(accuracies)
    if n < size:
        raise ValueError(f"{n} networks have probes, a set needs {size}")
    keys = generator.random((n_draws, n))
    if strategy in ("top", "best_of_each_cluster"):
        keys = np.empty((1, n))
        keys[0, np.argsort(-accuracies, kind="stable")] = -np.arange(n)
    if strategy in ("top", "random"):
        return _largest(keys, size)
    if clusters is None:
        raise ValueError(f"there is no clustering into {size}; add {size} to model_maps.clusters.n_clusters")
    if strategy == "within_one_cluster":
        return _largest(_keep_one_cluster(keys, clusters, size, generator), size)
    empty = sorted(set(range(size)) - set(clusters.tolist()))
    if empty:
        raise ValueError(f"cluster {empty[0]} of {size} has no network with a probe")
    of_each = [np.where(clusters == cluster, keys, -np.inf).argmax(1) for cluster in range(size)]
    return np.sort(np.stack(of_each, axis=1), axis=1)


def make_generator(seed: int, *names: object) -> Generator:
    """Return a generator of its own for each choice of names, whatever others there are."""
    import numpy as np

    return np.random.default_rng([seed, *(crc32(str(name).encode()) for name in names)])


def _largest(keys: Numbers, size: int) -> Indices:
    """Return where the largest keys of each row are, in rising order."""
    import numpy as np

    return np.sort(np.argsort(-keys, axis=1, kind="stable")[:, :size], axis=1)


def _keep_one_cluster(keys: Numbers, clusters: Indices, size: int, generator: Generator) -> Numbers:
    """Leave in each row the keys of one cluster that is large enough."""
    import numpy as np

    labels, counts = np.unique(clusters[clusters >= 0], return_counts=True)
    large = labels[counts >= size]
    if not len(large):
        raise ValueError(
            f"no cluster has {size} networks with probes, the largest has {counts.max(initial=0)}"
        )
    chosen = generator.choice(large, len(keys))
    return np.where(clusters == chosen[:, None], keys, -np.inf)
