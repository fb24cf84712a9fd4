"""How much the neighbour lists of two models have in common, for all pairs of models at once.

For each model a table holds the place of each stimulus in its list; looking up the lists of all other
models in it gives every overlap and every pair of places with n_neighbours reads for each stimulus and pair
of models.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rep_kedro.kernels.similarity.nearest import Neighbours

BYTES_PER_PLACE = 6 * 8  # place, index, mask, looked-up values of one neighbour


@dataclass(frozen=True)
class Places:
    """The ranks of later models' neighbours in the list of one model, for some stimuli.

    Attributes:
        model: The one model, a.
        rows: Which stimuli.
        places: Shape (n_rows, n_models - a, n_neighbours), from 1; 0 where a does not list the stimulus.
            Entry (i, b - a, t) belongs to the neighbour number t of stimulus i in model b.
    """

    model: int
    rows: slice
    places: Tensor

    def common(self, n_neighbours: int) -> Tensor:
        """Return which neighbours both models list among their first ``n_neighbours``."""
        front = self.places[:, :, :n_neighbours]
        return (front > 0) & (front <= n_neighbours)


def iterate_places(neighbours: Sequence[Neighbours], *, memory_bytes: int) -> Iterator[Places]:
    """Look up the neighbours of each model in the lists of itself and all models before it.

    Args:
        neighbours: One for each model, lists of one length.
        memory_bytes: Bound for tables and places in memory, one stimulus at least.

    Yields:
        Places, all blocks of stimuli of one model after the other.
    """
    n_models = len(neighbours)
    n_stimuli, n_neighbours = neighbours[0].indices.shape
    device = neighbours[0].indices.device
    bytes_per_row = 4 * n_stimuli + BYTES_PER_PLACE * n_models * n_neighbours
    rows_per_block = min(n_stimuli, max(1, memory_bytes // bytes_per_row))
    table = torch.zeros(rows_per_block, n_stimuli, dtype=torch.int32, device=device)
    for a in range(n_models):
        for start in range(0, n_stimuli, rows_per_block):
            rows = slice(start, min(start + rows_per_block, n_stimuli))
            lists = torch.stack([model.indices[rows] for model in neighbours[a:]], dim=1)
            yield Places(a, rows, look_up_places(lists, table))


def look_up_places(lists: Tensor, table: Tensor) -> Tensor:
    """Find the ranks of all models' neighbours in the first model's list.

    Args:
        lists: Neighbours of some stimuli, shape (n_rows, n_models, n_neighbours), int64.
        table: Zeros, shape (at least n_rows, n_stimuli), int32; zeros again afterwards.

    Returns:
        Places from 1, 0 where the first model does not list the stimulus; int32, shape as ``lists``.
    """
    own = lists[:, 0]
    listed = table[: len(own)]
    from_one = torch.arange(1, own.shape[1] + 1, dtype=table.dtype, device=table.device)
    listed.scatter_(1, own, from_one.expand_as(own))
    places = listed.gather(1, lists.flatten(1)).view_as(lists)
    listed.scatter_(1, own, 0)
    return places


def sum_mutual_share(places: Places, n_neighbours: int) -> Tensor:
    """Sum over stimuli the share of neighbours in common, in [0, 1] each; see ``compare_neighbours``."""
    return places.common(n_neighbours).sum(dim=(0, 2)).double() / n_neighbours


def sum_jaccard(places: Places, n_neighbours: int) -> Tensor:
    """Sum over stimuli the share of common neighbours among all neighbours of either, in [0, 1] each."""
    return _jaccard(places.common(n_neighbours)).sum(dim=0)


def sum_rank_similarity(places: Places, n_neighbours: int) -> Tensor:
    """Sum over stimuli how early and how similar the ranks of common neighbours are, in [0, 1] each."""
    return _rank_similarity(places, places.common(n_neighbours)).sum(dim=0)


def sum_joint_rank_jaccard(places: Places, n_neighbours: int) -> Tensor:
    """Sum over stimuli the product of Jaccard and rank similarity, in [0, 1] each."""
    common = places.common(n_neighbours)
    return (_jaccard(common) * _rank_similarity(places, common)).sum(dim=0)


def _jaccard(common: Tensor) -> Tensor:
    """Return the share of each stimulus, (n_rows, n_models)."""
    n_common = common.sum(dim=2).double()
    return n_common / (2 * common.shape[2] - n_common)


def _rank_similarity(places: Places, common: Tensor) -> Tensor:
    """Return the rank similarity of each stimulus, (n_rows, n_models)."""
    n_neighbours = common.shape[2]
    theirs = torch.arange(1, n_neighbours + 1, device=common.device).double()
    ours = places.places[:, :, :n_neighbours].double()
    closeness = 2 / ((1 + (ours - theirs).abs()) * (ours + theirs))
    harmonic = torch.cat([theirs.new_ones(1), theirs.reciprocal().cumsum(dim=0)])  # the empty sum divides 0
    return closeness.masked_fill(~common, 0).sum(dim=2) / harmonic[common.sum(dim=2)]


def compare_cycles(neighbours: Sequence[Neighbours], n_neighbours: int, *, memory_bytes: int) -> Tensor:
    """Return how often the way to a neighbour in b and on to a neighbour of that in a leads back.

    Args:
        neighbours: One for each model.
        n_neighbours: Length of the lists.
        memory_bytes: Bound for lists of lists in memory, those of one stimulus at least.

    Returns:
        Share of stimuli, in [0, 1], shape (n_models, n_models); entry (a, b) goes out in b and back in a.
    """
    lists = [model.indices[:, :n_neighbours] for model in neighbours]
    n_stimuli = len(lists[0])
    rows_per_block = max(1, memory_bytes // (16 * n_neighbours**2))
    returned = torch.zeros(len(lists), len(lists), dtype=torch.float64, device=lists[0].device)
    for a, back in enumerate(lists):
        for b, out in enumerate(lists):
            for start in range(0, n_stimuli, rows_per_block):
                rows = out[start : start + rows_per_block]
                home = torch.arange(start, start + len(rows), device=rows.device)
                returned[a, b] += (back[rows] == home[:, None, None]).flatten(1).any(dim=1).sum()
    return returned / n_stimuli
