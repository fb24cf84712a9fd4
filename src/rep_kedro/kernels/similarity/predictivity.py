"""How well the features of one model predict those of another on stimuli that the fit has not seen."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rep_kedro.kernels.similarity.basis import require_same_stimuli
from rep_kedro.kernels.similarity.held_out import Stack, explained_of_all, explained_of_each, stack_features
from rep_kedro.kernels.similarity.ridge import add_ridge_errors
from rep_kedro.kernels.undefined import Reasons, pair_reasons

AVERAGES = {"all": "joint", "each": "each"}  # how features are averaged: how their strength is chosen


class Folds(NamedTuple):
    """How stimuli are dealt to folds."""

    n_folds: int
    seed: int


class Request(NamedTuple):
    """One measure: how it predicts, and how it averages over the predicted features."""

    regression: str
    average: str
    folds: Folds


def compare_predictivity(
    representations: Sequence[Tensor],
    requests: Mapping[str, Mapping[str, Any]],
    *,
    memory_bytes: int,
) -> Iterator[tuple[str, Tensor, Reasons]]:
    """Predict the features of every model from those of every model, and judge it on held-out stimuli.

    The value is R² = 1 - (squared error) / (squared error of the mean of the stimuli used to fit), both
    summed over all folds; 1 at most, 0 or less where the predictor does not help. With ``average: all`` errors
    are summed over the features of the predicted model, so that those of much variance count most; with
    ``each`` R² is averaged over its features, without those that are the same for all stimuli.
    Copies of a stimulus in several folds raise the values.

    Args:
        representations: One matrix for each model, shape (n_stimuli, n_features_i), finite, row s for the
            same stimulus in all; float32 or float64, on one device.
        requests: By a name of the caller's: ``regression`` (ridge), ``average`` (all, each), ``n_folds``, and
            ``seed``, which deals the stimuli to folds.
        memory_bytes: Bound for products in memory, one pair of models at least. One float64 copy of all
            features and the bases of one model come on top.

    Yields:
        Name, values of shape (n_models, n_models), float64, NaN where undefined, and the reason of each NaN.
        Entry (a, b) predicts b from a.

    Raises:
        ValueError: If a parameter is unknown, missing or out of range, or representations do not fit together.

    Cost:
        Time O(n_folds * n_stimuli * n_models^2 * n_features^2), and n_folds eigendecompositions of each model.

    Source:
        Yamins et al. 2014, doi:10.1073/pnas.1403112111; Schrimpf et al. 2018, doi:10.1101/407007 (linear
        predictivity). R² takes the place of their correlation, which overlooks a wrong scale.

    Example:
        >>> x = torch.tensor([[0.0, 1.0], [2.0, 0.0], [1.0, 1.0], [3.0, 5.0], [1.0, 4.0], [2.0, 2.0]])
        >>> request = {"regression": "ridge", "average": "all", "n_folds": 3, "seed": 0}
        >>> for _, values, _ in compare_predictivity([x, x[:, :1]], {"ridge": request}, memory_bytes=10**6):
        ...     print(bool(values[0, 1] > 0.999), bool(values[1, 0] < 0.5))
        True True
    """
    require_same_stimuli(representations)
    parsed = {name: _parse(name, parameters) for name, parameters in requests.items()}
    return _compare_all(representations, parsed, memory_bytes)


def _compare_all(
    representations: Sequence[Tensor], requests: Mapping[str, Request], memory_bytes: int
) -> Iterator[tuple[str, Tensor, Reasons]]:
    for folds in sorted({request.folds for request in requests.values()}):
        asked = {name: request for name, request in requests.items() if request.folds == folds}
        stack = stack_features(representations, n_folds=folds.n_folds, seed=folds.seed)
        errors, baseline = _sum_errors(stack, {request.average for request in asked.values()}, memory_bytes)
        reasons = pair_reasons(stack.flaws, len(representations))
        for name, request in asked.items():
            values = _average(errors[request.average], baseline, stack, request.average)
            for pair in reasons:
                values[pair] = torch.nan
            yield name, values, dict(reasons)


def _sum_errors(stack: Stack, averages: set[str], memory_bytes: int) -> tuple[dict[str, Tensor], Tensor]:
    """Return squared errors of each model's predictions, by how they will be averaged, and of the mean."""
    shape = (len(stack.columns), stack.features.shape[1])
    errors = {how: stack.features.new_zeros(shape) for how in sorted(averages)}
    baseline = stack.features.new_zeros(shape[1])
    by_strength = {AVERAGES[how]: sums for how, sums in errors.items()}
    for fold in stack.folds():
        baseline += fold.baseline
        for model in range(len(stack.columns)):
            add_ridge_errors(fold, model, by_strength, memory_bytes=memory_bytes)
    return errors, baseline


def _average(errors: Tensor, baseline: Tensor, stack: Stack, how: str) -> Tensor:
    if how == "all":
        return explained_of_all(errors, baseline, stack.columns)
    return explained_of_each(errors, baseline, stack.columns, stack.varies)


def _parse(name: str, parameters: Mapping[str, Any]) -> Request:
    expected = {"regression", "average", "n_folds", "seed"}
    if set(parameters) != expected:
        raise ValueError(
            f"request {name!r} gives the parameters {sorted(parameters)}; predictivity takes {sorted(expected)}"
        )
    if parameters["regression"] != "ridge":
        raise ValueError(
            f"request {name!r} has unknown regression {parameters['regression']!r}; known: ridge"
        )
    if parameters["average"] not in AVERAGES:
        raise ValueError(
            f"request {name!r} has unknown average {parameters['average']!r}; known: {', '.join(AVERAGES)}"
        )
    folds = Folds(int(parameters["n_folds"]), int(parameters["seed"]))
    return Request(str(parameters["regression"]), str(parameters["average"]), folds)
