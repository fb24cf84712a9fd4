"""Sums over pairs of stimuli for matrices that are a function of the distance between two stimuli.

Squared distances are built once for each model and tile; every function of them (several kernel widths, the
distance itself) is taken from the same tile. Functions are shifted to a mean near zero before they
are multiplied, since a product of large means would drown what differs.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from rep_kedro.kernels.gram import (
    CentredFeatures,
    PairSums,
    add_products,
    rounding_of,
    tile_side,
    tiles,
    view_of,
)

SHIFT_SAMPLE = 512  # stimuli from which the mean of a function is estimated
MEDIAN_SAMPLE = 2048  # stimuli, so 2.1 million distances, from which a median is taken if there are more


class DistanceMap(Protocol):
    """A function of squared distances, in units where the mean squared norm of a model is one."""

    def __call__(self, squared_distances: Tensor, model: int, out: Tensor) -> None:
        """Write the function of ``squared_distances`` of one model to ``out``."""


class GaussianKernel:
    """``exp(-D^2 / (2 width^2)) - 1``; the one is taken off to keep the digits of wide kernels."""

    def __init__(self, widths: Sequence[float]) -> None:
        """Take the width for each model, in units of its root mean squared norm."""
        self._factors = [-0.5 / width**2 for width in widths]

    def __call__(self, squared_distances: Tensor, model: int, out: Tensor) -> None:
        """See ``DistanceMap``."""
        torch.mul(squared_distances, self._factors[model], out=out)
        out.expm1_()


class Distance:
    """The distance itself."""

    def __call__(self, squared_distances: Tensor, model: int, out: Tensor) -> None:
        """See ``DistanceMap``."""
        torch.sqrt(squared_distances, out=out)


def squared_distance_tile(model: CentredFeatures, rows: slice, columns: slice, out: Tensor) -> Tensor:
    """Write squared distances between two ranges of stimuli to ``out`` and return it; never negative."""
    x = model.features
    norms = model.squared_norms.to(x.dtype)
    torch.addmm(norms[columns], x[rows], x[columns].T, alpha=-2, out=out)
    return out.add_(norms[rows, None]).clamp_min_(0)


def distance_pair_sums(
    models: Sequence[CentredFeatures], maps: Sequence[DistanceMap], *, memory_bytes: int
) -> list[tuple[PairSums, Tensor]]:
    """Sum products, between models, of functions of their distances.

    Args:
        models: Centred features.
        maps: Functions of squared distances; each is summed apart.
        memory_bytes: Bounds the tiles; does not change the result.

    Returns:
        For each function its sums, taken after a constant of each model was added off the diagonal,
        and these constants, shape (n_models,).
    """
    x = models[0].features
    n, n_models = len(x), len(models)
    shifts = torch.stack([_shifts(models, function) for function in maps])
    side = tile_side(len(maps) * n_models + 1, n, x, memory_bytes)
    buffer = torch.empty(len(maps) * n_models * side * side, dtype=x.dtype, device=x.device)
    scratch = torch.empty(side * side, dtype=x.dtype, device=x.device)
    products = torch.zeros(len(maps), n_models, n_models, dtype=torch.float64, device=x.device)
    row_sums = torch.zeros(len(maps), n_models, n, dtype=torch.float64, device=x.device)
    for rows, columns in tiles(n, side):
        height, width = rows.stop - rows.start, columns.stop - columns.start
        stack = view_of(buffer, len(maps) * n_models, rows, columns).view(len(maps), n_models, height, width)
        squared = view_of(scratch, 1, rows, columns)[0]
        for index, model in enumerate(models):
            squared_distance_tile(model, rows, columns, squared)
            for function, shift, tile in zip(maps, shifts, stack, strict=True):
                function(squared, index, tile[index])
                tile[index] += shift[index].to(x.dtype)
        for tile, total, sums in zip(stack, products, row_sums, strict=True):
            add_products(total, tile, rows, columns)
            sums[:, rows] += tile.sum(dim=2)
            if rows != columns:
                sums[:, columns] += tile.sum(dim=1)
    return [
        (PairSums((p + p.T) / 2, r, rounding_of(p, c, n, x.dtype)), c)
        for p, r, c in zip(products, row_sums, shifts, strict=True)
    ]


def _shifts(models: Sequence[CentredFeatures], function: DistanceMap) -> Tensor:
    """Return minus the mean of a function over some pairs of stimuli, for each model, float64."""
    means = []
    for index, model in enumerate(models):
        squared = _sample_distances(model, _spread(len(model.features), SHIFT_SAMPLE))
        values = torch.empty_like(squared)
        function(squared, index, values)
        n = len(values)
        off_diagonal = values.sum(dtype=torch.float64) - values.diagonal().sum(dtype=torch.float64)
        means.append(off_diagonal / (n * (n - 1)))
    # what the features' type cannot hold is not added to the tiles either
    dtype = models[0].features.dtype
    return -torch.stack(means).to(dtype).double()


def _spread(n_stimuli: int, n_chosen: int) -> Tensor:
    if n_stimuli <= n_chosen:
        return torch.arange(n_stimuli)
    return torch.linspace(0, n_stimuli - 1, n_chosen).long()


def _sample_distances(model: CentredFeatures, chosen: Tensor) -> Tensor:
    x = model.features[chosen.to(model.features.device)]
    part = CentredFeatures(x, x.double().square().sum(dim=1), model.unit, model.flaw)
    everything = slice(0, len(x))
    return squared_distance_tile(part, everything, everything, x.new_empty(len(x), len(x)))


def median_distance(model: CentredFeatures, generator: torch.Generator) -> float:
    """Return the median distance between two different stimuli, in the units before ``centre``.

    Taken from all pairs of at most 2,048 stimuli, drawn without replacement where there are more. Of an
    even number of distances it is the root of the mean of the two middle squares.
    """
    n = len(model.features)
    if n > MEDIAN_SAMPLE:
        chosen = torch.randperm(n, generator=generator)[:MEDIAN_SAMPLE].sort().values
    else:
        chosen = torch.arange(n)
    squared = _sample_distances(model, chosen)
    upper = squared[torch.ones_like(squared, dtype=torch.bool).triu_(1)]
    low, high = (len(upper) - 1) // 2, len(upper) // 2
    if upper.device.type == "cpu":  # ten times as fast as kthvalue
        ordered = torch.from_numpy(np.partition(upper.numpy(), (low, high)))
        middle = ordered[low].double() + ordered[high].double()
    else:
        middle = upper.kthvalue(low + 1).values.double() + upper.kthvalue(high + 1).values.double()
    return model.unit * float((middle / 2).sqrt())
