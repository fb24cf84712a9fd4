"""Cosines between the same stimulus in two models, after the best rotation of one onto the other.

A rotation does not change what coordinates in the span of a model's stimuli say of it, so that models of any
widths are compared by as many coordinates as they have ranks, and widths need no padding.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from rep_kedro.kernels.undefined import Reasons, Undefined, pair_reasons

RELATIVE_ZERO = 1e-14  # a singular value this small, relative to the largest, is rounding
AMBIGUOUS = "the best rotation is not unique up to rounding: of {0} and {1} dimensions the models share {2}"


@dataclass(frozen=True)
class Coordinates:
    """Stimuli of one model in coordinates of their span, not centred.

    Attributes:
        values: Shape (n_stimuli, rank), float64; the length of the longest stimulus is about one.
        directions: The same scaled to unit length for each stimulus.
    """

    values: Tensor
    directions: Tensor


def compare_aligned(
    representations: Sequence[Tensor],
    requests: Mapping[str, Mapping[str, Any]],
    *,
    memory_bytes: int,
) -> Iterator[tuple[str, Tensor, Reasons]]:
    """Compare all models by the mean cosine between stimuli after the best rotation.

    The rotation (or reflection) minimises the Euclidean distance of the representations as they are, not
    centred and not scaled; models of fewer features are embedded in the space of the wider. Where the models
    share fewer dimensions than both have, several rotations are best, cosines depend on which, and there is
    no value; nor where stimuli differ by less than some 1e-7 of their size, which leaves float64 no digits.

    Args:
        representations: One matrix for each model, shape (n_stimuli, n_features_i), finite, row s for the
            same stimulus in all.
        requests: Names of the caller's; there are no parameters.
        memory_bytes: Not used: coordinates of all models, twice, and one product of two are in memory.

    Yields:
        Name, values of shape (n_models, n_models), float64, symmetric, in [-1, 1], NaN where undefined, and
        the reason of each NaN.

    Cost:
        With r the smaller of stimuli and features: O(n_models * n_stimuli * n_features * r) for coordinates
        and O(n_models^2 * (n_stimuli + r) * r^2) for rotations.

    Source:
        Hamilton et al. 2016, arXiv:1605.09096, section 3.3, as in Klabunde et al. 2025, doi:10.1145/3728458,
        section 3.2.
    """
    found = [_find_coordinates(x) for x in representations]
    flaws = {model: why for model, why in enumerate(found) if isinstance(why, str)}
    values = torch.ones(len(found), len(found), dtype=torch.float64, device=representations[0].device)
    ambiguous: Reasons = {}
    for a, b in combinations(range(len(found)), 2):
        first, second = found[a], found[b]
        if isinstance(first, str) or isinstance(second, str):
            continue
        cosine = _mean_cosine(first, second)
        if isinstance(cosine, str):
            ambiguous[a, b] = ambiguous[b, a] = (Undefined(cosine),)
            cosine = torch.nan
        values[a, b] = values[b, a] = cosine
    for model in flaws:
        values[model] = values[:, model] = torch.nan
    for name in requests:
        yield name, values.clone(), ambiguous | pair_reasons(flaws, len(found))


def _find_coordinates(representation: Tensor) -> Coordinates | str:
    sizes = representation.double().abs().amax(dim=1, keepdim=True)
    silent = int((sizes == 0).sum())
    if silent:
        return f"{silent} of {len(sizes)} stimuli have only zero features, so cosine is undefined"
    left, singular, _ = torch.linalg.svd(representation.double() / sizes.max(), full_matrices=False)
    kept = singular > RELATIVE_ZERO * singular[0]
    values = left[:, kept] * singular[kept]
    lengths = torch.linalg.vector_norm(values, dim=1, keepdim=True)
    return Coordinates(values, values / lengths)


def _mean_cosine(first: Coordinates, second: Coordinates) -> float | str:
    """Return the mean cosine, or why there is none."""
    left, singular, right = torch.linalg.svd(first.values.T @ second.values, full_matrices=False)
    n_shared = int((singular > RELATIVE_ZERO * singular[0]).sum())
    if n_shared < len(singular):
        return AMBIGUOUS.format(first.values.shape[1], second.values.shape[1], n_shared)
    aligned = first.directions @ (left @ right)
    return float((aligned * second.directions).sum(dim=1).mean().clamp(-1, 1))
