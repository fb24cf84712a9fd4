"""Pairs of models for measures that need one matrix product for each pair."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

BLOCK_COPIES = 4  # a block of products, its weighted copy, and what the decomposition needs
DOUBLE_BYTES = 8


@dataclass(frozen=True)
class PairValues:
    """Values of one measure for the pairs of a block.

    Attributes:
        forward: From the first model of the second, shape (n_pairs,); NaN where undefined.
        backward: From the second of the first; the same tensor for a symmetric measure.
        forward_reasons: Why a value is undefined, by position in the block.
        backward_reasons: The same for the other direction.
    """

    forward: Tensor
    backward: Tensor
    forward_reasons: Mapping[int, str] = field(default_factory=dict)
    backward_reasons: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def symmetric(cls, values: Tensor, reasons: Mapping[int, str] | None = None) -> "PairValues":
        """Say that both directions have the same values; blank those that have a reason."""
        return cls.directed(values, values, reasons, reasons)

    @classmethod
    def directed(
        cls,
        forward: Tensor,
        backward: Tensor,
        forward_reasons: Mapping[int, str] | None = None,
        backward_reasons: Mapping[int, str] | None = None,
    ) -> "PairValues":
        """Blank the values that have a reason."""
        blanked = []
        for values, reasons in ((forward, forward_reasons), (backward, backward_reasons)):
            undefined = torch.zeros_like(values, dtype=torch.bool)
            undefined[list(reasons or ())] = True
            blanked.append(values.masked_fill(undefined, torch.nan))
        return cls(blanked[0], blanked[1], forward_reasons or {}, backward_reasons or {})


def mirror(matrix: Tensor) -> Tensor:
    """Return a symmetric matrix whose halves differ by rounding with the upper half in both, shape (n, n)."""
    return matrix.triu() + matrix.triu(1).T


def group_pairs(
    widths: Sequence[int], *, memory_bytes: int, with_self: bool
) -> Iterator[list[tuple[int, int]]]:
    """Yield unordered pairs of models, the narrower first, in groups of equal widths.

    Args:
        widths: Number of columns of each model; pairs with a model of none are left out.
        memory_bytes: Bound for the products of a group, one pair at least.
        with_self: Pair each model with itself as well.
    """
    by_widths: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for a, width_a in enumerate(widths):
        for b in range(a if with_self else a + 1, len(widths)):
            if width_a and widths[b]:
                pair = (a, b) if width_a <= widths[b] else (b, a)
                by_widths[widths[pair[0]], widths[pair[1]]].append(pair)
    for (width_first, width_second), pairs in by_widths.items():
        bytes_per_pair = BLOCK_COPIES * DOUBLE_BYTES * width_first * width_second
        pairs_per_group = max(1, memory_bytes // bytes_per_pair)
        for start in range(0, len(pairs), pairs_per_group):
            yield pairs[start : start + pairs_per_group]


def are_equal(first: Tensor, second: Tensor) -> bool:
    """Return whether two matrices have the same values, as a model and its double do."""
    return first.shape == second.shape and torch.equal(first[:1], second[:1]) and torch.equal(first, second)


def multiply_pairs(matrices: Sequence[Tensor], pairs: Sequence[tuple[int, int]]) -> Tensor:
    """Return ``matrices[a].T @ matrices[b]`` for pairs (a, b) of equal widths."""
    first, second = (matrices[model] for model in pairs[0])
    cross = first.new_empty(len(pairs), first.shape[1], second.shape[1])
    for product, (a, b) in zip(cross, pairs, strict=True):
        torch.mm(matrices[a].T, matrices[b], out=product)
    return cross
