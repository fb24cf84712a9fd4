"""Classes by the nearest training samples; neighbours are searched once for all settings.

Distances are computed for some rows of samples at a time, so that no matrix of all samples against all
exists, and only the nearest are kept.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from rep_kedro.kernels.probes.settings import Setting

BYTES = 8  # of a float64
ROUNDING = 1e-12  # relative to squared lengths: samples this near are the same


class TooFewNeighboursError(ValueError):
    """More neighbours are asked for than there are training samples."""


class Neighbours(NamedTuple):
    """The nearest training samples of each sample, nearest first.

    Attributes:
        places: Their rows, int64, (n_samples, n_neighbours).
        distance: Euclidean distance, or cosine distance 1 - cosine, float64, (n_samples, n_neighbours).
    """

    places: Tensor
    distance: Tensor


def find_neighbours(
    x: Tensor, bank: Tensor, *, n_neighbours: int, metric: str, memory_mib: int
) -> Neighbours:
    """Return the nearest rows of a bank for each row of x.

    Args:
        x: Samples, (n_samples, n_features).
        bank: Training samples, (n_bank, n_features).
        n_neighbours: How many, at most n_bank.
        metric: ``cosine`` (a row of zeros has cosine 0 with all) or ``euclidean``.
        memory_mib: Most memory of distances; it changes speed, not the result.

    Raises:
        TooFewNeighboursError: If the bank is smaller than the number of neighbours.

    Cost:
        n_samples * n_bank * n_features multiply-adds in float64.
    """
    if not 1 <= n_neighbours <= len(bank):
        raise TooFewNeighboursError(
            f"neighbours must be 1 to {len(bank)}, the training samples, got {n_neighbours}"
        )
    bank = _prepare(bank, metric)
    squared = bank.square().sum(dim=1)
    rows = max(1, memory_mib * 2**20 // (BYTES * len(bank)))
    places, distances = [], []
    for block in torch.split(_prepare(x, metric), rows):
        products = block @ bank.T
        if metric == "cosine":
            nearest = products.topk(n_neighbours, dim=1)
            distance = 1.0 - nearest.values
        else:
            length = block.square().sum(dim=1, keepdim=True)
            nearest = products.mul_(-2.0).add_(squared).topk(n_neighbours, dim=1, largest=False)
            both = length + squared[nearest.indices]
            apart = nearest.values + length
            distance = apart.masked_fill(apart <= ROUNDING * both, 0.0).sqrt()
        places.append(nearest.indices)
        distances.append(distance)
    return Neighbours(torch.cat(places), torch.cat(distances))


def count_votes(neighbours: Neighbours, labels: Tensor, *, n_classes: int, setting: Setting) -> Tensor:
    """Return the share of the votes that each class gets.

    Votes are 1 (``uniform``), the inverse distance (``distance``; where some distance is 0 these
    neighbours alone vote), or exp(cosine / t) for a temperature t.

    Args:
        neighbours: As many as the setting needs, or more.
        labels: Classes of the bank: indices (n_bank,), or which ones, (n_bank, n_classes), 0 or 1.
        n_classes: How many there are.
        setting: Number of neighbours and weighting.

    Returns:
        Shape (n_samples, n_classes), float64, 0 to 1; rows sum to 1 where each neighbour has one class.

    Source:
        Wu et al. 2018, arXiv:1805.01978, section 3.4 (temperature); Dudani 1976,
        doi:10.1109/TSMC.1976.5408784 (distances).
    """
    k = setting.n_neighbours
    places, distance = neighbours.places[:, :k], neighbours.distance[:, :k]
    if setting.weighting == "uniform":
        vote = torch.ones_like(distance)
    elif setting.weighting == "distance":
        same = distance == 0.0
        vote = torch.where(same.any(dim=1, keepdim=True), same.to(distance), 1.0 / distance)
    else:  # the nearest one has vote 1: only ratios count
        vote = ((distance[:, :1] - distance) / float(setting.weighting or 1.0)).exp()
    vote = vote / vote.sum(dim=1, keepdim=True)
    votes = vote.new_zeros(len(vote), n_classes)
    if labels.ndim == 1:
        return torch.scatter_add(votes, 1, labels[places], vote)
    for rank in range(places.shape[1]):
        votes += vote[:, rank, None] * labels[places[:, rank]]
    return votes


def _prepare(x: Tensor, metric: str) -> Tensor:
    x = x.to(torch.float64)
    if metric == "euclidean":
        return x
    length = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    unit: Tensor = x / length.masked_fill(length == 0.0, 1.0)
    return unit
