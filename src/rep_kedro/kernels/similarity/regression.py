"""How well a linear read-out of one model predicts another: regression and the GULP distance.

Both need only the squared entries of the product of two bases, so they cost nothing beyond it.
"""

from rep_kedro.kernels.similarity.basis import PairBlock
from rep_kedro.kernels.similarity.distinct_stimuli import describe_count
from rep_kedro.kernels.similarity.model_pairs import PairValues


def measure_linear_regression(block: PairBlock) -> PairValues:
    """Return the share of the variance of one model that a linear map from the other explains, in [0, 1].

    Directed: from the model that predicts, of the model that is predicted. Fitted and judged on the same
    stimuli, so that a predictor of rank r reaches about r / (n_stimuli - 1) on noise; at full rank it fits
    anything, and the measure refuses.

    Source: Kornblith et al. 2019, arXiv:1905.00414, equation 5.
    """
    squared = block.cross.square()
    forward = (squared.sum(dim=1) * block.spread_second.square()).sum(dim=1)
    backward = (squared.sum(dim=2) * block.spread_first.square()).sum(dim=1)
    reasons = [
        {
            position: _explain_perfect_fit(rank, block.n_distinct[position], block.n_stimuli)
            for position in block.others
            if rank >= block.n_distinct[position] - 1
        }
        for rank in block.ranks
    ]
    return PairValues.directed(forward.clamp(max=1.0), backward.clamp(max=1.0), reasons[0], reasons[1])


def measure_gulp(block: PairBlock, *, ridge: float) -> PairValues:
    """Return the squared GULP distance: how differently ridge regressions on two models can predict at most.

    Representations are centred and scaled to unit total variance. In [0, rank_a + rank_b]; larger ridges look
    at the leading directions alone.

    Args:
        block: Products of bases.
        ridge: Strength of the ridge penalty relative to a total variance of 1, positive; at zero the distance
            would only count directions.

    Source: Boix-Adsera et al. 2022, arXiv:2210.06545, section 2.
    """
    variance_first, variance_second = block.spread_first.square(), block.spread_second.square()
    kept_first, kept_second = (
        variance_first / (variance_first + ridge),
        variance_second / (variance_second + ridge),
    )
    shared = (kept_first[:, :, None] * block.cross.square() * kept_second[:, None, :]).sum(dim=(1, 2))
    squared_distance = kept_first.square().sum(dim=1) + kept_second.square().sum(dim=1) - 2 * shared
    return PairValues.symmetric(squared_distance.clamp(min=0))


def _explain_perfect_fit(rank: int, n_distinct: int, n_stimuli: int) -> str:
    centred = describe_count(n_distinct, n_stimuli).replace("stimuli", "centred stimuli")
    return (
        f"a predictor of rank {rank} fits any features of {centred} perfectly;"
        " use more stimuli or fewer features"
    )
