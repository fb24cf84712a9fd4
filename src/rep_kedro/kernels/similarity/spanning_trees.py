"""Shortest trees that join all stimuli of a model: at which scales its clusters merge.

A tree of one model is found once. The shortest tree of two models, each two stimuli as far apart as in the
model where they are closer, is made of edges of their two trees alone: an edge that is the longest of a cycle
in one model is so in both. So a pair of models takes the time to sort 2 n edges.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rep_kedro.kernels.similarity.centred import CentredFeatures, choose_evenly
from rep_kedro.kernels.similarity.nearest import CACHE_BYTES
from rep_kedro.kernels.similarity.squared_distances import squared_distance_tile

Lengths: TypeAlias = NDArray[np.float64]
Places: TypeAlias = NDArray[np.int64]

QUANTILE = 0.9  # of the distances, which has length one
QUANTILE_SAMPLE = 1024  # stimuli from whose distances it is taken if there are more
BYTES_PER_DISTANCE = 3 * 8  # squared distances, their limits, and what is in the same part already


@dataclass(frozen=True)
class Tree:
    """Edges of a forest on stimuli, shortest first.

    Attributes:
        ends: Shape (n_edges, 2), int64, the lower stimulus first.
        lengths: Shape (n_edges,), float64, ascending.
    """

    ends: Places
    lengths: Lengths

    def joined(self, other: "Tree", n_stimuli: int) -> "Tree":
        """Return the shortest forest of the edges of both."""
        ends, lengths = np.concatenate([self.ends, other.ends]), np.concatenate([self.lengths, other.lengths])
        return _shortest_forest(ends, lengths, n_stimuli)


def find_tree(model: CentredFeatures, *, memory_bytes: int) -> Tree | str:
    """Find the shortest tree of one model, in units of the 0.9 quantile of its distances.

    Args:
        model: Centred features in float64.
        memory_bytes: Bound for blocks of distances, one stimulus at least. Not the result.

    Returns:
        A tree of n_stimuli - 1 edges, or why there is none.

    Cost:
        At most log2(n_stimuli) times O(n_stimuli^2 * n_features).

    Source:
        Borůvka 1926: the shortest way out of each part is taken, until there is one part.
    """
    if model.flaw:
        return model.flaw
    unit = _quantile(model)
    if unit == 0:
        return "nine tenths of its distances are zero, the unit of lengths"
    n_stimuli, parts = len(model.features), np.arange(len(model.features))
    tree = Tree(np.empty((0, 2), dtype=np.int64), np.empty(0))
    while parts.any():
        tree = tree.joined(_ways_out(model, parts, memory_bytes), n_stimuli)
        parts = _parts_of(tree, n_stimuli)
    return Tree(tree.ends, np.sqrt(tree.lengths) / unit)


def compare_trees(trees: Sequence[Tree], n_stimuli: int) -> Tensor:
    """Return RTD-Lite: how much shorter the tree of two models is than the mean of their own trees.

    The sum of the lengths of all bars of the two RTD-Lite barcodes, averaged over both directions: bars begin
    where two clusters merge in either model and end where they do in one.

    Args:
        trees: One for each model.
        n_stimuli: How many stimuli they join.

    Returns:
        Shape (n_models, n_models), float64, symmetric, 0 or more; grows with the number of stimuli.

    Source:
        Tulchinskii et al. 2025, arXiv:2503.11910, algorithm 2. The quantile that is the unit of lengths is
        that of the distances of different stimuli, of at most 1,024 evenly chosen ones; the released code
        also counts the distance 0 of each stimulus to itself.
    """
    values = torch.zeros(len(trees), len(trees), dtype=torch.float64)
    for a, first in enumerate(trees):
        for b, second in enumerate(trees[:a]):
            both = first.joined(second, n_stimuli).lengths.sum()
            own = (first.lengths.sum() + second.lengths.sum()) / 2
            values[a, b] = values[b, a] = max(0.0, own - both)
    return values


def _ways_out(model: CentredFeatures, parts: Places, memory_bytes: int) -> Tree:
    """Return for each part the shortest edge to another one, lengths squared and in units of the model."""
    lengths, partners = _nearest_outside(model, parts, memory_bytes)
    order = np.lexsort((partners, lengths, parts))
    chosen = order[np.unique(parts[order], return_index=True)[1]]
    return Tree(np.sort(np.stack([chosen, partners[chosen]], axis=1), axis=1), lengths[chosen])


def _nearest_outside(model: CentredFeatures, parts: Places, memory_bytes: int) -> tuple[Lengths, Places]:
    """Return squared distance and place of the nearest stimulus of another part, for each stimulus."""
    x, of = model.features, torch.from_numpy(parts).to(model.features.device)
    block_bytes = min(memory_bytes, CACHE_BYTES) if x.device.type == "cpu" else memory_bytes
    step = max(1, block_bytes // (BYTES_PER_DISTANCE * len(x)))
    # room for all from the start: what is kept between blocks would tear the memory that blocks leave free
    lengths, partners = x.new_empty(len(x)), torch.empty_like(of)
    for start in range(0, len(x), step):
        rows = slice(start, min(start + step, len(x)))
        squared = x.new_empty(rows.stop - start, len(x))
        squared_distance_tile(model, rows, slice(0, len(x)), squared)
        squared.masked_fill_(of[rows, None] == of, torch.inf)
        torch.min(squared, dim=1, out=(lengths[rows], partners[rows]))
    return lengths.cpu().numpy(), partners.cpu().numpy()


def _shortest_forest(ends: Places, lengths: Lengths, n_stimuli: int) -> Tree:
    """Keep the edges of a shortest forest, each at most once, shortest first."""
    from scipy import sparse
    from scipy.sparse.csgraph import minimum_spanning_tree

    order = np.lexsort((ends[:, 1], ends[:, 0], lengths))
    ends, lengths = ends[order], lengths[order]
    _, first = np.unique(ends @ [n_stimuli, 1], return_index=True)
    ranks = sparse.csr_array((1 + first, tuple(ends[first].T)), shape=(n_stimuli, n_stimuli))
    # ranks in place of lengths, since an edge of length zero would count as none
    kept = np.sort(minimum_spanning_tree(ranks).data.astype(np.int64)) - 1
    return Tree(ends[kept], lengths[kept])


def _parts_of(tree: Tree, n_stimuli: int) -> Places:
    from scipy import sparse
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(tree.lengths))
    graph = sparse.csr_array((ones, tuple(tree.ends.T)), shape=(n_stimuli, n_stimuli))
    parts: Places = connected_components(graph, directed=False)[1].astype(np.int64)
    return parts


def _quantile(model: CentredFeatures) -> float:
    """Return the 0.9 quantile of distances between different stimuli, in units of the model."""
    chosen = choose_evenly(len(model.features), QUANTILE_SAMPLE).to(model.features.device)
    sample = CentredFeatures(
        model.features[chosen], model.squared_norms[chosen], model.unit, is_crowded=model.is_crowded
    )
    everything = slice(0, len(chosen))
    squared = squared_distance_tile(
        sample, everything, everything, sample.features.new_empty(len(chosen), len(chosen))
    ).cpu()
    apart = squared[torch.ones_like(squared, dtype=torch.bool).triu_(1)].sqrt_()
    return float(np.quantile(apart.numpy(), QUANTILE))
