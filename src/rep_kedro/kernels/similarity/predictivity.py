"""How well the features of one model predict those of another on stimuli that the fit has not seen."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rep_kedro.kernels.similarity.held_out import (
    Stack,
    correlation_of_each,
    explained_of_all,
    explained_of_each,
    stack_features,
)
from rep_kedro.kernels.similarity.partial_least_squares import add_pls_errors
from rep_kedro.kernels.similarity.ridge import add_ridge_errors
from rep_kedro.kernels.undefined import Reasons, pair_reasons

STRENGTHS = {"all": "joint", "each": "each", "correlation": "each"}  # of ridge, by how features are averaged


class Folds(NamedTuple):
    """How stimuli are dealt to folds."""

    n_folds: int
    seed: int


class Request(NamedTuple):
    """One measure: its folds, what predicts, and how predicted features are averaged."""

    folds: Folds
    average: str
    n_components: int | None = None

    @property
    def predictor(self) -> str | int:
        """The strength of a ridge, or the number of components."""
        return self.n_components or STRENGTHS[self.average]


def compare_predictivity(
    representations: Sequence[Tensor],
    requests: Mapping[str, Mapping[str, Any]],
    *,
    memory_bytes: int,
) -> Iterator[tuple[str, Tensor, Reasons]]:
    """Predict the features of every model from those of every model, and judge it on held-out stimuli.

    The value is R² = 1 - (squared error) / (squared error of the mean of the stimuli used to fit), both
    summed over all folds; 1 at most, 0 or less where the predictor does not help. With ``average: all``
    errors are summed over the features of the predicted model, so that those of much variance count most;
    with ``each`` R² is averaged over its features, without those that are the same for all stimuli; with
    ``correlation`` so is the correlation of each feature with what is predicted of it.
    Copies of a stimulus in several folds raise the values.

    Args:
        representations: One matrix for each model, shape (n_stimuli, n_features_i), finite, row s for the
            same stimulus in all; float32 or float64, on one device.
        requests: By a name of the caller's: ``regression`` (ridge, pls), ``average`` (all, each,
            correlation), ``n_folds``, ``seed``, which deals the stimuli to folds; PLS also ``n_components``.
        memory_bytes: Bound for products in memory, one pair of models at least. One float64 copy of all
            features and the bases of one model come on top.

    Yields:
        Name, values of shape (n_models, n_models), float64, NaN where undefined, and the reason of each NaN.
        Entry (a, b) predicts b from a.

    Raises:
        ValueError: If there are fewer stimuli than folds.

    Cost:
        O(n_folds * n_stimuli * n_models^2 * n_features^2), and n_folds eigendecompositions of each model; see
        ``add_pls_errors`` for what PLS needs on top.

    Source:
        Yamins et al. 2014, doi:10.1073/pnas.1403112111; Schrimpf et al. 2018, doi:10.1101/407007 (linear
        predictivity). R² also sees a wrong scale, which their correlation overlooks.

    Example:
        >>> x = torch.tensor([[0.0, 1.0], [2.0, 0.0], [1.0, 1.0], [3.0, 5.0], [1.0, 4.0], [2.0, 2.0]])
        >>> request = {"regression": "ridge", "average": "all", "n_folds": 3, "seed": 0}
        >>> for _, values, _ in compare_predictivity([x, x[:, :1]], {"ridge": request}, memory_bytes=10**6):
        ...     print(bool(values[0, 1] > 0.999), bool(values[1, 0] < 0.5))
        True True
    """
    parsed = {name: _parse(**parameters) for name, parameters in requests.items()}
    for folds in sorted({request.folds for request in parsed.values()}):
        asked = {name: request for name, request in parsed.items() if request.folds == folds}
        stack = stack_features(representations, n_folds=folds.n_folds, seed=folds.seed)
        predictors = {request.predictor for request in asked.values()}
        errors = _sum_errors(stack, representations, predictors, memory_bytes)
        baseline = torch.stack([fold.baseline for fold in stack.folds()]).sum(dim=0)
        total = torch.stack([fold.total for fold in stack.folds()]).sum(dim=0)
        reasons = pair_reasons(stack.flaws, len(representations))
        for name, request in asked.items():
            values = _average(errors[request.predictor], total, baseline, stack, request.average)
            for pair in reasons:
                values[pair] = torch.nan
            yield name, values, dict(reasons)


def _sum_errors(
    stack: Stack, representations: Sequence[Tensor], predictors: set[str | int], memory_bytes: int
) -> dict[str | int, Tensor]:
    """Return the sums of ``add_predictions`` of each model's predictions of all features, over folds."""
    shape = (3, len(stack.columns), stack.features.shape[1])
    errors = {predictor: stack.features.new_zeros(shape) for predictor in predictors}
    by_ridge = {how: sums for how, sums in errors.items() if isinstance(how, str)}
    by_pls = {how: sums for how, sums in errors.items() if isinstance(how, int)}
    for fold in stack.folds():
        for model, x in enumerate(representations):
            if by_ridge:
                add_ridge_errors(fold, model, by_ridge, memory_bytes=memory_bytes)
            if by_pls:
                add_pls_errors(fold, _without_offset(x[stack.order]), model, by_pls)
    return errors


def _without_offset(x: Tensor) -> Tensor:
    """Subtract from each feature its value for the first stimulus where that rounds nothing.

    PLS leaves out directions that rounding may have made, relative to the size of the numbers, which with a
    large offset says nothing of their differences. These are exact between numbers within a factor of two.

    Source:
        Sterbenz 1974, Floating-Point Computation, theorem 4.3.1.
    """
    low, high = x.aminmax(dim=0)
    is_exact = ((low > 0) & (high <= 2 * low)) | ((high < 0) & (low >= 2 * high))
    return x - x[0] * is_exact


def _average(sums: Tensor, total: Tensor, baseline: Tensor, stack: Stack, how: str) -> Tensor:
    if how == "all":
        return explained_of_all(sums[0], baseline, stack.columns)
    if how == "each":
        return explained_of_each(sums[0], baseline, stack.columns, stack.varies)
    return correlation_of_each(sums, stack, total, baseline)


def _parse(
    *, regression: str, average: str, n_folds: int, seed: int, n_components: int | None = None
) -> Request:
    """Return a request; ``regression`` is pls where there are components, else ridge."""
    return Request(Folds(n_folds, seed), average, n_components)
