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

SAME_BELOW_EPS = 4  # stimuli nearer to each other than this many roundings of the input are one stimulus
ZERO_BELOW_EPS = 64  # a sum smaller than this many roundings of what it was made from is zero
ENTRY_EPS = 8  # roundings in one entry of a matrix, relative to the numbers it was made from
NUMBERS_PER_CENTRING = 2**17  # in float64 they stay in the cache; more on other devices, where calls cost
LARGEST_TILE = 320  # on a CPU larger tiles leave the caches: 512 and 1024 were slower
PRODUCT_CHUNK = 16384  # numbers summed in the features' own type before float64 takes over


@dataclass(frozen=True)
class CentredFeatures:
    """Features of one model with mean zero and mean squared norm one.

    Attributes:
        features: Shape (n_stimuli, n_features); zeros where the model is degenerate.
        squared_norms: Shape (n_stimuli,), float64, mean one.
        unit: Root mean squared norm before scaling: multiply by it to get back.
        flaw: Why the model cannot be compared, or None.
    """

    features: Tensor
    squared_norms: Tensor
    unit: float
    flaw: str | None = None


def centre(
    x: Tensor, *, flaw: str | None = None, out: Tensor | None = None, rounded_as: torch.dtype | None = None
) -> CentredFeatures:
    """Subtract the mean stimulus and scale to mean squared norm one, in float64 and rounded once.

    Args:
        x: Features, shape (n_stimuli, n_features), any scale and shift.
        flaw: A reason known beforehand why the model cannot be compared.
        out: Where to write the features, contiguous, of the shape and type of ``x``; new by default.
        rounded_as: The type that the numbers came from, where it is coarser than that of ``x``.
    """
    n, (blocks, scratch) = len(x), _blocks_of(x)
    features = torch.empty_like(x, memory_format=torch.contiguous_format) if out is None else out
    mean = torch.zeros(x.shape[1], dtype=torch.float64, device=x.device)
    for rows in blocks:
        mean += scratch[: len(x[rows])].copy_(x[rows]).sum(dim=0)
    mean /= n
    energies = mean.new_zeros(2)  # sums, and not yet on the host, so that no block waits for another
    for rows in blocks:
        centred = torch.sub(x[rows], mean, out=scratch[: len(x[rows])]).flatten()
        energies[0] += torch.dot(centred, centred)
    energies[1] = energies[0] + n * torch.dot(mean, mean)
    energy, raw_energy = energies.tolist()
    eps = torch.finfo(rounded_as or x.dtype).eps
    same = energy <= (SAME_BELOW_EPS * eps) ** 2 * raw_energy
    squared_norms = torch.zeros(n, dtype=torch.float64, device=x.device)
    if same or flaw is not None:
        flaw = flaw or "all stimuli have the same features"
        return CentredFeatures(features.zero_(), squared_norms, 0.0, flaw)
    unit = (energy / n) ** 0.5
    for rows in blocks:
        centred = torch.sub(x[rows], mean, out=scratch[: len(x[rows])])
        features[rows] = centred.div_(unit)
        squared_norms[rows] = centred.copy_(features[rows]).square_().sum(dim=1)
    return CentredFeatures(features, squared_norms, unit)


def _blocks_of(x: Tensor) -> tuple[list[slice], Tensor]:
    """Return ranges of rows to centre at once, and room for one of them in float64."""
    numbers = NUMBERS_PER_CENTRING if x.device.type == "cpu" else 64 * NUMBERS_PER_CENTRING
    step = max(1, min(len(x), numbers // x.shape[1]))
    scratch = torch.empty(step, x.shape[1], dtype=torch.float64, device=x.device)
    return [slice(start, start + step) for start in range(0, len(x), step)], scratch


def centre_all(representations: Sequence[Tensor]) -> list[CentredFeatures]:
    """Centre each model, see ``centre``, into memory where models of one width can be multiplied at once."""
    return [centre(x, out=out) for x, out in zip(representations, room_for(representations), strict=True)]


def room_for(representations: Sequence[Tensor]) -> list[Tensor]:
    """Return empty tensors like the representations, one after the other in one piece of memory."""
    first, sizes = representations[0], [x.numel() for x in representations]
    if any(x.dtype != first.dtype for x in representations):
        return [torch.empty_like(x, memory_format=torch.contiguous_format) for x in representations]
    memory = torch.empty(sum(sizes), dtype=first.dtype, device=first.device)
    parts = torch.split(memory, sizes)
    return [part.view(x.shape) for part, x in zip(parts, representations, strict=True)]


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

    def scaled(self, factor: float) -> "PairSums":
        """Return the sums of ``factor * K``."""
        square = factor * factor
        return PairSums(self.products * square, self.row_sums * factor, self.rounding * square)

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
    """View neighbouring models of one width that lie one after the other in memory as one tensor each."""
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
    """Yield row and column ranges of tiles that cover the diagonal and what lies right of it."""
    edges = [slice(start, min(start + side, n_stimuli)) for start in range(0, n_stimuli, side)]
    for i, rows in enumerate(edges):
        for columns in edges[i:]:
            yield rows, columns


def view_of(buffer: Tensor, n_matrices: int, rows: slice, columns: slice) -> Tensor:
    """Return the front of a flat buffer as one tile for each matrix."""
    height, width = rows.stop - rows.start, columns.stop - columns.start
    return buffer[: n_matrices * height * width].view(n_matrices, height, width)


def add_products(products: Tensor, tile: Tensor, rows: slice, columns: slice) -> None:
    """Add the products of one tile of each matrix, twice unless it lies on the diagonal.

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
