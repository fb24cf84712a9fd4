"""DINO: a student should sort its view of an image as a slow teacher sorts another view of it."""

from typing import Annotated, Any, ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from rep_kedro.errors import UserError
from rep_kedro.models.network import Network
from rep_kedro.models.projector import Projector
from rep_kedro.training.objectives.protocol import Widths, embed
from rep_kedro.training.objectives.slow_copy import SlowCopy, rising_momentum
from rep_kedro.training.objectives.target_rank import RankWeight
from rep_kedro.training.objectives.two_views import TwoViewHead, TwoViewObjective
from rep_kedro.training.objectives.views import Views

Temperature = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
MOST_PROTOTYPES, MOST_LOCAL_VIEWS = 2**20, 32  # more are a slip: the paper has 65,536 and 10
MOST_WEIGHTS, MOST_OUTPUTS = 2**28, 2**30  # 1 and 4 GiB of float32, of which a step holds several


def dino_losses(
    student: Tensor,
    teacher: Tensor,
    centre: Tensor,
    *,
    student_temperature: float,
    teacher_temperature: float,
) -> dict[str, Tensor]:
    """Return the cross-entropy of the student's choices of prototypes, given those of the teacher.

    Args:
        student: Outputs of all views, shape (n_views, n, n_prototypes); the teacher's views come first.
        teacher: Outputs of some of these views, shape (n_teacher_views, n, n_prototypes).
        centre: Subtracted from the teacher's outputs, shape (n_prototypes,).
        student_temperature: Divides the student's outputs, positive.
        teacher_temperature: Divides the teacher's centred outputs, positive.

    Returns:
        `loss`, the mean over images and over pairs of different views, and `teacher_entropy`, from 0, where
        the teacher takes one prototype, to ln(n_prototypes), where it prefers none; both in nats.

    Raises:
        ValueError: If the shapes do not fit, or there is no pair of different views.

    Source:
        Caron et al. 2021, arXiv:2104.14294, equations 1 to 3 and algorithm 1.
    """
    fits = student.ndim == teacher.ndim == 3 and student.shape[1:] == teacher.shape[1:]
    if not (fits and len(student) >= len(teacher) >= 1 and len(student) >= 2):
        raise ValueError(
            "DINO needs outputs (n_views >= 2, n_images, n_prototypes) of the student and of as many views or"
            f" fewer of the teacher, got {tuple(student.shape)} and {tuple(teacher.shape)}"
        )
    log_wanted = ((teacher - centre) / teacher_temperature).log_softmax(dim=-1)
    log_chosen = (student / student_temperature).log_softmax(dim=-1)
    wanted = log_wanted.exp()
    terms = -torch.einsum("tnk,snk->ts", wanted, log_chosen)
    same = torch.eye(*terms.shape, dtype=torch.bool, device=terms.device)
    n_terms = terms.numel() - len(teacher)
    loss = terms.masked_fill(same, 0).sum() / (n_terms * student.shape[1])
    return {"loss": loss, "teacher_entropy": -(wanted * log_wanted).sum(dim=-1).mean()}


def move_centre(centre: Tensor, teacher: Tensor, momentum: float) -> Tensor:
    """Return the centre after one step: a moving average of the mean output of the teacher.

    Args:
        centre: Shape (n_prototypes,).
        teacher: Outputs, shape (n_teacher_views, n, n_prototypes).
        momentum: Share of the centre that is kept.

    Source:
        Caron et al. 2021, arXiv:2104.14294, equation 4.
    """
    return momentum * centre + (1 - momentum) * teacher.to(centre.dtype).mean(dim=(0, 1))


