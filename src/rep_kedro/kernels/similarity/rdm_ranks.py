"""Rank correlations between the dissimilarity matrices (RDMs) of all models.

Each RDM is ranked once: value and place of every entry are packed into one integer, and sorting
these integers in place is all the work and nearly all the memory. Values keep all the bits that places
leave, and those that then differ by no more than the rounding of distances are ties. Ranks are exact integers
(doubled, so that ties may average), and so are their products up to the rounding of float64.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rep_kedro.kernels.similarity.centred import CentredFeatures
from rep_kedro.kernels.similarity.concordance import concordance_surplus
from rep_kedro.kernels.similarity.cosines import cosines
from rep_kedro.kernels.similarity.squared_distances import squared_distance_tile
from rep_kedro.kernels.undefined import Reasons, pair_reasons

EXPONENT_BITS, MANTISSA_BITS = 6, 52  # 64 powers of two below the largest value
WIDE_EXPONENT_BITS = 8  # 256 of them, where some stimuli are that much farther away; below counts as zero
TIE_BITS = 44  # values that differ by less than 2^-44 of their size are ties, not rounding
MAX_STIMULI = 65_536  # n (n - 1) / 2 doubled ranks must fit into int32
ENTRIES_PER_BLOCK = 1_048_576
PRODUCT_CHUNK = 65_536
SORT_CHUNK = 262_144
LARGER_ELSEWHERE = 16  # how many times as much at once on other devices than CPUs, where calls cost
KEY_BYTES, KEY_BITS, RANK_BYTES = 8, 63, 4
ZERO = "all its dissimilarities are equal"


@dataclass(frozen=True)
class _Layout:
    """How the bits of one integer are shared; the sign is left free.

    Attributes:
        place_bits: Of the place of an entry, the lowest ones.
        exponent_bits: Of the power of two of its value, the highest ones.
    """

    place_bits: int
    exponent_bits: int

    @property
    def mantissa_bits(self) -> int:
        """Of the digits of its value, between the two."""
        return min(MANTISSA_BITS, KEY_BITS - self.place_bits - self.exponent_bits)

    @property
    def smallest(self) -> float:
        """Value from which exponents are counted."""
        return float(2.0 ** -(2**self.exponent_bits))


class Source(Protocol):
    """Where the points of one model come from."""

    n_stimuli: int
    device: torch.device

    def points(self) -> CentredFeatures:
        """Return points in float64 whose distances order the pairs of stimuli."""


def compare_ranks(
    sources: Sequence[Source], requests: Mapping[str, str], *, memory_bytes: int
) -> Iterator[tuple[str, Tensor, Reasons]]:
    """Compare the ranks of all models' dissimilarities.

    Distances are computed in float64; those that differ by less than 2^-44 of their size, or 2^-31 of ten
    thousand stimuli, are ties.

    Args:
        sources: Points of each model.
        requests: ``spearman``, ``rho_a`` or ``tau_a`` by name.
        memory_bytes: Holds the ranks of as many models as will fit; those of others are made again
            for each group. Some tens of megabytes come on top.

    Returns:
        Iterator over (name, correlations (n_models, n_models) float64, reason for each NaN).

    Raises:
        ValueError: If there are too many stimuli, or memory for less than two models.

    Cost:
        Sorting n_stimuli^2 / 2 integers for each model, and n_models^2 n_stimuli^2 / 4 multiply-adds;
        8 bytes for each entry of one RDM and 4 for each entry of every held one.
    """
    n_models, n = len(sources), sources[0].n_stimuli
    n_entries = n * (n - 1) // 2
    n_held = _models_held(n_models, n, memory_bytes)
    products = torch.zeros(n_models, n_models, dtype=torch.float64, device=sources[0].device)
    wants_tau = "tau_a" in requests.values()
    surplus = torch.zeros_like(products)
    flaws: dict[int, str] = {}
    for group, others in _groups(n_models, n_held):
        held = torch.empty(n_held, n_entries, dtype=torch.int32, device=products.device)
        for place, model in enumerate(group):
            _rank_into(held[place], sources[model], flaws, model)
        _add_rank_products(products, held[: len(group)], list(group), wants_tau, surplus)
        for model in others:
            _rank_into(held[len(group)], sources[model], flaws, model)
            _add_rank_products(products, held[: len(group) + 1], [*group, model], wants_tau, surplus)
    for name, how in requests.items():
        yield name, *_conclude(products, surplus, flaws, n_entries, how)


def _models_held(n_models: int, n_stimuli: int, memory_bytes: int) -> int:
    """Return how many models' ranks fit into the memory in addition to the sorting of one."""
    if n_stimuli > MAX_STIMULI:
        raise ValueError(f"rank correlation of RDMs takes at most {MAX_STIMULI} stimuli, got {n_stimuli}")
    n_entries = n_stimuli * (n_stimuli - 1) // 2
    least = (KEY_BYTES + RANK_BYTES * min(2, n_models)) * n_entries
    if memory_bytes < least:
        raise ValueError(
            f"ranks of the RDMs of two models for {n_stimuli} stimuli take {least} bytes, but memory_bytes"
            f" is {memory_bytes}; allow more memory or compare fewer stimuli"
        )
    return min(n_models, (memory_bytes - KEY_BYTES * n_entries) // (RANK_BYTES * n_entries))


def _groups(n_models: int, n_held: int) -> Iterator[tuple[range, range]]:
    """Yield models to keep in memory together, and later models to compare with them one at a time."""
    if n_held >= n_models:
        yield range(n_models), range(0)
        return
    size = n_held - 1
    for start in range(0, n_models, size):
        stop = min(start + size, n_models)
        yield range(start, stop), range(stop, n_models)


def _rank_into(out: Tensor, source: Source, flaws: dict[int, str], model: int) -> None:
    """Write doubled centred ranks of one model's dissimilarities, 2 R - (N + 1)."""
    points = source.points()
    if points.flaw is not None:
        flaws[model] = points.flaw
        out.zero_()
        return
    keys, layout = _packed_distances(points)
    place_bits = layout.place_bits
    _sort_in_place(keys)
    _level_ties(keys, layout)
    chunk = SORT_CHUNK * (1 if keys.device.type == "cpu" else LARGER_ELSEWHERE)
    for start in range(0, len(keys), chunk):
        places = keys[start : start + chunk] & ((1 << place_bits) - 1)
        out.scatter_(0, places, _doubled_ranks(keys, start, start + len(places), place_bits))


def _level_ties(keys: Tensor, layout: _Layout) -> None:
    """Give entries that follow each other by no more than rounding the value of the first of them."""
    place_bits, tolerance = layout.place_bits, max(1, 1 << layout.mantissa_bits >> TIE_BITS)
    chunk = SORT_CHUNK * (1 if keys.device.type == "cpu" else LARGER_ELSEWHERE)
    before = first = keys[0] >> place_bits
    for start in range(0, len(keys), chunk):
        part = keys[start : start + chunk]
        values = part >> place_bits
        gaps = torch.diff(values, prepend=before[None])
        before = values[-1].clone()
        firsts = values.masked_fill_(gaps <= tolerance, 0)
        firsts[0] = torch.maximum(firsts[0], first)
        firsts = firsts.cummax(0).values
        first = firsts[-1]
        part &= (1 << place_bits) - 1
        part |= firsts << place_bits


def level_ties(numbers: Tensor) -> Tensor:
    """Give numbers of each row that follow each other by no more than rounding the value of the first.

    Args:
        numbers: Squared distances, shape (..., n), float64, zero or more; NaN in a row is left alone.
    """
    ordered, order = numbers.sort(dim=-1)
    gaps = torch.diff(ordered, prepend=torch.full_like(ordered[..., :1], -torch.inf))
    firsts = torch.where(gaps <= ordered * 2.0**-TIE_BITS, 0.0, ordered).cummax(dim=-1).values
    return torch.empty_like(numbers).scatter_(-1, order, firsts)


def _doubled_ranks(keys: Tensor, start: int, stop: int, place_bits: int) -> Tensor:
    """Return twice the average rank less N + 1 of part of the sorted entries; ties may cross its ends."""
    if keys.device.type == "cpu":
        return torch.from_numpy(_doubled_ranks_by_runs(keys.numpy(), start, stop, place_bits))
    return _doubled_ranks_unwaited(keys, start, stop, place_bits)


def _doubled_ranks_by_runs(
    keys: NDArray[np.int64], start: int, stop: int, place_bits: int
) -> NDArray[np.int32]:
    values = keys[start:stop] >> place_bits
    edges = np.flatnonzero(values[1:] != values[:-1]).astype(np.int32)
    firsts, stops = np.empty((2, len(edges) + 1), dtype=np.int32)
    firsts[0] = np.searchsorted(keys, int(values[0]) << place_bits)
    stops[-1] = np.searchsorted(keys, (int(values[-1]) + 1) << place_bits)
    firsts[1:] = stops[:-1] = edges + (start + 1)
    counts = np.diff(edges, prepend=-1, append=len(values) - 1)
    return np.repeat(firsts + stops - len(keys), counts)


def _doubled_ranks_unwaited(keys: Tensor, start: int, stop: int, place_bits: int) -> Tensor:
    """Do the same by running extremes, whose shapes are known, so that the host need not wait for a GPU."""
    values = keys[start:stop] >> place_bits
    before, behind = torch.searchsorted(keys, torch.stack([values[0], values[-1] + 1]) << place_bits)
    place = torch.arange(start, stop, device=keys.device)
    differs = values[1:] != values[:-1]
    first, last = torch.cat([before[None], place[1:] * differs]), torch.cat([place[:-1], behind[None] - 1])
    last[:-1].masked_fill_(~differs, len(keys))
    doubled = first.cummax(0).values + last.flip(0).cummin(0).values.flip(0)
    return (doubled + (1 - len(keys))).to(torch.int32)


def _packed_distances(points: CentredFeatures) -> tuple[Tensor, _Layout]:
    """Return for each pair of stimuli its squared distance and place in one integer, and the layout.

    Pairs have one order for all models: by blocks of rows, first those within the block.
    """
    n, device = len(points.features), points.features.device
    keys = torch.empty(n * (n - 1) // 2, dtype=torch.int64, device=device)
    layout = _Layout(max(1, (len(keys) - 1).bit_length()), EXPONENT_BITS)
    if _write_values(keys, points, layout):
        layout = replace(layout, exponent_bits=WIDE_EXPONENT_BITS)
        _write_values(keys, points, layout)
    chunk = SORT_CHUNK * (1 if device.type == "cpu" else LARGER_ELSEWHERE)
    for start in range(0, len(keys), chunk):
        part = keys[start : start + chunk]
        part <<= layout.place_bits
        part += torch.arange(start, start + len(part), device=device)
    return keys, layout


def _write_values(keys: Tensor, points: CentredFeatures, layout: _Layout) -> bool:
    """Write squared distances as integers in their order, and return whether some were too small for that."""
    x, n, end = points.features, len(points.features), 0
    step = max(1, min(n, ENTRIES_PER_BLOCK * (1 if x.device.type == "cpu" else LARGER_ELSEWHERE) // n))
    largest = 8 * points.squared_norms.max()  # twice the largest possible: values stay below one
    has_lost = torch.zeros((), dtype=torch.bool, device=x.device)
    for start in range(0, n, step):
        rows, columns = slice(start, min(start + step, n)), slice(start, n)
        squared = squared_distance_tile(points, rows, columns, x.new_empty(rows.stop - start, n - start))
        squared.div_(largest)
        has_lost |= ((squared > 0) & (squared < layout.smallest)).any()
        values = _ordered_integers(squared, layout)
        height = len(values)
        row, column = torch.triu_indices(height, height, offset=1, device=x.device)
        within = keys[end : end + len(row)]
        within.copy_(values[row, column])
        end += len(row)
        beyond = values[:, height:]
        keys[end : end + beyond.numel()].view(beyond.shape).copy_(beyond)
        end += beyond.numel()
    return bool(has_lost)


def _ordered_integers(values: Tensor, layout: _Layout) -> Tensor:
    """Return integers in the order of numbers in [0, 1), with the bits that places leave; overwrites them.

    Bits of doubles from zero up are ordered as the doubles are; exponents are counted from the smallest kept.
    """
    zero = (1023 - 2**layout.exponent_bits) << MANTISSA_BITS
    bits = values.view(torch.int64).sub_(zero).clamp_(min=0)
    return bits.bitwise_right_shift_(MANTISSA_BITS - layout.mantissa_bits)


def _sort_in_place(keys: Tensor) -> None:
    if keys.device.type == "cpu":
        keys.numpy().sort()  # in place, where torch would also make places of eight bytes each
    else:
        keys.copy_(keys.sort().values)


def _add_rank_products(
    products: Tensor, ranks: Tensor, models: Sequence[int], wants_tau: bool, surplus: Tensor
) -> None:
    """Fill in products of ranks and, if wanted, how many more pairs of entries agree than disagree."""
    index = torch.tensor(models, device=products.device)
    total = torch.zeros(len(models), len(models), dtype=torch.float64, device=products.device)
    for start in range(0, ranks.shape[1], PRODUCT_CHUNK):
        part = ranks[:, start : start + PRODUCT_CHUNK].double()
        total += part @ part.T
    products[index[:, None], index] = (total + total.T) / 2
    if wants_tau:
        for place_a, a in enumerate(models):
            for place_b, b in enumerate(models[: place_a + 1]):
                surplus[a, b] = surplus[b, a] = concordance_surplus(ranks[place_a], ranks[place_b])


def _conclude(
    products: Tensor, surplus: Tensor, flaws: Mapping[int, str], n_entries: int, how: str
) -> tuple[Tensor, Reasons]:
    if how == "spearman":
        return cosines(products, torch.zeros_like(products[0]), flaws, if_zero=ZERO)
    if how == "rho_a":
        values = 3 * products / (float(n_entries) ** 3 - n_entries)
    else:
        values = surplus / (n_entries * (n_entries - 1) / 2)
    constant = {int(m): ZERO for m in (products.diagonal() == 0).nonzero().flatten()}
    why = constant | dict(flaws)
    values[list(why)] = torch.nan
    values[:, list(why)] = torch.nan
    return values, pair_reasons(why, len(values))
