"""Streamed moments of two layers: all that a linear map between their channels needs.

Each position of an image is a sample. The joint moments are streamed once; both directions, every family of
maps and every mask are read off them.
"""

import torch
from torch import Tensor

from rep_kedro.kernels.layers.streaming import StreamedMoments

_PART = 2**21  # values in float64 at a time
SINGLE_ROUNDING = 1e-14  # (1e-7)^2: a float32 channel that varies less relative to its mean is constant


class PairedMoments:
    """Streamed moments of two layers' channels over the same positions of the same stimuli.

    Args:
        n_front: Channels of the layer that a map starts from.
        n_end: Channels of the layer that it aims at.

    Raises:
        ValueError: If a width is below 1.
    """

    def __init__(self, n_front: int, n_end: int) -> None:
        if min(n_front, n_end) < 1:
            raise ValueError(f"both layers need at least 1 channel, got {n_front} and {n_end}")
        self.n_front = n_front
        self.joint = StreamedMoments(n_front + n_end)

    def update(self, front: Tensor, end: Tensor) -> None:
        """Take in samples of both layers.

        Args:
            front: Shape (n_samples, n_front).
            end: Shape (n_samples, n_end), the same samples in the same order.

        Raises:
            ValueError: If the shapes do not fit, or a value is not finite.
        """
        if len(front) != len(end) or front.shape[1:] != (self.n_front,):
            raise ValueError(
                f"layers must give samples of the same positions, the front with {self.n_front} channels, "
                f"got shapes {tuple(front.shape)} and {tuple(end.shape)}"
            )
        n_rows = max(1, _PART // self.joint.n_features)
        for start in range(0, len(front), n_rows):
            rows = slice(start, start + n_rows)
            self.joint.update(torch.cat([front[rows], end[rows]], dim=1))

    def swapped(self) -> "PairedMoments":
        """Return the moments of the same samples with front and end exchanged."""
        order = torch.arange(self.joint.n_features).roll(-self.n_front)
        other = PairedMoments(self.n_end, self.n_front)
        other.joint.n_samples = self.joint.n_samples
        other.joint.mean = self.joint.mean[order]
        other.joint.scatter = self.joint.scatter[order][:, order]
        return other

    def merged(self, other: "PairedMoments") -> "PairedMoments":
        """Return the moments of the samples of both.

        Raises:
            ValueError: If the other has other widths.
        """
        both = PairedMoments(self.n_front, self.n_end)
        both.joint.merge(self.joint)
        both.joint.merge(other.joint)
        return both

    @property
    def n_end(self) -> int:
        """Channels of the end."""
        return self.joint.n_features - self.n_front

    @property
    def front_mean(self) -> Tensor:
        """Mean of the front, (n_front,)."""
        return self.joint.mean[: self.n_front]

    @property
    def end_mean(self) -> Tensor:
        """Mean of the end, (n_end,)."""
        return self.joint.mean[self.n_front :]

    @property
    def front_scatter(self) -> Tensor:
        """Scatter matrix of the front, (n_front, n_front)."""
        return self.joint.scatter[: self.n_front, : self.n_front]

    @property
    def end_scatter(self) -> Tensor:
        """Scatter matrix of the end, (n_end, n_end)."""
        return self.joint.scatter[self.n_front :, self.n_front :]

    @property
    def cross_scatter(self) -> Tensor:
        """Scatter between end and front, (n_end, n_front)."""
        return self.joint.scatter[self.n_front :, : self.n_front]

    def correlations(self) -> Tensor:
        """Return the correlation of each end channel with each front channel, (n_end, n_front), in [-1, 1].

        NaN where a channel is constant: it varies by less than rounding of float32 relative to its mean.

        Raises:
            ValueError: If there is no sample.
        """
        self.require_samples()
        front = channel_scale(self.front_scatter, self.front_mean, self.joint.n_samples)
        end = channel_scale(self.end_scatter, self.end_mean, self.joint.n_samples)
        scale = torch.outer(end, front)
        return torch.where(scale > 0.0, self.cross_scatter / scale, torch.nan).clamp(-1.0, 1.0)

    def require_samples(self) -> None:
        """Refuse moments of no sample.

        Raises:
            ValueError: If there is none.
        """
        if self.joint.n_samples == 0:
            raise ValueError("a map needs at least 1 sample, got 0")


def channel_scale(scatter: Tensor, mean: Tensor, n_samples: int) -> Tensor:
    """Return the root of each channel's scatter; 0 if it is rounding relative to the energy.

    Args:
        scatter: Scatter matrix, (n_channels, n_channels).
        mean: (n_channels,).
        n_samples: How many samples they are of.
    """
    own = scatter.diagonal()
    energy = own + n_samples * mean.square()
    return torch.where(own > SINGLE_ROUNDING * energy, own, torch.zeros_like(own)).sqrt()
