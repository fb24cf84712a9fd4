"""The interface of a training objective: settings, an optional projector, and a loss from images and labels.

An objective is a frozen record of its settings, so that it can be read from parameters and written into a
recipe. What it keeps between steps is part of the module that `build_projector` returns: its parameters are
trained along, and all of its state is part of a checkpoint.
"""

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from rep_kedro.models.network import Network, scale_images_in_unit_range
from rep_kedro.models.projector import Projector
from rep_kedro.parameter_model import Parameters

WIDEST = 2**14  # weights between two such layers, or correlations of such outputs, take 1 GiB
MOST_LAYERS = 16
Width = Annotated[int, Field(ge=1, le=WIDEST)]
Widths = Annotated[tuple[Width, ...], Field(max_length=MOST_LAYERS)]


class Objective(Parameters):
    """Base of all objectives; one file holds one.

    Attributes:
        id: Name in parameters and keys.
        source: Paper and section.
        has_head: Whether the network is built with class logits.
        trains: False for controls, whose networks stay as drawn.
        n_views: Views of an image that are compared.
    """

    id: ClassVar[str]
    source: ClassVar[str]
    has_head: ClassVar[bool]
    trains: ClassVar[bool] = True
    n_views: ClassVar[int] = 1

    def build_projector(self, network: Network, generator: torch.Generator) -> nn.Module:
        """Return the module between representation and loss: it makes embeddings of representations."""
        return nn.Identity()

    def stored_projector(self, projector: nn.Module) -> Projector | None:
        """Return the part of `build_projector`'s module that is stored with the network."""
        return None

    def require_batch(self, n_images: int) -> None:
        """Refuse batches that are too small.

        Raises:
            UserError: Says how many images are needed.
        """

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

    def after_update(self, network: Network, projector: nn.Module, progress: float) -> None:
        """Change what no gradient changes, after each update of the weights.

        Args:
            network: After the update.
            projector: As built by `build_projector`.
            progress: Share of the training's updates that are done, in (0, 1].
        """

    def as_json(self) -> dict[str, Any]:
        """Return id and settings as plain JSON data."""
        return {"id": self.id, **self.model_dump(mode="json")}


def embed(network: Network, projector: nn.Module, images: Tensor) -> Tensor:
    """Return the projected representation of images in [0, 1]."""
    return torch.as_tensor(projector(represent(network, images)))


def represent(network: Network, images: Tensor) -> Tensor:
    """Return what the network gives for images in [0, 1]."""
    return torch.as_tensor(network(scale_images_in_unit_range(images, network.architecture)))
