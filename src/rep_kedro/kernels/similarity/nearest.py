"""Nearest stimuli of every stimulus in one model, found once, in a deterministic order.

Distance and stimulus index are packed into one integer, so that no two candidates are equal and a plain
selection of the smallest integers is the answer: ties go to the lowest index on any device and for any number
of rows at a time, and a stimulus is never its own neighbour, however many copies of it there are.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import nan
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from rep_kedro.kernels.similarity.centred import CentredFeatures, centre
from rep_kedro.kernels.similarity.rsa import prepare_for_rdm
from rep_kedro.kernels.similarity.squared_distances import squared_distance_tile

Distance: TypeAlias = Literal["cosine", "euclidean"]

ZERO_COSINE = 2**-50  # a smaller one is rounding
ROUNDED_BITS = 16  # of 52: distances that differ by less than 2^-36 of their size are ties, not rounding
LAST = torch.iinfo(torch.int64).max
CACHE_BYTES = 2**25  # larger blocks are slower on a CPU
BYTES_PER_ENTRY = 6 * 8  # products, distances, their grid, two integers and what the selection needs


@dataclass(frozen=True)
class Points:
    """One representation, ready for distances between its stimuli.

    Attributes:
        model: Centred, float64: the features for Euclidean, their directions for cosine. One less the cosine
            is half the squared distance of two directions, without cancellation where these hardly differ.
        distance: Which distance they are made for.
    """

    model: CentredFeatures
    distance: Distance

    def __len__(self) -> int:
        return len(self.model.features)

    def squared_distances(self, rows: slice) -> Tensor:
        """Return squared distances of some stimuli to all, (n_rows, n_stimuli), in units of the model."""
        n_rows = len(range(*rows.indices(len(self))))
        out = self.model.features.new_empty(n_rows, len(self))
        return squared_distance_tile(self.model, rows, slice(0, len(self)), out)

    @property
    def _half_square(self) -> float:
        """Half the square of the unit of directions; of features it would have no meaning."""
        return self.model.unit**2 / 2 if self.distance == "cosine" else nan

    def above_mean(self, squared_distances: Tensor) -> Tensor:
        """Return by how much cosines exceed their mean over all stimuli, (n_stimuli, n_neighbours)."""
        norms = self.model.squared_norms
        return (norms[:, None] + norms.mean() - squared_distances).mul_(self._half_square)

    def cosine_distances(self, squared_distances: Tensor) -> Tensor:
        """Turn squared distances of directions into one less their cosines."""
        return squared_distances * self._half_square

    def cosines(self, squared_distances: Tensor) -> Tensor:
        """Turn squared distances of directions into cosines; one that is nothing but rounding is zero."""
        found = 1 - self.cosine_distances(squared_distances)
        return found.masked_fill_(found.abs() < ZERO_COSINE, 0.0)


@dataclass(frozen=True)
class Neighbours:
    """Nearest other stimuli of each stimulus.

    Attributes:
        indices: Nearest first, shape (n_stimuli, n_neighbours), int64.
        similarities: Cosines with them, same shape, float64.
        above_mean: By how much these exceed the mean cosine with all stimuli, itself included, same shape;
            with the digits that cosines near one do not have.
    """

    indices: Tensor
    similarities: Tensor
    above_mean: Tensor


def prepare_points(representation: Tensor, distance: Distance) -> Points | str:
    """Scale one representation for distances, or say why it has none.

    Args:
        representation: Shape (n_stimuli, n_features), finite.
        distance: Cosine is taken of the features as they are; Euclidean centres first, which changes no
            distance and keeps it exact under a large mean.

    Returns:
        The points, or a reason.
    """
    if distance == "euclidean":
        model = centre(representation, dtype=torch.float64)
        if model.flaw:
            return model.flaw
        return Points(model, distance)
    silent = int((representation == 0).all(dim=1).sum())
    if silent:
        n = len(representation)
        return f"{silent} of {n} stimuli have only zero features, so cosine is undefined"
    model = prepare_for_rdm(representation, "cosine", dtype=torch.float64)
    if model.flaw:
        return "all stimuli have the same direction up to rounding"
    return Points(model, distance)


def find_neighbours(points: Points, n_neighbours: int, *, memory_bytes: int) -> Neighbours:
    """Find the nearest other stimuli of each stimulus.

    Args:
        points: Prepared representation.
        n_neighbours: How many, 1 to n_stimuli - 1; a shorter list is the front of a longer one.
        memory_bytes: Bound for blocks of distances, one row at least. Not the result.

    Returns:
        Neighbours, nearest first; of equally near ones the lowest index first.

    Raises:
        ValueError: If there are not so many other stimuli.

    Cost:
        Time O(n_stimuli^2 * n_features).
    """
    if not 1 <= n_neighbours < len(points):
        raise ValueError(
            f"n_neighbours must be 1 to {len(points) - 1} (the number of other stimuli), got {n_neighbours}"
        )
    # room for all from the start: what is kept between blocks would tear the memory that blocks leave free
    squared = points.model.features.new_empty(len(points), n_neighbours)
    indices = torch.empty_like(squared, dtype=torch.int64)
    start = 0
    for distances, keys in iterate_blocks(points, memory_bytes=memory_bytes):
        rows = slice(start, start + len(keys))
        nearest = keys.topk(n_neighbours, dim=1, largest=False, sorted=True).values
        torch.bitwise_and(nearest, _index_mask(len(points)), out=indices[rows])
        torch.gather(distances, 1, indices[rows], out=squared[rows])
        start = rows.stop
    return Neighbours(indices, points.cosines(squared), points.above_mean(squared))


def iterate_blocks(points: Points, *, memory_bytes: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Compute squared distances and order keys of some stimuli with all, block by block.

    Args:
        points: Prepared representation.
        memory_bytes: Bound for a block, one row at least.

    Yields:
        Squared distances, float64, in units of the model, and keys, int64, both of shape (n_rows, n_stimuli).
        Of two stimuli the one with the smaller key is nearer; keys of a row are all different; the row's own
        stimulus has the largest.
    """
    n_stimuli, device = len(points), points.model.features.device
    block_bytes = min(memory_bytes, CACHE_BYTES) if device.type == "cpu" else memory_bytes
    rows_per_block = max(1, block_bytes // (BYTES_PER_ENTRY * n_stimuli))
    for start in range(0, n_stimuli, rows_per_block):
        rows = slice(start, start + rows_per_block)
        distances = points.squared_distances(rows)
        keys = _pack(distances)
        keys.diagonal(offset=start).fill_(LAST)
        yield distances, keys


def _pack(distances: Tensor) -> Tensor:
    """Put distance (leading bits, rounded) and column index (trailing bits) into one integer."""
    n_columns = distances.shape[1]
    trailing = max(ROUNDED_BITS, (n_columns - 1).bit_length())
    # bits of doubles from zero up are ordered as the doubles are
    bits = distances.view(torch.int64) + (1 << trailing >> 1)
    bits.bitwise_and_(LAST - ((1 << trailing) - 1))
    return bits.bitwise_or_(torch.arange(n_columns, device=distances.device))


def _index_mask(n_stimuli: int) -> int:
    return int((1 << (n_stimuli - 1).bit_length()) - 1)
