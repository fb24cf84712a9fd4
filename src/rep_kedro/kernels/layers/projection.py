"""Projection of a layer's output onto some directions of its channels: leading ones, or random ones."""

from dataclasses import dataclass

import torch
from torch import Tensor

from rep_kedro.kernels.layers.spectrum import RELATIVE_NEGATIVE
from rep_kedro.kernels.layers.streaming import StreamedMoments

_MAP = 4  # axes of (n, channels, height, width)


@dataclass(frozen=True)
class Directions:
    """Orthonormal directions of the channels, in the order in which they are kept.

    Attributes:
        vectors: One direction per column, shape (n_channels, n_channels), float64, orthogonal.
        origin: What is taken off before the projection and put back afterwards, shape (n_channels,), float64.
    """

    vectors: Tensor
    origin: Tensor


def find_leading_directions(moments: StreamedMoments, *, centred: bool = True) -> tuple[Directions, Tensor]:
    """Return the principal directions of samples, those with the most variance first.

    Args:
        moments: Of the samples.
        centred: Take the covariance, and project around the mean. Otherwise the second moment, and project
            around zero, as in the published experiments.

    Returns:
        The directions, and the eigenvalue of each, shape (n_channels,), float64, descending, not negative.

    Raises:
        ValueError: If there is no sample, or a sample was not finite.

    Source:
        Richter et al. 2021, arXiv:2006.08679, section 3 (projection onto the relevant eigenspace).
    """
    matrix = moments.covariance() if centred else moments.second_moment()
    if not bool(torch.isfinite(matrix).all()):
        raise ValueError("a covariance must be finite, got NaN or infinity")
    eigenvalues, vectors = torch.linalg.eigh(matrix)
    if eigenvalues[0] < -RELATIVE_NEGATIVE * eigenvalues.abs().max():
        raise ValueError(f"eigenvalues of a covariance must not be negative, got {eigenvalues[0].item():.3g}")
    origin = moments.mean.clone() if centred else torch.zeros_like(moments.mean)
    return Directions(vectors.flip(1), origin), eigenvalues.flip(0).clamp(min=0.0)


def draw_random_directions(origin: Tensor, generator: torch.Generator) -> Directions:
    """Return orthonormal directions without any preference: the first k span a uniformly drawn subspace.

    Args:
        origin: As in :class:`Directions`.
        generator: Random stream on the CPU.

    Source:
        Mezzadri 2007, arXiv:math-ph/0609050, section 5 (QR of a Gaussian matrix, signs by the diagonal of R).
    """
    n = len(origin)
    q, r = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))
    return Directions((q * r.diagonal().sign()).to(origin.device), origin)


class Projector:
    """Projects one output onto any number of leading directions; coordinates are computed once.

    Args:
        activation: Shape (n, channels, height, width), (n, tokens, channels) or (n, channels).
        directions: Of the channels.

    Example:
        >>> directions = Directions(torch.eye(3, dtype=torch.float64), torch.tensor([0.0, 0.0, 5.0]).double())
        >>> Projector(torch.tensor([[1.0, 2.0, 3.0]]), directions).keep(1)
        tensor([[1., 0., 5.]])
    """

    def __init__(self, activation: Tensor, directions: Directions) -> None:
        self._is_map = activation.ndim == _MAP
        rows = activation.movedim(1, -1) if self._is_map else activation
        self._vectors = directions.vectors.to(activation)
        self._origin = directions.origin.to(activation)
        self._coordinates = (rows - self._origin) @ self._vectors

    def keep(self, n_directions: int) -> Tensor:
        """Return the output with its first directions alone, in the shape and dtype of the activation."""
        kept = slice(0, n_directions)
        rows = self._coordinates[..., kept] @ self._vectors[:, kept].T + self._origin
        return rows.movedim(-1, 1).contiguous() if self._is_map else rows
