"""Heat traces of nearest-neighbour graphs: how fast heat spreads over the stimuli of a model, at all scales.

The whole spectrum of the graph is computed, so that values are exact and need no random numbers. The released
code of the intrinsic multi-scale distance estimates traces from random vectors; the ReSi benchmark takes
eighty times as many of them as its default, because values vary from run to run.
"""

import torch
from torch import Tensor

from rep_kedro.kernels.similarity.nearest import find_neighbours, prepare_points

N_NEIGHBOURS = 5
FASTEST, SLOWEST, N_TIMES = -1, 1, 256  # powers of ten of the times at which traces are taken


def describe_heat_trace(representation: Tensor, memory_bytes: int) -> Tensor | str:
    """Return the heat trace of one model, weighted so that differences bound those of spaces at all scales.

    Stimuli are vertices, each joined with its five nearest by Euclidean distance; with the eigenvalues l of
    the normalised Laplacian, the trace at time t is the mean of exp(-t l), and its weight exp(-2 (t + 1/t)).

    Args:
        representation: Shape (n_stimuli, n_features), finite, at least six stimuli.
        memory_bytes: Bound for blocks of distances.

    Returns:
        Weighted trace at 256 times from 0.1 to 10, shape (256,), float64, in [0, exp(-4)]; or why there is
        none.

    Raises:
        ValueError: If there are fewer than six stimuli.

    Cost:
        O(n_stimuli^3) time and 24 n_stimuli^2 bytes; 8 s of one core for 5,000 stimuli.

    Source:
        Tsitsulin et al. 2020, arXiv:1905.11141 (the intrinsic multi-scale distance is the largest difference
        of two weighted traces). Times, neighbours and the mean in place of the sum are those of its released
        code, which also multiplies by a million.
    """
    points = prepare_points(representation, "euclidean")
    if isinstance(points, str):
        return points
    nearest = find_neighbours(points, N_NEIGHBOURS, memory_bytes=memory_bytes).indices
    eigenvalues = torch.linalg.eigvalsh(_laplacian(nearest))
    times = torch.logspace(FASTEST, SLOWEST, N_TIMES, dtype=torch.float64, device=eigenvalues.device)
    traces = torch.stack([(-t * eigenvalues).exp().mean() for t in times])
    return traces * (-2 * (times + 1 / times)).exp()


def _laplacian(nearest: Tensor) -> Tensor:
    """Return the normalised Laplacian of the graph that joins stimuli if one is near the other."""
    n = len(nearest)
    laplacian = torch.zeros(n, n, dtype=torch.float64, device=nearest.device)
    laplacian.scatter_(1, nearest, -1.0)
    laplacian = torch.minimum(laplacian, laplacian.T)
    scale = (-laplacian.sum(dim=1)).rsqrt()
    laplacian.mul_(scale[:, None]).mul_(scale)
    laplacian.diagonal().fill_(1.0)
    return laplacian
