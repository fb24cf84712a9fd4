"""Rounding errors of float32 for a model, estimated from some of its stimuli in float64.

Products of float32 features are off by roundings of the size of the features. Where one stimulus outweighs
all others, where stimuli are far closer to each other than to their mean, or where a kernel is narrower
than that, such roundings are not small compared with what a measure looks at, and float64 has to do the work.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from rep_kedro.kernels.similarity.centred import CentredFeatures, choose_evenly
from rep_kedro.kernels.similarity.squared_distances import refine_close

N_SAMPLED = 256  # stimuli; all of them where there are not more
LARGEST_ERROR = 1e-5  # of the entries of a matrix, relative to their size once centred; root mean squares
LARGEST_SHARE = 8  # size of the entries less their mean relative to their size once centred

Map: TypeAlias = Callable[[Tensor, int, Tensor], None]


@dataclass(frozen=True)
class StimulusSample:
    """Pairs of some stimuli of one model.

    Attributes:
        inner_products: Inner products of centred features, shape (n_sampled, n_sampled), float64.
        squared_distances: The same shape, float64; zero on the diagonal.
        noise: How far each may be off when computed in float32, the same shape.
        flawed: Whether the model cannot be compared, so that there is nothing to judge.
    """

    inner_products: Tensor
    squared_distances: Tensor
    noise: Tensor
    flawed: bool

    def apply(self, function: Map, index: int) -> Tensor:
        """Return a function of the squared distances; ``index`` is this model's place."""
        values = torch.empty_like(self.squared_distances)
        function(self.squared_distances, index, values)
        return values

    @property
    def smallest_squared_distance(self) -> Tensor:
        """Smallest squared distance between two different stimuli, no dimension."""
        return self.squared_distances.clone().fill_diagonal_(torch.inf).min()

    def mean_of_pairs(self, matrix: Tensor) -> Tensor:
        """Return the mean of the off-diagonal entries of a matrix of this shape."""
        n = len(matrix)
        return (matrix.sum() - matrix.diagonal().sum()) / (n * (n - 1))


def sample_stimuli(models: Sequence[CentredFeatures]) -> list[StimulusSample]:
    """Take some stimuli of each model, evenly spaced in their order."""
    chosen = choose_evenly(len(models[0].features), N_SAMPLED)
    return [_sample(model, chosen.to(model.features.device)) for model in models]


def _sample(model: CentredFeatures, chosen: Tensor) -> StimulusSample:
    x = model.features[chosen].double()
    inner_products = x @ x.T
    norms = inner_products.diagonal()
    size = norms[:, None] + norms
    squared = (size - 2 * inner_products).clamp_min_(0).fill_diagonal_(0)
    if model.is_crowded:
        refine_close(squared, x, x, size)
    noise = torch.finfo(torch.float32).eps * size
    return StimulusSample(inner_products, squared, noise, model.flaw is not None)


def suffices_for_products(samples: Sequence[StimulusSample]) -> bool:
    """Return whether float32 products of features serve measures on centred Gram matrices of all models."""
    return _all_true(
        _is_precise(sample.inner_products, sample.noise / 2) & _is_even(sample.inner_products)
        for sample in samples
        if not sample.flawed
    )


def suffices_for_distances(samples: Sequence[StimulusSample], maps: Sequence[Map]) -> bool:
    """Return whether float32 distances serve measures on functions of the distances of all models."""
    return _all_true(
        _judge_distances(sample, index, function)
        for index, sample in enumerate(samples)
        for function in maps
        if not sample.flawed
    )


def suffices_for_sums(samples: Sequence[StimulusSample], maps: Sequence[Map]) -> bool:
    """Return whether matrices of functions of distances may be centred after their products are summed."""
    return _all_true(
        _is_even(sample.apply(function, index))
        for index, sample in enumerate(samples)
        for function in maps
        if not sample.flawed
    )


def _all_true(verdicts: Iterable[Tensor]) -> bool:
    found = list(verdicts)
    return not found or bool(torch.stack(found).all())


def _judge_distances(sample: StimulusSample, index: int, function: Map) -> Tensor:
    values, off = sample.apply(function, index), torch.empty_like(sample.noise)
    function(sample.squared_distances + sample.noise, index, off)
    return _is_precise(values, off - values) & _is_even(values)


def _is_precise(matrix: Tensor, noise: Tensor) -> Tensor:
    """Return whether noise on the off-diagonal entries is small compared with their centred values."""
    return _size_of_pairs(noise) < LARGEST_ERROR * _size_of_pairs(_u_centred(matrix))


def _is_even(matrix: Tensor) -> Tensor:
    """Return whether centring leaves much of the off-diagonal entries, apart from a constant."""
    n = len(matrix)
    mean = (matrix.sum() - matrix.diagonal().sum()) / (n * (n - 1))
    return _size_of_pairs(matrix - mean) < LARGEST_SHARE * _size_of_pairs(_u_centred(matrix))


def _size_of_pairs(matrix: Tensor) -> Tensor:
    return (matrix.square().sum() - matrix.diagonal().square().sum()).clamp_min(0).sqrt()


def _u_centred(matrix: Tensor) -> Tensor:
    """Centre a matrix without its diagonal.

    Source: Székely & Rizzo 2014, doi:10.1214/14-AOS1255.
    """
    n = len(matrix)
    rows = matrix.sum(dim=0) - matrix.diagonal()
    rows = (rows - rows.sum() / (2 * (n - 1))) / (n - 2)
    return (matrix - rows[:, None] - rows).fill_diagonal_(0)
