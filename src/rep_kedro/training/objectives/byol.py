"""BYOL: a predictor should find, from one view, what a slow copy of the network makes of the other."""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from rep_kedro.models.network import Network
from rep_kedro.models.projector import Projector
from rep_kedro.training.objectives.protocol import Width, embed
from rep_kedro.training.objectives.slow_copy import SlowCopy, rising_momentum
from rep_kedro.training.objectives.target_rank import RankWeight
from rep_kedro.training.objectives.two_views import TwoViewHead, TwoViewObjective


def byol_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared distance of two sets of directions, 2 - 2 * cosine, in [0, 4].

    Args:
        predicted: Shape (n, n_dimensions).
        target: Same shape, row by row of the same images.

    Raises:
        ValueError: If the shapes differ.

    Source:
        Grill et al. 2020, arXiv:2006.07733, equation 2.
    """
    if predicted.shape != target.shape or predicted.ndim != 2:
        raise ValueError(
            "BYOL needs two equal shapes (n_images, n_dimensions),"
            f" got {tuple(predicted.shape)} and {tuple(target.shape)}"
        )
    directions = nn.functional.normalize(predicted, dim=1), nn.functional.normalize(target, dim=1)
    return (2 - 2 * (directions[0] * directions[1]).sum(dim=1)).mean()


class BYOLHead(TwoViewHead):
    """Projector, predictor, and the target."""

    def __init__(
        self, projector: Projector, rank_weight: RankWeight | None, predictor: Projector, target: SlowCopy
    ) -> None:
        super().__init__(projector, rank_weight)
        self.predictor = predictor
        self.target = target


class BYOL(TwoViewObjective):
    """Bootstrap your own latent.

    Attributes:
        predictor_width: Of the hidden layer of the predictor, which has the projector's batch norm and bias.
        momentum: Share of the target's weights that an update keeps, at first; rises to 1 on a half cosine.
    """

    id: ClassVar[str] = "byol"
    source: ClassVar[str] = "Grill et al. 2020, arXiv:2006.07733"

    predictor_width: Width = 64
    momentum: float = Field(default=0.996, ge=0, le=1)

    def build_projector(self, network: Network, generator: torch.Generator) -> nn.Module:
        """Return projector, predictor, and copies of network and projector."""
        projector = self._make_projector(network, generator)
        width = self.projector_widths[-1]
        predictor = Projector(
            width,
            (self.predictor_width, width),
            generator,
            batch_norm=self.projector_batch_norm,
            bias=self.projector_bias,
        )
        return BYOLHead(projector, self._make_rank_weight(), predictor, SlowCopy(network, projector))

    def compute_losses(
        self,
        network: Network,
        projector: nn.Module,
        images: Tensor,
        labels: Tensor,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """Return the sum over both directions of the loss of two fresh views of each image."""
        assert isinstance(projector, BYOLHead)  # noqa: S101
        views = self.draw_views(images, generator)
        predicted = projector.predictor(embed(network, projector, views))
        with torch.no_grad():
            wanted = embed(projector.target.network, projector.target.projector, views)
        swapped = wanted.roll(len(images), dims=0)  # each view's target is the other view of its image
        losses = {"loss": 2 * byol_loss(predicted, swapped)}
        return self.drive_rank(losses, network, projector, images)

    def after_update(self, network: Network, projector: nn.Module, progress: float) -> None:
        """Let the target follow."""
        super().after_update(network, projector, progress)
        assert isinstance(projector, BYOLHead)  # noqa: S101
        momentum = rising_momentum(self.momentum, progress)
        projector.target.follow(network, projector.projector, momentum)
