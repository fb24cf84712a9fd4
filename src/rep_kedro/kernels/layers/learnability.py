"""Cluster learnability: can a stimulus' cluster be read off its neighbours?"""

import torch
from torch import Tensor

from rep_kedro.kernels.layers.measured import Measured, undefined
from rep_kedro.kernels.similarity.centred import centre
from rep_kedro.kernels.similarity.squared_distances import squared_distance_tile

MOST_ROUNDS = 100
BLOCK_BYTES = 2**25
BYTES_PER_DISTANCE = 3 * 8


def measure_cluster_learnability(
    rows: Tensor, *, n_clusters: int, n_neighbours: int, generator: torch.Generator
) -> Measured:
    """Return the share of stimuli whose cluster most of their nearest neighbours share.

    Clusters are those of k-means; neighbours are all other stimuli. Of equally frequent clusters that of the
    nearest neighbour is taken.

    Args:
        rows: Shape (n_stimuli, n_features), finite; copies of a stimulus count once.
        n_clusters: Clusters, at least 2.
        n_neighbours: Neighbours that vote, at least 1.
        generator: CPU generator of the first centres.

    Returns:
        In [0, 1]; undefined where too few stimuli differ. Unchanged by rotation, translation and scale.

    Cost:
        Time O(n_stimuli^2 * n_features), and at most 100 rounds of O(n_stimuli * n_clusters * n_features).

    Source:
        Lu et al. 2022, arXiv:2206.01251, section 3.2; there the mean accuracy of a classifier whose training
        stimuli grow in number, here that with all other stimuli.

    Example:
        >>> rows = torch.tensor([[0.0], [0.1], [9.0], [9.1]])
        >>> generator = torch.Generator().manual_seed(0)
        >>> measure_cluster_learnability(rows, n_clusters=2, n_neighbours=1, generator=generator).value
        1.0
    """
    x = rows[first_of_copies(rows)]
    fewest = max(n_clusters, n_neighbours) + 1
    if len(x) < fewest:
        return undefined(f"stimuli that differ: {len(x)}, need {fewest}")
    model = centre(x, dtype=torch.float64)
    if model.flaw:
        return undefined(model.flaw)
    if (n_apart := len(first_of_copies(model.features))) < fewest:
        return undefined(f"stimuli that differ beyond rounding: {n_apart}, need {fewest}")
    labels = cluster_by_means(model.features, n_clusters, generator)
    n_right = 0
    step = max(1, BLOCK_BYTES // (BYTES_PER_DISTANCE * len(x)))
    for start in range(0, len(x), step):
        block = slice(start, min(start + step, len(x)))
        squared = squared_distance_tile(
            model, block, slice(0, len(x)), model.features.new_empty(block.stop - start, len(x))
        )
        squared.diagonal(offset=start).fill_(torch.inf)
        nearest = labels[squared.topk(n_neighbours, dim=1, largest=False, sorted=True).indices]
        n_right += int((_vote(nearest) == labels[block]).sum())
    return Measured(n_right / len(x))


def cluster_by_means(x: Tensor, n_clusters: int, generator: torch.Generator) -> Tensor:
    """Return the cluster of each row by k-means.

    Args:
        x: Shape (n_rows, n_features), float64, about centred; at least ``n_clusters`` rows differ.
        n_clusters: Clusters; one may lose all its rows and stay empty.
        generator: Draws the first centres: each with probability as its squared distance to those before.

    Returns:
        int64, shape (n_rows,), from 0. Rounds end when no row changes, or after 100.

    Source:
        Lloyd 1982, doi:10.1109/TIT.1982.1056489; Arthur & Vassilvitskii 2007 (first centres).
    """
    centres = draw_centres(x, n_clusters, generator)
    labels = _nearest_centres(x, centres)
    for _ in range(MOST_ROUNDS):
        sums = torch.zeros_like(centres).index_add_(0, labels, x)
        sizes = labels.bincount(minlength=n_clusters)[:, None]
        centres = torch.where(sizes > 0, sums / sizes.clamp(min=1), centres)
        before, labels = labels, _nearest_centres(x, centres)
        if torch.equal(before, labels):
            break
    return labels


def draw_centres(x: Tensor, n_clusters: int, generator: torch.Generator) -> Tensor:
    """Return rows as first centres of k-means, (n_clusters, n_features); no row is drawn twice."""
    drawn = [int(torch.randint(len(x), (), generator=generator))]
    squared = (x - x[drawn[0]]).square().sum(dim=1)
    for _ in range(n_clusters - 1):
        drawn.append(int(torch.multinomial(squared, 1, generator=generator)))
        squared = torch.minimum(squared, (x - x[drawn[-1]]).square().sum(dim=1))
    return x[drawn]


def first_of_copies(rows: Tensor) -> Tensor:
    """Return the places of rows that differ from all rows before, ascending."""
    _, kind = torch.unique(rows, dim=0, return_inverse=True)
    places = torch.full((int(kind.max()) + 1,), len(rows), dtype=torch.int64)
    return places.scatter_reduce_(0, kind, torch.arange(len(rows)), "amin").sort().values


def _nearest_centres(x: Tensor, centres: Tensor) -> Tensor:
    """Return the place of the nearest centre; by differences, which an outlier does not round away."""
    return torch.cdist(x, centres, compute_mode="donot_use_mm_for_euclid_dist").argmin(dim=1)


def _vote(nearest: Tensor) -> Tensor:
    """Return the most frequent label of each row, of equally frequent ones the first."""
    counts = (nearest[:, :, None] == nearest[:, None, :]).sum(dim=2)
    return nearest.gather(1, counts.argmax(dim=1, keepdim=True)).squeeze(1)
