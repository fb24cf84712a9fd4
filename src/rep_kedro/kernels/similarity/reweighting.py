"""How well the dissimilarities of one model predict those of another once its features are weighted.

Each feature has a dissimilarity matrix (RDM) of its own, the squared differences of its values. Their sums of
products over pairs of stimuli are closed forms of products over stimuli, so that no RDM is made to fit them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rep_kedro.kernels.similarity.basis import RELATIVE_ZERO
from rep_kedro.kernels.similarity.held_out import Fold, Stack, stack_features
from rep_kedro.kernels.undefined import Reasons, Undefined, pair_reasons

RIDGE = 1e-6  # of the energy of each feature's RDM: dependent RDMs share their weight, others do not notice
USUAL = 2.0  # mean squared distance of features of mean squared norm one
FEWEST_IN_FOLD = 2
ZERO_BELOW_EPS = 64
ALL_EQUAL = "predicted or observed dissimilarities of held-out stimuli are all equal"


def compare_reweighted(
    representations: Sequence[Tensor],
    requests: Mapping[str, Mapping[str, Any]],
    *,
    memory_bytes: int,
) -> Iterator[tuple[str, Tensor, Reasons]]:
    """Predict the RDM of every model from the features of every model, with weights of at least zero.

    For each fold of stimuli the squared Euclidean RDM of the predicted model is fitted, without intercept, by
    a sum of the predictor's feature RDMs among the other stimuli, and predicted among the stimuli of the
    fold. The value is the Pearson correlation of predicted and observed dissimilarities over the pairs of all
    folds.

    Args:
        representations: One matrix for each model, shape (n_stimuli, n_features_i), finite, row s for the
            same stimulus in all.
        requests: By a name of the caller's: ``n_folds``, and ``seed``, which deals the stimuli to folds.
        memory_bytes: Not used: some matrices of n_features x n_features, and of (n_stimuli / n_folds)^2
            numbers, are in memory beyond a float64 copy of all features.

    Yields:
        Name, values of shape (n_models, n_models), float64, in [-1, 1], NaN where undefined, and the reason
        of each NaN. Entry (a, b) predicts b from a.

    Raises:
        ValueError: If a fold has fewer than two stimuli.

    Cost:
        For each pair and fold O(n_stimuli * n_features^2), and non-negative least squares of n_features
        unknowns on the CPU; together 0.08 s for 512 features: all pairs of 64 such models in five folds take
        half an hour on one core, and four times as long for twice the features.

    Source:
        Kaniuth & Hebart 2022, doi:10.1016/j.neuroimage.2022.119294 (they choose a ridge penalty);
        Jozwik et al. 2016, doi:10.1016/j.neuropsychologia.2015.10.023 (non-negative weights).
    """
    for name, parameters in requests.items():
        stack = stack_features(representations, **parameters)
        if min(test.stop - test.start for test in stack.tests) < FEWEST_IN_FOLD:
            raise ValueError(
                f"{len(stack.tests)} folds of at least {FEWEST_IN_FOLD} stimuli take"
                f" {FEWEST_IN_FOLD * len(stack.tests)} stimuli, got {len(stack.order)}"
            )
        yield name, *_correlate(stack)


def _correlate(stack: Stack) -> tuple[Tensor, Reasons]:
    """Return correlations of predicted and observed dissimilarities from their sums over folds."""
    n_models = len(stack.columns)
    kept = [model for model in range(n_models) if model not in stack.flaws]
    sums = np.zeros((n_models, n_models, 6))
    for fold in stack.folds():
        for predictor in kept:
            system = FeatureRdms(fold, predictor)
            for target in kept:
                sums[predictor, target] += system.predict(target)
    count, p, y, pp, yy, py = np.moveaxis(sums, 2, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        spreads = pp - p * p / count, yy - y * y / count
        rounding = [ZERO_BELOW_EPS * np.finfo(float).eps * (sizes + USUAL**2 * count) for sizes in (pp, yy)]
        flat = (spreads[0] <= rounding[0]) | (spreads[1] <= rounding[1])
        values = (py - p * y / count) / np.sqrt(spreads[0] * spreads[1])
    reasons = pair_reasons(stack.flaws, n_models)
    for a in kept:
        for b in kept:
            if flat[a, b]:
                values[a, b], reasons[a, b] = np.nan, (Undefined(ALL_EQUAL),)
    return torch.from_numpy(values.clip(-1, 1)).to(stack.features.device), reasons


class FeatureRdms:
    """RDMs of the features of one model among the stimuli outside a fold, as far as fits need them."""

    def __init__(self, fold: Fold, predictor: int) -> None:
        """Take sums of products of all feature RDMs."""
        self._fold, self._columns = fold, fold.stack.columns[predictor]
        energy = fold.stack.features[:, self._columns].square().sum(dim=0)
        varies = fold.energy[self._columns] > RELATIVE_ZERO**2 * energy
        self._x = fold.training(self._columns) * varies  # some vary on stimuli of the fold alone
        self._squares = self._x.square()
        products = multiply_rdms(self._x, self._squares)
        self._sizes = products.diagonal().sqrt()
        self._sizes[~varies] = 1
        scaled = products / torch.outer(self._sizes, self._sizes)
        scaled.diagonal().add_(RIDGE)
        self._factor = torch.linalg.cholesky(scaled, upper=True)

    def fit(self, target: int) -> Tensor:
        """Return the weights that fit the RDM of a model best, shape (n_features,), none below zero."""
        from scipy.optimize import nnls

        y = self._fold.training(self._fold.stack.columns[target])
        products = multiply_with_target(self._x, self._squares, y) / self._sizes
        if not bool(products.any()):
            return torch.zeros_like(products)
        aims = torch.linalg.solve_triangular(self._factor.T, products[:, None], upper=False)[:, 0]
        weights: NDArray[np.float64] = nnls(self._factor.cpu().numpy(), aims.cpu().numpy())[0]
        return torch.from_numpy(weights).to(self._sizes) / self._sizes

    def predict(self, target: int) -> NDArray[np.float64]:
        """Return number and moments of predicted and observed dissimilarities within the fold.

        Returns:
            Number of pairs, then sums of p, y, p^2, y^2 and p y, with p the predicted and y the observed
            dissimilarity, less the usual one.
        """
        predicted = squared_distances(self._fold.held_out(self._columns) * self.fit(target).sqrt()) - USUAL
        observed = squared_distances(self._fold.held_out(self._fold.stack.columns[target])) - USUAL
        pairs = torch.stack([torch.ones_like(predicted), predicted, observed])
        moments = (pairs @ pairs.T).cpu().numpy()
        return moments[[0, 0, 0, 1, 2, 1], [0, 1, 2, 1, 2, 2]]


def multiply_rdms(x: Tensor, squares: Tensor) -> Tensor:
    """Return sums over pairs of stimuli of products of two features' squared differences.

    Args:
        x: Shape (n_stimuli, n_features), columns of mean zero.
        squares: Its squares.

    Returns:
        Shape (n_features, n_features); each pair of stimuli counts once.
    """
    totals = squares.sum(dim=0)
    return len(x) * squares.T @ squares + torch.outer(totals, totals) + 2 * (x.T @ x).square()


def multiply_with_target(x: Tensor, squares: Tensor, y: Tensor) -> Tensor:
    """Return sums over pairs of stimuli of each feature's squared difference times the distance in ``y``.

    Args:
        x: Shape (n_stimuli, n_features), columns of mean zero.
        squares: Its squares.
        y: Shape (n_stimuli, n_targets), columns of mean zero.

    Returns:
        Shape (n_features,); distances are squared, each pair of stimuli counts once.
    """
    norms = y.square().sum(dim=1)
    cross = (x.T @ y).square().sum(dim=1)
    return len(x) * squares.T @ norms + squares.sum(dim=0) * norms.sum() + 2 * cross


def squared_distances(x: Tensor) -> Tensor:
    """Return squared distances of every two rows, in the order of rows above the diagonal."""
    x = x - x.mean(dim=0)
    products = x @ x.T
    norms = products.diagonal()
    rows, columns = torch.triu_indices(len(x), len(x), 1, device=x.device)
    return (norms[:, None] + norms - 2 * products)[rows, columns]
