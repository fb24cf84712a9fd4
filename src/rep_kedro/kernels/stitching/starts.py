"""Where the training of a stitch starts: each start is one function of the paired moments and a generator."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from rep_kedro.kernels.stitching.maps import AffineMap, fit_affine_map, fit_reduced_rank_map, rank_of
from rep_kedro.kernels.stitching.moments import PairedMoments


class Factors(NamedTuple):
    """Weight = left @ right: left (n_end, rank), right (rank, n_front); bias (n_end,); float64."""

    left: Tensor
    right: Tensor
    bias: Tensor


def start_random(moments: PairedMoments, generator: Generator) -> AffineMap:
    """Return uniform weights and biases within 1 / sqrt(n_front), as torch draws those of a convolution."""
    bound = moments.n_front**-0.5
    weight = _draw_uniform((moments.n_end, moments.n_front), bound, generator)
    return _as_map(weight, _draw_uniform((moments.n_end,), bound, generator))


def start_permuted(moments: PairedMoments, generator: Generator) -> AffineMap:
    """Return a permutation matrix, every one equally likely, without bias."""
    order = torch.randperm(moments.n_front, generator=generator)
    return _as_map(torch.eye(moments.n_front, dtype=torch.float64)[order])


def start_identity(moments: PairedMoments, _: Generator) -> AffineMap:
    """Return the identity, without bias."""
    return _as_map(torch.eye(moments.n_front, dtype=torch.float64))


def start_least_squares(moments: PairedMoments, _: Generator) -> AffineMap:
    """Return the least-squares map."""
    return fit_affine_map(moments)


def start_ones(moments: PairedMoments, _: Generator) -> AffineMap:
    """Return weights of one, without bias."""
    return _as_map(torch.ones(moments.n_end, moments.n_front, dtype=torch.float64))


def start_zeros(moments: PairedMoments, _: Generator) -> AffineMap:
    """Return nothing but zeros."""
    return _as_map(torch.zeros(moments.n_end, moments.n_front, dtype=torch.float64))


def start_orthogonal_factors(moments: PairedMoments, rank: int, generator: Generator) -> Factors:
    """Return factors with orthonormal columns (left) and rows (right), drawn uniformly, without bias."""
    left, right = (_draw_orthonormal(n, rank, generator) for n in (moments.n_end, moments.n_front))
    return Factors(left, right.T.contiguous(), torch.zeros(moments.n_end, dtype=torch.float64))


def start_truncated_factors(moments: PairedMoments, rank: int, _: Generator) -> Factors:
    """Return the factors of the reduced-rank least-squares map, singular values shared out by their roots."""
    fitted = fit_reduced_rank_map(moments, rank=rank)
    left, values, right = torch.linalg.svd(fitted.weight, full_matrices=False)
    root = values[:rank].sqrt()
    return Factors(left[:, :rank] * root, root[:, None] * right[:rank], fitted.bias)


STARTS: dict[str, Callable[[PairedMoments, Generator], AffineMap]] = {
    "random": start_random,
    "perm": start_permuted,
    "eye": start_identity,
    "ps_inv": start_least_squares,
    "ones-zeros": start_ones,
    "zeros": start_zeros,
}
"""Weights and bias, by the names of the original."""

SQUARE_STARTS = frozenset({"perm", "eye", "ones-zeros"})
"""Starts that need layers of equal width."""

LOW_RANK_STARTS: dict[str, Callable[[PairedMoments, int, Generator], Factors]] = {
    "orthogonal": start_orthogonal_factors,
    "ps_inv": start_truncated_factors,
}


def _as_map(weight: Tensor, bias: Tensor | None = None) -> AffineMap:
    bias = torch.zeros(len(weight), dtype=torch.float64) if bias is None else bias
    return AffineMap(weight, bias, rank_of(weight))


def _draw_uniform(shape: tuple[int, ...], bound: float, generator: Generator) -> Tensor:
    return (2.0 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1.0) * bound


def _draw_orthonormal(n_rows: int, n_columns: int, generator: Generator) -> Tensor:
    """Return orthonormal columns, uniform over all such (Mezzadri 2007, arXiv:math-ph/0609050)."""
    drawn = torch.randn(n_rows, n_columns, generator=generator, dtype=torch.float64)
    q, r = torch.linalg.qr(drawn)
    signed: Tensor = q * r.diagonal().sign()
    return signed
