"""How far embeddings are spread out: numbers that show a collapse while a network is trained."""

import torch
from torch import Tensor

from rep_kedro.kernels.layers.spectrum import compute_eigenvalues, measure_rankme_uncentred_sigma

DEAD_BELOW = 1e-4
"""Standard deviation below which a dimension is dead, as a fraction of the entries' root mean square."""
LIDAR_DELTA = 1e-4
LIDAR_EPSILON = 1e-7


def measure_rankme(rows: Tensor) -> float:
    """Return RankMe of the rows, shape (n, k); NaN if all are zero.

    Singular values come from the smaller of the two Gram matrices in float64, which is many times faster than
    from the rows, and exact to 1e-8 of the largest.
    """
    x = rows.double()
    gram = x.T @ x if len(x) >= x.shape[1] else x @ x.T
    sigma = compute_eigenvalues(gram).sqrt()
    return measure_rankme_uncentred_sigma(sigma) if bool(sigma[0] > 0) else float("nan")


def measure_dead_fraction(rows: Tensor) -> float:
    """Return the share of dimensions that are (almost) constant; 1 if all rows are zero."""
    x = rows.double()
    size = x.square().mean().sqrt()
    return (x.std(dim=0) <= DEAD_BELOW * size).double().mean().item()


def measure_lidar(views: Tensor, *, delta: float = LIDAR_DELTA) -> float:
    """Return LiDAR: the effective rank of how images differ, measured by how views of one image differ.

    Args:
        views: Shape (n_images, n_views, k), n_images, n_views >= 2.
        delta: Added to the diagonal of the scatter within images; it changes the value much where some
            directions hardly differ between views.

    Returns:
        From about 1 to min(k, n_images - 1); NaN if all images are equal.

    Raises:
        ValueError: If there are fewer than two images or views.

    Source:
        Thilak et al. 2024, arXiv:2312.04000, section 4.
    """
    if views.ndim != 3 or min(views.shape[:2]) < 2:
        raise ValueError(f"LiDAR needs at least 2 images and 2 views of each, got shape {tuple(views.shape)}")
    n_images, n_views, k = views.shape
    x = views.double()
    means = x.mean(dim=1)
    centred = means - means.mean(dim=0)
    between = centred.T @ centred / (n_images - 1)
    rest = (x - means[:, None]).reshape(-1, k)
    within = rest.T @ rest / (n_images * (n_views - 1)) + delta * torch.eye(k, dtype=x.dtype, device=x.device)
    root = torch.linalg.cholesky(within)
    half = torch.linalg.solve_triangular(root, between, upper=False)
    ratio = torch.linalg.solve_triangular(root, half.T, upper=False)
    eigenvalues = compute_eigenvalues((ratio + ratio.T) / 2)
    if not bool(eigenvalues[0] > 0):
        return float("nan")
    shares = eigenvalues / eigenvalues.sum() + LIDAR_EPSILON
    return torch.exp(-(shares * shares.log()).sum()).item()


def measure_contrast(first: Tensor, second: Tensor, *, tops: tuple[int, ...]) -> tuple[float, ...]:
    """Return the shares of views whose partner is among the nearest by cosine, of all other views.

    Args:
        first: Embeddings of the first views, shape (n, k), n >= 2.
        second: Embeddings of the second views, row by row of the same images.
        tops: How many of the nearest count, for each share; of equally near ones the partner is last.
    """
    n = len(first)
    directions = torch.nn.functional.normalize(torch.cat([first, second]), dim=1)
    cosines = directions @ directions.T
    cosines.fill_diagonal_(-torch.inf)
    partner = torch.arange(2 * n, device=cosines.device).roll(n)
    own = cosines.gather(1, partner[:, None])
    n_before = (cosines >= own).sum(dim=1) - 1
    return tuple((n_before < top).double().mean().item() for top in tops)
