"""Representational similarity analysis shares dissimilarity matrices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rep_kedro.measures.measure import Answer, Representations, Requests


def compare(representations: Representations, requests: Requests, *, memory_bytes: int) -> Iterator[Answer]:
    """Compare all models under measures of this family."""
    from rep_kedro.kernels.similarity.rsa import compare_rsa

    return compare_rsa(representations, requests, memory_bytes=memory_bytes)


def compare_rdms(
    representations: Representations, rdms: Representations, requests: Requests, *, memory_bytes: int
) -> Iterator[Answer]:
    """Compare dissimilarity matrices that are given under measures of this family."""
    from rep_kedro.kernels.similarity.given_rdms import compare_given_rdms

    return compare_given_rdms(representations, rdms, requests, memory_bytes=memory_bytes)
