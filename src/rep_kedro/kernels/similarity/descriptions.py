"""Measures that describe each model by itself, by a number or a curve, and compare the descriptions.

Stimuli of two models are not paired: another order of the stimuli of one of them changes nothing, or
only which of them are drawn as landmarks.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from rep_kedro.kernels.similarity.centred import SAME, CentredFeatures, centre
from rep_kedro.kernels.similarity.geometry_score import describe_living_times
from rep_kedro.kernels.similarity.gram import tile_side, tiles, view_of
from rep_kedro.kernels.similarity.heat_trace import describe_heat_trace
from rep_kedro.kernels.similarity.rsa import prepare_for_rdm
from rep_kedro.kernels.similarity.squared_distances import squared_distance_tile
from rep_kedro.kernels.undefined import Reasons, pair_reasons

Description: TypeAlias = Tensor | str
Describe: TypeAlias = Callable[[Tensor, int], Description]

TEMPERATURE = 2.0  # of the uniformity, as its authors set it
LARGEST_FACTOR = 1e300  # of squared distances; beyond it all but copies are infinitely far apart anyway
RELATIVE_ZERO = 1e-13  # a mean stimulus this small, relative to the stimuli, is rounding


def compare_descriptions(
    representations: Sequence[Tensor],
    requests: Mapping[str, Mapping[str, Any]],
    *,
    memory_bytes: int,
) -> Iterator[tuple[str, Tensor, Reasons]]:
    """Compare all models by how much their descriptions differ.

    Args:
        representations: One matrix for each model, shape (n_stimuli, n_features_i), finite; the same number
            of stimuli for all.
        requests: By a name of the caller's: ``description``, one of ``DESCRIPTIONS``.
        memory_bytes: Bound for tiles of distances. On top come two float64 copies of one model and, for heat
            traces, 24 bytes for each two stimuli.

    Yields:
        Name, the largest difference of two descriptions (of numbers the absolute difference; of living
            times the sum of squared differences), shape (n_models, n_models), float64, symmetric, 0 or more,
            NaN where undefined, and the reason of each NaN.

    Cost:
        Each model is described once: magnitude and concentricity take one pass over the features, uniformity
        O(n_stimuli^2 * n_features), heat traces O(n_stimuli^3) on top, and living times
        O(n_stimuli * n_features) for each of 1,280 landmarks. Pairs cost nothing.
    """
    for name, parameters in requests.items():
        describe = DESCRIPTIONS[parameters["description"]]
        found = [describe(x, memory_bytes) for x in representations]
        flaws = {model: why for model, why in enumerate(found) if isinstance(why, str)}
        like = next((one for one in found if isinstance(one, Tensor)), torch.zeros(1, dtype=torch.float64))
        stack = torch.stack([torch.full_like(like, torch.nan) if isinstance(x, str) else x for x in found])
        differences = stack[:, None] - stack
        values = differences.square().sum(dim=2) if describe in SUMMED else differences.abs().amax(dim=2)
        yield name, values.to(representations[0].device), pair_reasons(flaws, len(found))


def describe_magnitude(representation: Tensor, memory_bytes: int) -> Description:
    """Return the length of the mean stimulus, in units of the features.

    Source: Wang et al. 2020, as in Klabunde et al. 2025, doi:10.1145/3728458, section 3.6.
    """
    scaled, size = _scale(representation)
    length: Tensor = torch.linalg.vector_norm(scaled.mean(dim=0), dim=0, keepdim=True)
    return size * length


def describe_concentricity(representation: Tensor, memory_bytes: int) -> Description:
    """Return the mean cosine of stimuli with their mean, in [-1, 1].

    Source: Wang et al. 2020, as in Klabunde et al. 2025, doi:10.1145/3728458, section 3.6.
    """
    scaled, _ = _scale(representation)
    largest = scaled.abs().amax(dim=1, keepdim=True)
    silent = int((largest == 0).sum())
    if silent:
        return f"{silent} of {len(scaled)} stimuli have only zero features, so cosine is undefined"
    mean = scaled.mean(dim=0)
    length = torch.linalg.vector_norm(mean)
    if length <= RELATIVE_ZERO * torch.linalg.vector_norm(scaled) / len(scaled) ** 0.5:
        return "its mean stimulus is zero up to rounding, so cosines with it are undefined"
    rows = scaled.div_(largest)
    cosines: Tensor = (rows @ (mean / length)) / torch.linalg.vector_norm(rows, dim=1)
    return cosines.mean(dim=0, keepdim=True)


def describe_uniformity(representation: Tensor, memory_bytes: int) -> Description:
    """Return the logarithm of the mean of exp(-2 |x - y|^2) over all pairs, in [-log(n_stimuli), 0].

    Stimuli are taken as they are and each also with itself, as in the survey. Where they are far apart in
    these units, as those of most networks are, only stimuli with themselves count and all values are equal.

    Source: Klabunde et al. 2025, doi:10.1145/3728458, section 3.6.
    """
    return _uniformity(centre(representation, dtype=torch.float64), memory_bytes)


def describe_uniformity_of_directions(representation: Tensor, memory_bytes: int) -> Description:
    """Return the uniformity of stimuli of unit length, for which it was defined, in [-8, 0].

    Source: Wang & Isola 2020, arXiv:2005.10242, section 4.1.2; means include each stimulus with itself.
    """
    return _uniformity(prepare_for_rdm(representation, "cosine", dtype=torch.float64), memory_bytes)


def _uniformity(model: CentredFeatures, memory_bytes: int) -> Description:
    if model.flaw not in {None, SAME}:
        return str(model.flaw)
    x, n = model.features, len(model.features)
    factor = min(TEMPERATURE * model.unit * model.unit, LARGEST_FACTOR)
    side = tile_side(3, n, x, memory_bytes)
    scratch = x.new_empty(side * side)
    total = x.new_zeros(1)
    for rows, columns in tiles(n, side):
        squared = squared_distance_tile(model, rows, columns, view_of(scratch, 1, rows, columns)[0])
        if rows == columns:
            squared.fill_diagonal_(0)
        near = squared.mul_(-factor).exp_().sum()
        total += near if rows == columns else 2 * near
    return (total / n**2).log()


def _scale(representation: Tensor) -> tuple[Tensor, float]:
    """Return features in float64 whose largest is one, and their scale; squares would leave the range."""
    size = float(torch.stack(representation.aminmax()).abs().max())
    return representation.double() / (size or 1.0), size


DESCRIPTIONS: dict[str, Describe] = {
    "magnitude": describe_magnitude,
    "concentricity": describe_concentricity,
    "uniformity": describe_uniformity,
    "uniformity_of_directions": describe_uniformity_of_directions,
    "heat_trace": describe_heat_trace,
    "living_times": describe_living_times,
}
SUMMED = (describe_living_times,)  # compared by the sum of squared differences
