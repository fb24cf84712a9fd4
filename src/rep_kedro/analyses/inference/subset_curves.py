"""Similarities of all networks on nested subsets of the stimuli, prepared once for each network."""

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor

from rep_kedro.analyses.inference.nulls import MIN_STIMULI
from rep_kedro.analyses.inference.stimulus_matrices import (
    Parameters,
    build_dissimilarities,
    build_grams,
    build_squared_distances,
)
from rep_kedro.kernels.statistics.centring import centre_dissimilarities, centre_grams
from rep_kedro.kernels.statistics.gaussian_bootstrap import build_median_grams
from rep_kedro.kernels.statistics.sample_size import trace_by_sample_size
from rep_kedro.measures.measure import Family, Measure


def trace_measure(
    representations: Sequence[Tensor],
    measure: Measure,
    orders: Tensor,
    sizes: Sequence[int],
) -> Tensor:
    """Return the similarities of all pairs of networks on the first stimuli of each order.

    Args:
        representations: One matrix per network, shape (n_stimuli, n_features_i), row s for the same stimulus.
        measure: One that has intervals (``measure.has_interval``).
        orders: Orders of the stimuli, int64, shape (n_orders, n_stimuli).
        sizes: Numbers of stimuli, 4 to n_stimuli.

    Returns:
        What the measure gives on each subset, float64, shape (n_orders, n_sizes, n_models, n_models); widths
        in units of the median distance are those of the subset.
    """
    matrices, prepare = _prepare(representations, measure)
    return trace_by_sample_size(matrices, orders, sizes, prepare, least=MIN_STIMULI)


def _prepare(
    representations: Sequence[Tensor], measure: Measure
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Return matrices over stimuli, and what makes of a part of them matrices of length one."""
    parameters: Parameters = measure.parameters
    if measure.family is Family.RSA:
        rdms = build_dissimilarities(representations, parameters)
        return rdms, partial(centre_dissimilarities, coefficient=parameters["compare"])
    debiased = parameters["estimator"] == "debiased"
    if parameters.get("width_unit") == "median":
        width = float(parameters["width"])
        return build_squared_distances(representations), lambda squared: centre_grams(
            build_median_grams(squared, width=width), debiased=debiased
        )
    return build_grams(representations, parameters), partial(centre_grams, debiased=debiased)
