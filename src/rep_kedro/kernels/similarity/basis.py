"""One orthonormal basis for each model, and the products of bases that every linear-map measure is read from.

A column-centred representation of unit norm is written ``directions @ diag(spread) @ axes.T`` once per model.
All that CCA, Procrustes, shape distances, regression and GULP ask about two models is in the small product
``directions_a.T @ directions_b``, weighted on both sides by functions of the spreads; the features, their
number and the rotation ``axes`` drop out. More features than stimuli cost no accuracy and no special case.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from rep_kedro.kernels.similarity.distinct_stimuli import count_distinct, find_copies
from rep_kedro.kernels.similarity.model_pairs import are_equal, group_pairs, multiply_pairs
from rep_kedro.kernels.similarity.nuclear_norm import sum_singular_values
from rep_kedro.kernels.similarity.span import find_span, rounding_of

PRECISE_EIGENVALUE = 1e-10  # eigenvalues of a Gram matrix above this share of the largest have enough digits
RELATIVE_ZERO = (
    1e-12  # a centred representation this small relative to the raw one does not distinguish stimuli
)


@dataclass(frozen=True)
class Basis:
    """Thin singular value decomposition of one column-centred representation of unit norm.

    Attributes:
        directions: Orthonormal columns in stimulus space, shape (n_stimuli, rank), float64.
        spread: Singular values along them, shape (rank,), descending, squares sum to one.
        norm: Frobenius norm of the centred representation, before it is divided by it.
        loadings: ``directions.T @ centred / norm``, shape (rank, n_features), where asked for.
        copies: Equal numbers for equal stimuli, shape (n_stimuli,); None where all are different.
    """

    directions: Tensor
    spread: Tensor
    norm: float
    loadings: Tensor | None = None
    copies: Tensor | None = None

    @property
    def rank(self) -> int:
        """Number of directions kept; 0 for a representation that does not distinguish stimuli."""
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
    def n_distinct(self) -> list[int]:
        """Number of stimuli of each pair that differ for one of its models, or for both."""
        return [
            count_distinct(self.bases[a].copies, self.bases[b].copies, self.n_stimuli)
            for a, b in zip(self.first, self.second, strict=True)
        ]

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

    def sum_weighted(self, weights_first: Tensor, weights_second: Tensor) -> Tensor:
        """Return the nuclear norm of ``diag(weights_first) @ cross @ diag(weights_second)`` of each pair."""
        return self._sum_singular_values(weights_first[:, :, None] * self.cross * weights_second[:, None, :])

    def _sum_singular_values(self, matrices: Tensor) -> Tensor:
        if len(self._distinct) == len(self.first):
            return sum_singular_values(matrices)
        # a model with itself has a symmetric positive matrix, whose nuclear norm is its trace
        sums = matrices.diagonal(dim1=1, dim2=2).sum(dim=1)
        if self._distinct:
            sums[self._distinct] = sum_singular_values(matrices[self._distinct])
        return sums

    @cached_property
    def _distinct(self) -> list[int]:
        """Positions of the pairs of two models that differ; a model's double counts as the model itself."""
        return [
            position
            for position in self.others
            if not are_equal(
                self.bases[self.first[position]].directions, self.bases[self.second[position]].directions
            )
        ]


def compute_basis(representation: Tensor, *, with_loadings: bool = False) -> Basis:
    """Decompose one column-centred representation by the eigenvectors of its smaller side.

    A direction counts if it is more than the rounding of the numbers that the representation holds, see
    ``rep_kedro.kernels.similarity.span``; the sizes of stimuli and features do not matter.

    Args:
        representation: Shape (n_stimuli, n_features), finite, float32 or float64; need not be centred.
        with_loadings: Keep the features seen from the directions as well; projection-weighted CCA needs them.

    Returns:
        The basis; rank 0 where all stimuli are the same up to rounding.

    Cost:
        Time O(n_stimuli * n_features * s + s^3) with s the smaller of the two; memory one float64 copy.
        Several times as long where features depend on each other or spreads differ by more than 1e5.
    """
    centred, norm, raw_norm = _centre(representation)
    copies = find_copies(representation)
    if norm == 0:
        return _empty_basis(centred, copies)
    directions, spread = _decompose(representation, centred, raw_norm / norm)
    if not len(spread):
        return _empty_basis(centred, copies)
    spread = spread / torch.linalg.vector_norm(spread)
    loadings = directions.T @ centred if with_loadings else None
    return Basis(directions.contiguous(), spread, norm, loadings, copies)