class Prototypes(nn.Module):
    """A linear layer without bias, of directions: embeddings and weights have length one.

    Args:
        width: Of the embeddings.
        n_prototypes: Of the outputs.
        generator: Draws the weights, uniformly within 1 / sqrt(width).
    """

    def __init__(self, width: int, n_prototypes: int, generator: torch.Generator) -> None:
        super().__init__()
        bound = width**-0.5
        drawn = nn.init.uniform_(torch.empty(n_prototypes, width), -bound, bound, generator=generator)
        self.weight = nn.Parameter(drawn)
        self.is_frozen = False

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return the cosine of each embedding with each prototype, shape (n, n_prototypes)."""
        weight = self.weight.detach() if self.is_frozen else self.weight
        directions = nn.functional.normalize(embeddings, dim=1)
        return nn.functional.linear(directions, nn.functional.normalize(weight, dim=1))


class DINOHead(TwoViewHead):
    """Projector and prototypes, the teacher, and what moves with the training.

    Attributes:
        prototypes: Make outputs of embeddings.
        teacher: Slow copy of network, projector and prototypes.
        centre: Of the teacher's outputs, shape (n_prototypes,).
        progress: Share of the training's updates that are done, float64.
    """

    centre: Tensor
    progress: Tensor

    def __init__(
        self, projector: Projector, rank_weight: RankWeight | None, prototypes: Prototypes, network: Network
    ) -> None:
        super().__init__(projector, rank_weight)
        self.prototypes = prototypes
        self.teacher = SlowCopy(network, self.whole())
        self.register_buffer("centre", torch.zeros(len(prototypes.weight)))
        self.register_buffer("progress", torch.zeros((), dtype=torch.float64))

    def whole(self) -> nn.Module:
        """Return projector and prototypes as one module."""
        return nn.Sequential(self.projector, self.prototypes)


class DINO(TwoViewObjective):
    """Self-distillation without labels.

    Attributes:
        projector_widths: Layers of the projector; the last is the bottleneck, which is the embedding.
        n_prototypes: Outputs, between which views are sorted.
        student_temperature: Of the student's outputs.
        teacher_temperature: Of the teacher's, after the warm-up.
        first_teacher_temperature: Of the teacher's, at first.
        teacher_warmup_fraction: Share of the updates over which the teacher's temperature goes linearly from
            one to the other.
        centre_momentum: Share of the centre that a forward pass keeps.
        momentum: Share of the teacher's weights that an update keeps, at first; rises to 1 on half a cosine.
        frozen_fraction: Share of the updates, at first, that leave the prototypes as drawn.
        n_local_views: Further views of each image, which the student alone sees.
        local_view: Settings of `views` that these have otherwise.
    """

    id: ClassVar[str] = "dino"
    source: ClassVar[str] = "Caron et al. 2021, arXiv:2104.14294"

    projector_widths: Widths = (128, 128, 32)
    n_prototypes: int = Field(default=256, ge=2, le=MOST_PROTOTYPES)
    student_temperature: Temperature = 0.1
    teacher_temperature: Temperature = 0.07
    first_teacher_temperature: Temperature = 0.04
    teacher_warmup_fraction: Share = 0.3
    centre_momentum: Share = 0.9
    momentum: Share = 0.996
    frozen_fraction: Share = 0.1
    n_local_views: int = Field(default=0, ge=0, le=MOST_LOCAL_VIEWS)
    local_view: dict[str, Any] = Field(default_factory=lambda: {"crop_area": [0.1, 0.4]})

    @model_validator(mode="after")
    def _require_local_views_and_memory(self) -> Self:
        self._local_views()
        if self.n_prototypes * (width := self.projector_widths[-1]) > MOST_WEIGHTS:
            raise UserError(
                f"n_prototypes {self.n_prototypes:,} of {width:,} dimensions, the last of projector_widths,"
                f" are more than {MOST_WEIGHTS:,} weights; lower one of them"
            )
        return self

    def _local_views(self) -> Views:
        return self.views.changed(self.local_view, "local_view")

    def require_batch(self, n_images: int) -> None:
        """Refuse batches whose outputs would fill the memory, too."""
        super().require_batch(n_images)
        n_views = self.n_views + self.n_local_views
        if n_views * n_images * self.n_prototypes > MOST_OUTPUTS:
            raise UserError(
                f"n_prototypes {self.n_prototypes:,} for {n_views} views of batch_size {n_images:,} are more"
                f" than {MOST_OUTPUTS:,} outputs; lower one of them"
            )

    def build_projector(self, network: Network, generator: torch.Generator) -> nn.Module:
        """Return projector and prototypes, copies of them and of the network, and the centre."""
        projector = self._make_projector(network, generator)
        prototypes = Prototypes(self.projector_widths[-1], self.n_prototypes, generator)
        return DINOHead(projector, self._make_rank_weight(), prototypes, network)

    def compute_losses(
        self,
        network: Network,
        projector: nn.Module,
        images: Tensor,
        labels: Tensor,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """Return the loss of fresh views of each image, and move the centre."""
        assert isinstance(projector, DINOHead)  # noqa: S101
        progress = projector.progress.item()
        projector.prototypes.is_frozen = progress < self.frozen_fraction
        views = self.draw_views(images, generator)
        embeddings = [embed(network, projector, views)]
        if self.n_local_views:
            local = [self._local_views().draw(images, generator) for _ in range(self.n_local_views)]
            embeddings.append(embed(network, projector, torch.cat(local)))
        student = projector.prototypes(torch.cat(embeddings))
        with torch.no_grad():
            teacher = embed(projector.teacher.network, projector.teacher.projector, views)
        student, teacher = (outputs.unflatten(0, (-1, len(images))) for outputs in (student, teacher))
        losses = dino_losses(
            student,
            teacher,
            projector.centre,
            student_temperature=self.student_temperature,
            teacher_temperature=self.warmed_temperature(progress),
        )
        projector.centre.copy_(move_centre(projector.centre, teacher, self.centre_momentum))
        return self.drive_rank(losses, network, projector, images)

    def warmed_temperature(self, progress: float) -> float:
        """Return the teacher's temperature at a share of the training."""
        first, last = self.first_teacher_temperature, self.teacher_temperature
        if progress >= self.teacher_warmup_fraction:
            return last
        return first + (last - first) * progress / self.teacher_warmup_fraction

    def after_update(self, network: Network, projector: nn.Module, progress: float) -> None:
        """Let the teacher follow, and note how far the training is."""
        super().after_update(network, projector, progress)
        assert isinstance(projector, DINOHead)  # noqa: S101
        projector.teacher.follow(network, projector.whole(), rising_momentum(self.momentum, progress))
        projector.progress.fill_(progress)
