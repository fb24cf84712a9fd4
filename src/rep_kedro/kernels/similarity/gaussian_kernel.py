"""Gaussian kernels of any width, in a form that keeps the digits that centring looks at.

Entries of a wide kernel differ from one by little, so that ``K - 1`` is kept; entries of a narrow one are
tiny, and ``K - 1`` would round to minus one: ``K`` itself is kept, times a constant that makes the entry of
the closest pair one where all would leave the range of numbers. CKA sees neither a constant nor a factor.
"""

from collections.abc import Sequence
from math import exp

import torch
from torch import Tensor

from rep_kedro.kernels.similarity.centred import CentredFeatures
from rep_kedro.kernels.similarity.distance_sums import smallest_squared_distance
from rep_kedro.kernels.similarity.gram import PairSums
from rep_kedro.kernels.similarity.stimulus_sample import StimulusSample

WIDE = 0.5  # mean entry from which a kernel is kept less one
SMALL_EXPONENT = 16.0  # up to here entries and their products are far from the end of float32's range
FLATTEST, STEEPEST = 1e-10, 1e290  # beyond: linear in D^2 to ten digits; the closest pair is all there is
SAME_DISTANCE = 1e-11  # squared distances nearer to each other, relative to their size, differ by rounding


class GaussianKernel:
    """``exp(-D^2 / (2 width^2))`` off the diagonal but for a constant and a factor of each model.

    Attributes:
        at_zero: What the constant makes of an entry for distance zero; before the factor, for each model.
        log_factors: Logarithm of the factor, for each model.
    """

    def __init__(
        self,
        widths: Sequence[float],
        models: Sequence[CentredFeatures],
        samples: Sequence[StimulusSample],
        *,
        memory_bytes: int,
    ) -> None:
        """Take the width for each model, in units of its root mean squared norm."""
        self._rates = [rate_of(width) for width in widths]
        means = torch.stack(
            [
                sample.mean_of_pairs((-rate * sample.squared_distances).exp_())
                for rate, sample in zip(self._rates, samples, strict=True)
            ]
        )
        closest = torch.stack([sample.smallest_squared_distance for sample in samples])
        self._is_wide = [mean >= WIDE for mean in means.tolist()]
        self._nearest = [
            float(smallest_squared_distance(model, memory_bytes=memory_bytes)) * (1 + SAME_DISTANCE)
            if rate * distance > SMALL_EXPONENT
            else 0.0
            for model, rate, distance in zip(models, self._rates, closest.tolist(), strict=True)
        ]
        self.at_zero = [0.0 if wide else 1.0 for wide in self._is_wide]
        self.log_factors = [
            rate * d * (1 + SAME_DISTANCE) for rate, d in zip(self._rates, self._nearest, strict=True)
        ]

    def __call__(self, squared_distances: Tensor, model: int, out: Tensor) -> None:
        """See ``DistanceMap``."""
        if self._is_wide[model]:
            torch.mul(squared_distances, -self._rates[model], out=out)
            out.expm1_()
        else:
            # no entry exceeds one: only the diagonal, which is left out, is nearer than the nearest
            torch.sub(squared_distances, self._nearest[model], out=out).clamp_min_(0)
            out.mul_(-self._rates[model]).exp_()

    def with_diagonal(self, sums: PairSums, terms: Tensor) -> tuple[PairSums, Tensor]:
        """Return sums of the kernels without their factors, and the diagonals, shape as ``terms``."""
        factors = terms.new_tensor([exp(-exponent) for exponent in self.log_factors])
        return sums.scaled(factors), 2 * terms * factors[:, None] + terms.new_tensor(self.at_zero)[:, None]


def rate_of(width: float) -> float:
    """Return ``1 / (2 width^2)``, within a range that loses nothing of centred kernels."""
    if width * width == 0:
        return STEEPEST
    return min(max(0.5 / (width * width), FLATTEST), STEEPEST)
