"""All measures by id: one dict, put together from one literal list for each family."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

from rep_kedro.errors import UserError, require_known
from rep_kedro.measures.compare import Comparison, compare_under
from rep_kedro.measures.entries import (
    alignment,
    cka,
    descriptions,
    distances,
    functional,
    linear_maps,
    matching,
    neighbours,
    predictivity,
    reweighting,
    rsa,
    sampling,
)
from rep_kedro.measures.measure import Measure

ENTRIES: tuple[Measure, ...] = (
    *cka.ENTRIES,
    *rsa.ENTRIES,
    *linear_maps.ENTRIES,
    *predictivity.ENTRIES,
    *sampling.ENTRIES,
    *reweighting.ENTRIES,
    *matching.ENTRIES,
    *neighbours.ENTRIES,
    *alignment.ENTRIES,
    *distances.ENTRIES,
    *descriptions.ENTRIES,
    *functional.ENTRIES,
)
if TYPE_CHECKING:
    import torch
    from torch import Tensor

MEASURES: dict[str, Measure] = {measure.id: measure for measure in ENTRIES}


def get_measure(measure_id: str) -> Measure:
    """Look up a measure by its id.

    Raises:
        ValueError: If the id is unknown; the message offers the ids that look like it, or all.
    """
    require_known("similarity measure", measure_id, MEASURES)
    return MEASURES[measure_id]


def closest_measures(measure_id: str, may: Callable[[Measure], bool], n: int = 4) -> list[str]:
    """Return the ids of measures that pass ``may`` and resemble an id most, closest first."""
    return get_close_matches(measure_id, [m.id for m in ENTRIES if may(m)], n=n, cutoff=0.0)


def compare_models(
    representations: Sequence[Tensor],
    measure_ids: Iterable[str],
    *,
    memory_bytes: int,
    device: torch.device | str | None = None,
) -> Iterator[tuple[str, Comparison]]:
    """Compare every pair of models under every measure, sharing all preparation.

    Args:
        representations: One matrix for each model, shape (n_stimuli, n_features_i), row s for the same
            stimulus in all. float64 is compared in float64; any other type in float32 with float64 sums.
        measure_ids: Names from the registry, each at most once.
        memory_bytes: Working memory beyond the features, one prepared copy of them and some tens of
            megabytes. Changes speed and memory, not the result.
        device: Where to compute; None computes on the device of the features.

    Returns:
        Iterator over (measure id, Comparison), grouped by family, each as soon as it is ready.

    Raises:
        ValueError: If an id is unknown or doubled, memory is not positive, or a representation is not a
            matrix with at least one feature, holds another number of stimuli, fewer than four, or a
            number that is not finite. Raised by this call, not by the first step of the iterator.
    """
    if isinstance(measure_ids, str):
        raise TypeError(f"measure_ids must be a sequence of ids, got the single string {measure_ids!r}")
    names = list(measure_ids)
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise UserError(f"similarity measures are requested more than once: {', '.join(doubled)}")
    measures = [get_measure(name) for name in names]
    return compare_under(representations, measures, memory_bytes=memory_bytes, device=device)
