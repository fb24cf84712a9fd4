"""Measures of outputs share the predicted classes of models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rep_kedro.measures.measure import Answer, Representations, Requests


def compare(representations: Representations, requests: Requests, *, memory_bytes: int) -> Iterator[Answer]:
    """Compare all models under measures of this family."""
    from rep_kedro.kernels.similarity.functional import compare_functional

    return compare_functional(representations, requests, memory_bytes=memory_bytes)
