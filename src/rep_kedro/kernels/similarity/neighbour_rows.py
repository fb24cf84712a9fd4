"""Neighbour measures that also use one model's similarities to the neighbours found in another."""

from collections.abc import Sequence

import torch
from torch import Tensor

from rep_kedro.kernels.similarity.nearest import Neighbours, Points, iterate_blocks
from rep_kedro.kernels.similarity.neighbour_lists import look_up_places
from rep_kedro.kernels.undefined import Reasons, Undefined


def compare_second_order_cosine(
    points: Sequence[Points],
    neighbours: Sequence[Neighbours],
    n_neighbours: int,
    *,
    of_distances: bool = False,
    memory_bytes: int,
) -> tuple[Tensor, Reasons]:
    """Return the mean cosine between the similarities of a stimulus to all that either model lists as near.

    Sums over the union of two lists are sums over each list less those over what they have in common.
    Hamilton et al. compare cosine similarities; the ReSi benchmark compares cosine distances, one less the
    similarities, in their place, which gives other values: near 1 for most pairs, since distances have one
    sign.

    Args:
        points: Unit vectors, one matrix for each model.
        neighbours: One for each model.
        n_neighbours: Length of the lists.
        of_distances: Compare cosine distances in place of similarities.
        memory_bytes: Bound for blocks of similarities and for what is looked up in them, one stimulus at
            least.

    Returns:
        Symmetric, in [-1, 1], shape (n_models, n_models), and the reason of each NaN.

    Source: Hamilton et al. 2016, arXiv:1606.02821, section 3.2, on cosine similarities; Klabunde et al. 2024,
        arXiv:2408.00531, released code, on cosine distances.
    """
    n_models, n_stimuli = len(points), len(points[0])
    bytes_per_row = 8 * (3 * n_stimuli + 2 * n_models**2 * n_neighbours + 8 * n_models * n_neighbours)
    rows_per_block = min(n_stimuli, max(1, memory_bytes // bytes_per_row))
    table = torch.zeros(rows_per_block, n_stimuli, dtype=torch.int32, device=neighbours[0].indices.device)
    summed = neighbours[0].similarities.new_zeros(n_models, n_models)
    for start in range(0, n_stimuli, rows_per_block):
        rows = slice(start, start + rows_per_block)
        lists = torch.stack([model.indices[rows, :n_neighbours] for model in neighbours], dim=1)
        found = torch.stack([_look_up(model, rows, lists, of_distances=of_distances) for model in points])
        for a in range(n_models):
            not_ours = look_up_places(lists[:, a:], table) == 0
            summed[a, a:] += _sum_cosines(a, found, not_ours)
    cosines = (summed.triu() + summed.triu(1).T) / n_stimuli
    what = "distance" if of_distances else "similarity"
    reason = Undefined(
        f"a stimulus has {what} 0 to all its neighbours in one of the models, so its cosine is undefined"
    )
    undefined = cosines.isnan().nonzero().tolist()
    return cosines.clamp(-1, 1), {(a, b): (reason,) for a, b in undefined}


def _look_up(points: Points, rows: slice, lists: Tensor, *, of_distances: bool) -> Tensor:
    """Return how some stimuli compare, in one model, with the neighbours in all models, shape as lists."""
    found = points.squared_distances(rows).gather(1, lists.flatten(1))
    return (points.cosine_distances(found) if of_distances else points.cosines(found)).view_as(lists)


def _sum_cosines(a: int, found: Tensor, not_ours: Tensor) -> Tensor:
    """Sum the cosines over stimuli between model a and those from a on.

    Entry (b, i, c, t) of ``found`` is the similarity, in model b, of stimulus i and its neighbour t in model
    c.
    """
    ours = found[a, :, a, None]
    at_ours = found[a:, :, a].transpose(0, 1)
    theirs = found[a:, :, a:].diagonal(dim1=0, dim2=2).movedim(-1, 1) * not_ours
    at_theirs = found[a, :, a:] * not_ours
    product = (ours * at_ours).sum(-1) + (at_theirs * theirs).sum(-1)
    our_square = ours.square().sum(-1) + at_theirs.square().sum(-1)
    their_square = at_ours.square().sum(-1) + theirs.square().sum(-1)
    return (product / (our_square * their_square).sqrt()).sum(dim=0)


def compare_information_imbalance(
    points: Sequence[Points], neighbours: Sequence[Neighbours], *, memory_bytes: int
) -> Tensor:
    """Return how far away in b, by rank, the nearest neighbours found in a are.

    Args:
        points: One for each model.
        neighbours: One for each model; the nearest counts.
        memory_bytes: Bound for blocks of distances, one stimulus at least.

    Returns:
        Twice the mean rank over the number of stimuli, shape (n_models, n_models): entry (a, b) is 2 /
        n_stimuli where the nearest in a is the nearest in b, about 1 where a says nothing of b. Not
        symmetric.

    Source: Glielmo et al. 2022, doi:10.1093/pnasnexus/pgac039, equation 1.
    """
    n_models, n_stimuli = len(points), len(points[0])
    nearest = torch.stack([model.indices[:, 0] for model in neighbours], dim=1)
    summed = torch.zeros(n_models, n_models, dtype=torch.int64, device=nearest.device)
    for b, model in enumerate(points):
        start = 0
        for _, keys in iterate_blocks(model, memory_bytes=memory_bytes):
            found = keys.gather(1, nearest[start : start + len(keys)])
            start += len(keys)
            for a in range(n_models):
                nearer = (keys <= found[:, a : a + 1]).view(torch.int8)  # bytes are summed faster than bools
                summed[a, b] += nearer.sum(dim=1, dtype=torch.int32).sum()
    return 2 * summed.double() / n_stimuli**2
