"""Mean and covariance of samples that arrive in batches, summed in float64.

Deviations are taken from a running mean, never from the origin, so a mean that is large compared with the
spread costs no digits. States of disjoint samples merge into the state of all of them.
"""

import torch
from torch import Tensor

from rep_kedro.kernels.precision import full_precision

RELATIVE_ROUNDING = (
    1e-24  # float64 keeps (1e-16)^2 of the energy: a variance this small relative to it is rounding
)


class StreamedMoments:
    """Running count, mean and scatter matrix of samples with the same number of features.

    The result does not depend on how the samples are cut into batches, up to rounding.

    Args:
        n_features: Number of features of each sample, at least 1.
        device: Where the sums are kept; batches must be on the same device.
        products: Type in which deviations are multiplied within a batch. float32 is several times faster and
            keeps six digits within a batch; sums over batches and states are float64 in either case.

    Attributes:
        n_samples: Samples seen so far.
        mean: Their mean, shape (n_features,), float64; zero before the first sample.
        scatter: Sum of outer products of deviations from the mean, shape (n_features, n_features), float64,
            symmetric up to rounding.

    Raises:
        ValueError: If ``n_features`` is below 1.

    Cost:
        Memory 8 * (n_features^2 + n_features) bytes however many samples come; time n_samples * n_features^2.

    Source:
        Chan, Golub & LeVeque 1979, Stanford report STAN-CS-79-773, equations 2.1 (update and merge by pairs).

    Example:
        >>> moments = StreamedMoments(2)
        >>> moments.update(torch.tensor([[0.0, 1.0], [2.0, 1.0]]))
        >>> moments.update(torch.tensor([[4.0, 4.0]]))
        >>> moments.covariance()
        tensor([[2.6667, 2.0000],
                [2.0000, 2.0000]], dtype=torch.float64)
    """

    def __init__(
        self,
        n_features: int,
        *,
        device: torch.device | str = "cpu",
        products: torch.dtype = torch.float64,
    ) -> None:
        if n_features < 1:
            raise ValueError(f"streamed moments need at least 1 feature, got {n_features}")
        self.n_samples = 0
        self.products = products
        self.mean = torch.zeros(n_features, dtype=torch.float64, device=device)
        self.scatter = torch.zeros(n_features, n_features, dtype=torch.float64, device=device)

    @property
    def n_features(self) -> int:
        """Number of features of each sample."""
        return len(self.mean)

    def update(self, samples: Tensor, *, check: bool = True) -> None:
        """Take in a batch of samples.

        Args:
            samples: Shape (n_samples, n_features), any float dtype; a batch of no samples changes nothing.
            check: Look for NaN and infinity now, which waits for the device. Without it they stay in the
                sums, and whoever takes eigenvalues of the covariance finds them.

        Raises:
            ValueError: If the shape does not fit, or a value is not finite.
        """
        if samples.ndim != 2 or samples.shape[1] != self.n_features:
            raise ValueError(
                f"samples must have shape (n_samples, {self.n_features}), got {tuple(samples.shape)}"
            )
        if len(samples) == 0:
            return
        batch = samples.to(torch.promote_types(samples.dtype, self.products))
        mean = batch.mean(dim=0, dtype=torch.float64)
        if check and not bool(torch.isfinite(mean).all()):
            features = (~torch.isfinite(mean)).nonzero().flatten().tolist()
            raise ValueError(f"samples must be finite, got NaN or infinity in features {features[:8]}")
        coarse = mean.to(batch.dtype)
        centred = (batch - coarse).to(self.products)
        if coarse.dtype != mean.dtype:
            centred -= (mean - coarse).to(self.products)  # what the mean lost when it was rounded
        with full_precision():
            self._combine(len(batch), mean, centred.T @ centred)

    def merge(self, other: "StreamedMoments") -> None:
        """Take in all samples of another state, which stays as it is.

        Raises:
            ValueError: If the other state has another number of features.
        """
        if other.n_features != self.n_features:
            raise ValueError(
                "states to merge must have the same number of features, "
                f"got {self.n_features} and {other.n_features}"
            )
        if other.n_samples:
            self._combine(other.n_samples, other.mean, other.scatter)

    def covariance(self, *, ddof: int = 0) -> Tensor:
        """Return the covariance of the samples.

        Args:
            ddof: 0 divides by the number of samples (population), 1 by one less (unbiased).

        Returns:
            Shape (n_features, n_features), float64, exactly symmetric.

        Raises:
            ValueError: If there are not more than ``ddof`` samples.
        """
        if self.n_samples <= ddof:
            raise ValueError(
                f"a covariance with ddof {ddof} needs more than {ddof} samples, got {self.n_samples}"
            )
        return (self.scatter + self.scatter.T) / (2 * (self.n_samples - ddof))  # exactly symmetric

    def second_moment(self) -> Tensor:
        """Return the mean outer product of the samples as they are (uncentred), (n_features, n_features).

        Raises:
            ValueError: If no sample was seen.
        """
        return self.covariance() + torch.outer(self.mean, self.mean)

    def is_constant(self) -> bool:
        """Return whether the samples do not vary beyond rounding."""
        energy = self.scatter.trace() + self.n_samples * self.mean.square().sum()
        return bool(self.scatter.trace() <= RELATIVE_ROUNDING * energy)

    def _combine(self, n_samples: int, mean: Tensor, scatter: Tensor) -> None:
        """Add the moments of further samples to this state."""
        total = self.n_samples + n_samples
        shift = mean - self.mean
        self.scatter += scatter
        self.scatter.addr_(shift, shift, alpha=self.n_samples * n_samples / total)
        self.mean += shift * (n_samples / total)
        self.n_samples = total


def flatten_positions(activation: Tensor) -> Tensor:
    """Return an activation with every position as a sample of its channels ("channelwise").

    Args:
        activation: Shape (n, channels, height, width), (n, tokens, channels) or (n, channels).

    Returns:
        Shape (n * positions, channels); image by image, positions in reading order.

    Raises:
        ValueError: If the activation has another number of axes.

    Source:
        Richter et al. 2021, arXiv:2006.08679, section 3 (convolutions: pixels as samples).
    """
    match activation.ndim:
        case 2:
            return activation
        case 3:
            return activation.flatten(0, 1)
        case 4:
            return activation.permute(0, 2, 3, 1).flatten(0, 2)
        case _:
            raise ValueError(
                "an activation must have 2 axes (features), 3 (tokens) or 4 (maps), "
                f"got shape {tuple(activation.shape)}"
            )
