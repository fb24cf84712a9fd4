"""VICReg-ctr: VICReg-exp that sets images apart instead of dimensions."""

from typing import ClassVar

from torch import Tensor

from rep_kedro.training.objectives.vicreg_exp import VICRegExp, soft_maximum_loss


class VICRegCtr(VICRegExp):
    """VICReg-exp on transposed embeddings: a soft maximum of the covariances between images.

    Attributes:
        covariance_weight: Weight of the soft maximum over the other images.
    """

    id: ClassVar[str] = "vicreg_ctr"
    source: ClassVar[str] = "Garrido et al. 2023, arXiv:2206.02574, section 4"

    def _decorrelation(self, embeddings: Tensor) -> Tensor:
        return soft_maximum_loss(embeddings.T, temperature=self.temperature)
