"""How well single units of two models can be paired: by permutation, or by spreading each unit over several.

Where every unit may be spread, equal numbers of units lead back to a permutation, and other numbers to exact
optimal transport. Units may also stay without a partner, or share one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations_with_replacement
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rep_kedro.kernels.similarity.basis import RELATIVE_ZERO
from rep_kedro.kernels.similarity.transport import Matrix, transport_mass, transport_part
from rep_kedro.kernels.undefined import Reasons, pair_reasons

Places: TypeAlias = NDArray[np.intp]
Match: TypeAlias = Callable[..., float]


@dataclass(frozen=True)
class Units:
    """Centred units of one model: of unit norm each, and of unit norm together; idle units are left out."""

    normalised: Tensor
    joint: Tensor


def compare_units(
    representations: Sequence[Tensor],
    requests: Mapping[str, Mapping[str, Any]],
    *,
    memory_bytes: int,
) -> Iterator[tuple[str, Tensor, Reasons]]:
    """Compare all models by the best pairing of their units.

    ``permutation_match`` is the mean correlation of paired units, the narrower model's each with another unit
    of the wider, in [-1, 1]; ``permutation_procrustes`` the Euclidean distance of the unit-norm
    representations after the best permutation, idle units making widths equal, in [0, 2]; ``soft_match`` the
    Euclidean soft-matching distance between units of unit norm, in [0, 2], a metric; ``partial_soft_match``
    is the same where only the share ``mass`` of the units has to be matched, the rest being left out of both
    models, in [0, 2 sqrt(mass)], no metric; ``soft_correlation_match`` the mean correlation of units with
    their most similar unit of the other model, which may be so for several, averaged over both directions, in
    [-1, 1]. Units that are the same for all stimuli have no correlation and are left out.

    The authors of partial matching also choose the mass for each pair, at the corner of the curve of cost
    against mass; masses here are the same for all pairs, so that values can be compared. Their released code
    gives 1 - distance^2 / 2.

    Args:
        representations: One matrix for each model, shape (n_stimuli, n_units_i), finite, row s for the same
            stimulus in all.
        requests: By a name of the caller's: ``statistic``, one of ``MATCHES``, and the ``mass`` of
            ``partial_soft_match``, above 0 and up to 1.
        memory_bytes: Not used: one product of two models is in memory, with one float64 copy of all of
            them, twice.

    Yields:
        Name, values of shape (n_models, n_models), float64, symmetric, NaN where undefined, and the reason of
        each NaN.

    Cost:
        Time O(n_models^2 * n_units^3) on the CPU, for features on any device.

    Source:
        Li et al. 2016, arXiv:1511.07543 (permutation by correlation); Williams et al. 2021, arXiv:2110.14739,
        section 2.2 (permutation Procrustes); Khosla & Williams 2023, arXiv:2311.09466, equation 8 (soft
        matching); Kapoor, Williams & Khosla 2026, arXiv:2602.19331 (partial); Klabunde et al. 2024,
        arXiv:2408.00531 (soft correlation match, both directions of the semi-matching of Li et al.).
    """
    units = [_normalise_units(x) for x in representations]
    idle = {model: NO_UNITS for model, own in enumerate(units) if not own.normalised.numel()}
    kept = [model for model in range(len(units)) if model not in idle]
    for name, parameters in requests.items():
        settings = dict(parameters)
        match = partial(MATCHES[settings.pop("statistic")], **settings)
        values = torch.full((len(units), len(units)), torch.nan, dtype=torch.float64)
        for a, b in combinations_with_replacement(kept, 2):
            values[a, b] = values[b, a] = match(units[a], units[b])
        yield name, values.to(representations[0].device), pair_reasons(idle, len(units))


def match_by_permutation(first: Units, second: Units) -> float:
    """Return the mean correlation of the best pairs."""
    correlations = _multiply(first.normalised, second.normalised)
    return _sum_best_pairs(correlations) / len(correlations.diagonal())


def permute_like_procrustes(first: Units, second: Units) -> float:
    """Return the distance of unit-norm representations after the best permutation."""
    rows, columns = _find_best_pairs(_multiply(first.joint, second.joint))
    ours, theirs = first.joint.cpu().numpy(), second.joint.cpu().numpy()
    # differences of units, so that a model and its double are at distance 0 and not the root of a rounding
    paired = np.linalg.norm(ours[:, rows] - theirs[:, columns])
    alone = np.delete(ours, rows, axis=1), np.delete(theirs, columns, axis=1)
    return float(np.linalg.norm([paired, *(np.linalg.norm(units) for units in alone)]))


def match_softly(first: Units, second: Units) -> float:
    """Return the soft-matching distance."""
    correlation = transport_mass(_multiply(first.normalised, second.normalised))
    return float(np.sqrt(max(0.0, 2 - 2 * correlation)))


def match_part_softly(first: Units, second: Units, *, mass: float) -> float:
    """Return the distance of units where a share of them is matched."""
    correlations = _multiply(first.normalised, second.normalised)
    return float(np.sqrt(2 * max(0.0, transport_part(1 - correlations, mass))))


def match_most_similar(first: Units, second: Units) -> float:
    """Return the mean correlation of units with the most similar one of the other model, both ways."""
    correlations = _multiply(first.normalised, second.normalised)
    return float(correlations.max(axis=0).mean() + correlations.max(axis=1).mean()) / 2


def _sum_best_pairs(gains: Matrix) -> float:
    rows, columns = _find_best_pairs(gains)
    return float(gains[rows, columns].sum())


def _find_best_pairs(gains: Matrix) -> tuple[Places, Places]:
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(gains, maximize=True)
    return rows, columns


def _multiply(first: Tensor, second: Tensor) -> Matrix:
    product: Matrix = (first.T @ second).cpu().numpy()
    return product


def _normalise_units(representation: Tensor) -> Units:
    raw = representation.double()
    sizes = raw.abs().amax(dim=0)
    scaled = raw / sizes.masked_fill(sizes == 0, 1)
    centred = scaled - scaled.mean(dim=0)
    norms = torch.linalg.vector_norm(centred, dim=0)
    live = norms > RELATIVE_ZERO * torch.linalg.vector_norm(scaled, dim=0)
    normalised = centred[:, live] / norms[live]
    lengths = norms[live] * (sizes[live] / sizes.max())
    return Units(normalised, normalised * (lengths / torch.linalg.vector_norm(lengths)))


NO_UNITS = "it has no unit that varies over stimuli"
MATCHES: dict[str, Match] = {
    "permutation_match": match_by_permutation,
    "permutation_procrustes": permute_like_procrustes,
    "soft_match": match_softly,
    "partial_soft_match": match_part_softly,
    "soft_correlation_match": match_most_similar,
}
