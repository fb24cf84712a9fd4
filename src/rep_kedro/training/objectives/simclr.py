"""SimCLR: two views of an image should be closer than views of other images."""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from rep_kedro.training.objectives.protocol import Widths
from rep_kedro.training.objectives.two_views import TwoViewObjective, require_pairs


def nt_xent_loss(first: Tensor, second: Tensor, *, temperature: float) -> Tensor:
    """Return the normalised temperature-scaled cross-entropy of two sets of embeddings.

    Each of the 2n embeddings has to pick its partner among the 2n - 1 others by cosine similarity.

    Args:
        first: Embeddings of the first views, shape (n, n_dimensions), n >= 2.
        second: Embeddings of the second views, row by row of the same images.
        temperature: Divides the similarities, positive.

    Returns:
        Mean over the 2n embeddings, in nats; symmetric in the two sets; ln(2n - 1) if all embeddings are
        equal.

    Raises:
        ValueError: If the shapes differ, there is one image only, or the temperature is not positive.

    Source:
        Chen et al. 2020, arXiv:2002.05709, equation 1 and algorithm 1.
    """
    require_pairs("NT-Xent", first, second)
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    n = len(first)
    directions = nn.functional.normalize(torch.cat([first, second]), dim=1)
    logits = directions @ directions.T / temperature
    itself = torch.eye(2 * n, dtype=torch.bool, device=logits.device)
    partner = torch.arange(2 * n, device=logits.device).roll(n)
    return nn.functional.cross_entropy(logits.masked_fill(itself, -torch.inf), partner)


class SimCLR(TwoViewObjective):
    """Contrastive learning with NT-Xent on a projector.

    Attributes:
        temperature: Of the loss.
        projector_widths: Layers of the projector; the last is the embedding.
    """

    id: ClassVar[str] = "simclr"
    source: ClassVar[str] = "Chen et al. 2020, arXiv:2002.05709"

    temperature: float = Field(default=0.2, gt=0)
    projector_widths: Widths = (64, 32)

    def compare_views(self, first: Tensor, second: Tensor) -> dict[str, Tensor]:
        """Return the NT-Xent loss."""
        return {"loss": nt_xent_loss(first, second, temperature=self.temperature)}
