"""How far the similarities of all networks vary with the choice of stimuli: bootstrap intervals.

A resample never compares an image with its own copy. Intervals are percentiles of the resamples. In
simulations with 40 and 150 stimuli (benchmarks/interval_coverage.py) nominally 95 % of them covered the mean
over draws in 90 to 96 % of the draws for related networks, in 83 to 96 % for nearly equal networks, and in
99 % or more for unrelated ones, where the bootstrap is too wide.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rep_kedro.analyses.inference.stimulus_matrices import (
    Parameters,
    build_dissimilarities,
    build_grams,
    build_squared_distances,
)
from rep_kedro.kernels.statistics.gaussian_bootstrap import resample_gaussian_cka
from rep_kedro.kernels.statistics.resampling import draw_bootstrap_counts, summarise_replicates
from rep_kedro.kernels.statistics.stimulus_bootstrap import resample_cka, resample_rsa
from rep_kedro.measures.measure import Family, Measure

LOW, HIGH = "similarity_low", "similarity_high"
SMALLEST_SHARE = 0.9  # of the resamples must be defined, else the interval is that of the lucky ones


def summarise_bootstrap(
    representations: Sequence[Tensor],
    measure: Measure,
    *,
    n_bootstrap: int,
    confidence: float,
    seed: int,
) -> dict[str, Tensor]:
    """Give the similarities of all pairs of networks an interval over the choice of stimuli.

    Stimuli are drawn as if independent, all from one population. The interval is for what the measure gives
    on average for as many stimuli: for debiased measures that is the value in the population, for biased ones
    it is not.

    Args:
        representations: One matrix per network, shape (n_stimuli, n_features_i), row s for the same stimulus.
        measure: Any; those without a bootstrap get no intervals.
        n_bootstrap: How many resamples; 0 gives no intervals.
        confidence: Coverage that the intervals aim at.
        seed: Of the resamples.

    Returns:
        ``similarity_low`` and ``similarity_high``, each (n_models, n_models), float64, symmetric; NaN on the
        diagonal, where nothing varies, for measures without a bootstrap, and where more than a tenth of the
        resamples are undefined.

    Source: Davison & Hinkley 1997, section 5.2 (percentiles); Nili et al. 2014, PLoS Comput Biol 10:e1003553.
    """
    nothing = torch.full((len(representations),) * 2, torch.nan, dtype=torch.float64)
    if not n_bootstrap or not measure.has_interval:
        return {LOW: nothing, HIGH: nothing.clone()}
    replicates = resample_measure(representations, measure, n_bootstrap=n_bootstrap, seed=seed)
    found = summarise_replicates(replicates, nothing, confidence=confidence)
    defined = (found.n_defined >= SMALLEST_SHARE * n_bootstrap).fill_diagonal_(False)
    return {
        name: torch.where(defined, ends, torch.nan) for name, ends in ((LOW, found.low), (HIGH, found.high))
    }


def resample_measure(
    representations: Sequence[Tensor], measure: Measure, *, n_bootstrap: int, seed: int
) -> Tensor:
    """Return the similarities of all pairs of networks in each resample of the stimuli.

    Args:
        representations: One matrix per network, shape (n_stimuli, n_features_i), row s for the same stimulus.
        measure: One that has a bootstrap (``has_interval``).
        n_bootstrap: How many resamples.
        seed: Of the resamples.

    Returns:
        Values, float64, shape (n_bootstrap, n_models, n_models), symmetric; NaN where undefined.
    """
    strata = torch.zeros(len(representations[0]), dtype=torch.int64)
    counts = draw_bootstrap_counts(strata, n_bootstrap, generator=torch.Generator().manual_seed(seed))
    return _prepare(representations, measure)(counts).cpu()


def _prepare(representations: Sequence[Tensor], measure: Measure) -> Callable[[Tensor], Tensor]:
    """Prepare every network once; return the function from counts to values."""
    parameters: Parameters = measure.parameters
    if measure.family is Family.RSA:
        rdms = build_dissimilarities(representations, parameters)
        return lambda counts: resample_rsa(rdms, counts, coefficient=parameters["compare"])
    debiased = parameters["estimator"] == "debiased"
    if parameters.get("width_unit") == "median":
        squared, width = build_squared_distances(representations), float(parameters["width"])
        return lambda counts: resample_gaussian_cka(squared, counts, width=width, debiased=debiased)
    grams = build_grams(representations, parameters)
    return lambda counts: resample_cka(grams, counts, debiased=debiased)
