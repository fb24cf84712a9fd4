"""The interface of a training objective: settings, an optional projector, and a loss from images and labels.

An objective is a frozen record of its settings, so that it can be read from parameters and written into a
recipe.
"""

from typing import Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from rep_kedro.models.network import Network, scale_images_in_unit_range
from rep_kedro.parameter_model import PlainNumbers


class Objective(PlainNumbers, BaseModel):
    """Base of all objectives; one file holds one.

    Attributes:
        id: Name in parameters and keys.
        source: Paper and section.
        has_head: Whether the network is built with class logits.
        trains: False for controls, whose networks stay as drawn.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: ClassVar[str]
    source: ClassVar[str]
    has_head: ClassVar[bool]
    trains: ClassVar[bool] = True

    def build_projector(self, width: int, generator: torch.Generator) -> nn.Module:
        """Return the module between representation and loss, trained along and then thrown away."""
        return nn.Identity()

    def compute_losses(
        self,
        network: Network,
        projector: nn.Module,
        images: Tensor,
        labels: Tensor,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """Return `loss`, the number to minimise, and its parts by name, for one batch.

        Args:
            network: In training mode.
            projector: As built by `build_projector`.
            images: Shape (n, c, h, w), float, in [0, 1].
            labels: Shape (n,), int64; objectives without a head do not read them.
            generator: CPU generator of the augmentations.
        """
        raise TypeError(f"objective {self.id!r} has no loss: its networks keep their initial weights")

    def as_json(self) -> dict[str, Any]:
        """Return id and settings as plain JSON data."""
        return {"id": self.id, **self.model_dump(mode="json")}


def embed(network: Network, projector: nn.Module, images: Tensor) -> Tensor:
    """Return the projected representation of images in [0, 1]."""
    return torch.as_tensor(projector(network(scale_images_in_unit_range(images, network.architecture))))
