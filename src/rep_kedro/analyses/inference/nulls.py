"""Null and error of the similarities of all networks on one stimulus set.

Each measure that has a null here prepares every network once (a centred kernel matrix, a ranked dissimilarity
matrix, neighbour lists, directions); permutations of stimuli then only reorder what was prepared.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rep_kedro.analyses.inference.stimulus_matrices import Parameters, build_dissimilarities, build_grams
from rep_kedro.errors import UserError
from rep_kedro.kernels.similarity.centred import centre
from rep_kedro.kernels.similarity.distance_sums import SquaredDistance
from rep_kedro.kernels.similarity.distinct_stimuli import count_distinct_pairs, find_copies
from rep_kedro.kernels.similarity.nearest import Points, find_neighbours, prepare_points
from rep_kedro.kernels.similarity.stimulus_sample import sample_stimuli, suffices_for_sums
from rep_kedro.kernels.statistics.calibration import adjust_by_maximum, calibrate
from rep_kedro.kernels.statistics.centring import centre_dissimilarities, centre_grams
from rep_kedro.kernels.statistics.jackknife import jackknife_linear_cka
from rep_kedro.kernels.statistics.linear_map_nulls import permute_linear_maps, prepare_linear_maps
from rep_kedro.kernels.statistics.permutation import permute_linear_cka, permute_matrices, permute_neighbours
from rep_kedro.kernels.statistics.resampling import draw_permutations
from rep_kedro.measures.compare import in_one_type
from rep_kedro.measures.measure import Family, Measure

MIN_STIMULI = 4
NEIGHBOUR_BYTES = 2**25
FEATURE_SPEED = 3  # so many times quicker are products of features than looking up entries of matrices


def summarise_null(
    representations: Sequence[Tensor],
    measure: Measure,
    *,
    n_permutations: int,
    level: float,
    seed: int,
) -> dict[str, Tensor]:
    """Set every similarity, or distance, against the same measure on permuted stimuli.

    Args:
        representations: One matrix per network, shape (n_stimuli, n_features_i), row s for the same stimulus.
        measure: One that has a null (``inference``); of a distance small values are the unlikely ones.
        n_permutations: How many permutations of the stimuli; 0 leaves all but similarity and error NaN.
        level: Chance of an unrelated pair to exceed the threshold; to stay below it with a distance.
        seed: Of the permutations.

    Returns:
        By name, each of shape (n_models, n_models), float64, symmetric, NaN where the similarity is
        undefined: ``similarity`` (a distance is left a distance), ``p_value``, ``p_maximum`` (corrected for
        all pairs by the most similar null value of each permutation), ``threshold``, ``calibrated`` (the
        share of the way from the threshold to the largest similarity, or to distance 0, that is covered; 0
        where the threshold is not passed), ``null_mean``, and ``standard_error``
        (jackknife; NaN for measures without one, for four stimuli, and on the diagonal, where nothing
        varies).

    Raises:
        ValueError: If there are fewer than four stimuli.

    Source: Groeger, Wen & Brbic 2026, arXiv:2602.14486; Westfall & Young 1993 (maximum).
    """
    values = permute_measure(representations, measure, n_permutations=n_permutations, seed=seed)
    observed, null = values[0], values[1:]
    return {
        "similarity": observed,
        **_compare_with_null(observed, null, level, measure.larger_is_more_similar),
        "standard_error": _estimate_error(in_one_type(representations), measure),
    }


def permute_measure(
    representations: Sequence[Tensor], measure: Measure, *, n_permutations: int, seed: int
) -> Tensor:
    """Return every similarity, or distance, and the same under permutations of the stimuli.

    One permutation moves all representations in the same way: for a < b, a keeps its order and b is permuted.

    Args:
        representations: One matrix per network, shape (n_stimuli, n_features_i), row s for the same stimulus.
        measure: One that has a null (``inference``).
        n_permutations: How many permutations of the stimuli.
        seed: Of the permutations.

    Returns:
        Values, float64, shape (1 + n_permutations, n_models, n_models), symmetric; the first is not
        permuted. NaN where undefined.

    Raises:
        ValueError: If there are fewer than four stimuli.
    """
    n_stimuli = len(representations[0])
    if n_stimuli < MIN_STIMULI:
        raise UserError(f"inference needs at least {MIN_STIMULI} stimuli, got {n_stimuli}")
    generator = torch.Generator().manual_seed(seed)
    permutations = torch.cat(
        [torch.arange(n_stimuli)[None], draw_permutations(n_stimuli, n_permutations, generator=generator)]
    )
    representations = in_one_type(representations)
    refused = _find_refused(representations, measure)
    if refused.all():
        return torch.full((len(permutations), *refused.shape), torch.nan, dtype=torch.float64)
    values = _prepare(representations, measure)(permutations).cpu()
    return values.masked_fill_(refused, torch.nan)


def _find_refused(representations: Sequence[Tensor], measure: Measure) -> Tensor:
    """Find the pairs of networks with fewer different stimuli than the measure needs."""
    n_models, n_stimuli = len(representations), len(representations[0])
    fewest = measure.fewest_stimuli.given(0, 0)
    if n_stimuli < fewest:
        return torch.ones(n_models, n_models, dtype=torch.bool)
    n_distinct = count_distinct_pairs([find_copies(x) for x in representations], n_stimuli)
    return (n_distinct < fewest).fill_diagonal_(False)


def _compare_with_null(
    observed: Tensor, null: Tensor, level: float, larger_is_more_similar: bool
) -> dict[str, Tensor]:
    if not len(null):
        names = ("p_value", "p_maximum", "threshold", "calibrated", "null_mean")
        return {name: torch.full_like(observed, torch.nan) for name in names}
    # a distance turned round is larger the more similar, and 0 at most
    sign, largest = (1.0, 1.0) if larger_is_more_similar else (-1.0, 0.0)
    found = calibrate(sign * observed, sign * null, level=level, largest=largest)
    return {
        "p_value": found.p_value,
        "p_maximum": _adjust_pairs(sign * observed, sign * null),
        "threshold": sign * found.threshold,
        "calibrated": found.calibrated,
        "null_mean": null.mean(dim=0),
    }


def draw_stimuli(n_stimuli: int, most: int, seed: int) -> Tensor:
    """Return which stimuli to use, in their order: all, or ``most`` of them drawn without replacement."""
    order = torch.randperm(n_stimuli, generator=torch.Generator().manual_seed(seed))
    return order[:most].sort().values


def _prepare(representations: Sequence[Tensor], measure: Measure) -> Callable[[Tensor], Tensor]:
    """Prepare every network once; return the function from permutations to values."""
    return _PREPARED_BY[measure.family](representations, measure.parameters)


def _prepare_grams(representations: Sequence[Tensor], parameters: Parameters) -> Callable[[Tensor], Tensor]:
    debiased = parameters["estimator"] == "debiased"
    n_models, n_stimuli = len(representations), len(representations[0])
    width = sum(x.shape[1] for x in representations)
    is_quick = parameters["kernel"] == "linear" and width**2 <= FEATURE_SPEED * n_models**2 * n_stimuli
    if is_quick and _may_centre_sums(representations):
        return lambda orders: permute_linear_cka(representations, orders, debiased=debiased)
    unit = _one_by_one(representations, lambda x: centre_grams(build_grams(x, parameters), debiased=debiased))
    return lambda orders: permute_matrices(unit, orders)


def _prepare_rdms(representations: Sequence[Tensor], parameters: Parameters) -> Callable[[Tensor], Tensor]:
    unit = _one_by_one(
        representations, lambda x: _centre_rdms(build_dissimilarities(x, parameters), parameters)
    )
    return lambda orders: permute_matrices(unit, orders)


def _prepare_linear_maps(
    representations: Sequence[Tensor], parameters: Parameters
) -> Callable[[Tensor], Tensor]:
    prepared = prepare_linear_maps(representations, parameters)
    return lambda orders: permute_linear_maps(prepared, orders)


def _one_by_one(representations: Sequence[Tensor], prepare: Callable[[Sequence[Tensor]], Tensor]) -> Tensor:
    """Stack what is prepared for each network, without what preparing leaves behind."""
    n = len(representations[0])
    out = torch.empty(len(representations), n, n, dtype=torch.float64, device=representations[0].device)
    for index, x in enumerate(representations):
        out[index] = prepare([x])[0]
    return out


def _centre_rdms(rdms: Tensor, parameters: Parameters) -> Tensor:
    if parameters["compare"] == "whitened_cosine":
        return centre_grams(rdms, debiased=False)  # to whiten dissimilarities is to centre them twice
    return centre_dissimilarities(rdms, coefficient=parameters["compare"])


def _may_centre_sums(representations: Sequence[Tensor]) -> bool:
    """Find whether linear CKA may be centred after products are summed: no stimulus outweighs all others."""
    models = [centre(x, dtype=torch.float64) for x in representations]
    return suffices_for_sums(sample_stimuli(models), [SquaredDistance()])


def _prepare_neighbours(
    representations: Sequence[Tensor], parameters: Parameters
) -> Callable[[Tensor], Tensor]:
    """Find neighbours once; networks that have none get NaN."""
    prepared = [prepare_points(x, parameters["distance"]) for x in representations]
    kept = [index for index, points in enumerate(prepared) if isinstance(points, Points)]
    lists = [
        find_neighbours(points, int(parameters["n_neighbours"]), memory_bytes=NEIGHBOUR_BYTES).indices
        for points in prepared
        if isinstance(points, Points)
    ]
    jaccard = parameters["statistic"] == "jaccard"

    def compute(orders: Tensor) -> Tensor:
        shape = (len(orders), len(representations), len(representations))
        values = torch.full(shape, torch.nan, dtype=torch.float64)
        if lists:
            index = torch.tensor(kept)
            found = permute_neighbours(torch.stack(lists), orders, jaccard=jaccard)
            values[:, index[:, None], index] = found.cpu()
        return values

    return compute


def _adjust_pairs(observed: Tensor, null: Tensor) -> Tensor:
    """Return p-values of the pairs of different networks, each counted once, corrected by the maximum."""
    adjusted = torch.full_like(observed, torch.nan)
    upper = torch.ones_like(observed, dtype=torch.bool).triu(diagonal=1)
    tested = upper & observed.isfinite() & null.isfinite().all(dim=0)
    if tested.any():
        adjusted[tested] = adjust_by_maximum(observed[tested], null[:, tested], step_down=True)
    return torch.where(upper, adjusted, adjusted.T)


def _estimate_error(representations: Sequence[Tensor], measure: Measure) -> Tensor:
    has_error = measure.inference is not None and measure.inference.has_standard_error
    if has_error and len(representations[0]) > MIN_STIMULI:
        error = jackknife_linear_cka(representations).standard_error.cpu()
    else:
        error = torch.full((len(representations),) * 2, torch.nan, dtype=torch.float64)
    return error.fill_diagonal_(torch.nan)


_PREPARED_BY = {
    Family.CKA: _prepare_grams,
    Family.RSA: _prepare_rdms,
    Family.NEIGHBOUR: _prepare_neighbours,
    Family.LINEAR_MAP: _prepare_linear_maps,
}
