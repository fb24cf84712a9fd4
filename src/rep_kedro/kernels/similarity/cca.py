"""Canonical correlations: what two models have in common up to any linear maps.

The canonical correlations are the singular values of the product of two orthonormal bases, so the spread of
the features along the bases is forgotten. Two subspaces whose ranks add up to more than there are stimuli
must meet: such correlations of 1 say nothing, and the measures refuse. Centring takes one dimension, so that
one correlation of 1 is forced already where the ranks add up to the number of stimuli.
"""

import torch
from torch import Tensor

from rep_kedro.kernels.similarity.basis import PairBlock
from rep_kedro.kernels.similarity.distinct_stimuli import describe_count
from rep_kedro.kernels.similarity.model_pairs import PairValues
from rep_kedro.kernels.similarity.nuclear_norm import sum_singular_values


def measure_cca_mean(block: PairBlock) -> PairValues:
    """Return the mean canonical correlation over the smaller rank, in [0, 1].

    Source: Raghu et al. 2017, arXiv:1706.05806; Kornblith et al. 2019, arXiv:1905.00414, table 1.
    """
    values = block.summed_correlations / min(block.ranks)
    return PairValues.symmetric(values.clamp(max=1.0), refuse_full_rank(block))


def measure_cca_mean_squared(block: PairBlock) -> PairValues:
    """Return the mean squared canonical correlation over the smaller rank (R2-CCA), in [0, 1].

    Source: Yanai 1974; Kornblith et al. 2019, arXiv:1905.00414, table 1.
    """
    values = block.cross.square().sum(dim=(1, 2)) / min(block.ranks)
    return PairValues.symmetric(values.clamp(max=1.0), refuse_full_rank(block))


def measure_eigenspace_overlap(block: PairBlock) -> PairValues:
    """Return the squared overlap of the two column spaces over the larger rank, in [0, 1].

    Ranks take the place of the feature counts of the source, which supposes full rank, so that a model with
    idle features still has overlap 1 with itself; and columns are centred, as everywhere in this family.

    Source: May et al. 2019, arXiv:1909.01264, definition 2.
    """
    values = block.cross.square().sum(dim=(1, 2)) / max(block.ranks)
    return PairValues.symmetric(values.clamp(max=1.0), refuse_full_rank(block))


def measure_svcca(block: PairBlock, *, variance_fraction: float) -> PairValues:
    """Return the mean canonical correlation of the leading principal components, in [0, 1].

    Args:
        block: Products of bases.
        variance_fraction: Of each model the fewest leading components are kept whose variances add up to at
            least this share of the total, in (0, 1].

    Source: Raghu et al. 2017, arXiv:1706.05806.
    """
    kept_first = _count_leading(block.spread_first, variance_fraction)
    kept_second = _count_leading(block.spread_second, variance_fraction)
    leading = block.cross[:, : int(kept_first.max()), : int(kept_second.max())].clone()
    leading[torch.arange(leading.shape[1], device=leading.device) >= kept_first[:, None]] = 0
    leading.mT[torch.arange(leading.shape[2], device=leading.device) >= kept_second[:, None]] = 0
    values = sum_singular_values(leading) / torch.minimum(kept_first, kept_second)
    ranks = list(zip(kept_first.tolist(), kept_second.tolist(), strict=True))
    reasons = {
        position: _explain_full_rank(ranks[position], block.n_distinct[position], block.n_stimuli)
        for position in block.others
        if sum(ranks[position]) > block.n_distinct[position]
    }
    return PairValues.symmetric(values.clamp(max=1.0), reasons)


def measure_pwcca(block: PairBlock) -> PairValues:
    """Return the canonical correlations weighted by what each variate means to one model (PWCCA).

    Directed: the weights are those of the model that is asked. The weight of a canonical variate is the sum
    over the features of the absolute products of the variate with the centred feature. Weights are not unique
    where canonical correlations coincide. Not invariant to rotation of the weighted features.

    Returns:
        Values in [0, 1], for both directions.

    Source: Morcos et al. 2018, arXiv:1806.05759, section 2.1. The code released with it leaves out the
        whitening when it forms the variates and gives other numbers.
    """
    left, correlations, right = torch.linalg.svd(block.cross, full_matrices=False)
    forward = _weigh(correlations, left, block, block.first)
    backward = _weigh(correlations, right.mT, block, block.second)
    reasons = refuse_full_rank(block)
    return PairValues.directed(forward, backward, reasons, reasons)


def _weigh(correlations: Tensor, variates: Tensor, block: PairBlock, models: list[int]) -> Tensor:
    """Average the correlations with the weights of ``variates``, shape (n_pairs, rank, n_variates)."""
    values = []
    for rho, coefficients, model in zip(correlations, variates, models, strict=True):
        loadings = block.bases[model].loadings
        if loadings is None:
            raise ValueError(
                f"the basis of representation {model} has no loadings; compute it with with_loadings=True"
            )
        weights = (coefficients.T @ loadings).abs().sum(dim=1)
        values.append((weights @ rho) / weights.sum())
    return torch.stack(values).clamp(max=1.0)


def _count_leading(spread: Tensor, variance_fraction: float) -> Tensor:
    """Count for each row the fewest leading components that reach the share of the variance."""
    cumulative = spread.square().cumsum(dim=1)
    share = cumulative / cumulative[:, -1:]
    return (share < variance_fraction).sum(dim=1) + 1


def refuse_full_rank(block: PairBlock) -> dict[int, str]:
    """Say for each pair of two models why its canonical correlations are forced, if they are.

    A model compared with itself is never refused: there all correlations are 1 indeed.
    """
    return {
        position: _explain_full_rank(block.ranks, block.n_distinct[position], block.n_stimuli)
        for position in block.others
        if sum(block.ranks) > block.n_distinct[position]
    }


def _explain_full_rank(ranks: tuple[int, int], n_distinct: int, n_stimuli: int) -> str:
    low, high = sorted(ranks)
    return (
        f"ranks {low} and {high} add up to more than the {describe_count(n_distinct, n_stimuli)}, so"
        " canonical correlations are 1 for any models; use more stimuli or fewer features"
    )
