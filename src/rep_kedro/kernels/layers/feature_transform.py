"""Transforms of features before networks are compared or probed.

Rows of length one, centring, standardising and principal components. What a transform learns, it learns
from the rows it is fitted on (training stimuli, say) and applies to all others. Sums are in float64, some
rows at a time; the result has the type of the features.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from rep_kedro.kernels.layers.streaming import StreamedMoments

ROWS_PER_BLOCK = 1024
COLUMNS_PER_BLOCK = 1024
RELATIVE_ROUNDING = 1e-7  # of float32: a spread this small relative to the mean is noise
RELATIVE_CUTOFF = 1e-10  # variance this small relative to the largest is rounding of float32 features
_SHOWN = 3


class ZeroLengthError(ValueError):
    """Some rows have length zero, so that they have no direction.

    Attributes:
        rows: The first of them.
    """

    def __init__(self, rows: list[int], n_rows: int) -> None:
        super().__init__(
            f"{n_rows} rows have length zero and cannot be scaled to length one, such as rows {rows}; "
            "leave out unit_length or those rows"
        )
        self.rows = rows


@dataclass(frozen=True)
class AffineMap:
    """Subtracts an offset, then scales each feature or maps features to axes.

    Attributes:
        offset: Shape (n_features,), float64.
        scale: Factor of each feature, shape (n_features,), float64; None leaves them as they are.
        axes: Columns are the axes, shape (n_features, n_components), float64; None keeps the features.
    """

    offset: Tensor
    scale: Tensor | None = None
    axes: Tensor | None = None

    @property
    def n_outputs(self) -> int:
        """Number of features that come out."""
        return len(self.offset) if self.axes is None else self.axes.shape[1]

    def apply(self, x: Tensor) -> Tensor:
        """Return mapped features.

        Args:
            x: Shape (n_rows, n_features), the same features in the same order as fitted on.

        Returns:
            Shape (n_rows, n_outputs), of the type of ``x``, computed in float64.

        Raises:
            ValueError: If the number of features is another.
        """
        if x.ndim != 2 or x.shape[1] != len(self.offset):
            raise ValueError(
                f"features must have shape (n_rows, {len(self.offset)}) as in the fit, got {tuple(x.shape)}"
            )
        mapped = x.new_empty(len(x), self.n_outputs)
        for rows in _blocks(len(x), ROWS_PER_BLOCK):
            centred = x[rows].to(torch.float64) - self.offset
            if self.scale is not None:
                centred = centred * self.scale
            mapped[rows] = centred if self.axes is None else centred @ self.axes
        return mapped


def scale_to_unit_length(x: Tensor) -> Tensor:
    """Divide each row by its Euclidean length.

    The direction of a stimulus stays, its length is gone; a transform before or after that shifts features
    does not commute with this one.

    Args:
        x: Shape (n_rows, n_features), finite.

    Returns:
        Same shape and type; rows of length one up to rounding of the type.

    Raises:
        ZeroLengthError: If a row has length zero.
        ValueError: If a value is not finite.

    Source:
        Features of Ciernik et al. 2025, arXiv:2411.05561, public code (stored with length one).

    Example:
        >>> scale_to_unit_length(torch.tensor([[3.0, 4.0], [0.0, 2.0]]))
        tensor([[0.6000, 0.8000],
                [0.0000, 1.0000]])
    """
    _require_features(x)
    unit = torch.empty_like(x)
    zero: list[Tensor] = []
    for rows in _blocks(len(x), ROWS_PER_BLOCK):
        block = x[rows].to(torch.float64)
        largest = block.abs().amax(dim=1, keepdim=True)
        zero.append((largest[:, 0] == 0).nonzero().flatten() + rows.start)
        block = block / largest  # no square under- or overflows
        unit[rows] = block / torch.linalg.vector_norm(block, dim=1, keepdim=True)
    without = torch.cat(zero)
    if len(without):
        raise ZeroLengthError(without[:_SHOWN].tolist(), len(without))
    return unit


def fit_centring(x: Tensor) -> AffineMap:
    """Return the map that takes the mean of each feature away.

    Args:
        x: Rows to fit on, shape (n_rows, n_features), at least one, finite.

    Raises:
        ValueError: If there is no row, or a value is not finite.
    """
    return AffineMap(_mean_of(x))


def fit_standardising(x: Tensor) -> AffineMap:
    """Return the map that brings each feature to mean 0 and standard deviation 1 (population).

    A feature that does not vary over the fitted rows, beyond float32 rounding, becomes 0 in all rows: also in
    others, where it may vary. (scikit-learn leaves those their deviation in raw units.)

    Args:
        x: Rows to fit on, shape (n_rows, n_features), at least one, finite.

    Raises:
        ValueError: If there is no row, or a value is not finite.

    Example:
        >>> x = torch.tensor([[1.0, 7.0], [3.0, 7.0]])
        >>> fit_standardising(x).apply(torch.tensor([[5.0, 9.0]]))
        tensor([[3., 0.]])
    """
    mean = _mean_of(x)
    squares = torch.zeros_like(mean)
    for rows in _blocks(len(x), ROWS_PER_BLOCK):
        squares += (x[rows].to(torch.float64) - mean).square().sum(dim=0)
    spread = (squares / len(x)).sqrt()
    constant = spread <= RELATIVE_ROUNDING * mean.abs()
    return AffineMap(mean, scale=torch.where(constant, 0.0, 1.0 / spread))


def fit_pca(x: Tensor, *, n_components: int | None = None, variance: float | None = None) -> AffineMap:
    """Return the map to the leading principal components of centred features.

    Args:
        x: Rows to fit on, shape (n_rows, n_features), at least one, finite.
        n_components: At most so many, 1 or more; never more than directions in which the rows vary.
        variance: Instead: the fewest whose share of the variance is larger than this, between 0 and 1.

    Returns:
        Axes by descending variance, each with its entry of largest absolute value (the first of equals)
        positive; axes of equal variance are any rotation of each other. Directions with less than 1e-10 of
        the largest variance are rounding and left out. Where the rows do not vary at all, there is one
        component, and it is 0 for every row.

    Raises:
        ValueError: If there is no row, or a value is not finite.

    Cost:
        With s the smaller of n_rows and n_features: time O(n_rows * n_features * s + s^3); memory 8 * s^2
        bytes a few times, the axes, and some rows or columns in float64.

    Source:
        Jolliffe 2002, Principal Component Analysis, chapters 1 and 6.1.1.

    Example:
        >>> line = torch.tensor([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]])
        >>> fit_pca(line, variance=0.99).apply(line).round(decimals=6)
        tensor([[-5.],
                [ 0.],
                [ 5.]])
    """
    mean = _mean_of(x)
    if x.shape[1] <= len(x):
        energies, axes = _decompose_covariance(x)
    else:
        energies, axes = _decompose_gram(x, mean)
    energies = energies.clamp(min=0.0)
    rank = int((energies > RELATIVE_CUTOFF * energies[0]).sum())
    if rank == 0 or _is_rounding(energies.sum(), mean, len(x)):
        return AffineMap(mean, axes=x.new_zeros(x.shape[1], 1, dtype=torch.float64))
    if variance is not None:
        shares = energies.cumsum(dim=0) / energies.sum()
        n_components = int((shares <= variance).sum()) + 1
    kept = axes[:, : min(n_components or rank, rank)]
    return AffineMap(mean, axes=_fix_signs(_make_orthonormal(kept)))


def _decompose_covariance(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return energies, descending, and axes of centred features, from (n_features, n_features) sums."""
    moments = StreamedMoments(x.shape[1], device=x.device)
    for rows in _blocks(len(x), ROWS_PER_BLOCK):
        moments.update(x[rows])
    energies, axes = torch.linalg.eigh(moments.covariance() * len(x))
    return energies.flip(0), axes.flip(1)


