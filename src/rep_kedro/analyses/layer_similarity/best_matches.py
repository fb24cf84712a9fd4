"""For every layer its best match in every other network, set against chance and the choice of stimuli."""

from collections.abc import Sequence

import torch
from torch import Tensor

from rep_kedro.analyses.inference.nulls import permute_measure
from rep_kedro.analyses.inference.stimulus_intervals import SMALLEST_SHARE, resample_measure
from rep_kedro.analyses.layer_similarity.params import LayerSimilarityParams
from rep_kedro.kernels.statistics.best_match import Certainty, Matches, PairValues, match_groups
from rep_kedro.measures.compare import compare_under
from rep_kedro.measures.measure import Measure


def summarise_matches(
    representations: Sequence[Tensor],
    owners: Sequence[int],
    measure: Measure,
    params: LayerSimilarityParams,
) -> tuple[Matches, Matches]:
    """Find the best match of every layer in every other network, and the best pair of every two networks.

    Args:
        representations: One matrix per layer, shape (n_stimuli, n_features_i), row s for the same stimulus.
        owners: Network of each layer, numbered from 0.
        measure: From the registry; without a null it has no p-values, without a bootstrap no intervals.
        params: How often stimuli are permuted and resampled.

    Returns:
        As ``match_groups``, in the units of the measure: of a distance, the smallest.

    Raises:
        ValueError: If there are fewer than four stimuli.
    """
    is_similarity = measure.larger_is_more_similar
    sign, largest = (1.0, measure.value_range[1]) if is_similarity else (-1.0, 0.0)
    values = _compute(representations, measure, params).map(lambda found: sign * found)
    certainty = Certainty(params.confidence, params.level, largest, SMALLEST_SHARE)
    of_layers, of_networks = match_groups(values, torch.tensor(owners), certainty)
    if is_similarity:
        return of_layers, of_networks
    return _as_distances(of_layers), _as_distances(of_networks)


def _compute(
    representations: Sequence[Tensor], measure: Measure, params: LayerSimilarityParams
) -> PairValues:
    n_layers = len(representations)
    nothing = torch.empty(0, n_layers, n_layers, dtype=torch.float64)
    if measure.inference is None:
        [(_, found)] = compare_under(representations, [measure], memory_bytes=params.memory_bytes)
        return PairValues(torch.from_numpy(found.values), nothing, nothing)
    values = permute_measure(representations, measure, n_permutations=params.n_permutations, seed=params.seed)
    replicates = nothing
    if params.n_bootstrap and measure.has_interval:
        replicates = resample_measure(
            representations, measure, n_bootstrap=params.n_bootstrap, seed=params.seed
        )
    return PairValues(values[0], values[1:], replicates)


def _as_distances(matches: Matches) -> Matches:
    turned = {"similarity": -matches.similarity, "threshold": -matches.threshold}
    turned |= {"low": -matches.high, "high": -matches.low}
    return Matches(**{**vars(matches), **turned})
