"""Measures of dimensionality from a spectrum.

Two spectra occur and give other numbers, so each name says which it takes: ``lambda`` are eigenvalues of a
covariance (squared scale), ``sigma`` singular values of a sample matrix; ``centred`` means that the mean was
taken off first. For n samples sigma_i = sqrt(n lambda_i), with lambda of the covariance (centred) or of the
second moment (uncentred). Every measure raises ValueError for a spectrum that is empty, negative, not finite
or all zero.
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

SaturationRule = Literal["reach", "delve"]

RELATIVE_NEGATIVE = 1e-10  # an eigenvalue this far below zero relative to the largest is not rounding
FLOAT32_NEGATIVE = 1e-5  # the same for products in float32
DELVE_GAP = 0.02  # delve adds one component only if more than this share is missing


class PowerLaw(NamedTuple):
    """Decay of a spectrum, lambda_i proportional to i^(-alpha), and the weighted R2 of that line."""

    alpha: float
    r2: float


def compute_eigenvalues(symmetric: Tensor, *, rounding: float = RELATIVE_NEGATIVE) -> Tensor:
    """Return the eigenvalues of a covariance or second moment, largest first.

    Args:
        symmetric: Shape (n_features, n_features), symmetric and positive semidefinite up to rounding.
        rounding: How far below zero, relative to the largest, an eigenvalue may come out by rounding:
            ``FLOAT32_NEGATIVE`` where products were made in float32.

    Returns:
        Shape (n_features,), float64, descending; negative rounding is set to zero.

    Raises:
        ValueError: If the matrix is not square, not finite, or clearly not positive semidefinite.
    """
    if symmetric.ndim != 2 or symmetric.shape[0] != symmetric.shape[1]:
        raise ValueError(f"a covariance must be square, got shape {tuple(symmetric.shape)}")
    if not bool(torch.isfinite(symmetric).all()):
        raise ValueError("a covariance must be finite, got NaN or infinity")
    eigenvalues: Tensor = torch.linalg.eigvalsh(symmetric.to(torch.float64)).flip(0)
    if eigenvalues[-1] < -rounding * eigenvalues.abs().max():
        raise ValueError(
            f"eigenvalues of a covariance must not be negative, got {eigenvalues[-1].item():.3g}"
        )
    return eigenvalues.clamp(min=0.0)


def measure_intrinsic_dimension(
    centred_lambda: Tensor, *, delta: float = 0.99, rule: SaturationRule = "reach"
) -> int:
    """Return how many leading principal components carry the share ``delta`` of the variance.

    Args:
        centred_lambda: Eigenvalues of the covariance, shape (n_features,), any order.
        delta: Share of the variance, above 0 and up to 1.
        rule: ``reach`` is the textbook rule, the smallest k whose cumulative share is at least ``delta``.
            ``delve`` repeats the delve library for comparison with published figures: the number of
            cumulative shares below ``delta``, plus one if more than 0.02 is missing, at least 1.

    Returns:
        Between 1 and n_features.

    Raises:
        ValueError: If there is no variance, or ``delta`` or ``rule`` is not allowed.

    Source:
        Richter et al. 2021, arXiv:2006.08679, section 3; delve 0.1.50 for its rule.

    Example:
        >>> shares = torch.tensor([0.6, 0.3, 0.08, 0.015, 0.005])
        >>> measure_intrinsic_dimension(shares), measure_intrinsic_dimension(shares, rule="delve")
        (4, 3)
    """
    if not 0.0 < delta <= 1.0:
        raise ValueError(f"delta must be in (0, 1], got {delta}")
    sums = _require_variance(centred_lambda).cumsum(dim=0)
    shares = sums / sums[-1]  # ends in exactly 1, so delta 1 is reached
    n_below = int((shares < delta).sum())
    if rule == "reach":
        return n_below + 1
    if rule != "delve":
        raise ValueError(f"unknown rule {rule!r} for the intrinsic dimension; known: reach, delve")
    if n_below == 0 or delta - shares[n_below - 1].item() > DELVE_GAP:
        return n_below + 1
    return n_below


def measure_saturation(
    centred_lambda: Tensor, *, delta: float = 0.99, rule: SaturationRule = "reach"
) -> float:
    """Return the intrinsic dimension over the number of features, above 0 and up to 1.

    Args, Raises: as :func:`measure_intrinsic_dimension`.

    Source:
        Richter et al. 2021, arXiv:2006.08679, section 3.
    """
    return measure_intrinsic_dimension(centred_lambda, delta=delta, rule=rule) / len(centred_lambda)


def measure_rankme_uncentred_sigma(uncentred_sigma: Tensor, *, epsilon: float = 1e-7) -> float:
    """Return RankMe: exp of the entropy of singular value shares, with ``epsilon`` added to every share.

    The one measure here that keeps its authors' epsilon, because published values contain it: with many
    features it lifts the value of a collapsed representation (2,048 features, rank 1: 1.0033 with 1e-7, 1.27
    with 1e-5).

    Args:
        uncentred_sigma: Singular values of the sample matrix as it is (neither centred nor normalised),
            min(n_samples, n_features) of them.
        epsilon: Added to each share; shares are not normalised again.

    Returns:
        From about 1 to the number of singular values (slightly above by epsilon).

    Raises:
        ValueError: If all singular values are zero, or ``epsilon`` is negative.

    Source:
        Garrido et al. 2023, arXiv:2210.02885, equation 1.

    Example:
        >>> round(measure_rankme_uncentred_sigma(torch.tensor([4.0, 3.0, 2.0, 1.0])), 6)
        3.596116
    """
    if epsilon < 0.0:
        raise ValueError(f"epsilon of RankMe must not be negative, got {epsilon}")
    sigma = _require_variance(uncentred_sigma)
    return math.exp(_entropy(sigma / sigma.sum() + epsilon))


def measure_effective_rank_centred_lambda(centred_lambda: Tensor) -> float:
    """Return exp of the entropy of eigenvalue shares of the covariance, from 1 to n_features.

    Source:
        Roy & Vetterli 2007, EUSIPCO, section 2, on the covariance (its singular values are its eigenvalues).
    """
    return math.exp(measure_von_neumann_entropy_centred_lambda(centred_lambda))


def measure_von_neumann_entropy_centred_lambda(centred_lambda: Tensor) -> float:
    """Return the entropy, in nats, of the covariance scaled to trace 1; 0 for a single direction."""
    eigenvalues = _require_variance(centred_lambda)
    return _entropy(eigenvalues / eigenvalues.sum())


def measure_participation_ratio_centred_lambda(centred_lambda: Tensor) -> float:
    """Return (sum lambda)^2 / sum lambda^2, from 1 to n_features.

    Source:
        Gao et al. 2017, doi:10.1101/214262, section 3.
    """
    shares = _require_variance(centred_lambda)
    shares = shares / shares.sum()  # first to shares: squares of extreme scales would leave the range
    return 1.0 / shares.square().sum().item()


def measure_stable_rank_uncentred_sigma(uncentred_sigma: Tensor) -> float:
    """Return the squared Frobenius norm over the squared spectral norm of the samples, at least 1.

    Source:
        Rudelson & Vershynin 2007, arXiv:math/0503442, section 1.
    """
    sigma = _require_variance(uncentred_sigma)
    return (sigma / sigma.max()).square().sum().item()


def measure_nesum_centred_lambda(centred_lambda: Tensor) -> float:
    """Return the sum of eigenvalues over the largest (NESum), from 1 to n_features.

    Source:
        He & Ozay 2022, ICML, section 3.2.
    """
    eigenvalues = _require_variance(centred_lambda)
    return (eigenvalues / eigenvalues.max()).sum().item()


def measure_condition_number_sigma(sigma: Tensor) -> float:
    """Return the largest over the smallest singular value; infinity if the smallest is zero."""
    values = _require_variance(sigma)
    return (values.max() / values.min()).item()


def measure_numerical_rank_sigma(sigma: Tensor, *, shape: tuple[int, int], precision: float) -> int:
    """Return how many singular values exceed rounding.

    Args:
        sigma: Singular values, shape (n_values,).
        shape: Rows and columns of the sample matrix.
        precision: Relative precision of the numbers the samples were held in, such as
            ``torch.finfo(torch.float32).eps``; the threshold is the largest singular value times the larger
            side times this.

    Returns:
        Between 0 (all zero) and the number of values.

    Raises:
        ValueError: If the spectrum is not valid.
    """
    values = _require_spectrum(sigma)
    return int((values > values.max() * max(shape) * precision).sum())


def fit_power_law_centred_lambda(centred_lambda: Tensor, *, first: int = 11, last: int = 100) -> PowerLaw:
    """Fit the decay of the spectrum (alpha-ReQ): a line through log lambda_i against log i, weighted by 1/i.

    Args:
        centred_lambda: Eigenvalues of the covariance, any order.
        first: First index of the window, counted from 1.
        last: Last index of the window, itself included.

    Returns:
        The exponent alpha and the weighted R2 within the window (NaN for a flat spectrum).

    Raises:
        ValueError: If the window does not hold two indices of the spectrum, or holds an eigenvalue of zero.

    Source:
        Agrawal et al. 2022, arXiv:2202.05808; window and weights of Stringer et al. 2019,
        doi:10.1038/s41586-019-1346-5.
    """
    eigenvalues = _require_variance(centred_lambda)
    if not 1 <= first < last <= len(eigenvalues):
        raise ValueError(
            f"the window of a power law must be within 1 to {len(eigenvalues)}, got {first} to {last}"
        )
    window = eigenvalues[first - 1 : last]
    if window[-1] == 0.0:
        raise ValueError(f"a power law needs eigenvalues above zero, got zero within {first} to {last}")
    index = torch.arange(first, last + 1, dtype=torch.float64, device=window.device)
    weight = 1.0 / index / (1.0 / index).sum()
    x, y = index.log(), window.log()
    x, y = x - (weight * x).sum(), y - (weight * y).sum()
    slope = (weight * x * y).sum() / (weight * x.square()).sum()
    spread = (weight * y.square()).sum()
    r2 = 1.0 - (weight * (y - slope * x).square()).sum() / spread if spread > 0.0 else torch.tensor(math.nan)
    return PowerLaw(alpha=-slope.item(), r2=r2.item())


def _entropy(shares: Tensor) -> float:
    """Return -sum p ln p, with 0 ln 0 = 0."""
    return -float(torch.special.xlogy(shares, shares).sum())


def _require_spectrum(values: Tensor) -> Tensor:
    """Return a valid spectrum as float64, largest first."""
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"a spectrum must be a non-empty vector, got shape {tuple(values.shape)}")
    if not bool(torch.isfinite(values).all()) or bool((values < 0.0).any()):
        raise ValueError("a spectrum must be finite and not negative, got negative, NaN or infinite values")
    return values.to(torch.float64).sort(descending=True).values


def _require_variance(values: Tensor) -> Tensor:
    """Return a spectrum that is not all zero, as float64, largest first, its largest about 1."""
    spectrum = _require_spectrum(values)
    if spectrum[0] == 0.0:
        raise ValueError("the dimension of an all-zero spectrum is undefined: the samples do not vary")
    # Every measure here is blind to scale, sums of extreme scales are not; a power of two costs no digit.
    return torch.ldexp(spectrum, -torch.frexp(spectrum[0]).exponent)
