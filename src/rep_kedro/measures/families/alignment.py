"""Measures of stimuli after the best rotation share coordinates of each model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rep_kedro.measures.measure import Answer, Representations, Requests


def compare(representations: Representations, requests: Requests, *, memory_bytes: int) -> Iterator[Answer]:
    """Compare all models under measures of this family."""
    from rep_kedro.kernels.similarity.aligned_cosine import compare_aligned

    return compare_aligned(representations, requests, memory_bytes=memory_bytes)