def _decompose_gram(x: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Return the same from (n_rows, n_rows) sums; axes of energy zero are zero."""
    gram = x.new_zeros(len(x), len(x), dtype=torch.float64)
    for columns in _blocks(x.shape[1], COLUMNS_PER_BLOCK):
        centred = x[:, columns].to(torch.float64) - mean[columns]
        gram += centred @ centred.T
    energies, directions = torch.linalg.eigh((gram + gram.T) / 2)
    energies, directions = energies.flip(0), directions.flip(1)
    kept = energies > RELATIVE_CUTOFF * energies[0].clamp(min=0.0)
    weights = torch.where(kept, directions / energies.clamp(min=0.0).sqrt(), 0.0)
    axes = x.new_empty(x.shape[1], len(x), dtype=torch.float64)
    for columns in _blocks(x.shape[1], COLUMNS_PER_BLOCK):
        axes[columns] = (x[:, columns].to(torch.float64) - mean[columns]).T @ weights
    return energies, axes


def _make_orthonormal(axes: Tensor) -> Tensor:
    """Return axes without the rounding by which those of little energy lean on those before them."""
    orthonormal: Tensor = torch.linalg.qr(axes).Q
    return orthonormal


def _fix_signs(axes: Tensor) -> Tensor:
    largest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))
    return axes * torch.where(largest < 0, -1.0, 1.0)


def _is_rounding(energy: Tensor, mean: Tensor, n_rows: int) -> bool:
    return bool(energy <= RELATIVE_ROUNDING**2 * n_rows * mean.square().sum())


def _mean_of(x: Tensor) -> Tensor:
    """Return the mean row in float64; deviations from the first row are summed, so none is lost."""
    _require_features(x)
    first = x[0].to(torch.float64)
    total = torch.zeros_like(first)
    for rows in _blocks(len(x), ROWS_PER_BLOCK):
        total += (x[rows].to(torch.float64) - first).sum(dim=0)
    return first + total / len(x)


def _require_features(x: Tensor) -> None:
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(
            f"features must have shape (n_rows, n_features), at least one of each, got {tuple(x.shape)}"
        )
    for rows in _blocks(len(x), ROWS_PER_BLOCK):
        if not bool(torch.isfinite(x[rows]).all()):
            raise ValueError("features to transform must be finite, got NaN or infinity")


def _blocks(total: int, size: int) -> Iterator[slice]:
    for start in range(0, total, size):
        yield slice(start, min(start + size, total))
