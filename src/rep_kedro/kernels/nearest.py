"""Nearest stimuli of every stimulus in one model, found once and in an order that nothing can change.

Distance and stimulus index are packed into one integer, so that no two candidates are equal and a plain
selection of the smallest integers is the answer: ties go to the lowest index on any device and for any number
of rows at a time, and a stimulus is never its own neighbour, however many copies of it there are.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

Distance: TypeAlias = Literal["cosine", "euclidean"]

DISTANCES: tuple[Distance, ...] = ("cosine", "euclidean")
RELATIVE_ZERO = 1e-12  # points this close beside their size are one point
GRID_BITS = 42  # distances that differ by less than 2^-42 of their size are ties, not rounding
LOWEST_EXPONENT = -1000  # below it powers of two leave the range of doubles
LAST = torch.iinfo(torch.int64).max
CACHE_BYTES = 2**25  # larger blocks are slower on a CPU
BYTES_PER_ENTRY = 6 * 8  # products, distances, their grid, two integers and what the selection needs


@dataclass(frozen=True)
class Points:
    """One representation, ready for distances between its stimuli.

    Attributes:
        rows: Shape (n_stimuli, n_features), float64: unit vectors for cosine; centred, largest number 1, for
            Euclidean.
        distance: Which distance they are made for.
    """

    rows: Tensor
    distance: Distance

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Neighbours:
    """Nearest other stimuli of each stimulus.

    Attributes:
        indices: Nearest first, shape (n_stimuli, n_neighbours), int64.
        similarities: Inner products with them (cosines for cosine), same shape, float64.
        mean_similarity: Mean inner product with all stimuli, itself included, shape (n_stimuli,).
    """

    indices: Tensor
    similarities: Tensor
    mean_similarity: Tensor


def prepare_points(representation: Tensor, distance: Distance) -> Points | str:
    """Scale one representation for distances, or say why it has none.

    Args:
        representation: Shape (n_stimuli, n_features), finite.
        distance: Cosine is taken of the features as they are; Euclidean centres first, which changes no
            distance and keeps it exact under a large mean.

    Returns:
        The points, or a reason.
    """
    raw = representation.double()
    if distance == "euclidean":
        rows = raw - raw.mean(dim=0)
        largest, size = rows.abs().max(), raw.abs().max()
        if largest <= RELATIVE_ZERO * size:
            return "does not tell stimuli apart: all its rows are the same up to rounding"
        return Points(rows / largest, distance)
    peaks = raw.abs().amax(dim=1, keepdim=True)
    silent = (peaks == 0).sum().item()
    if silent:
        return f"has {silent} of {len(raw)} rows that are all zero, so that cosines with them are undefined"
    rows = raw / peaks
    rows = rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    if (rows - rows[0]).abs().max() <= RELATIVE_ZERO:
        return "does not tell stimuli apart: all its rows have one direction up to rounding"
    return Points(rows, distance)


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
    require_neighbour_count(n_neighbours, len(points))
    # room for all from the start: what is kept between blocks would tear the memory that blocks leave free
    similarities = points.rows.new_empty(len(points), n_neighbours)
    indices = torch.empty_like(similarities, dtype=torch.int64)
    start = 0
    for products, keys in iterate_blocks(points, memory_bytes=memory_bytes):
        rows = slice(start, start + len(keys))
        nearest = keys.topk(n_neighbours, dim=1, largest=False, sorted=True).values
        torch.bitwise_and(nearest, _index_mask(len(points)), out=indices[rows])
        torch.gather(products, 1, indices[rows], out=similarities[rows])
        start = rows.stop
    mean_similarity = points.rows @ points.rows.mean(dim=0)
    return Neighbours(indices, similarities, mean_similarity)


def iterate_blocks(points: Points, *, memory_bytes: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Compute inner products and order keys of some stimuli with all, block by block.

    Args:
        points: Prepared representation.
        memory_bytes: Bound for a block, one row at least.

    Yields:
        Inner products, float64, and keys, int64, both of shape (n_rows, n_stimuli). Of two stimuli the one
        with the smaller key is nearer; keys of a row are all different; the row's own stimulus has the
        largest.
    """
    n_stimuli = len(points)
    squared_norm = points.rows.square().sum(dim=1)
    block_bytes = min(memory_bytes, CACHE_BYTES) if points.rows.device.type == "cpu" else memory_bytes
    rows_per_block = max(1, block_bytes // (BYTES_PER_ENTRY * n_stimuli))
    for start in range(0, n_stimuli, rows_per_block):
        rows = slice(start, start + rows_per_block)
        products = points.rows[rows] @ points.rows.T
        if points.distance == "cosine":
            distances, size = 1 - products, torch.ones_like(products[:, :1])
        else:
            size = squared_norm[rows, None] + squared_norm
            distances = size - 2 * products
        keys = _pack(distances, size)
        keys.diagonal(offset=start).fill_(LAST)
        yield products, keys


def require_neighbour_count(n_neighbours: int, n_stimuli: int) -> None:
    """Refuse more neighbours than there are other stimuli.

    Raises:
        ValueError: If the count is not in 1 to n_stimuli - 1.
    """
    if not 1 <= n_neighbours <= n_stimuli - 1:
        raise ValueError(
            f"n_neighbours is {n_neighbours}, must lie in 1 to {n_stimuli - 1}, the number of other stimuli"
        )


def _pack(distances: Tensor, size: Tensor) -> Tensor:
    """Put distance (leading bits) and column index (trailing bits) into one integer; overwrites distances."""
    step = torch.exp2((torch.frexp(size).exponent.double() - GRID_BITS).clamp(min=LOWEST_EXPONENT))
    on_grid = distances.div_(step).round_().clamp_(min=0).mul_(step)
    n_columns = distances.shape[1]
    mask = _index_mask(n_columns)
    # bits of doubles from zero up are ordered as the doubles are; a zero may carry a sign
    bits = on_grid.view(torch.int64).bitwise_and_(LAST - mask)
    return bits.bitwise_or_(torch.arange(n_columns, device=distances.device))


def _index_mask(n_stimuli: int) -> int:
    return int((1 << (n_stimuli - 1).bit_length()) - 1)
