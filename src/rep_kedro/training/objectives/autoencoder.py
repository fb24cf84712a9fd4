"""Autoencoder: a decoder should find the image again in the representation of a view of it."""

from math import prod
from typing import ClassVar

import torch
from torch import Tensor, nn

from rep_kedro.models.network import Network
from rep_kedro.models.projector import Projector
from rep_kedro.training.objectives.protocol import Objective, Widths, embed
from rep_kedro.training.objectives.views import Views


class WithDecoder(nn.Module):
    """The representation as it is, and a decoder of it."""

    def __init__(self, decoder: Projector, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.decoder, self.image_shape = decoder, image_shape

    def forward(self, representations: Tensor) -> Tensor:
        """Return the representations."""
        return representations

    def decode(self, representations: Tensor) -> Tensor:
        """Return images (n, c, h, w)."""
        return torch.reshape(self.decoder(representations), (-1, *self.image_shape))


class Autoencoder(Objective):
    """Mean squared error of the decoded image; a denoising autoencoder where views differ from images.

    Attributes:
        decoder_widths: Hidden layers of the decoder, a perceptron with batch norm.
        views: What the network sees; the decoder should give the image without it.
    """

    id: ClassVar[str] = "autoencoder"
    source: ClassVar[str] = (
        "Hinton & Salakhutdinov 2006, doi:10.1126/science.1127647; with views: Vincent et al. 2008,"
        " doi:10.1145/1390156.1390294"
    )
    has_head: ClassVar[bool] = False

    decoder_widths: Widths = (128,)
    views: Views = Views()

    def build_projector(self, network: Network, generator: torch.Generator) -> nn.Module:
        """Return the decoder."""
        spec = network.architecture.input
        shape = (spec.channels, spec.size_px, spec.size_px)
        widths = (*self.decoder_widths, prod(shape))
        return WithDecoder(Projector(network.output_width, widths, generator, bias=True), shape)

    def compute_losses(
        self,
        network: Network,
        projector: nn.Module,
        images: Tensor,
        labels: Tensor,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """Return the mean squared error over all values of the images, which are in [0, 1]."""
        assert isinstance(projector, WithDecoder)  # noqa: S101
        representations = embed(network, projector, self.views.draw(images, generator))
        return {"loss": nn.functional.mse_loss(projector.decode(representations), images)}
