"""Measures that predict held-out stimuli share folds and one decomposition of each model and fold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rep_kedro.measures.measure import Answer, Representations, Requests


def compare(representations: Representations, requests: Requests, *, memory_bytes: int) -> Iterator[Answer]:
    """Compare all models under measures of this family."""
    from rep_kedro.kernels.similarity.predictivity import compare_predictivity

    return compare_predictivity(representations, requests, memory_bytes=memory_bytes)
