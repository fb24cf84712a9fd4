"""Sums over pairs of stimuli of products of two models' stimulus-by-stimulus matrices.

Nearly every measure on Gram or dissimilarity matrices is a cosine between such matrices after some centring.
All it needs are sums of products, each matrix with each, and row sums; centring and the turn from inner
products to distances are exact corrections of rank one or two, in float64. So the matrices are built once
for each model, tile by tile, and never kept.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isqrt

import torch
from torch import Tensor

from rep_kedro.kernels.similarity.centred import CentredFeatures

ZERO_BELOW_EPS = 64  # a sum smaller than this many roundings of what it was made from is zero
ENTRY_EPS = 8  # roundings in one entry of a matrix, relative to the numbers it was made from
LARGEST_TILE = 320  # on a CPU larger tiles leave the caches: 512 and 1024 were slower
PRODUCT_CHUNK = 16384  # numbers summed in the features' own type before float64 takes over


@dataclass(frozen=True)
class PairSums:
    """What is known of the matrices K of all models: sums over ordered pairs of distinct stimuli.

    Attributes:
        products: Sum over i != j of K_ij L_ij, shape (n_models, n_models), float64, symmetric.
        row_sums: Sum over j != i of K_ij, shape (n_models, n_stimuli), float64.
        rounding: How far a diagonal entry of ``products`` may be off, shape (n_models,).
    """

    products: Tensor
    row_sums: Tensor
    rounding: Tensor

    def scaled(self, factor: float | Tensor) -> "PairSums":
        """Return the sums of ``factor * K``, with one factor, or one for each model, shape (n_models,)."""
        factors = torch.as_tensor(factor, dtype=torch.float64, device=self.products.device).expand(
            len(self.products)
        )
        return PairSums(
            self.products * factors[:, None] * factors,
            self.row_sums * factors[:, None],
            self.rounding * factors**2,
        )

    def with_row_terms(self, u: Tensor) -> "PairSums":
        """Return the sums of ``K_ij + u_i + u_j``, where ``u`` has shape (n_models, n_stimuli)."""
        n, r = self.row_sums.shape[1], self.row_sums
        total = u.sum(dim=1)
        cross = u @ r.T
        products = (
            self.products + 2 * (cross + cross.T) + 2 * (n - 2) * (u @ u.T) + 2 * torch.outer(total, total)
        )
        rounding = self.rounding + ZERO_BELOW_EPS * torch.finfo(torch.float64).eps * products.diagonal()
        return PairSums(products, r + (n - 2) * u + total[:, None], rounding)

    def u_centred(self) -> Tensor:
        """Return inner products of the U-centred matrices: n (n - 3) times the unbiased HSIC.

        Source:
            Song et al. 2012, JMLR 13:1393, equation 5; Székely & Rizzo 2014, doi:10.1214/14-AOS1255.
        """
        n, r, s = self.row_sums.shape[1], self.row_sums, self.row_sums.sum(dim=1)
        return self.products - 2 / (n - 2) * (r @ r.T) + torch.outer(s, s) / ((n - 1) * (n - 2))

    def double_centred(self, diagonal: Tensor) -> Tensor:
        """Return inner products of H K H, where K has the given diagonal, shape (n_models, n_stimuli)."""
        n, r = self.row_sums.shape[1], self.row_sums + diagonal
        s = r.sum(dim=1)
        return self.products + diagonal @ diagonal.T - 2 / n * (r @ r.T) + torch.outer(s, s) / n**2

    def mean_centred(self) -> Tensor:
        """Return inner products of the off-diagonal entries less their mean."""
        n, s = self.row_sums.shape[1], self.row_sums.sum(dim=1)
        return self.products - torch.outer(s, s) / (n * (n - 1))


def linear_pair_sums(models: Sequence[CentredFeatures], *, memory_bytes: int) -> PairSums:
    """Sum products of the linear Gram matrices of centred features.

    Works on tiles of Gram matrices, or on products of features where that is less work; no
    elementwise pass over n_stimuli x n_stimuli numbers either way.

    Cost:
        The lesser of n^2 (sum of d + n_models^2) and n (sum of d)^2 multiply-adds, the former
        halved by symmetry; beyond the features, at most ``memory_bytes``.
    """
    n, widths = len(models[0].features), [m.features.shape[1] for m in models]
    squared_norms = torch.stack([m.squared_norms for m in models])
    if sum(widths) ** 2 < n * (sum(widths) + len(models) ** 2):
        whole = _products_in_feature_space(models, memory_bytes)
        products = whole - squared_norms @ squared_norms.T
    else:
        whole = products = _products_in_stimulus_space(models, memory_bytes)
    # a row of a Gram matrix of centred features sums to zero, so without its diagonal to minus that
    return PairSums(
        _symmetric(products), -squared_norms, rounding_of(whole, 1.0, n, models[0].features.dtype)
    )


def _products_in_stimulus_space(models: Sequence[CentredFeatures], memory_bytes: int) -> Tensor:
    x = models[0].features
    side = tile_side(len(models), len(x), x, memory_bytes)
    buffer = torch.empty(len(models) * side * side, dtype=x.dtype, device=x.device)
    products = torch.zeros(len(models), len(models), dtype=torch.float64, device=x.device)
    stacks = _stacks_of([m.features for m in models])
    heights = [len(stack) for stack in stacks]
    for rows, columns in tiles(len(x), side):
        tile = view_of(buffer, len(models), rows, columns)
        for stack, out in zip(stacks, torch.split(tile, heights), strict=True):
            torch.bmm(stack[:, rows], stack[:, columns].mT, out=out)
        add_products(products, tile, rows, columns)
    return products


def _stacks_of(features: Sequence[Tensor]) -> list[Tensor]:
    """View neighbouring models of one width that are contiguous in memory as one tensor each."""
    stacks: list[Tensor] = []
    for x in features:
        last = stacks[-1] if stacks else None
        if (
            last is not None
            and last.shape[1:] == x.shape
            and last.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
            and last.storage_offset() + last.numel() == x.storage_offset()
            and last.is_contiguous() & x.is_contiguous()
        ):
            stacks[-1] = last.as_strided((len(last) + 1, *x.shape), (x.numel(), x.shape[1], 1))
        else:
            stacks.append(x[None])
    return stacks


def _products_in_feature_space(models: Sequence[CentredFeatures], memory_bytes: int) -> Tensor:
    x = models[0].features
    widest = max(m.features.shape[1] for m in models)
    step = max(1, min(widest, memory_bytes // (6 * widest * x.element_size())))
    products = torch.zeros(len(models), len(models), dtype=torch.float64, device=x.device)
    for a, left in enumerate(models):
        for start in range(0, left.features.shape[1], step):
            columns = left.features[:, start : start + step].T
            for b in range(a, len(models)):
                products[a, b] += (columns @ models[b].features).double().square().sum()
    return products.triu() + products.triu(1).T


def tile_side(n_matrices: int, n_stimuli: int, like: Tensor, memory_bytes: int) -> int:
    """Choose the side of square tiles so that one tile of each matrix, of the type of ``like``, fits in."""
    largest = isqrt(memory_bytes // (like.element_size() * n_matrices))
    if like.device.type == "cpu":
        largest = min(largest, LARGEST_TILE)
    return max(1, min(n_stimuli, largest))


def tiles(n_stimuli: int, side: int) -> Iterator[tuple[slice, slice]]:
    """Yield row and column ranges of tiles that cover the diagonal and the part to the right of it."""
    edges = [slice(start, min(start + side, n_stimuli)) for start in range(0, n_stimuli, side)]
    for i, rows in enumerate(edges):
        for columns in edges[i:]:
            yield rows, columns


def view_of(buffer: Tensor, n_matrices: int, rows: slice, columns: slice) -> Tensor:
    """Return the front of a flat buffer as one tile for each matrix."""
    height, width = rows.stop - rows.start, columns.stop - columns.start
    return buffer[: n_matrices * height * width].view(n_matrices, height, width)


def add_products(products: Tensor, tile: Tensor, rows: slice, columns: slice) -> None:
    """Add the products of one tile of each matrix, twice unless it is on the diagonal.

    The diagonal of the matrices is set to zero in the tile and so left out.
    """
    if rows == columns:
        tile.diagonal(dim1=1, dim2=2).zero_()
    flat = tile.flatten(start_dim=1)
    whole = flat.shape[1] // PRODUCT_CHUNK * PRODUCT_CHUNK
    # short products in the features' own type, their sum in float64
    parts = flat[:, :whole].reshape(len(flat), -1, PRODUCT_CHUNK).transpose(0, 1)
    rest = flat[:, whole:]
    total = torch.bmm(parts, parts.transpose(1, 2)).sum(dim=0, dtype=torch.float64) + rest @ rest.T
    products += total if rows == columns else 2 * total


def _symmetric(products: Tensor) -> Tensor:
    return (products + products.T) / 2


def rounding_of(products: Tensor, size: Tensor | float, n_stimuli: int, dtype: torch.dtype) -> Tensor:
    """Return how far sums of squares may be off, given the size of the numbers that entries are made from.

    Entries may be far smaller than these numbers, and then be nothing but their rounding.
    """
    eps = torch.finfo(dtype).eps
    squares = products.diagonal().abs()
    noise = ENTRY_EPS * eps * n_stimuli * size  # norm of a matrix of roundings
    return ZERO_BELOW_EPS * eps * squares + 2 * noise * squares.sqrt() + noise**2
