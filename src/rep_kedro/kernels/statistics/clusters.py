"""Groups of items from their affinities, and how well each item fits its group.

Spectral clustering needs a step that turns rows of eigenvectors into groups; two that draw next to nothing
are here, k-means is for a library. All eigenvectors are computed: items are networks, hundreds at most.
scikit-learn's clusters are the same by pivots and differ by chance otherwise, but an item without affinity to
any other breaks its embedding, and its silhouettes are 0 where they are undefined.
"""

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Labels = NDArray[np.int64]
MAX_ITERATIONS = 100


def count_components(affinities: Numbers) -> int:
    """Return the number of groups of items without any affinity between them.

    Example:
        >>> count_components(np.array([[1.0, 0.5, 0], [0.5, 1, 0], [0, 0, 1]]))
        2
    """
    from scipy.sparse.csgraph import connected_components

    return int(connected_components(affinities > 0, directed=False, return_labels=False))


def embed_affinities(affinities: Numbers, n_dims: int) -> Numbers:
    """Return coordinates in which items of high affinity are close together.

    Eigenvectors of the normalised Laplacian with the smallest eigenvalues, divided by the roots of the
    degrees. An item without affinity to any other has an eigenvalue 0 of its own, as a group without
    affinity to others has.

    Args:
        affinities: Shape (n_items, n_items), symmetric, not negative; the diagonal does not count.
        n_dims: Number of coordinates, as many as clusters are wanted.

    Returns:
        Shape (n_items, n_dims), float64; up to a turn of the coordinates.

    Source: Shi & Malik 2000, doi:10.1109/34.868688; von Luxburg 2007, doi:10.1007/s11222-007-9033-z,
        section 4.
    """
    graph = affinities.copy()
    np.fill_diagonal(graph, 0.0)
    degrees = graph.sum(1)
    is_alone = degrees == 0
    roots = np.sqrt(np.where(is_alone, 1.0, degrees))
    laplacian = np.diag(np.where(is_alone, 0.0, 1.0)) - graph / np.outer(roots, roots)
    vectors = np.linalg.eigh((laplacian + laplacian.T) / 2)[1][:, :n_dims]
    return np.asarray(vectors / roots[:, None])


def assign_by_pivots(embedding: Numbers) -> Labels:
    """Return clusters from the rows that a pivoted QR factorisation picks; nothing is drawn.

    Args:
        embedding: Shape (n_items, n_clusters), of full rank.

    Returns:
        Cluster of each item, shape (n_items,), from 0.

    Source: Damle, Minden & Ying 2019, doi:10.1093/imaiai/iay008, algorithm 1.
    """
    from scipy.linalg import qr

    n_clusters = embedding.shape[1]
    pivots = qr(embedding.T, mode="r", pivoting=True)[1][:n_clusters]
    left, _, right = np.linalg.svd(embedding[pivots].T)
    return np.asarray(np.abs(embedding @ (left @ right)).argmax(1), dtype=np.int64)


def assign_by_rotation(embedding: Numbers, generator: np.random.Generator) -> Labels:
    """Return clusters from the turn of the coordinates that brings rows nearest to 0s and a single 1.

    Args:
        embedding: Shape (n_items, n_clusters).
        generator: Draws the item that the first turn starts from.

    Returns:
        Cluster of each item, shape (n_items,), from 0; a cluster may be empty.

    Source: Yu & Shi 2003, doi:10.1109/ICCV.2003.1238361, section 3.
    """
    n_items, n_clusters = embedding.shape
    lengths = np.linalg.norm(embedding, axis=1, keepdims=True)
    rows = np.divide(embedding, lengths, out=np.zeros_like(embedding), where=lengths > 0)
    turn = np.zeros((n_clusters, n_clusters))
    turn[:, 0] = rows[generator.integers(n_items)]
    overlap = np.zeros(n_items)
    for column in range(1, n_clusters):  # start from rows that are as different as can be
        overlap += np.abs(rows @ turn[:, column - 1])
        turn[:, column] = rows[overlap.argmin()]
    before = -1.0
    labels = (rows @ turn).argmax(1)
    for _ in range(MAX_ITERATIONS):
        left, fits, right = np.linalg.svd(np.eye(n_clusters)[labels].T @ rows)
        if abs(fits.sum() - before) <= np.finfo(float).eps * n_items:
            break
        before = float(fits.sum())
        labels = (rows @ (right.T @ left.T)).argmax(1)
    return np.asarray(labels, dtype=np.int64)


def renumber_clusters(labels: Labels) -> Labels:
    """Return the same clusters, numbered from 0 in the order of their first items.

    Example:
        >>> renumber_clusters(np.array([2, 2, 0, 1, 0])).tolist()
        [0, 0, 1, 2, 1]
    """
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[inverse], dtype=np.int64)


def compute_silhouettes(dissimilarities: Numbers, labels: Labels) -> Numbers:
    """Return how much nearer each item is to its own cluster than to the next one.

    (b - a) / max(a, b), where a is the mean dissimilarity to the others of its cluster and b the smallest
    mean dissimilarity to the items of another cluster.

    Args:
        dissimilarities: Shape (n_items, n_items), symmetric, not negative; the diagonal does not count.
        labels: Cluster of each item, shape (n_items,).

    Returns:
        Shape (n_items,), in [-1, 1]; NaN for an item that is alone in its cluster, where there is one
        cluster, and where a and b are 0.

    Source: Rousseeuw 1987, doi:10.1016/0377-0427(87)90125-7; items that are alone are 0 there, NaN here.

    Example:
        >>> apart = np.array([[0.0, 1, 4], [1, 0, 4], [4, 4, 0]])
        >>> compute_silhouettes(apart, np.array([0, 0, 1])).tolist()
        [0.75, 0.75, nan]
    """
    members = np.unique(labels)[:, None] == labels  # (n_clusters, n_items)
    sizes = members.sum(1)
    if len(sizes) < 2:
        return np.full(len(labels), np.nan)
    apart = dissimilarities - np.diag(np.diagonal(dissimilarities))
    sums = apart @ members.T  # (n_items, n_clusters)
    own = members.T
    n_others = sizes[members.argmax(0)] - 1
    within = np.divide(sums[own], n_others, out=np.full(len(labels), np.nan), where=n_others > 0)
    nearest = np.where(own, np.inf, sums / sizes).min(1)
    larger = np.maximum(within, nearest)
    ratio = np.divide(nearest - within, larger, out=np.full(len(labels), np.nan), where=larger > 0)
    return np.asarray(ratio)
