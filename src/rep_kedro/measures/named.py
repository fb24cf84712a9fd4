"""Comparisons of named representations: errors and reasons use the names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from rep_kedro.measures.compare import compare_under
from rep_kedro.measures.measure import Measure

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

Reasons = dict[tuple[str, str], str]


def compare_named(
    representations: Mapping[str, Tensor],
    measures: Iterable[Measure],
    *,
    memory_bytes: int,
    device: torch.device | str | None = None,
) -> Iterator[tuple[Measure, np.ndarray, Reasons]]:
    """Compare every pair of representations under every measure, sharing all preparation.

    Args:
        representations: By name, shape (n_stimuli, n_features_i), row s for the same stimulus in all.
        measures: From the registry.
        memory_bytes: Working memory; changes speed, not the result.
        device: Where to compute; None computes where the representations are.

    Yields:
        Measure, values of shape (n, n), float64, NaN where undefined, and the reason for each NaN by the
        names of its row and column; grouped by family, each as soon as it is ready.

    Raises:
        UserError: If representations cannot be compared. Raised by this call, not by the first step of the
            iterator.
    """
    labels = tuple(representations)
    by_id = {measure.id: measure for measure in measures}
    compared = compare_under(
        list(representations.values()),
        by_id.values(),
        memory_bytes=memory_bytes,
        device=device,
        names=labels,
    )
    return (
        (
            by_id[measure_id],
            found.values,
            {(labels[i], labels[j]): why for (i, j), why in found.reasons.items()},
        )
        for measure_id, found in compared
    )
