"""Measures that weigh the dissimilarities of single features share their sums of products."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rep_kedro.measures.measure import Answer, Representations, Requests


def compare(representations: Representations, requests: Requests, *, memory_bytes: int) -> Iterator[Answer]:
    """Compare all models under measures of this family."""
    from rep_kedro.kernels.similarity.reweighting import compare_reweighted

    return compare_reweighted(representations, requests, memory_bytes=memory_bytes)
