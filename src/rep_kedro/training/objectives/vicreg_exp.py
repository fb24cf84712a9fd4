"""VICReg-exp: VICReg whose covariances are punished by a soft maximum."""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from rep_kedro.training.objectives.two_views import TwoViewObjective, require_pairs
from rep_kedro.training.objectives.vicreg import invariance_loss, variance_loss


def soft_maximum_loss(rows: Tensor, *, temperature: float) -> Tensor:
    """Return the soft maximum of each column's covariances with the other columns, on average.

    Args:
        rows: Shape (n, k), n, k >= 2.
        temperature: Divides the covariances.

    Returns:
        (1 / k) * sum over i of ln(sum over j != i of exp(C_ij / temperature)), C the unbiased covariances.
    """
    centred = rows - rows.mean(dim=0)
    covariance = centred.T @ centred / (len(rows) - 1)
    itself = torch.eye(len(covariance), dtype=torch.bool, device=rows.device)
    return torch.logsumexp((covariance / temperature).masked_fill(itself, -torch.inf), dim=1).mean()


class VICRegExp(TwoViewObjective):
    """VICReg with the soft maximum of covariances in place of their squares.

    Attributes:
        invariance_weight: Weight of the mean squared difference between views.
        variance_weight: Weight of the hinge on standard deviations.
        covariance_weight: Weight of the soft maximum.
        temperature: Of the soft maximum.
    """

    id: ClassVar[str] = "vicreg_exp"
    source: ClassVar[str] = "Garrido et al. 2023, arXiv:2206.02574, section 4"

    invariance_weight: float = Field(default=1.0, ge=0)
    variance_weight: float = Field(default=1.0, ge=0)
    covariance_weight: float = Field(default=1.0, ge=0)
    temperature: float = Field(default=0.1, gt=0)

    def compare_views(self, first: Tensor, second: Tensor) -> dict[str, Tensor]:
        """Return the weighted loss and its three parts, unweighted; the last is the sum over both sets."""
        require_pairs("VICReg-exp", first, second)
        invariance = invariance_loss(first, second)
        variance = (variance_loss(first) + variance_loss(second)) / 2
        covariance = self._decorrelation(first) + self._decorrelation(second)
        loss = (
            self.invariance_weight * invariance
            + self.variance_weight * variance
            + self.covariance_weight * covariance
        )
        return {"loss": loss, "invariance": invariance, "variance": variance, "covariance": covariance}

    def _decorrelation(self, embeddings: Tensor) -> Tensor:
        return soft_maximum_loss(embeddings, temperature=self.temperature)
