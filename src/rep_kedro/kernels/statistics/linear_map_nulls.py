"""Permutation nulls of linear-map measures: CCA, Procrustes and its relatives, shape metrics, GULP.

Each of these measures reads one number off the product of two matrices over stimuli, one for each model: the
sum of its singular values or of its squared entries. What makes a value of it (ranks, norms, an angle) does
not change when stimuli are permuted.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rep_kedro.kernels.similarity.basis import Basis, compute_basis
from rep_kedro.kernels.similarity.distinct_stimuli import count_distinct_pairs
from rep_kedro.kernels.similarity.procrustes import mix_spreads, reduce_to_span, separate_sizes_and_shapes
from rep_kedro.kernels.statistics.permutation import permute_bases, sum_of_singular_values, sum_of_squares

ROUNDING = 1e-14  # relative to the largest value; a cosine this close to 1 differs from it by rounding only
ROTATIONS = frozenset({"nbs", "procrustes", "procrustes_angular", "size_and_shape"})
OVERLAPS = frozenset({"cca_mean", "cca_mean_squared", "eigenspace_overlap", "svcca"})
STATISTICS = ROTATIONS | OVERLAPS | {"shape_angular", "gulp"}
Parameters = Mapping[str, Any]


@dataclass(frozen=True)
class Comparable:
    """The factors of products of models, and how products become values.

    Attributes:
        points: One matrix per model, shape (n_stimuli, rank_i), float64; rank 0 for a model that does not
            distinguish stimuli.
        reduce: From products, shape (n_permutations, rank_a, rank_b), to numbers, shape (n_permutations,).
        conclude: From numbers, shape (n_permutations, n_models, n_models), to values of the measure.
        n_distinct: Stimuli that differ for at least one of two models, shape (n_models, n_models), where two
            models have no value whose ranks add up to more.
    """

    points: Sequence[Tensor]
    reduce: Callable[[Tensor], Tensor]
    conclude: Callable[[Tensor], Tensor]
    n_distinct: Tensor | None = None


def prepare_linear_maps(representations: Sequence[Tensor], parameters: Parameters) -> Comparable:
    """Prepare every model once, so that permutations only reorder its rows.

    Args:
        representations: One matrix per model, shape (n_stimuli, n_features_i), finite, row s for the same
            stimulus in all.
        parameters: ``statistic``, one of ``STATISTICS``, and what it takes, as in ``compare_linear_maps``.

    Returns:
        What ``permute_linear_maps`` takes.

    Raises:
        ValueError: If the statistic has no null here.
    """
    statistic = parameters["statistic"]
    if statistic not in STATISTICS:
        raise ValueError(
            f"no permutation null for statistic {statistic!r}; known: {', '.join(sorted(STATISTICS))}"
        )
    if statistic in ROTATIONS:
        return _prepare_rotations(representations, statistic)
    bases = [compute_basis(x) for x in representations]
    n_distinct = count_distinct_pairs([basis.copies for basis in bases], len(representations[0]))
    if statistic == "gulp":
        return _prepare_gulp(bases, float(parameters["ridge"]))
    if statistic == "shape_angular":
        return _prepare_shapes(bases, float(parameters["alpha"]), n_distinct)
    if statistic == "svcca":
        points = [_lead(basis, float(parameters["variance_fraction"])) for basis in bases]
    else:
        points = [basis.directions for basis in bases]
    return _prepare_overlaps(points, statistic, n_distinct)


def permute_linear_maps(prepared: Comparable, permutations: Tensor) -> Tensor:
    """Return the null of a measure of linear maps.

    Args:
        prepared: From ``prepare_linear_maps``.
        permutations: Int64, shape (n_permutations, n_stimuli); the identity gives the observed value.

    Returns:
        Values of the measure, float64, shape (n_permutations, n_models, n_models), symmetric. NaN for a model
        that does not distinguish stimuli, and for two models whose canonical correlations are forced by their
        ranks.

    Raises:
        ValueError: If the permutations are of another number of stimuli.

    Cost: for each permutation and pair n_stimuli * rank_a * rank_b operations, and where singular values are
        summed a decomposition of a rank_a x rank_b matrix.

    Source: Groeger, Wen & Brbic 2026, arXiv:2602.14486 (permutation calibration of similarity measures).
    """
    points = prepared.points
    values = prepared.conclude(permute_bases(points, permutations, prepared.reduce))
    ranks = torch.tensor([x.shape[1] for x in points], device=values.device)
    undefined = (ranks == 0)[:, None] | (ranks == 0)
    if prepared.n_distinct is not None:
        itself = torch.eye(len(points), dtype=torch.bool, device=values.device)
        undefined |= (ranks[:, None] + ranks > prepared.n_distinct.to(values.device)) & ~itself
    return values.masked_fill(undefined, torch.nan)


def _prepare_rotations(representations: Sequence[Tensor], statistic: str) -> Comparable:
    """Prepare measures of the fidelity, the nuclear norm of the product of models of unit norm."""
    prepared = [reduce_to_span(x) for x in representations]
    points = [x for x, _ in prepared]
    norms = points[0].new_tensor([norm for _, norm in prepared])

    def conclude(sums: Tensor) -> Tensor:
        fidelity = _cap(sums)
        if statistic == "nbs":
            return fidelity
        if statistic == "procrustes_angular":
            return fidelity.arccos()
        if statistic == "procrustes":
            return (2 - 2 * fidelity).sqrt()
        return separate_sizes_and_shapes(fidelity, norms)

    return Comparable(points, sum_of_singular_values, conclude)


def _prepare_overlaps(points: Sequence[Tensor], statistic: str, n_distinct: Tensor) -> Comparable:
    """Prepare means of canonical correlations, or of their squares, over one of the two ranks."""
    ranks = torch.tensor([x.shape[1] for x in points], dtype=torch.float64, device=points[0].device)
    pick = torch.maximum if statistic == "eigenspace_overlap" else torch.minimum
    counts = pick(ranks[:, None], ranks[None, :])
    reduce = sum_of_singular_values if statistic in ("cca_mean", "svcca") else sum_of_squares
    return Comparable(points, reduce, lambda sums: _cap(sums / counts), n_distinct)


def _lead(basis: Basis, variance_fraction: float) -> Tensor:
    """Return the fewest leading directions whose share of the variance reaches the fraction."""
    cumulative = basis.spread.square().cumsum(dim=0)
    if not len(cumulative):
        return basis.directions
    n_kept = int((cumulative / cumulative[-1] < variance_fraction).sum()) + 1
    return basis.directions[:, :n_kept]


def _prepare_shapes(bases: Sequence[Basis], alpha: float, n_distinct: Tensor) -> Comparable:
    """Prepare angles between partly whitened models of unit norm."""
    points = [
        basis.directions * mix_spreads(basis.spread, basis.norm, alpha) if basis.rank else basis.directions
        for basis in bases
    ]
    return Comparable(
        points, sum_of_singular_values, lambda sums: _cap(sums).arccos(), n_distinct if alpha == 0 else None
    )


def _prepare_gulp(bases: Sequence[Basis], ridge: float) -> Comparable:
    """Prepare how far ridge regressions on two models can differ."""
    kept = [basis.spread.square() / (basis.spread.square() + ridge) for basis in bases]
    points = [basis.directions * share.sqrt() for basis, share in zip(bases, kept, strict=True)]
    own = torch.stack([share.square().sum() for share in kept])
    both = own[:, None] + own

    def conclude(shared: Tensor) -> Tensor:
        squared = both - 2 * shared
        return squared.masked_fill(squared <= ROUNDING * both, 0.0)

    return Comparable(points, sum_of_squares, conclude)


def _cap(cosines: Tensor) -> Tensor:
    """Make exactly 1 what is so up to rounding: a model and its double are at distance 0, permuted too."""
    return cosines.masked_fill(cosines >= 1 - ROUNDING, 1.0)