def centre_to_unit(representation: Tensor) -> tuple[Tensor, float]:
    """Centre the columns of a representation and scale it to unit norm.

    Args:
        representation: Shape (n_stimuli, n_features), finite.

    Returns:
        The centred representation, float64, and its norm before it was scaled, which is 0 where all stimuli
        are the same up to rounding.
    """
    centred, norm, _ = _centre(representation)
    return centred, norm


def _centre(representation: Tensor) -> tuple[Tensor, float, float]:
    """Return what ``centre_to_unit`` does, and the norm before centring."""
    raw = representation.double()
    largest = float(torch.stack(raw.aminmax()).abs().max())
    if largest == 0:
        return raw, 0.0, 0.0
    # dividing by the largest number first keeps squares of very large or very small features in range
    centred = raw / largest
    mean = centred.mean(dim=0)
    centred -= mean
    norm = float(torch.linalg.vector_norm(centred))
    raw_norm = (norm**2 + len(raw) * float(mean.square().sum())) ** 0.5
    if norm <= RELATIVE_ZERO * raw_norm:
        return centred, 0.0, raw_norm * largest
    return centred.div_(norm), norm * largest, raw_norm * largest


def compute_bases(representations: Sequence[Tensor], *, with_loadings: bool = False) -> list[Basis]:
    """Decompose each representation once; see ``compute_basis``."""
    return [compute_basis(x, with_loadings=with_loadings) for x in representations]


def iterate_pair_blocks(bases: Sequence[Basis], *, memory_bytes: int) -> Iterator[PairBlock]:
    """Multiply the bases of every unordered pair of models, each model with itself included.

    Models without any direction are left out.

    Args:
        bases: One for each model, on one device.
        memory_bytes: Bound for the products in memory; one pair is always in memory. Not the result.

    Yields:
        Blocks of pairs with equal ranks.
    """
    ranks = [basis.rank for basis in bases]
    for pairs in group_pairs(ranks, memory_bytes=memory_bytes, with_self=True):
        yield _multiply_bases(bases, pairs)


def _decompose(representation: Tensor, centred: Tensor, raw_norm: float) -> tuple[Tensor, Tensor]:
    """Return the directions that are more than rounding, and the spreads along them, descending.

    Args:
        representation: As it is stored.
        centred: Centred, of unit norm.
        raw_norm: Norm of the representation in units of that of the centred one.
    """
    low, high = representation.aminmax(dim=0)
    if bool((low == high).any()):
        representation, centred = representation[:, low < high], centred[:, low < high]
    directions, spread = _eigenvectors(centred)
    rounding = rounding_of(representation)
    if len(spread) == min(len(centred) - 1, centred.shape[1]) and float(spread[-1]) > rounding * raw_norm:
        return directions, spread
    return _decompose_within(find_span(representation, rounding), centred)


def _eigenvectors(centred: Tensor) -> tuple[Tensor, Tensor]:
    """Return the directions whose eigenvalues of the smaller Gram matrix have enough digits."""
    if centred.shape[1] < centred.shape[0]:
        eigenvalues, axes = _precise_eigenvectors(centred.T @ centred)
        return _make_orthonormal(centred @ axes / eigenvalues.sqrt()), eigenvalues.sqrt()
    eigenvalues, directions = _precise_eigenvectors(centred @ centred.T)
    return directions, eigenvalues.sqrt()


def _precise_eigenvectors(gram: Tensor) -> tuple[Tensor, Tensor]:
    eigenvalues, eigenvectors = torch.linalg.eigh(gram)
    kept = eigenvalues > PRECISE_EIGENVALUE * eigenvalues[-1]
    return eigenvalues[kept].flip(0), eigenvectors[:, kept].flip(1)


def _decompose_within(directions: Tensor, centred: Tensor) -> tuple[Tensor, Tensor]:
    """Turn directions that span the features so that the features spread along each of them alone."""
    left, spread, _ = torch.linalg.svd(directions.T @ centred, full_matrices=False)
    return directions @ left, spread


def _make_orthonormal(directions: Tensor) -> Tensor:
    """Repair what dividing by small spreads costs; the descending order leaves strong directions alone."""
    factor = torch.linalg.cholesky(directions.T @ directions)
    repaired: Tensor = torch.linalg.solve_triangular(factor, directions.T, upper=False)
    return repaired.T


def _empty_basis(centred: Tensor, copies: Tensor | None) -> Basis:
    return Basis(centred[:, :0], centred.new_zeros(0), 0.0, centred[:0], copies)


def _multiply_bases(bases: Sequence[Basis], pairs: Sequence[tuple[int, int]]) -> PairBlock:
    cross = multiply_pairs([basis.directions for basis in bases], pairs)
    return PairBlock([a for a, _ in pairs], [b for _, b in pairs], bases, cross)
