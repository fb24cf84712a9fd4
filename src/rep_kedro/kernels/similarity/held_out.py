"""Features of all models in one matrix, and the folds of stimuli on which predictions of them are judged.

Rows are put in the order of the folds once, so that the stimuli of a fold, and those before and after it, are
views; the features of one model are a range of columns, so that one product reaches those of all models.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from rep_kedro.kernels.similarity.basis import RELATIVE_ZERO
from rep_kedro.kernels.similarity.centred import centre

DOUBLE_BYTES = 8


@dataclass(frozen=True)
class Stack:
    """Features of all models side by side.

    Attributes:
        features: Shape (n_stimuli, sum of widths), float64, centred, rows in the order of the folds.
        columns: Which columns are those of each model.
        varies: Which features differ between stimuli by more than rounding, shape (sum of widths,).
        flaws: Why a model cannot be compared, by model.
        order: The stimulus in each row, shape (n_stimuli,).
        tests: The rows of each fold.
    """

    features: Tensor
    columns: list[slice]
    varies: Tensor
    flaws: dict[int, str]
    order: Tensor
    tests: list[slice]

    def folds(self) -> Iterator["Fold"]:
        """Yield each fold."""
        return (Fold(self, test) for test in self.tests)


class Fold:
    """One fold: what is known of the features of all models on the stimuli outside it.

    Attributes:
        n_training: Number of stimuli outside the fold.
        mean: Mean over these, shape (sum of widths,).
        energy: Sum of squares around that mean over these.
        baseline: Sum of squares around that mean over the stimuli of the fold: the error without predictor.
        total: Sum of differences from that mean over the stimuli of the fold.
    """

    def __init__(self, stack: Stack, test: slice) -> None:
        """Take the means and sums of squares of all features."""
        self.stack, self.test = stack, test
        parts = stack.features[: test.start], stack.features[test.stop :]
        self.n_training = len(parts[0]) + len(parts[1])
        self.mean = (parts[0].sum(dim=0) + parts[1].sum(dim=0)) / self.n_training
        self.total = stack.features[test].sum(dim=0) - (test.stop - test.start) * self.mean
        self.energy, self.baseline = torch.empty_like(self.mean), torch.empty_like(self.mean)
        for columns in stack.columns:
            self.energy[columns] = self.training(columns).square_().sum(dim=0)
            self.baseline[columns] = self.held_out(columns).square_().sum(dim=0)

    def training(self, columns: slice) -> Tensor:
        """Return some features of the stimuli outside the fold less their mean, a copy."""
        features = self.stack.features[:, columns]
        return torch.cat([features[: self.test.start], features[self.test.stop :]]) - self.mean[columns]

    def held_out(self, columns: slice) -> Tensor:
        """Return some features of the stimuli of the fold less the mean outside it, a copy."""
        return self.stack.features[self.test, columns] - self.mean[columns]

    def project(self, directions: Tensor, columns: slice) -> Tensor:
        """Return ``directions.T @ training(columns)`` without a copy; directions are (n_training, rank)."""
        features = self.stack.features[:, columns]
        before, after = directions[: self.test.start], directions[self.test.start :]
        product = before.T @ features[: self.test.start]
        product.addmm_(after.T, features[self.test.stop :])
        return product.sub_(directions.sum(dim=0)[:, None] * self.mean[columns])


def stack_features(representations: Sequence[Tensor], *, n_folds: int, seed: int) -> Stack:
    """Centre all models, put their features into one matrix, and deal the stimuli to folds.

    Folds are as equal as can be; a seed deals the stimuli, so that files sorted by class do not leave out
    one class at a time.

    Args:
        representations: One matrix for each model, shape (n_stimuli, n_features_i), on one device.
        n_folds: Number of folds, at least 2.
        seed: Seeds the order.

    Raises:
        ValueError: If there are fewer than two folds, or more than stimuli.
    """
    n_stimuli, device = len(representations[0]), representations[0].device
    if not 2 <= n_folds <= n_stimuli:
        raise ValueError(f"n_folds must be between 2 and the number of stimuli, {n_stimuli}, got {n_folds}")
    order = torch.randperm(n_stimuli, generator=torch.Generator().manual_seed(seed)).to(device)
    ends = torch.tensor([0, *(x.shape[1] for x in representations)]).cumsum(0).tolist()
    columns = [slice(start, end) for start, end in pairwise(ends)]
    features = torch.empty(n_stimuli, ends[-1], dtype=torch.float64, device=device)
    varies = torch.empty(ends[-1], dtype=torch.bool, device=device)
    flaws = {}
    for model, (x, own) in enumerate(zip(representations, columns, strict=True)):
        centred = centre(x, dtype=torch.float64)
        features[:, own] = centred.features[order]
        varies[own] = _varies(x, features[:, own])
        features[:, own] *= varies[own]  # centring leaves rounding, which is not a feature
        if centred.flaw is not None:
            flaws[model] = centred.flaw
    edges = torch.arange(n_stimuli).tensor_split(n_folds)
    return Stack(features, columns, varies, flaws, order, [slice(int(e[0]), int(e[-1]) + 1) for e in edges])


def group_columns(columns: Sequence[slice], bytes_per_column: int, memory_bytes: int) -> Iterator[list[int]]:
    """Yield neighbouring models together as long as their columns fit in memory, one model at least."""
    group: list[int] = []
    for model, own in enumerate(columns):
        if group and (own.stop - columns[group[0]].start) * bytes_per_column > memory_bytes:
            yield group
            group = []
        group.append(model)
    yield group


def add_predictions(sums: Tensor, model: int, columns: slice, observed: Tensor, predicted: Tensor) -> None:
    """Add what is asked of the predictions of some features of a fold.

    Args:
        sums: Of squared errors, of predictions and of their squares, shape (3, n_models, sum of widths).
        model: The predictor, whose rows are added to.
        columns: The features.
        observed: Features of the fold less their training means, shape (n_held_out, n_features).
        predicted: The same as predicted.
    """
    sums[0, model, columns] += (observed - predicted).square_().sum(dim=0)
    sums[1, model, columns] += predicted.sum(dim=0)
    sums[2, model, columns] += predicted.square().sum(dim=0)


def explained_of_all(errors: Tensor, baseline: Tensor, columns: Sequence[slice]) -> Tensor:
    """Return 1 - error / baseline of all features of a model together, shape (n_models, n_models).

    Args:
        errors: Sums of squared errors, shape (n_models, sum of widths), rows predict.
        baseline: The same without predictor, shape (sum of widths,).
        columns: Which columns are those of each model.
    """
    return 1 - sum_by_model(errors, columns) / sum_by_model(baseline, columns)


def explained_of_each(errors: Tensor, baseline: Tensor, columns: Sequence[slice], varies: Tensor) -> Tensor:
    """Return the mean over the features of a model that vary of 1 - error / baseline; see above."""
    each = torch.where(varies, 1 - errors / baseline.where(varies, 1), 0)
    return sum_by_model(each, columns) / sum_by_model(varies.double(), columns)


def correlation_of_each(sums: Tensor, stack: Stack, total: Tensor, baseline: Tensor) -> Tensor:
    """Return the mean over the features of a model that vary of their correlation with what is predicted.

    Features and predictions count as deviations from the training means, all folds together: means of folds
    alone would correlate negatively. A prediction that is the same for all stimuli counts as 0.

    Args:
        sums: See ``add_predictions``.
        stack: The features.
        total: Sum of the features less their training means, shape (sum of widths,).
        baseline: Sum of their squares.
    """
    n = len(stack.features)
    errors, predicted, squares = sums
    products = (baseline + squares - errors) / 2 - total * predicted / n
    sizes = (baseline - total**2 / n) * (squares - predicted**2 / n)
    is_defined = stack.varies & (squares - predicted**2 / n > RELATIVE_ZERO * baseline.where(stack.varies, 1))
    each = torch.where(is_defined, products / sizes.where(is_defined, 1).sqrt(), 0).clamp(-1, 1)
    return sum_by_model(each, stack.columns) / sum_by_model(stack.varies.double(), stack.columns)


def sum_by_model(values: Tensor, columns: Sequence[slice]) -> Tensor:
    """Sum over the columns of each model, the last dimension."""
    return torch.stack([values[..., own].sum(dim=-1) for own in columns], dim=-1)


def _varies(raw: Tensor, centred: Tensor) -> Tensor:
    """Return which features are not the same for all stimuli up to rounding."""
    sizes = raw.abs().amax(dim=0)
    relative = raw.double() / sizes.masked_fill(sizes == 0, 1)
    spread = torch.linalg.vector_norm(relative - relative.mean(dim=0), dim=0)
    moves = (centred != 0).any(dim=0)  # features too small to be seen next to others of the model do not
    varies: Tensor = moves & (spread > RELATIVE_ZERO * torch.linalg.vector_norm(relative, dim=0))
    return varies
