"""One labelled matrix for each measure, from the features of all networks on one stimulus set."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

from rep_kedro.errors import UserError
from rep_kedro.measures.compare import compare_under
from rep_kedro.measures.measure import Measure

if TYPE_CHECKING:
    from torch import Tensor

    from rep_kedro.datasets import LabelledMatrix
else:
    LabelledMatrix = Tensor = Any  # so that Kedro can read the hints

# they ask of one network whether nearness is mutual, or count ranks from one
NOT_EXTREME_FOR_ITSELF = ("cycle_knn", "information_imbalance")
_NUMBERED = re.compile(r"\b(?:model|representation) (\d+)\b")


def compare_networks(
    representations: Mapping[str, Tensor], measures: Iterable[Measure], *, memory_bytes: int, device: str
) -> Iterator[tuple[str, LabelledMatrix]]:
    """Compare all networks under all measures.

    Args:
        representations: By network, shape (n_stimuli, n_features_i), row s for the same stimulus in all.
        measures: From the registry.
        memory_bytes: Working memory; changes speed, not the result.
        device: Where to compute.

    Yields:
        Measure id and matrix; its meta says how many stimuli and features, whether it is symmetric, and what
        a network compared with itself must give (``self_value``), where that is known. Reasons call networks
        by their names.

    Raises:
        ValueError: If features cannot be compared; networks are called by their names.
    """
    from rep_kedro.datasets import LabelledMatrix

    labels = tuple(representations)
    matrices = list(representations.values())
    by_id = {measure.id: measure for measure in measures}
    try:
        compared = compare_under(matrices, by_id.values(), memory_bytes=memory_bytes, device=device)
    except UserError as problem:
        raise UserError(name_networks(str(problem), labels)) from problem
    for measure_id, comparison in compared:
        measure = by_id[measure_id]
        meta: dict[str, Any] = {
            "measure": measure.recipe(),
            "n_stimuli": len(matrices[0]),
            "n_features": [x.shape[1] for x in matrices],
            "symmetric": measure.symmetric,
        }
        self_value = self_value_of(measure)
        if self_value is not None:
            meta["self_value"] = self_value
        reasons = {
            (labels[i], labels[j]): name_networks(why, labels) for (i, j), why in comparison.reasons.items()
        }
        yield measure_id, LabelledMatrix(comparison.values, labels, reasons, meta)


def name_networks(text: str, labels: Sequence[str]) -> str:
    """Put the names of networks in place of their numbers.

    Example:
        >>> name_networks("model 1: all its dissimilarities are equal", ["vit", "cnn"])
        'cnn: all its dissimilarities are equal'
    """
    return _NUMBERED.sub(lambda found: labels[int(found[1])], text)


def self_value_of(measure: Measure) -> float | None:
    """Return what a measure gives for a network and itself; None where that depends on the network.

    Measures without bounds have the units of the features, so that no one tolerance fits them.
    """
    low, high = measure.value_range
    if measure.parameters.get("statistic") in NOT_EXTREME_FOR_ITSELF or not (
        isfinite(low) and isfinite(high)
    ):
        return None
    return high if measure.larger_is_more_similar else low
