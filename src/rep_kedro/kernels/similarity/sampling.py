"""All pairs of models under estimates of what the populations behind stimuli and features would give."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from inspect import signature
from typing import Any

from torch import Tensor

from rep_kedro.kernels.similarity.feature_sampling import compare_feature_sampled_cka
from rep_kedro.kernels.similarity.shape_moments import compare_shape_moments
from rep_kedro.kernels.undefined import Reasons

STATISTICS: dict[str, Callable[..., tuple[Tensor, Reasons]]] = {
    "cka_debiased_twice": compare_feature_sampled_cka,
    "nbs_moments": compare_shape_moments,
}


def compare_samples(
    representations: Sequence[Tensor],
    requests: Mapping[str, Mapping[str, Any]],
    *,
    memory_bytes: int,
) -> Iterator[tuple[str, Tensor, Reasons]]:
    """Compare all models under estimates for populations.

    Args:
        representations: One matrix for each model, shape (n_stimuli, n_features_i), finite, row s for the
            same stimulus in all.
        requests: By a name of the caller's: ``statistic``, one of ``STATISTICS``, and its parameters.
        memory_bytes: Working memory of statistics that can be limited; see the statistics.

    Yields:
        Name, values of shape (n_models, n_models), float64, NaN where undefined, and the reason of each NaN.

    Raises:
        ValueError: If a statistic has too few stimuli.
    """
    for name, parameters in requests.items():
        settings = dict(parameters)
        function = STATISTICS[settings.pop("statistic")]
        if "memory_bytes" in signature(function).parameters:
            settings["memory_bytes"] = memory_bytes
        yield name, *function(representations, **settings)
