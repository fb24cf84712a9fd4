"""How far embeddings are spread out: numbers that show a collapse while a network is trained."""

import torch
from torch import Tensor

from rep_kedro.kernels.layers.spectrum import compute_eigenvalues, measure_rankme_uncentred_sigma

DEAD_BELOW = 1e-4
"""Standard deviation below which a dimension is dead, as a fraction of the entries' root mean square."""


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
