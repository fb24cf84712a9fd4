"""Procrustes and its kin: how far two models stay apart after the best rotation of one onto the other.

All of them are functions of one number for each pair, the nuclear norm of the product of the centred
representations of unit norm (their fidelity), which needs neither the rotation itself nor equal feature
counts.
"""

import torch
from torch import Tensor

from rep_kedro.kernels.basis import PairBlock, PairValues
from rep_kedro.kernels.cca import refuse_full_rank


def measure_nbs(block: PairBlock) -> PairValues:
    """Return the normalised Bures similarity, the cosine of the angular Procrustes distance, in [0, 1].

    Source: Tang et al. 2020, arXiv:2003.11370; Harvey et al. 2023, arXiv:2311.11436.
    """
    return PairValues.symmetric(block.fidelity)


def measure_procrustes(block: PairBlock) -> PairValues:
    """Return the Euclidean distance of unit-norm representations after the best rotation, in [0, sqrt(2)].

    Source: Ding et al. 2021, arXiv:2108.01661 (its square); Williams et al. 2021, arXiv:2110.14739.
    """
    return PairValues.symmetric((2 - 2 * block.fidelity).clamp(min=0).sqrt())


def measure_procrustes_angular(block: PairBlock) -> PairValues:
    """Return the angle between representations after the best rotation, in [0, pi/2] rad; a metric.

    Rounding in the cosine of a small angle leaves the angle uncertain by some 1e-8.

    Source: Williams et al. 2021, arXiv:2110.14739, equation 5.
    """
    return PairValues.symmetric(block.fidelity.arccos())


def measure_size_and_shape(block: PairBlock) -> PairValues:
    """Return the Euclidean distance of centred representations of their own size after the best rotation.

    Unbounded, in the unit of the features; grows with the square root of the number of stimuli.

    Source: Dryden & Mardia 2016, doi:10.1002/9781119072492, section 5.6.
    """
    size_first, size_second = _sizes(block, block.first), _sizes(block, block.second)
    # as a sum of two squares: no cancellation where sizes differ and shapes agree
    apart = 2 * size_first * size_second * (1 - block.fidelity)
    return PairValues.symmetric(((size_first - size_second).square() + apart).clamp(min=0).sqrt())


def measure_shape_angular(block: PairBlock, *, alpha: float) -> PairValues:
    """Return the angular Procrustes distance of partly whitened representations, in [0, pi/2] rad; a metric.

    Spreads s along the basis become ``alpha * s + (1 - alpha)`` and are scaled to unit norm: 1 is Procrustes,
    0 is CCA. Between the two the value depends on the size of the features, and so on the number of stimuli,
    as in the source.

    Args:
        block: Products of bases.
        alpha: Share of the original spread, in [0, 1].

    Raises:
        ValueError: If alpha is not in [0, 1].

    Source: Williams et al. 2021, arXiv:2110.14739, equation 8.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}, must lie in [0, 1]")
    weights = []
    for spread, models in ((block.spread_first, block.first), (block.spread_second, block.second)):
        mixed = alpha * spread * _sizes(block, models)[:, None] + (1 - alpha)
        weights.append(mixed / torch.linalg.vector_norm(mixed, dim=1, keepdim=True))
    cosine = block.sum_weighted(weights[0], weights[1]).clamp(max=1.0)
    return PairValues.symmetric(cosine.arccos(), refuse_full_rank(block) if alpha == 0 else None)


def _sizes(block: PairBlock, models: list[int]) -> Tensor:
    """Return the Frobenius norms of the centred representations, shape (n_pairs,)."""
    return block.cross.new_tensor([block.bases[model].norm for model in models])
