"""Measures on representational dissimilarity matrices (RDMs)."""

from rep_kedro.measures.measure import Measure

ENTRIES: tuple[Measure, ...] = ()
