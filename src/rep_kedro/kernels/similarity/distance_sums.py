"""Sums over pairs of stimuli for matrices that are a function of the distance between two stimuli.

Squared distances are built once for each model and tile; every function of them (several kernel widths, the
distance itself) is taken from the same tile. Functions are shifted to a mean near zero before they
are multiplied, since a product of large means would drown what differs.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from rep_kedro.kernels.similarity.centred import CentredFeatures
from rep_kedro.kernels.similarity.gram import (
    PairSums,
    add_products,
    rounding_of,
    tile_side,
    tiles,
    view_of,
)
from rep_kedro.kernels.similarity.squared_distances import squared_distance_tile
from rep_kedro.kernels.similarity.stimulus_sample import StimulusSample, suffices_for_sums

MEDIAN_SAMPLE = 2048  # stimuli, so 2.1 million distances, from which a median is taken if there are more


class DistanceMap(Protocol):
    """A function of squared distances, in units where the mean squared norm of a model is one."""

    def __call__(self, squared_distances: Tensor, model: int, out: Tensor) -> None:
        """Write the function of ``squared_distances`` of one model to ``out``."""


class Distance:
    """The distance itself."""

    def __call__(self, squared_distances: Tensor, model: int, out: Tensor) -> None:
        """See ``DistanceMap``."""
        torch.sqrt(squared_distances, out=out)


class SquaredDistance:
    """The squared distance; centred, minus twice the Gram matrix."""

    def __call__(self, squared_distances: Tensor, model: int, out: Tensor) -> None:
        """See ``DistanceMap``."""
        out.copy_(squared_distances)


def distance_pair_sums(
    models: Sequence[CentredFeatures],
    maps: Sequence[DistanceMap],
    samples: Sequence[StimulusSample],
    *,
    memory_bytes: int,
) -> list[tuple[PairSums, Tensor]]:
    """Sum products, between models, of functions of their distances.

    Args:
        models: Centred features.
        maps: Functions of squared distances; each is summed apart.
        samples: Some stimuli of each model, for the mean of each function.
        memory_bytes: Bounds the tiles; does not change the result.

    Returns:
        For each function its sums, taken of ``K_ij + u_i + u_j``, and these row terms u, shape (n_models,
        n_stimuli).
    """
    tiled = _TiledMaps(models, maps, memory_bytes)
    x = models[0].features
    terms = _mean_terms(samples, maps, x.dtype)[:, :, None].expand(-1, -1, len(x)).contiguous()
    if not suffices_for_sums(samples, maps):
        # rows differ far more than the rest: what centring would take off is taken off before products
        terms += _centring_terms(tiled.sum(terms, with_products=False)[1])
    products, row_sums = tiled.sum(terms)
    sizes = 2 * terms.abs().mean(dim=2)
    return [
        (PairSums((p + p.T) / 2, r, rounding_of(p, size, len(x), x.dtype)), u)
        for p, r, size, u in zip(products, row_sums, sizes, terms, strict=True)
    ]


class _TiledMaps:
    """Functions of the distances of all models, made tile by tile."""

    def __init__(
        self, models: Sequence[CentredFeatures], maps: Sequence[DistanceMap], memory_bytes: int
    ) -> None:
        x = models[0].features
        self._models, self._maps, self._n = models, maps, len(x)
        self._side = tile_side(len(maps) * len(models) + 1, len(x), x, memory_bytes)
        self._buffer = x.new_empty(len(maps) * len(models) * self._side**2)
        self._scratch = x.new_empty(self._side**2)

    def sum(self, terms: Tensor, *, with_products: bool = True) -> tuple[Tensor, Tensor]:
        """Return sums of products of two models and sums of rows, by function, with row terms added."""
        shape = (len(self._maps), len(self._models))
        products = terms.new_zeros(*shape, len(self._models))
        row_sums = torch.zeros_like(terms)
        for rows, columns in tiles(self._n, self._side):
            stack = self._fill(terms, rows, columns)
            for tile, total, sums in zip(stack, products, row_sums, strict=True):
                if with_products:
                    add_products(total, tile, rows, columns)
                elif rows == columns:
                    tile.diagonal(dim1=1, dim2=2).zero_()
                sums[:, rows] += tile.sum(dim=2)
                if rows != columns:
                    sums[:, columns] += tile.sum(dim=1)
        return products, row_sums

    def _fill(self, terms: Tensor, rows: slice, columns: slice) -> Tensor:
        shape = (len(self._maps), len(self._models), rows.stop - rows.start, columns.stop - columns.start)
        stack = view_of(self._buffer, shape[0] * shape[1], rows, columns).view(shape)
        squared = view_of(self._scratch, 1, rows, columns)[0]
        for index, model in enumerate(self._models):
            squared_distance_tile(model, rows, columns, squared)
            for function, term, tile in zip(self._maps, terms, stack, strict=True):
                function(squared, index, tile[index])
                _add_terms(tile[index], term[index], rows, columns)
        return stack


def _add_terms(tile: Tensor, term: Tensor, rows: slice, columns: slice) -> None:
    if tile.dtype == torch.float64:
        tile.add_(term[rows, None]).add_(term[columns])
    else:  # one constant for all stimuli
        tile.add_(2 * term[0].to(tile.dtype))


def _centring_terms(row_sums: Tensor) -> Tensor:
    """Return the row terms that make all row sums zero."""
    n = row_sums.shape[-1]
    return row_sums.sum(dim=-1, keepdim=True) / (2 * (n - 1) * (n - 2)) - row_sums / (n - 2)


def smallest_squared_distance(model: CentredFeatures, *, memory_bytes: int) -> Tensor:
    """Return the smallest squared distance between two different stimuli, float64, no dimension."""
    x = model.features
    n, side = len(x), tile_side(1, len(x), x, memory_bytes)
    scratch = torch.empty(side * side, dtype=x.dtype, device=x.device)
    smallest = torch.full((), torch.inf, dtype=x.dtype, device=x.device)
    for rows, columns in tiles(n, side):
        squared = squared_distance_tile(model, rows, columns, view_of(scratch, 1, rows, columns)[0])
        if rows == columns:
            squared.fill_diagonal_(torch.inf)
        smallest = torch.minimum(smallest, squared.min())
    return smallest.double()


def _mean_terms(samples: Sequence[StimulusSample], maps: Sequence[DistanceMap], dtype: torch.dtype) -> Tensor:
    """Return minus half the mean of each function over some pairs of stimuli, (n_maps, n_models), float64."""
    means = [
        sample.mean_of_pairs(sample.apply(function, index))
        for function in maps
        for index, sample in enumerate(samples)
    ]
    # what the features' type cannot hold is not added to the tiles either
    return -torch.stack(means).view(len(maps), len(samples)).to(dtype).double() / 2


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
    squared = _distances_among(model, chosen)
    upper = squared[torch.ones_like(squared, dtype=torch.bool).triu_(1)]
    low, high = (len(upper) - 1) // 2, len(upper) // 2
    if upper.device.type == "cpu":  # ten times as fast as kthvalue
        ordered = torch.from_numpy(np.partition(upper.numpy(), (low, high)))
        middle = ordered[low].double() + ordered[high].double()
    else:
        middle = upper.kthvalue(low + 1).values.double() + upper.kthvalue(high + 1).values.double()
    return model.unit * float((middle / 2).sqrt())


def _distances_among(model: CentredFeatures, chosen: Tensor) -> Tensor:
    x = model.features[chosen.to(model.features.device)]
    part = replace(model, features=x, squared_norms=x.double().square().sum(dim=1))
    everything = slice(0, len(x))
    return squared_distance_tile(part, everything, everything, x.new_empty(len(x), len(x)))
