"""Rank correlations between the dissimilarity matrices (RDMs) of all models.

Each RDM is ranked once: value and place of every entry are packed into one integer, and sorting
these integers in place is all the work and nearly all the memory. Values keep all the bits that places
leave, and those that then differ by no more than the rounding of distances are ties. Ranks are exact integers
(doubled, so that ties may average), and so are their products up to the rounding of float64.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from rep_kedro.kernels.similarity.centred import CentredFeatures
from rep_kedro.kernels.similarity.concordance import concordance_surplus
from rep_kedro.kernels.similarity.cosines import cosines
from rep_kedro.kernels.similarity.packed_ranks import rank_packed
from rep_kedro.kernels.similarity.rank_rows import RANK_BYTES, RankRows
from rep_kedro.kernels.similarity.squared_distances import RELATIVE_ZERO, squared_distance_tile
from rep_kedro.kernels.undefined import Reasons, pair_reasons

EXPONENT_BITS, MANTISSA_BITS = 6, 52  # 64 powers of two below the largest value
WIDE_EXPONENT_BITS = 8  # 256 of them, where some stimuli are that much farther away; below counts as zero
TIE_BITS = 44  # values that differ by less than 2^-44 of their size are ties, not rounding
MAX_STIMULI = 65_536  # n (n - 1) / 2 doubled ranks must fit into int32
ENTRIES_PER_BLOCK = 1_048_576
LARGER_ELSEWHERE = 16  # how many times as many at once on other devices than CPUs, where calls cost
KEY_BYTES, KEY_BITS = 8, 63
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
        memory_bytes: Holds the ranks of as many models as will fit; those of others are in a scratch file in
            ``TMPDIR``. Some tens of megabytes come on top.

    Returns:
        Iterator over (name, correlations (n_models, n_models) float64, reason for each NaN).

    Raises:
        ValueError: If there are too many stimuli, or memory for less than two models.
        OSError: If ``TMPDIR`` has no room for ranks that exceed the memory.

    Cost:
        Sorting n_stimuli^2 / 2 integers for each model, and n_models^2 n_stimuli^2 / 4 multiply-adds;
        8 bytes for each entry of one RDM and 4 for each entry of every held one.
    """
    n_models, n = len(sources), sources[0].n_stimuli
    n_entries, device = n * (n - 1) // 2, sources[0].device
    n_held = _models_held(n_models, n, memory_bytes)
    flaws: dict[int, str] = {}
    products = torch.zeros(n_models, n_models, dtype=torch.float64, device=device)
    with closing(RankRows(n_models, n_entries, n_held=n_held, device=device)) as rows:
        for model, source in enumerate(sources):
            rows.fill(model, partial(_rank_into, source=source, flaws=flaws, model=model))
        for chunk in rows.chunks():
            products += chunk @ chunk.T
        products = (products + products.T) / 2
        surplus = _pair_surplus(rows, products) if "tau_a" in requests.values() else products
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


def _rank_into(out: Tensor, source: Source, flaws: dict[int, str], model: int) -> None:
    """Write doubled centred ranks of one model's dissimilarities, 2 R - (N + 1)."""
    points = source.points()
    if points.flaw is not None:
        flaws[model] = points.flaw
        out.zero_()
        return
    keys, layout = _packed_distances(points)
    tolerance = max(1, 1 << layout.mantissa_bits >> TIE_BITS)
    rank_packed(keys, layout.place_bits, tolerance=tolerance, out=out)


def level_ties(numbers: Tensor) -> Tensor:
    """Give numbers of each row that follow each other by no more than rounding the value of the first.

    Args:
        numbers: Dissimilarities, shape (..., n), float64; NaN in a row is left alone.
    """
    ordered, order = numbers.sort(dim=-1)
    gaps = torch.diff(ordered, prepend=torch.full_like(ordered[..., :1], -torch.inf))
    firsts = torch.where(gaps <= ordered.abs() * 2.0**-TIE_BITS, -torch.inf, ordered).cummax(dim=-1).values
    return torch.empty_like(numbers).scatter_(-1, order, firsts)


def _packed_distances(points: CentredFeatures) -> tuple[Tensor, _Layout]:
    """Return for each pair of stimuli its squared distance and place in one integer, and the layout.

    Pairs have one order for all models: by blocks of rows, first those within the block.
    """
    n = len(points.features)
    keys = torch.empty(n * (n - 1) // 2, dtype=torch.int64, device=points.features.device)
    layout = _Layout(max(1, (len(keys) - 1).bit_length()), EXPONENT_BITS)
    if _pack(keys, points, layout):
        layout = replace(layout, exponent_bits=WIDE_EXPONENT_BITS)
        _pack(keys, points, layout)
    return keys, layout


def _pack(keys: Tensor, points: CentredFeatures, layout: _Layout) -> bool:
    """Write squared distances and places, and return whether some distances were too small for the layout."""
    x, n, end = points.features, len(points.features), 0
    step = max(1, min(n, ENTRIES_PER_BLOCK * (1 if x.device.type == "cpu" else LARGER_ELSEWHERE) // n))
    largest = 8 * points.squared_norms.max()  # twice the largest possible: values stay below one
    nearest = 2 * RELATIVE_ZERO * points.squared_norms.min()  # smaller ones are zero where none are refined
    may_lose = points.is_crowded or bool(nearest < layout.smallest * largest)
    has_lost = torch.zeros((), dtype=torch.bool, device=x.device)
    for start in range(0, n, step):
        rows, columns = slice(start, min(start + step, n)), slice(start, n)
        squared = squared_distance_tile(points, rows, columns, x.new_empty(rows.stop - start, n - start))
        squared.div_(largest)
        if may_lose:
            has_lost |= ((squared > 0) & (squared < layout.smallest)).any()
        values = _ordered_integers(squared, layout).bitwise_left_shift_(layout.place_bits)
        height = len(values)
        row, column = torch.triu_indices(height, height, offset=1, device=x.device)
        for part in (values[row, column], values[:, height:]):
            places = torch.arange(end, end + part.numel(), device=x.device)
            torch.add(part, places.view(part.shape), out=keys[end : end + part.numel()].view(part.shape))
            end += part.numel()
    return may_lose and bool(has_lost)


def _ordered_integers(values: Tensor, layout: _Layout) -> Tensor:
    """Return integers in the order of numbers in [0, 1), with the bits that places leave; overwrites them.

    Bits of doubles from zero up are ordered as the doubles are; exponents are counted from the smallest kept.
    """
    zero = (1023 - 2**layout.exponent_bits) << MANTISSA_BITS
    bits = values.view(torch.int64).sub_(zero).clamp_(min=0)
    return bits.bitwise_right_shift_(MANTISSA_BITS - layout.mantissa_bits)


def _pair_surplus(rows: RankRows, like: Tensor) -> Tensor:
    """Return how many more pairs of entries agree than disagree, for each two models."""
    surplus = torch.zeros_like(like)
    for a in range(len(like)):
        row = rows.row(a)
        for b in range(a + 1):
            surplus[a, b] = surplus[b, a] = concordance_surplus(row, rows.row(b))
    return surplus


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
