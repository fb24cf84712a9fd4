"""Supervised classification by cross-entropy."""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from rep_kedro.models.network import Network
from rep_kedro.training.objectives.protocol import Objective, embed
from rep_kedro.training.objectives.views import Views


class Supervised(Objective):
    """Cross-entropy between class logits and labels.

    Attributes:
        label_smoothing: Share of the target that is spread over all classes.
        views: Augmentation of the training images.
    """

    id: ClassVar[str] = "supervised"
    source: ClassVar[str] = "cross-entropy; label smoothing: Szegedy et al. 2016, arXiv:1512.00567, section 7"
    has_head: ClassVar[bool] = True

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    views: Views = Views(rotation_deg=10, shift_fraction=0.08, zoom=(0.9, 1.1))

    def compute_losses(
        self,
        network: Network,
        projector: nn.Module,
        images: Tensor,
        labels: Tensor,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """Return the mean cross-entropy, in nats."""
        logits = embed(network, projector, self.views.draw(images, generator))
        return {"loss": nn.functional.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)}
