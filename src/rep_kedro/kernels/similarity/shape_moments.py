"""Cosine of the shape distance from unbiased moments of the cross-covariance, rather than from its estimate.

The nuclear norm of an estimated cross-covariance counts noise as shared variance, more of it the more
features there are. Its even moments have unbiased estimates, and the norm is nearly a polynomial of them.
"""

from collections.abc import Sequence
from itertools import combinations_with_replacement
from math import comb

import torch
from torch import Tensor

from rep_kedro.kernels.similarity.centred import CentredFeatures, centre_all
from rep_kedro.kernels.similarity.cosines import flaws_of
from rep_kedro.kernels.undefined import Reasons, pair_reasons


def compare_shape_moments(
    representations: Sequence[Tensor], *, n_moments: int, n_orders: int, seed: int
) -> tuple[Tensor, Reasons]:
    """Compare all models by |C|_* / sqrt(tr A tr B): C their cross-covariance, A and B their covariances.

    That is the cosine of the angular Procrustes distance of populations. The singular values of C are not
    estimated; the sums of their even powers are, without bias, and the sum of the values is taken as the
    polynomial of ``n_moments`` of these that is closest to it in the mean over [0, largest]. More moments
    have less bias and more variance. Small singular values are counted too low: where models share many
    small directions, as trained networks do, so is the similarity, also that of a model with itself (three
    moments of layers of CIFAR-10 networks: 0.7).

    Args:
        representations: One matrix for each model, shape (n_stimuli, n_features_i), at least
            4 ``n_moments`` stimuli.
        n_moments: Number of moments, positive.
        n_orders: Orders of the stimuli over which moments are averaged.
        seed: Seeds the orders.

    Returns:
        Similarities, shape (n_models, n_models), float64, symmetric, near [0, 1] but not bounded by it, NaN
        where undefined, and a reason for each NaN.

    Raises:
        ValueError: If there are too few stimuli.

    Cost:
        Time O(n_models^2 * n_orders * n_moments * (n_stimuli / 2)^3); memory 5 (n_stimuli / 2)^2 numbers
        beyond a float64 copy of the features. 64 models on 2,000 stimuli in two orders: some twenty
        minutes on one core.

    Source:
        Pospisil et al. 2024, arXiv:2310.05742, section 3; Kong & Valiant 2017, arXiv:1602.00061 (moments).
        They weigh bias by its bound and variance by its bootstrap; here the number of moments alone decides.
        Differences of two stimuli take the place of stimuli, so that the unknown mean costs no bias.
    """
    n_stimuli = len(representations[0])
    if n_stimuli < 4 * n_moments:
        raise ValueError(f"{n_moments} moments take at least {4 * n_moments} stimuli, got {n_stimuli}")
    models = centre_all(representations, dtype=torch.float64)
    kept = [index for index, model in enumerate(models) if model.flaw is None]
    moments = torch.zeros(len(models), len(models), n_moments, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(n_orders):
        order = torch.randperm(n_stimuli, generator=generator)
        grams = _Grams(models, order)
        for a, b in combinations_with_replacement(kept, 2):
            first, second = grams.of(a), grams.make(b) if a != b else grams.of(a)
            for ordered in ((first, second), (second, first)):  # their means are equal, their values are not
                moments[a, b] += estimate_moments(*ordered, n_moments) / (2 * n_orders)
    values = torch.full((len(models), len(models)), torch.nan, dtype=torch.float64)
    for a, b in combinations_with_replacement(kept, 2):
        values[a, b] = values[b, a] = _norm_from_moments(moments[a, b], models[a], models[b])
    return values.to(representations[0].device), pair_reasons(flaws_of(models), len(models))


class _Grams:
    """Gram matrices of differences of two stimuli each, next to each other in an order."""

    def __init__(self, models: Sequence[CentredFeatures], order: Tensor) -> None:
        self._models, self._pairs = models, order[: len(order) // 2 * 2].view(-1, 2)
        self._last: tuple[int, Tensor] | None = None

    def make(self, model: int) -> Tensor:
        """Make the matrix of a model, shape (n_stimuli // 2, n_stimuli // 2)."""
        x = self._models[model].features
        pairs = self._pairs.to(x.device)
        differences = x[pairs[:, 0]] - x[pairs[:, 1]]
        return differences @ differences.T / 2  # variances of differences are twice those of stimuli

    def of(self, model: int) -> Tensor:
        """Return the matrix of a model and keep it until another is asked for."""
        if self._last is None or self._last[0] != model:
            self._last = (model, self.make(model))
        return self._last[1]


def estimate_moments(first: Tensor, second: Tensor, n_moments: int) -> Tensor:
    """Return unbiased estimates of tr (C C')^p for p = 1 to ``n_moments``, C the cross-covariance.

    The mean of ``first_ij second_jk first_kl ... second_.i`` over all 2 p stimuli i < j < k < l < ...: no
    stimulus occurs twice, so that expectations multiply.

    Args:
        first: Gram matrix of independent stimuli of mean zero, shape (n, n), float64.
        second: The same of the other model.
        n_moments: At most n / 2.

    Returns:
        Shape (n_moments,), float64, on the CPU.
    """
    ahead = first.triu(1)
    step, cycle = ahead @ second.triu(1), ahead @ second
    estimates = [cycle.trace() / comb(len(first), 2)]
    for p in range(2, n_moments + 1):
        # the trace of a product needs no product
        estimates.append((step * cycle.T).sum() / comb(len(first), 2 * p))
        if p < n_moments:
            cycle = step @ cycle
    return torch.stack(estimates).cpu()


def fit_square_root(n_moments: int) -> Tensor:
    """Return g with the least integral over [0, 1] of (s - sum of g_p s^2p)^2, shape (n_moments,), float64.

    Example:
        >>> fit_square_root(1)
        tensor([1.2500], dtype=torch.float64)
    """
    powers = 2 * torch.arange(1, n_moments + 1, dtype=torch.float64)
    weights: Tensor = torch.linalg.solve(1 / (powers[:, None] + powers + 1), 1 / (powers + 2))
    return weights


def _norm_from_moments(moments: Tensor, first: CentredFeatures, second: CentredFeatures) -> float:
    """Return the nuclear norm relative to the total variances, given moments of the cross-covariance."""
    freedom = len(first.features) - 1
    largest = float(torch.linalg.matrix_norm(first.features.T @ second.features / freedom, 2))
    if largest == 0:
        return 0.0
    powers = largest ** (1 - 2 * torch.arange(1, len(moments) + 1, dtype=torch.float64))
    norm = float((fit_square_root(len(moments)) * moments * powers).sum())
    variances = first.squared_norms.sum() / freedom * (second.squared_norms.sum() / freedom)
    return norm / float(variances.sqrt())
