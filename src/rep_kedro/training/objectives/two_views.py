"""Shared parts of self-supervised objectives: two random views, a projector, maybe a wanted rank."""

from typing import Any, ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from rep_kedro.errors import UserError
from rep_kedro.models.network import Network
from rep_kedro.models.projector import Projector
from rep_kedro.training.objectives.protocol import Objective, Widths, embed
from rep_kedro.training.objectives.target_rank import RankWeight
from rep_kedro.training.objectives.views import Views


def require_pairs(who: str, first: Tensor, second: Tensor) -> None:
    """Refuse embeddings that are not those of two views of several images."""
    if first.shape != second.shape or first.ndim != 2 or len(first) < 2:
        raise ValueError(
            f"{who} needs two equal shapes (n_images >= 2, n_dimensions),"
            f" got {tuple(first.shape)} and {tuple(second.shape)}"
        )


class TwoViewHead(nn.Module):
    """A projector, and what an objective keeps with it between steps.

    Attributes:
        projector: Makes embeddings.
        rank_weight: Of the embeddings' rank in the loss; None where no rank is wanted.
    """

    def __init__(self, projector: Projector, rank_weight: RankWeight | None) -> None:
        super().__init__()
        self.projector = projector
        self.rank_weight = rank_weight

    def forward(self, representations: Tensor) -> Tensor:
        """Return embeddings."""
        return torch.as_tensor(self.projector(representations))


class TwoViewObjective(Objective):
    """Base of objectives that make the embeddings of two views of an image agree.

    Attributes:
        projector_widths: Layers of the projector; the last is the embedding.
        projector_batch_norm: Whether the projector has batch norm between its layers.
        projector_bias: Whether its linear layers have biases.
        views: Augmentation, drawn twice per image.
        second_view: Settings of `views` that the second view has otherwise; null for none.
        target_rank: RankMe that the embeddings of a batch are driven to; null leaves it alone.
        target_rank_log_weight: Natural logarithm of the rank's first weight in the loss.
        target_rank_rate: Step of that logarithm, see `target_rank`.
    """

    has_head: ClassVar[bool] = False
    n_views: ClassVar[int] = 2

    projector_widths: Widths = (64, 64)
    projector_batch_norm: bool = True
    projector_bias: bool = False
    views: Views = Views(
        crop_area=(0.4, 1.0), rotation_deg=15, shear=0.2, brightness=0.3, contrast=0.4, noise_std=0.05
    )
    second_view: dict[str, Any] | None = None
    target_rank: float | None = Field(default=None, ge=1)
    target_rank_log_weight: float = -1.6
    target_rank_rate: float = Field(default=3e-2, gt=0)

    @model_validator(mode="after")
    def _require_sound(self) -> Self:
        if not self.projector_widths:
            raise UserError("projector_widths is empty; give the width of at least one layer, as [64]")
        if self.target_rank is not None and self.target_rank > (width := self.projector_widths[-1]):
            raise UserError(
                f"target_rank {self.target_rank:g} exceeds the {width} dimensions of the embedding; lower it,"
                " or widen the last of projector_widths"
            )
        self._second_views()
        return self

    def _second_views(self) -> Views:
        return self.views.changed(self.second_view or {}, "second_view")

    def require_batch(self, n_images: int) -> None:
        """Refuse batches whose embeddings cannot have the wanted rank."""
        if self.target_rank is not None and n_images < self.target_rank:
            raise UserError(
                f"target_rank {self.target_rank:g} exceeds batch_size {n_images}, which bounds the rank of a"
                " batch; lower target_rank or raise batch_size"
            )

    def build_projector(self, network: Network, generator: torch.Generator) -> nn.Module:
        """Return the projector, with the weight of its rank."""
        return TwoViewHead(self._make_projector(network, generator), self._make_rank_weight())

    def stored_projector(self, projector: nn.Module) -> Projector | None:
        """Return the projector without what the objective keeps with it."""
        assert isinstance(projector, TwoViewHead)  # noqa: S101
        return projector.projector

    def compute_losses(
        self,
        network: Network,
        projector: nn.Module,
        images: Tensor,
        labels: Tensor,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """Return the loss of two fresh views of each image, and its parts."""
        first, second = embed(network, projector, self.draw_views(images, generator)).chunk(2)
        losses = self.compare_views(first, second)
        return self.drive_rank(losses, network, projector, images)

    def draw_views(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return the first views of all images, then the second ones."""
        both = (self.views, self.views if self.second_view is None else self._second_views())
        return torch.cat([views.draw(images, generator) for views in both])

    def drive_rank(
        self, losses: dict[str, Tensor], network: Network, projector: nn.Module, images: Tensor
    ) -> dict[str, Tensor]:
        """Return the losses, where a rank is wanted with that of the untouched images' embeddings."""
        if self.target_rank is None:
            return losses
        rank, weight = projector.get_submodule("rank_weight")(embed(network, projector, images))
        return {**losses, "loss": losses["loss"] - weight * rank, "batch_rank": rank, "rank_weight": weight}

    def after_update(self, network: Network, projector: nn.Module, progress: float) -> None:
        """Move the weight of the rank."""
        if self.target_rank is not None:
            weight = projector.get_submodule("rank_weight")
            assert isinstance(weight, RankWeight)  # noqa: S101
            weight.move(self.target_rank, self.target_rank_rate)

    def compare_views(self, first: Tensor, second: Tensor) -> dict[str, Tensor]:
        """Return ``loss`` and its parts from the embeddings of two views, each (n_images, n_dimensions).

        Objectives that need more than these have a `compute_losses` of their own.
        """
        raise NotImplementedError(f"objective {self.id!r} compares more than embeddings")

    def _make_projector(self, network: Network, generator: torch.Generator) -> Projector:
        return Projector(
            network.output_width,
            self.projector_widths,
            generator,
            batch_norm=self.projector_batch_norm,
            bias=self.projector_bias,
        )

    def _make_rank_weight(self) -> RankWeight | None:
        return None if self.target_rank is None else RankWeight(self.target_rank_log_weight)
