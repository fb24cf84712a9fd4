"""How the rows of one representation share its directions: coherence, self-clustering, uniformity."""

from typing import NamedTuple

import torch
from torch import Tensor

from rep_kedro.kernels.layers.measured import Measured, undefined

ZERO = "all features are zero"
ZERO_ROW = "a stimulus has no direction: all its features are zero"
BLOCK_BYTES = 2**25
UNIFORMITY_SCALE = 2.0  # t in the paper


class Coherence(NamedTuple):
    """Coherence of the left singular vectors, and the rank that they span."""

    measured: Measured
    rank: int


def measure_coherence(rows: Tensor, *, precision: float) -> Coherence:
    """Return how much the left singular vectors concentrate on one stimulus.

    The largest squared norm of a row of the left singular vectors (leverage of a stimulus), relative to the
    mean: (n / r) max_i |U_i|^2. Where the features are linearly independent, r is their number.

    Args:
        rows: Shape (n_stimuli, n_features), finite, as they are (not centred).
        precision: Relative precision of the numbers that the rows were held in; singular vectors whose value
            is below the largest times the larger side times this are rounding, and do not count.

    Returns:
        From 1 (all stimuli equally) to n / r (one stimulus has a direction of its own); 1 where r = n.
        Unchanged by any invertible linear map of the features, and by the order of stimuli.

    Cost:
        Time O(n_stimuli * n_features * min(n_stimuli, n_features)).

    Source:
        Tsitsulin et al. 2023, arXiv:2305.16562, section 4: the side of the stimuli alone, and the rank in
        place of the number of features.

    Example:
        >>> measure_coherence(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), precision=1e-7)
        Coherence(measured=Measured(value=1.5, reason=''), rank=2)
    """
    x = _scaled(rows)
    if not bool(x.any()):
        return Coherence(undefined(ZERO), 0)
    # of wide features a triangle with the same left singular vectors: no right ones are made
    tall = x if x.shape[1] <= len(x) else torch.linalg.qr(x.T, mode="r").R.T
    vectors, sigma, _ = torch.linalg.svd(tall, full_matrices=False)
    rank = int((sigma > sigma[0] * max(x.shape) * precision).sum())
    if rank == 0:
        return Coherence(undefined("all singular values are rounding"), 0)
    leverage = vectors[:, :rank].square().sum(dim=1).max().item()
    return Coherence(Measured(len(x) / rank * leverage), rank)


def measure_self_cluster(rows: Tensor) -> Measured:
    """Return how far the directions of stimuli crowd together, beyond what random directions do.

    (|Z Z'|^2 - E) / (n^2 - E), with rows of Z of length one, Frobenius norms, and E = n + n (n - 1) / k what
    random directions in k dimensions give in expectation.

    Args:
        rows: Shape (n_stimuli, n_features), finite, as they are (not centred).

    Returns:
        1 where all directions are equal or opposite, about 0 for random ones, below 0 for more even ones.
        Undefined for one stimulus, one feature, or a stimulus of zeros. Unchanged by rotations and by the
        length of each row.

    Source:
        Tsitsulin et al. 2023, arXiv:2305.16562, section 4.

    Example:
        >>> measure_self_cluster(torch.tensor([[1.0, 0.0], [0.0, 1.0]])).value
        -1.0
    """
    n, k = rows.shape
    if n < 2 or k < 2:
        return undefined(f"needs 2 stimuli and 2 features, got {n} and {k}")
    z = _directions(rows)
    if z is None:
        return undefined(ZERO_ROW)
    energy = (z.T @ z if k <= n else z @ z.T).square().sum().item()
    expected = n + n * (n - 1) / k
    return Measured((energy - expected) / (n**2 - expected))


def measure_uniformity(rows: Tensor) -> Measured:
    """Return how unevenly directions fill the sphere: ln of the mean of exp(-2 |x - y|^2) over pairs.

    Args:
        rows: Shape (n_stimuli, n_features), finite; only their directions count.

    Returns:
        0 where all directions are equal, lower the more evenly they are spread, above -8. Undefined for one
        stimulus, or a stimulus of zeros. Unchanged by rotations and by the length of each row.

    Cost:
        Time O(n_stimuli^2 * n_features), blocks of some 32 MB.

    Source:
        Wang & Isola 2020, arXiv:2005.10242, equation 3, t = 2, over pairs of different stimuli.

    Example:
        >>> round(measure_uniformity(torch.tensor([[1.0, 0.0], [-3.0, 0.0]])).value, 6)
        -8.0
    """
    n = len(rows)
    if n < 2:
        return undefined(f"needs 2 stimuli, got {n}")
    z = _directions(rows)
    if z is None:
        return undefined(ZERO_ROW)
    total, step = 0.0, max(1, BLOCK_BYTES // (8 * n))
    for start in range(0, n, step):
        block, later = z[start : start + step], z[start + step :]
        total += _sum_of_kernel(block, block) + 2 * _sum_of_kernel(block, later)
    mean = torch.tensor((total - n) / (n * (n - 1)), dtype=torch.float64)
    return Measured(min(0.0, mean.log().item()))


def _sum_of_kernel(x: Tensor, y: Tensor) -> float:
    """Return the sum of exp(-t |x - y|^2) over all pairs of rows of length one: |x - y|^2 = 2 - 2 cos."""
    return (x @ y.T).sub_(1).mul_(2 * UNIFORMITY_SCALE).exp_().sum().item()


def _directions(rows: Tensor) -> Tensor | None:
    """Return rows of length one, float64; None if a row is zero."""
    x = rows.double()
    sizes = x.abs().amax(dim=1, keepdim=True)
    if not bool(sizes.all()):
        return None
    x = x / sizes  # squares of extreme scales would leave the range
    directions: Tensor = x / x.norm(dim=1, keepdim=True)
    return directions


def _scaled(rows: Tensor) -> Tensor:
    """Return the rows in float64, their largest number about 1; a power of two costs no digit."""
    x = rows.double()
    return torch.ldexp(x, -torch.frexp(x.abs().max()).exponent)
