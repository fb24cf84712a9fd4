"""One orthonormal basis for each model, and the products of bases that every linear-map measure is read from.

A column-centred representation of unit norm is written ``directions @ diag(spread) @ axes.T`` once per model.
All that CCA, Procrustes, shape distances, regression and GULP ask about two models lies in the small product
``directions_a.T @ directions_b``, weighted on both sides by functions of the spreads; the features, their
number and the rotation ``axes`` drop out. More features than stimuli cost no accuracy and no special case.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

RELATIVE_CUTOFF = (
    1e-10  # eigenvalues this small beside the largest are rounding of the features, not directions
)
RELATIVE_ZERO = 1e-12  # a centred representation this small beside the raw one does not tell stimuli apart
BLOCK_COPIES = 4  # a block of products, its weighted copy, and what the decomposition needs
DOUBLE_BYTES = 8


@dataclass(frozen=True)
class Basis:
    """Thin singular value decomposition of one column-centred representation of unit norm.

    Attributes:
        directions: Orthonormal columns in stimulus space, shape (n_stimuli, rank), float64.
        spread: Singular values along them, shape (rank,), descending, squares sum to one.
        norm: Frobenius norm of the centred representation, before it is divided by it.
        loadings: ``directions.T @ centred / norm``, shape (rank, n_features), where asked for.
    """

    directions: Tensor
    spread: Tensor
    norm: float
    loadings: Tensor | None = None

    @property
    def rank(self) -> int:
        """Number of directions kept; 0 for a representation that does not tell stimuli apart."""
        return self.directions.shape[1]

    @property
    def n_stimuli(self) -> int:
        """Number of stimuli."""
        return self.directions.shape[0]


@dataclass
class PairBlock:
    """Products of bases for some pairs of models of equal ranks; rank of the first <= rank of the second.

    Attributes:
        first: Indices of the first models, one for each pair.
        second: Indices of the second models.
        bases: Bases of all models, by index.
        cross: ``directions_first.T @ directions_second``, shape (n_pairs, rank_first, rank_second).
    """

    first: list[int]
    second: list[int]
    bases: Sequence[Basis]
    cross: Tensor

    @cached_property
    def spread_first(self) -> Tensor:
        """Spreads of the first models, shape (n_pairs, rank_first)."""
        return torch.stack([self.bases[a].spread for a in self.first])

    @cached_property
    def spread_second(self) -> Tensor:
        """Spreads of the second models, shape (n_pairs, rank_second)."""
        return torch.stack([self.bases[b].spread for b in self.second])

    @property
    def ranks(self) -> tuple[int, int]:
        """Rank of the first and of the second models."""
        return self.cross.shape[1], self.cross.shape[2]

    @property
    def n_stimuli(self) -> int:
        """Number of stimuli."""
        return self.bases[0].n_stimuli

    @cached_property
    def others(self) -> list[int]:
        """Positions of the pairs of two models; a model with itself is at the other positions."""
        return [
            position for position in range(len(self.first)) if self.first[position] != self.second[position]
        ]

    @cached_property
    def summed_correlations(self) -> Tensor:
        """Sum of the canonical correlations of each pair, shape (n_pairs,)."""
        return self._sum_singular_values(self.cross)

    @cached_property
    def fidelity(self) -> Tensor:
        """Nuclear norm of the product of two centred representations of unit norm, shape (n_pairs,)."""
        return self.sum_weighted(self.spread_first, self.spread_second).clamp(max=1.0)

    def sum_weighted(self, weights_first: Tensor, weights_second: Tensor) -> Tensor:
        """Return the nuclear norm of ``diag(weights_first) @ cross @ diag(weights_second)`` of each pair."""
        return self._sum_singular_values(weights_first[:, :, None] * self.cross * weights_second[:, None, :])

    def _sum_singular_values(self, matrices: Tensor) -> Tensor:
        if len(self.others) == len(self.first):
            return sum_singular_values(matrices)
        # a model with itself has a symmetric positive matrix, whose nuclear norm is its trace
        sums = matrices.diagonal(dim1=1, dim2=2).sum(dim=1)
        if self.others:
            sums[self.others] = sum_singular_values(matrices[self.others])
        return sums


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


def compute_basis(
    representation: Tensor, *, relative_cutoff: float = RELATIVE_CUTOFF, with_loadings: bool = False
) -> Basis:
    """Decompose one column-centred representation by the eigenvectors of its smaller side.

    Args:
        representation: Shape (n_stimuli, n_features), finite, float32 or float64; need not be centred.
        relative_cutoff: Directions whose eigenvalue is at most this share of the largest are dropped. The
            default drops spreads below 1e-5 of the largest, where float32 features hold nothing but rounding.
        with_loadings: Keep the features seen from the directions as well; projection-weighted CCA needs them.

    Returns:
        The basis; rank 0 where all stimuli are the same up to rounding.

    Cost:
        Time O(n_stimuli * n_features * s + s^3) with s the smaller of the two; memory one float64 copy.
    """
    raw = representation.double()
    centred = raw - raw.mean(dim=0)
    largest = float(raw.abs().max())
    # dividing by the largest number first keeps squares of very large or very small features in range
    norm = float(torch.linalg.vector_norm(centred / largest)) * largest if largest > 0 else 0.0
    raw_norm = float(torch.linalg.vector_norm(raw / largest)) * largest if largest > 0 else 0.0
    if norm <= RELATIVE_ZERO * raw_norm:
        return _empty_basis(centred)
    centred /= norm
    n_stimuli, n_features = centred.shape
    if n_features < n_stimuli:
        eigenvalues, axes = _decompose(centred.T @ centred, relative_cutoff)
        spread = eigenvalues.sqrt()
        directions = _make_orthonormal(centred @ axes / spread)
    else:
        eigenvalues, directions = _decompose(centred @ centred.T, relative_cutoff)
        spread = eigenvalues.sqrt()
    spread = spread / torch.linalg.vector_norm(spread)
    loadings = directions.T @ centred if with_loadings else None
    return Basis(directions.contiguous(), spread, norm, loadings)


def compute_bases(
    representations: Sequence[Tensor],
    *,
    relative_cutoff: float = RELATIVE_CUTOFF,
    with_loadings: bool = False,
) -> list[Basis]:
    """Decompose each representation once; see ``compute_basis``.

    Raises:
        ValueError: If there are no representations, one is not a matrix of finite numbers, or they hold
            different numbers of stimuli.
    """
    require_same_stimuli(representations)
    return [
        compute_basis(x, relative_cutoff=relative_cutoff, with_loadings=with_loadings)
        for x in representations
    ]


def iterate_pair_blocks(bases: Sequence[Basis], *, memory_bytes: int) -> Iterator[PairBlock]:
    """Multiply the bases of every unordered pair of models, each model with itself included.

    Models without any direction are left out.

    Args:
        bases: One for each model, on one device.
        memory_bytes: Bound for the products in memory; one pair is always in memory. Not the result.

    Yields:
        Blocks of pairs with equal ranks.
    """
    by_ranks: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for a, basis_a in enumerate(bases):
        for b in range(a, len(bases)):
            if basis_a.rank == 0 or bases[b].rank == 0:
                continue
            pair = (a, b) if basis_a.rank <= bases[b].rank else (b, a)
            by_ranks[bases[pair[0]].rank, bases[pair[1]].rank].append(pair)
    for (rank_first, rank_second), pairs in by_ranks.items():
        bytes_per_pair = BLOCK_COPIES * DOUBLE_BYTES * rank_first * rank_second
        pairs_per_block = max(1, memory_bytes // bytes_per_pair)
        for start in range(0, len(pairs), pairs_per_block):
            yield _multiply_bases(bases, pairs[start : start + pairs_per_block], (rank_first, rank_second))


def sum_singular_values(matrices: Tensor) -> Tensor:
    """Sum the singular values of each matrix of a batch: its nuclear norm.

    On the CPU by ``svdvals``, to rounding. On a GPU, where it is slow for large matrices, by the eigenvalues
    of the smaller Gram matrix: singular values below 1e-8 of the largest are then uncertain by that much.

    Args:
        matrices: Shape (n_matrices, n_rows, n_columns), float64.

    Returns:
        Nuclear norms, shape (n_matrices,), float64.
    """
    if matrices.device.type == "cpu":
        singular_values: Tensor = torch.linalg.svdvals(matrices)
        return singular_values.sum(dim=-1)
    return _sum_roots_of_gram(matrices)


def require_same_stimuli(representations: Sequence[Tensor]) -> None:
    """Refuse representations that cannot be compared row by row.

    Raises:
        ValueError: If there are none, one is not a matrix of finite numbers with at least one feature, or
            they hold different numbers of stimuli.
    """
    if not representations:
        raise ValueError("no representations to compare, need at least one")
    n_stimuli = len(representations[0])
    for index, x in enumerate(representations):
        if x.ndim != 2 or 0 in x.shape:
            raise ValueError(
                f"representation {index} has shape {tuple(x.shape)},"
                " need (n_stimuli, n_features), neither of them 0"
            )
        if len(x) != n_stimuli:
            raise ValueError(
                f"representation {index} holds {len(x)} stimuli, representation 0 holds {n_stimuli};"
                " all must hold the same stimuli in the same order"
            )
        if not torch.isfinite(x).all():
            raise ValueError(f"representation {index} holds NaN or infinity, need finite numbers")


def _decompose(gram: Tensor, relative_cutoff: float) -> tuple[Tensor, Tensor]:
    """Return the eigenvalues above the cut-off, descending, and their eigenvectors."""
    eigenvalues, eigenvectors = torch.linalg.eigh(gram)
    kept = eigenvalues > relative_cutoff * eigenvalues[-1]
    return eigenvalues[kept].flip(0), eigenvectors[:, kept].flip(1)


def _make_orthonormal(directions: Tensor) -> Tensor:
    """Repair what dividing by small spreads costs; the descending order leaves strong directions alone."""
    factor = torch.linalg.cholesky(directions.T @ directions)
    repaired: Tensor = torch.linalg.solve_triangular(factor, directions.T, upper=False)
    return repaired.T


def _empty_basis(centred: Tensor) -> Basis:
    return Basis(centred[:, :0], centred.new_zeros(0), 0.0, centred[:0])


def _multiply_bases(
    bases: Sequence[Basis], pairs: Sequence[tuple[int, int]], ranks: tuple[int, int]
) -> PairBlock:
    cross = bases[pairs[0][0]].directions.new_empty(len(pairs), *ranks)
    for product, (a, b) in zip(cross, pairs, strict=True):
        torch.mm(bases[a].directions.T, bases[b].directions, out=product)
    return PairBlock([a for a, _ in pairs], [b for _, b in pairs], bases, cross)


def _sum_roots_of_gram(matrices: Tensor) -> Tensor:
    wide = matrices if matrices.shape[1] <= matrices.shape[2] else matrices.mT
    eigenvalues: Tensor = torch.linalg.eigvalsh(wide @ wide.mT)
    return eigenvalues.clamp(min=0).sqrt().sum(dim=-1)
