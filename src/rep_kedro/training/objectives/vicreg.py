"""VICReg: equal embeddings for two views, each dimension spread out, dimensions uncorrelated."""

from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn

from rep_kedro.kernels.training.portable import portable_sqrt
from rep_kedro.training.objectives.two_views import TwoViewObjective, require_pairs

VARIANCE_FLOOR = (
    1e-4  # under the root; the paper's epsilon, keeps the gradient finite when a dimension collapses
)


def invariance_loss(first: Tensor, second: Tensor) -> Tensor:
    """Return the mean squared difference of two sets of embeddings, shape (n, n_dimensions)."""
    return nn.functional.mse_loss(first, second)


def variance_loss(embeddings: Tensor) -> Tensor:
    """Return by how much the dimensions' standard deviations fall short of 1, on average, in [0, 0.99]."""
    std = portable_sqrt(embeddings.var(dim=0) + VARIANCE_FLOOR)
    return (1 - std).relu().mean()


def covariance_loss(embeddings: Tensor) -> Tensor:
    """Return the squared covariances between different dimensions, summed, per dimension."""
    n, n_dimensions = embeddings.shape
    centred = embeddings - embeddings.mean(dim=0)
    covariance = centred.T @ centred / (n - 1)
    squares = covariance.square()
    return (squares.sum() - squares.diagonal().sum()) / n_dimensions


def vicreg_losses(
    first: Tensor,
    second: Tensor,
    *,
    invariance_weight: float,
    variance_weight: float,
    covariance_weight: float,
) -> dict[str, Tensor]:
    """Return the loss and its three parts, unweighted.

    Args:
        first: Embeddings of the first views, shape (n, n_dimensions), n >= 2.
        second: Embeddings of the second views, row by row of the same images.
        invariance_weight: Of the invariance term.
        variance_weight: Of the variance term, which is the mean over the two sets.
        covariance_weight: Of the covariance term, which is the sum over the two sets.

    Returns:
        `loss`, `invariance`, `variance`, `covariance`; symmetric in the two sets.

    Raises:
        ValueError: If the shapes differ or there is one image only.

    Source:
        Bardes et al. 2022, arXiv:2105.04906, equations 1 to 6 and algorithm 1. As in the authors' code the
        variance term is halved; libraries that leave the half out need half the weight.
    """
    require_pairs("VICReg", first, second)
    invariance = invariance_loss(first, second)
    variance = (variance_loss(first) + variance_loss(second)) / 2
    covariance = covariance_loss(first) + covariance_loss(second)
    loss = invariance_weight * invariance + variance_weight * variance + covariance_weight * covariance
    return {"loss": loss, "invariance": invariance, "variance": variance, "covariance": covariance}


class VICReg(TwoViewObjective):
    """Variance-invariance-covariance regularisation on a projector.

    Attributes:
        invariance_weight: Weight of the mean squared difference between views.
        variance_weight: Weight of the hinge on standard deviations.
        covariance_weight: Weight of the squared covariances.
    """

    id: ClassVar[str] = "vicreg"
    source: ClassVar[str] = "Bardes et al. 2022, arXiv:2105.04906"

    invariance_weight: float = Field(default=25.0, ge=0)
    variance_weight: float = Field(default=25.0, ge=0)
    covariance_weight: float = Field(default=1.0, ge=0)

    def compare_views(self, first: Tensor, second: Tensor) -> dict[str, Tensor]:
        """Return the weighted loss and its three parts."""
        return vicreg_losses(
            first,
            second,
            invariance_weight=self.invariance_weight,
            variance_weight=self.variance_weight,
            covariance_weight=self.covariance_weight,
        )
