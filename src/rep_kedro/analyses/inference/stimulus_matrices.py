"""Matrices over stimuli, one for each network, from which similarities are computed again and again."""

from collections.abc import Mapping, Sequence
from math import exp, isnan
from typing import Any

import torch
from torch import Tensor

from rep_kedro.kernels.similarity.centred import CentredFeatures, centre
from rep_kedro.kernels.similarity.distance_sums import Distance, median_distance
from rep_kedro.kernels.similarity.gaussian_kernel import GaussianKernel
from rep_kedro.kernels.similarity.rdm_ranks import level_ties
from rep_kedro.kernels.similarity.rsa import prepare_for_rdm
from rep_kedro.kernels.similarity.squared_distances import squared_distance_tile
from rep_kedro.kernels.similarity.stimulus_sample import sample_stimuli
from rep_kedro.kernels.statistics.centring import build_linear_grams

Parameters = Mapping[str, Any]
GRAM_BYTES = 2**25


def build_grams(representations: Sequence[Tensor], parameters: Parameters) -> Tensor:
    """Return the kernel matrices of a CKA measure, float64, shape (n_models, n_stimuli, n_stimuli).

    Args:
        representations: One matrix per network, shape (n_stimuli, n_features_i).
        parameters: Kernel, and for Gaussian ones width, its unit, and the seed of the median.

    Returns:
        Kernel matrices up to a factor and a constant, which CKA does not see; NaN for a network whose
        stimuli do not differ.
    """
    if parameters["kernel"] == "linear":
        return build_linear_grams(representations)
    models = [centre(x.double()) for x in representations]
    grams = torch.stack([_squared_distances(model) for model in models])
    for index, (model, gram) in enumerate(zip(models, grams, strict=True)):
        if model.flaw:
            gram.fill_(torch.nan)
        elif parameters["kernel"] == "distance":
            Distance()(gram.clone(), index, gram)
        else:
            gram.copy_(_gaussian_gram(model, gram, parameters))
    return grams


def _gaussian_gram(model: CentredFeatures, squared: Tensor, parameters: Parameters) -> Tensor:
    """Return a Gaussian kernel matrix; NaN where its width is zero.

    The debiased estimator does not look at the diagonal, which would drown the entries of a narrow kernel.
    """
    width = _width_of(model, parameters)
    if isnan(width):
        return torch.full_like(squared, torch.nan)
    kernel = GaussianKernel([width], [model], sample_stimuli([model]), memory_bytes=GRAM_BYTES)
    gram = torch.empty_like(squared)
    kernel(squared, 0, gram)
    if parameters["estimator"] == "debiased":
        return gram.fill_diagonal_(0)
    return gram.mul_(exp(-kernel.log_factors[0])).fill_diagonal_(kernel.at_zero[0])


def build_dissimilarities(representations: Sequence[Tensor], parameters: Parameters) -> Tensor:
    """Return the dissimilarity matrices of an RSA measure, float64, shape (n_models, n_stimuli, n_stimuli).

    Args:
        representations: One matrix per network, shape (n_stimuli, n_features_i).
        parameters: ``rdm``: kind of dissimilarity.

    Returns:
        Symmetric, zero on the diagonal; NaN for a network that has no dissimilarities of that kind.
    """
    rdms = []
    for x in representations:
        squared = _squared_distances(prepare_for_rdm(x.double(), parameters["rdm"]))
        if parameters["compare"] in ("spearman", "rho_a"):  # ranks see no root, but rounding of ties
            values = level_ties(squared.flatten()).view_as(squared)
        else:
            values = squared.sqrt() if parameters["rdm"] == "euclidean" else squared
        flaw = prepare_for_rdm(x, parameters["rdm"]).flaw  # by the digits that the features have
        rdms.append(torch.full_like(values, torch.nan) if flaw else values)
    return torch.stack(rdms)


def build_squared_distances(representations: Sequence[Tensor]) -> Tensor:
    """Return squared Euclidean distances up to a factor for each network, as ``build_dissimilarities``."""
    models = [centre(x.double()) for x in representations]
    squared = torch.stack([_squared_distances(model) for model in models])
    flawed = torch.tensor([bool(model.flaw) for model in models], device=squared.device)
    return squared.masked_fill_(flawed[:, None, None], torch.nan)


def _width_of(model: CentredFeatures, parameters: Parameters) -> float:
    """Return the width of a Gaussian kernel in units of the centred features; NaN where the unit is zero."""
    width = float(parameters["width"])
    if parameters["width_unit"] == "median":
        width *= median_distance(model, torch.Generator().manual_seed(int(parameters["seed"])))
    return width / model.unit if width > 0 else float("nan")


def _squared_distances(model: CentredFeatures) -> Tensor:
    n = len(model.features)
    everything = slice(0, n)
    squared = squared_distance_tile(model, everything, everything, model.features.new_empty(n, n))
    squared = (squared + squared.T) / 2
    squared.fill_diagonal_(0)
    return squared
