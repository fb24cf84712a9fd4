"""A rank that embeddings are driven to: part of the loss, with a weight that rises while it is missed."""

import math

import torch
from torch import Tensor, nn

RANKME_EPSILON = 1e-7
_BETAS = (0.9, 0.999)
_EPSILON = 1e-8


def batch_rankme(embeddings: Tensor, *, epsilon: float = RANKME_EPSILON) -> Tensor:
    """Return RankMe of a batch, differentiable: exp of the entropy of the normalised singular values.

    Args:
        embeddings: Shape (n, n_dimensions).
        epsilon: Added to each share.

    Returns:
        Scalar, from about 1 to min(n, n_dimensions).

    Source:
        Garrido et al. 2023, arXiv:2210.02885, equation 1.
    """
    sigma = torch.linalg.svdvals(embeddings)
    shares = sigma / sigma.sum() + epsilon
    return torch.exp(-(shares * shares.log()).sum())


class RankWeight(nn.Module):
    """The weight of the rank in a loss, a dual variable: it falls above the wanted rank and rises below.

    Its logarithm is moved by Adam on `weight * (rank - target)`, where the bracket is constant. All numbers
    are buffers: no gradient changes them, and a checkpoint contains them.

    Source:
        Wikman et al. 2023, the target-rank extension of github.com/johnwikman/rankme-reprod.
    """

    numbers: Tensor

    def __init__(self, log_weight: float) -> None:
        super().__init__()
        # Logarithm of the weight, the two averages of Adam, its steps, the rank of the last batch.
        start = torch.tensor([log_weight, 0, 0, 0, 0], dtype=torch.float64)
        self.register_buffer("numbers", start)

    def forward(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rank of a batch and its weight; only the rank has a gradient."""
        rank = batch_rankme(embeddings)
        self.numbers[4] = rank.detach()
        return rank, self.numbers[0].exp().to(rank.dtype)

    def move(self, target: float, rate: float) -> None:
        """Take one step of Adam.

        Args:
            target: Wanted rank.
            rate: Learning rate of the logarithm of the weight.
        """
        log_weight, mean, square, n_steps, rank = self.numbers.tolist()
        gradient = math.exp(log_weight) * (rank - target)
        n_steps += 1
        mean = _BETAS[0] * mean + (1 - _BETAS[0]) * gradient
        square = _BETAS[1] * square + (1 - _BETAS[1]) * gradient**2
        step = mean / (1 - _BETAS[0] ** n_steps)
        step /= math.sqrt(square / (1 - _BETAS[1] ** n_steps)) + _EPSILON
        moved = torch.tensor([log_weight - rate * step, mean, square, n_steps, rank], dtype=torch.float64)
        self.numbers.copy_(moved)
