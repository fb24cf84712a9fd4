"""Procrustes and its relatives: the distance of two models after the best rotation of one onto the other.

All of them are functions of one number for each pair, the nuclear norm of the product of the centred
representations of unit norm (their fidelity), which needs neither the rotation itself nor equal feature
counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rep_kedro.kernels.similarity.basis import PairBlock, centre_to_unit, compute_basis
from rep_kedro.kernels.similarity.cca import refuse_full_rank
from rep_kedro.kernels.similarity.model_pairs import PairValues, are_equal, group_pairs, multiply_pairs
from rep_kedro.kernels.similarity.nuclear_norm import sum_singular_values


@dataclass(frozen=True)
class Rotations:
    """How well each two models agree after the best rotation.

    Attributes:
        fidelity: Nuclear norm of the product of two centred representations of unit norm, in [0, 1], shape
            (n_models, n_models), float64, symmetric; NaN for a model that does not distinguish stimuli.
        norms: Frobenius norms of the centred representations, shape (n_models,), float64.
    """

    fidelity: Tensor
    norms: Tensor

    @property
    def blind(self) -> list[int]:
        """Models that do not distinguish stimuli."""
        return [model for model, norm in enumerate(self.norms.tolist()) if norm == 0]


def compute_rotations(representations: Sequence[Tensor], *, memory_bytes: int) -> Rotations:
    """Compare all pairs of models after the best rotation of one onto the other.

    Args:
        representations: One matrix for each model, shape (n_stimuli, n_features_i).
        memory_bytes: Bound for the products of models in memory, one pair at least; one float64 copy of the
            features comes on top, n_stimuli x n_stimuli at most for a model.

    Cost:
        Time O(n_stimuli * w^2 + w^3) a pair with w the lesser of n_features and n_stimuli.
    """
    prepared = [reduce_to_span(x) for x in representations]
    points = [x for x, _ in prepared]
    norms = torch.tensor([norm for _, norm in prepared], dtype=torch.float64, device=points[0].device)
    fidelity = torch.full((len(points), len(points)), torch.nan, dtype=torch.float64, device=norms.device)
    fidelity.diagonal()[norms > 0] = 1.0
    for pairs in group_pairs([x.shape[1] for x in points], memory_bytes=memory_bytes, with_self=False):
        first, second = torch.tensor(pairs, device=norms.device).T
        values = sum_singular_values(multiply_pairs(points, pairs)).clamp(max=1.0)
        values[[are_equal(points[a], points[b]) for a, b in pairs]] = 1.0  # and not 1 up to rounding
        fidelity[first, second] = fidelity[second, first] = values
    return Rotations(fidelity, norms)


def reduce_to_span(representation: Tensor) -> tuple[Tensor, float]:
    """Return a centred representation of unit norm, turned so that it has no more features than stimuli."""
    if representation.shape[1] > len(representation):
        basis = compute_basis(representation)
        return basis.directions * basis.spread, basis.norm
    centred, norm = centre_to_unit(representation)
    return (centred if norm else centred[:, :0]), norm


def measure_nbs(rotations: Rotations) -> Tensor:
    """Return the normalised Bures similarity, the cosine of the angular Procrustes distance, in [0, 1].

    Source: Tang et al. 2020, arXiv:2003.11370; Harvey et al. 2023, arXiv:2311.11436.
    """
    return rotations.fidelity


def measure_procrustes(rotations: Rotations) -> Tensor:
    """Return the Euclidean distance of unit-norm representations after the best rotation, in [0, sqrt(2)].

    Source: Ding et al. 2021, arXiv:2108.01661 (its square); Williams et al. 2021, arXiv:2110.14739.
    """
    return (2 - 2 * rotations.fidelity).clamp(min=0).sqrt()


def measure_procrustes_angular(rotations: Rotations) -> Tensor:
    """Return the angle between representations after the best rotation, in [0, pi/2] rad; a metric.

    Rounding in the cosine of a small angle leaves the angle uncertain by some 1e-8.

    Source: Williams et al. 2021, arXiv:2110.14739, equation 5.
    """
    return rotations.fidelity.arccos()


def measure_size_and_shape(rotations: Rotations) -> Tensor:
    """Return the Euclidean distance of centred representations of their own size after the best rotation.

    Unbounded, in the unit of the features; grows with the square root of the number of stimuli.

    Source: Dryden & Mardia 2016, doi:10.1002/9781119072492, section 5.6.
    """
    return separate_sizes_and_shapes(rotations.fidelity, rotations.norms)


def separate_sizes_and_shapes(fidelity: Tensor, norms: Tensor) -> Tensor:
    """Return the distances of models with these norms, shape (n_models,), after the best rotation.

    Args:
        fidelity: Of models of unit norm, shape (..., n_models, n_models).
        norms: Any size: their squares need not be within the range of float64.
    """
    largest = norms.max()
    sizes = norms / largest.masked_fill(largest == 0, 1)
    # as a sum of two squares: no cancellation where sizes differ and shapes agree
    squared = (sizes[:, None] - sizes).square() + 2 * torch.outer(sizes, sizes) * (1 - fidelity)
    return largest * squared.clamp(min=0).sqrt()


def mix_spreads(spread: Tensor, norm: Tensor | float, alpha: float) -> Tensor:
    """Return ``alpha * spread * norm + (1 - alpha)``, scaled to unit norm along the last axis."""
    mixed = alpha * spread * norm + (1 - alpha)
    mixed = mixed / mixed.amax(dim=-1, keepdim=True)  # squares need not be within the range of float64
    unit: Tensor = mixed / torch.linalg.vector_norm(mixed, dim=-1, keepdim=True)
    return unit


def measure_shape_angular(block: PairBlock, *, alpha: float) -> PairValues:
    """Return the angular Procrustes distance of partly whitened representations, in [0, pi/2] rad; a metric.

    Spreads s along the basis become ``alpha * s + (1 - alpha)`` and are scaled to unit norm: 1 is Procrustes,
    0 is CCA. Between the two the value depends on the size of the features, and so on the number of stimuli,
    as in the source.

    Args:
        block: Products of bases.
        alpha: Share of the original spread, in [0, 1].

    Source: Williams et al. 2021, arXiv:2110.14739, equation 8.
    """
    first = mix_spreads(block.spread_first, _sizes(block, block.first)[:, None], alpha)
    second = mix_spreads(block.spread_second, _sizes(block, block.second)[:, None], alpha)
    cosine = block.sum_weighted(first, second).clamp(max=1.0)
    return PairValues.symmetric(cosine.arccos(), refuse_full_rank(block) if alpha == 0 else None)


def _sizes(block: PairBlock, models: list[int]) -> Tensor:
    """Return the Frobenius norms of the centred representations, shape (n_pairs,)."""
    return block.cross.new_tensor([block.bases[model].norm for model in models])
