"""Which entries of a stitch may differ from zero: each mask is one function.

Channels that do not vary correlate with nothing: a row of such an end channel, and of any end channel where
no front channel varies, has no entry.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Generator, Tensor

from rep_kedro.kernels.stitching.moments import PairedMoments

FEWEST_STEPS_OF_VARIANCE = 2
"""Steps of an epoch from which the mask ``variance`` is made: changes that differ."""


@dataclass(frozen=True)
class MaskSource:
    """What masks are made of.

    Attributes:
        moments: Of front and end.
        generator: Of random masks.
        percentile: Of the mask ``variance``, in (0, 100].
        weights_of_an_epoch: Called by the mask ``variance`` alone: weights after each step of an epoch of
            plain gradient descent, (n_steps, n_end, n_front).
    """

    moments: PairedMoments
    generator: Generator
    percentile: float = 10.0
    weights_of_an_epoch: Callable[[], Tensor] | None = None


def keep_all(source: MaskSource) -> Tensor:
    """Keep every entry."""
    return torch.ones(source.moments.n_end, source.moments.n_front, dtype=torch.bool)


def keep_most_correlated(source: MaskSource) -> Tensor:
    """Keep for each end channel the front channel with the highest correlation; one may serve several."""
    return _keep_largest(source.moments.correlations())


def keep_most_correlated_either_sign(source: MaskSource) -> Tensor:
    """Keep for each end channel the front channel with the highest absolute correlation."""
    return _keep_largest(source.moments.correlations().abs())


def keep_random(source: MaskSource) -> Tensor:
    """Keep for each end channel a random front channel; one may serve several, as the original draws it."""
    moments = source.moments
    drawn = torch.rand(moments.n_end, moments.n_front, generator=source.generator, dtype=torch.float64)
    return _keep_largest(drawn)


def keep_permutation(source: MaskSource) -> Tensor:
    """Keep random pairs, no channel in two: each channel of the narrower layer in one."""
    moments = source.moments
    rows, columns = (
        torch.randperm(n, generator=source.generator)[: min(moments.n_end, moments.n_front)]
        for n in (moments.n_end, moments.n_front)
    )
    return _keep_pairs(moments, rows, columns)


def keep_best_pairs(source: MaskSource) -> Tensor:
    """Keep the pairs, no channel in two, whose correlations have the largest sum (Hungarian algorithm)."""
    gains = source.moments.correlations().nan_to_num(nan=-2.0)  # below every correlation
    rows, columns = linear_sum_assignment(gains.cpu().numpy(), maximize=True)
    mask = _keep_pairs(source.moments, torch.from_numpy(rows), torch.from_numpy(columns))
    return mask & (gains >= -1.0)


def keep_stable(source: MaskSource) -> Tensor:
    """Keep the entries whose changes in one epoch vary least: up to the percentile of their deviations.

    Raises:
        ValueError: If the source gives no weights, or fewer than three steps.
    """
    if source.weights_of_an_epoch is None:
        raise ValueError("the mask 'variance' needs the weights of an epoch, got none")
    weights = source.weights_of_an_epoch()
    if len(weights) <= FEWEST_STEPS_OF_VARIANCE:
        raise ValueError(f"the mask 'variance' needs weights after at least 3 steps, got {len(weights)}")
    deviations = weights.diff(dim=0).std(dim=0, correction=0)
    return deviations <= torch.quantile(deviations.flatten(), source.percentile / 100.0)


MASKS: dict[str, Callable[[MaskSource], Tensor]] = {
    "identity": keep_all,
    "semi-match": keep_most_correlated,
    "abs-semi-match": keep_most_correlated_either_sign,
    "random-permutation": keep_random,
    "permutation": keep_permutation,
    "assignment": keep_best_pairs,
    "variance": keep_stable,
}
"""Boolean (n_end, n_front) by name; names of the original, and ``permutation`` and ``assignment``."""


def _keep_largest(values: Tensor) -> Tensor:
    """Return where each row is largest, first of equal ones; rows of NaN have no entry."""
    filled = values.nan_to_num(nan=-torch.inf)
    mask = torch.zeros(values.shape, dtype=torch.bool)
    mask[torch.arange(len(values)), filled.argmax(dim=1)] = True
    return mask & ~values.isnan()


def _keep_pairs(moments: PairedMoments, rows: Tensor, columns: Tensor) -> Tensor:
    mask = torch.zeros(moments.n_end, moments.n_front, dtype=torch.bool)
    mask[rows, columns] = True
    return mask
