"""Why a value is undefined, a table has no rows or a figure nothing to show."""

from collections.abc import Mapping

import pandas as pd

from rep_kedro.reporting.content import ReportContent
from rep_kedro.reporting.page import FigureBlock, counted
from rep_kedro.reporting.tables import in_order

LEAST: Mapping[str, tuple[int, int]] = {  # networks and stimulus sets without which a table has no rows
    "similarities": (2, 1),
    "similarity_inference": (2, 1),
    "sample_sizes": (2, 1),
    "noise_ceilings": (2, 1),
    "model_positions": (2, 1),
    "model_clusters": (2, 1),
    "model_selection": (2, 1),
    "performance_gaps": (2, 1),
    "prediction_agreement": (2, 1),
    "measure_agreement": (2, 1),
    "consistency": (2, 2),
    "consistency_summary": (2, 2),
}
OF_PROBES = ("probe_results", "prediction_agreement", "model_selection", "layer_tails")
KIND = ["source", "architecture", "objective", "trained_on"]


def undefined_in_words(rows: pd.DataFrame, column: str, what: str) -> list[str]:
    """Say how many values are undefined, and why; nothing where all are defined."""
    undefined = rows[rows[column].isna()]
    if not len(undefined):
        return []
    reasons = (
        undefined["reason"].fillna("").astype(str).replace("", "no reason given").value_counts(sort=True)
    )
    listed = "; ".join(f"{reason} ({count})" for reason, count in reasons.head(3).items())
    more = f"; and {len(reasons) - 3} further reasons" if len(reasons) > 3 else ""
    be = "is" if len(undefined) == 1 else "are"
    return [f"{len(undefined)} of {len(rows)} {what} {be} undefined: {listed}{more}."]


def absence_in_words(rows: pd.DataFrame, content: ReportContent, table: str) -> list[str]:
    """Say why a table has no rows: the run is too small, has none of the measure, or made no such table."""
    if len(rows):
        return []
    if lack := lack_in_words(content, table):
        return [lack]
    if len(content.table(table)):
        known = ", ".join(in_order(content.table(table)["measure"]))
        return [f"The table {table} has no rows of the measure {content.measure}; it has {known}."]
    return [f"This run made no table {table}: the question stays unanswered."]


def lack_in_words(content: ReportContent, table: str) -> str | None:
    """Return which networks or stimulus sets the run lacks for an empty table; None where none is known."""
    if len(content.table(table)):
        return None
    networks, sets = _networks_of(content), _sets_of(content)
    least_networks, least_sets = LEAST.get(table, (1, 1))
    if 0 < len(networks) < least_networks:
        return _lack(table, "two networks", counted(len(networks), "network"))
    if 0 < len(sets) < least_sets:
        return _lack(table, "two stimulus sets", counted(len(sets), "stimulus set"))
    if table in OF_PROBES and not len(content.table("probe_results")):
        return "This run has no probes: they need training and test images with labels of two classes."
    return _lack_of_kinds(content, table)


def _lack_of_kinds(content: ReportContent, table: str) -> str | None:
    """Return what an empty table lacks though there are networks, stimulus sets and probes."""
    cards = content.table("model_cards")
    if table == "noise_ceilings" and len(cards) and not cards.duplicated(KIND).any():
        return _lack(table, "two networks that differ in their seed alone", "none")
    if table == "consistency":
        reasons = in_order(content.of_measure("consistency_summary")["reason"].dropna())
        shown = "; ".join(reason for reason in reasons if reason)
        return f"The table {table} is empty: {shown}." if shown else None
    return None


def across_sets(content: ReportContent, *figures: FigureBlock) -> tuple[list[FigureBlock], list[str]]:
    """Leave out figures of several stimulus sets that one stimulus set leaves empty.

    Returns:
        The others, and a sentence about those that are left out, if any.
    """
    if len(_sets_of(content)) != 1:
        return list(figures), []
    empty = [figure for figure in figures if figure.absence is not None]
    if not empty:
        return list(figures), []
    kept = [figure for figure in figures if figure.absence is None]
    return kept, [f"Left out, since they need a second stimulus set: {counted(len(empty), 'figure')}."]


def _lack(table: str, needed: str, present: str) -> str:
    return f"The table {table} is empty: it needs {needed}, and this run has {present}."


def _networks_of(content: ReportContent) -> set[str]:
    pairs = content.table("similarities")
    return set(pairs["model_a"]) | set(pairs["model_b"]) or set(content.table("model_cards")["model"])


def _sets_of(content: ReportContent) -> set[str]:
    """Return the stimulus sets on which networks were compared; without such, those of the run."""
    tables = (content.table(name) for name in ("similarities", "stimulus_cards"))
    return next((set(table["stimulus_set"]) for table in tables if len(table)), set())
