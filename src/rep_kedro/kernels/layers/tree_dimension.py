"""Intrinsic dimension from how the shortest tree through samples grows with their number (IdEst)."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rep_kedro.kernels.layers.learnability import first_of_copies
from rep_kedro.kernels.layers.measured import Measured, undefined
from rep_kedro.kernels.similarity.centred import centre
from rep_kedro.kernels.similarity.squared_distances import squared_distance_tile

FRACTIONS = (1 / 8, 1 / 4, 1 / 2, 1)  # of the samples: sizes of subsamples
FEWEST = 16  # samples that differ: the smallest subsample has two


class TreeDimension(NamedTuple):
    """Dimension, and the sizes of the subsamples that it was fitted over."""

    measured: Measured
    sizes: tuple[int, ...]


def measure_tree_dimension(rows: Tensor, *, n_draws: int, generator: torch.Generator) -> TreeDimension:
    """Return 1 / (1 - m), where m is the slope of ln(length of the shortest tree) over ln(number of samples).

    Samples that fill a space of dimension d have trees of lengths in proportion to n^((d - 1) / d).

    Args:
        rows: Shape (n_samples, n_features), finite; copies of a sample count once.
        n_draws: Subsamples of each size, but one of all samples; lengths are averaged.
        generator: CPU generator of the subsamples.

    Returns:
        Above 0; undefined for fewer than 16 samples that differ, and where trees grow at least in proportion
        to the number of samples. Unchanged by rotation, translation and scale.

    Cost:
        Memory 8 * n_samples^2 bytes; time O(n_samples^2 * (n_features + n_draws)).

    Source:
        arXiv:2606.03338 (IdEst); Steele 1988, doi:10.1214/aop/1176991596 (growth of the tree).
    """
    x = rows[first_of_copies(rows)]
    n = len(x)
    if n < FEWEST:
        return TreeDimension(undefined(f"samples that differ: {n}, need {FEWEST}"), ())
    model = centre(x, dtype=torch.float64)
    if model.flaw:
        return TreeDimension(undefined(model.flaw), ())
    everything = slice(0, n)
    distances = squared_distance_tile(model, everything, everything, model.features.new_empty(n, n)).sqrt_()
    sizes = tuple(int(fraction * n) for fraction in FRACTIONS)
    lengths = []
    for size in sizes:
        drawn = [torch.randperm(n, generator=generator)[:size] for _ in range(n_draws if size < n else 1)]
        lengths.append(measure_tree_lengths(distances.numpy(), torch.stack(drawn).numpy()).mean())
    if min(lengths) == 0:
        why = "samples that differ are at distance zero up to rounding"
        return TreeDimension(undefined(why), sizes)
    slope = float(np.polyfit(np.log(sizes), np.log(lengths), 1)[0])
    if slope >= 1:
        why = "the shortest tree grows at least in proportion to the number of samples"
        return TreeDimension(undefined(why), sizes)
    return TreeDimension(Measured(1 / (1 - slope)), sizes)


def measure_tree_lengths(distances: NDArray[np.float64], drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the lengths of the shortest trees through subsamples of equal size, all at once.

    Args:
        distances: Shape (n_samples, n_samples), symmetric.
        drawn: Places of the samples of each subsample, shape (n_subsamples, size), none twice in a row.

    Returns:
        Shape (n_subsamples,).

    Cost:
        Time O(n_subsamples * size^2).

    Source:
        Prim 1957, doi:10.1002/j.1538-7305.1957.tb01515.x: the sample nearest to the tree joins next.
    """
    n_subsamples, size = drawn.shape
    each = np.arange(n_subsamples)
    nearest = np.full(drawn.shape, np.inf)  # to the tree so far; NaN once in it
    added, total = np.zeros(n_subsamples, dtype=np.int64), np.zeros(n_subsamples)
    for _ in range(size - 1):
        nearest[each, added] = np.nan
        np.minimum(nearest, distances[drawn[each, added][:, None], drawn], out=nearest)
        added = np.nanargmin(nearest, axis=1)
        total += nearest[each, added]
    return total
