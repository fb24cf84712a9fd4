"""Sets of networks by strategy, all draws of a strategy at once."""

from collections.abc import Callable, Iterable
from itertools import combinations, product
from math import comb, prod
from typing import TYPE_CHECKING, Any
from zlib import crc32

from rep_kedro.analyses.selection.params import Strategy
from rep_kedro.errors import UserError

if TYPE_CHECKING:
    from numpy import float64, int64
    from numpy.random import Generator
    from numpy.typing import NDArray

    Numbers = NDArray[float64]
    Indices = NDArray[int64]
else:
    Generator = Indices = Numbers = Any


BY_ACCURACY = ("top", "best_of_each_cluster")


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
        accuracies: Of each network, shape (n_models,); of equal ones the first goes before. By these the best
            are chosen: they must not be of the stimuli that judge the sets.
        clusters: Cluster of each network, -1 for none, shape (n_models,); None where there are no clusters.
        n_draws: Number of sets where chance decides. Those of ``random`` and ``random_of_each_cluster``
            differ: all there are, where these are no more. Within one cluster they need not, so that each
            cluster is as likely.
        generator: Draws them.

    Returns:
        Shape (n_sets, size); one set where nothing is drawn.

    Raises:
        ValueError: If there are too few networks, no clusters, none that fits the strategy, or an accuracy is
            unknown by which networks would be chosen.
    """
    import numpy as np

    n = len(accuracies)
    if n < size:
        raise UserError(f"{n} networks have probes; a set needs {size}")
    if strategy in BY_ACCURACY and np.isnan(accuracies).any():
        raise UserError(
            "a network has no accuracy on held-out training stimuli, and test stimuli must not choose it; "
            "raise probing.held_out_fraction, or leave out the strategy"
        )
    by_accuracy = np.empty((1, n))
    by_accuracy[0, np.argsort(-accuracies, kind="stable")] = -np.arange(n)
    if strategy == "top":
        return _largest(by_accuracy, size)
    if strategy == "random":
        everyone = range(n)
        return _draw_different(
            lambda: _largest(generator.random((n_draws, n)), size),
            lambda: combinations(everyone, size),
            comb(n, size),
            n_draws,
        )
    if clusters is None:
        raise UserError(
            f"there is no clustering into {size} clusters; add {size} to model_maps.clusters.n_clusters"
        )
    if strategy == "within_one_cluster":
        keys = generator.random((n_draws, n))
        return _largest(_keep_one_cluster(keys, clusters, size, generator), size)
    empty = sorted(set(range(size)) - set(clusters.tolist()))
    if empty:
        raise UserError(f"cluster {empty[0]} of {size} has no network with a probe")
    members = [np.flatnonzero(clusters == cluster).tolist() for cluster in range(size)]
    if strategy == "best_of_each_cluster":
        return _one_of_each(by_accuracy, clusters, size)
    return _draw_different(
        lambda: _one_of_each(generator.random((n_draws, n)), clusters, size),
        lambda: product(*members),
        prod(map(len, members)),
        n_draws,
    )


def _draw_different(
    draw: Callable[[], Indices],
    list_all: Callable[[], Iterable[tuple[int, ...]]],
    n_all: int,
    n_draws: int,
) -> Indices:
    """Return sets that differ: the first that are drawn, or all in their order where these are no more."""
    import numpy as np

    if n_all <= n_draws:
        return np.array(sorted(tuple(sorted(members)) for members in list_all()), dtype=np.int64)
    found: dict[tuple[int, ...], None] = {}
    while len(found) < n_draws:
        found |= dict.fromkeys(map(tuple, draw().tolist()))
    return np.array(list(found)[:n_draws], dtype=np.int64)


def _one_of_each(keys: Numbers, clusters: Indices, size: int) -> Indices:
    """Return of each row where the largest key of each cluster is, in rising order."""
    import numpy as np

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
        raise UserError(
            f"no cluster has {size} networks with probes, the largest cluster has {counts.max(initial=0)}"
        )
    chosen = generator.choice(large, len(keys))
    return np.where(clusters == chosen[:, None], keys, -np.inf)
