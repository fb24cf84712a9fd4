"""Barlow Twins: the correlations of the dimensions of two views should be the identity."""

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from rep_kedro.kernels.training.portable import portable_sqrt
from rep_kedro.training.objectives.two_views import TwoViewObjective, require_pairs

VARIANCE_FLOOR = 1e-5  # under the root, as in batch norm, which the authors' code calls


def barlow_twins_losses(first: Tensor, second: Tensor, *, redundancy_weight: float) -> dict[str, Tensor]:
    """Return the loss and its two parts, unweighted.

    Args:
        first: Embeddings of the first views, shape (n, n_dimensions), n >= 2.
        second: Embeddings of the second views, row by row of the same images.
        redundancy_weight: Of the entries off the diagonal.

    Returns:
        `loss`, `invariance` (squared distances of the diagonal from 1, summed) and `redundancy` (squares off
        the diagonal, summed); symmetric in the two sets.

    Raises:
        ValueError: If the shapes differ or there is one image only.

    Source:
        Zbontar et al. 2021, arXiv:2103.03230, equations 1 and 2. Each dimension is standardised within its
        batch with the biased variance plus 1e-5, as in the authors' code.
    """
    require_pairs("Barlow Twins", first, second)
    correlations = _standardise(first).T @ _standardise(second) / len(first)
    diagonal = correlations.diagonal()
    invariance = (diagonal - 1).square().sum()
    redundancy = correlations.square().sum() - diagonal.square().sum()
    loss = invariance + redundancy_weight * redundancy
    return {"loss": loss, "invariance": invariance, "redundancy": redundancy}


class BarlowTwins(TwoViewObjective):
    """Redundancy reduction on a projector.

    Attributes:
        redundancy_weight: Weight of the correlations between different dimensions.
    """

    id: ClassVar[str] = "barlow_twins"
    source: ClassVar[str] = "Zbontar et al. 2021, arXiv:2103.03230"

    redundancy_weight: float = Field(default=5e-3, ge=0)

    def compare_views(self, first: Tensor, second: Tensor) -> dict[str, Tensor]:
        """Return the weighted loss and its two parts."""
        return barlow_twins_losses(first, second, redundancy_weight=self.redundancy_weight)


def _standardise(embeddings: Tensor) -> Tensor:
    centred = embeddings - embeddings.mean(dim=0)
    return centred / portable_sqrt(centred.square().mean(dim=0) + VARIANCE_FLOOR)
