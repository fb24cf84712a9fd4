"""The witness complex of some stimuli, the landmarks: which of them other stimuli see as close to each other.

A stimulus sees a set of landmarks at the value by which the farthest of the set is farther than the nearest
landmark that is not in the set; at 0 if these are its nearest landmarks. A set appears at the smallest value
at which any stimulus, the witness, sees it, and not before the sets that it contains.
"""

from math import inf
from typing import TypeAlias

import torch
from torch import Tensor

Faces: TypeAlias = tuple[Tensor, Tensor]

NUMBERS_AT_ONCE = 2**17  # in float64 they stay in the cache


def witness_complex(distances: Tensor, largest: float) -> tuple[Faces, Faces]:
    """Return the edges and triangles of a witness complex, and when each appears.

    Args:
        distances: From witnesses to landmarks, shape (n_witnesses, n_landmarks), at least three landmarks;
            each landmark is also a witness, so that vertices are there from the start.
        largest: Value at which the complex stops growing.

    Returns:
        Edges and triangles: landmarks by their places, ascending, shape (n, 2) and (n, 3), int64, and values
        in [0, ``largest``], shape (n,), in the units of the distances.

    Cost:
        O(n_witnesses * n_landmarks^2) and, where witnesses see all landmarks below ``largest``,
        O(n_witnesses * n_landmarks^3).

    Source:
        de Silva & Carlsson 2004, doi:10.2312/SPBG/SPBG04/157-166; relaxed as in gudhi's ``WitnessComplex``.
    """
    nearest = distances.topk(3, dim=1, largest=False, sorted=True)
    edges = _see_edges(distances, nearest.values, nearest.indices)
    triangles = _see_triangles(distances, nearest.values, nearest.indices, largest)
    for side in (edges[:, :, None], edges[:, None, :], edges[None]):
        triangles = torch.maximum(triangles, side)
    return _up_to(largest, edges), _up_to(largest, triangles)


def _see_edges(distances: Tensor, nearest: Tensor, ids: Tensor) -> Tensor:
    """Return when two landmarks are seen, (n_landmarks, n_landmarks).

    Each set is taken as if it left out the nearest landmark, and again where it contains that: the nearest
    landmark left out is then farther, and the value smaller.
    """
    n = distances.shape[1]
    seen = _smallest_of_pairs(distances - nearest[:, :1])
    beyond_second = (distances - nearest[:, 1:2]).clamp_(min=0)
    of_nearest = ids[:, :1].expand(-1, n)
    seen.scatter_reduce_(0, of_nearest, beyond_second, "amin")
    return torch.minimum(seen, seen.T)


def _see_triangles(distances: Tensor, nearest: Tensor, ids: Tensor, largest: float) -> Tensor:
    """Return when three landmarks are seen, (n_landmarks, n_landmarks, n_landmarks), as for edges."""
    n = distances.shape[1]
    seen = distances.new_full((n, n, n), inf)
    beyond_first, beyond_second, beyond_third = (
        (distances - nearest[:, rank, None]).clamp_(min=0) for rank in range(3)
    )
    for landmark in range(n):
        sees = (beyond_first[:, landmark] <= largest).nonzero()[:, 0]
        others = beyond_first[sees, landmark:]
        seen[landmark, landmark:, landmark:] = _smallest_of_pairs(torch.maximum(others, others[:, :1]))
    for landmark in range(n):
        owned = _smallest_of_pairs(beyond_second[ids[:, 0] == landmark])
        seen[landmark] = torch.minimum(seen[landmark], owned)
    of_nearest_two = (ids[:, :1] * n + ids[:, 1:2]).expand(-1, n)
    seen.view(n * n, n).scatter_reduce_(0, of_nearest_two, beyond_third, "amin")
    turned = torch.minimum(torch.minimum(seen, seen.permute(1, 2, 0)), seen.permute(2, 0, 1))
    return torch.minimum(turned, turned.transpose(1, 2))


def _smallest_of_pairs(values: Tensor) -> Tensor:
    """Return for each two columns the smallest, over rows, of the larger of their values."""
    n = values.shape[1]
    smallest = values.new_full((n, n), inf)
    step = max(1, NUMBERS_AT_ONCE // n**2)
    for start in range(0, len(values), step):
        rows = values[start : start + step]
        torch.minimum(smallest, torch.maximum(rows[:, :, None], rows[:, None]).amin(dim=0), out=smallest)
    return smallest


def _up_to(largest: float, values: Tensor) -> Faces:
    """Return the sets of different landmarks in ascending order, and their values, up to a value."""
    places = (values <= largest).nonzero()
    places = places[(places.diff(dim=1) > 0).all(dim=1)]
    return places, values[tuple(places.T)]
