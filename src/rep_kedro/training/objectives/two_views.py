"""Shared parts of self-supervised objectives: two random views per image, a projector that is discarded."""

from abc import abstractmethod
from typing import ClassVar

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from rep_kedro.models.network import Network
from rep_kedro.training.objectives.projector import build_projector
from rep_kedro.training.objectives.protocol import Objective, embed
from rep_kedro.training.objectives.views import Views


class TwoViewObjective(Objective):
    """Base of objectives that make the embeddings of two views of an image agree.

    Attributes:
        projector_widths: Layers of the projector; the last is the embedding.
        views: Augmentation, drawn twice per image.
    """

    has_head: ClassVar[bool] = False

    projector_widths: tuple[PositiveInt, ...] = (64, 64)
    views: Views = Views(
        crop_area=(0.4, 1.0), rotation_deg=15, shear=0.2, brightness=0.3, contrast=0.4, noise_std=0.05
    )

    def build_projector(self, width: int, generator: torch.Generator) -> nn.Module:
        """Return a perceptron with batch norm between its layers."""
        return build_projector(width, self.projector_widths, generator)

    def compute_losses(
        self,
        network: Network,
        projector: nn.Module,
        images: Tensor,
        labels: Tensor,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """Return the loss of two fresh views of each image, and its parts."""
        views = torch.cat([self.views.draw(images, generator) for _ in range(2)])
        first, second = embed(network, projector, views).chunk(2)
        return self.compare_views(first, second)

    @abstractmethod
    def compare_views(self, first: Tensor, second: Tensor) -> dict[str, Tensor]:
        """Return ``loss`` and its parts from the embeddings of two views, each (n_images, n_dimensions)."""
