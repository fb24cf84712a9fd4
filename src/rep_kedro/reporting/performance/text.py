"""Do similar networks perform similarly, and make similar errors?"""

from collections.abc import Sequence

import pandas as pd

from rep_kedro.kernels.statistics.families import LEVEL
from rep_kedro.reporting.certainty.chance import hopeless_in_words, split_tests
from rep_kedro.reporting.content import ReportContent
from rep_kedro.reporting.page import Column, Section, Table, counted, list_in_words, make_table, written_r
from rep_kedro.reporting.predictions.text import prediction_table, predictions_in_words
from rep_kedro.reporting.run.absences import absence_in_words, undefined_in_words
from rep_kedro.reporting.tables import pearson, performance_gaps

MOST_SETS = 6
GAP_COLUMNS = {
    "stimulus_set": Column("stimulus set"),
    "n_pairs": Column("network pairs", "count"),
    "pearson": Column("Pearson r", "number", 2),
    "pearson_low": Column("interval from", "number", 2, absent="–"),
    "pearson_high": Column("to", "number", 2, absent="–"),
    "spearman": Column("Spearman ρ", "number", 2),
    "p_value": Column("p", "number", absent="–"),
    "p_adjusted": Column("p, corrected", "number", absent="–"),
}


def describe(content: ReportContent) -> list[Section]:
    """Say whether similar networks perform similarly and make similar errors."""
    similarities = content.of_measure("similarities")
    gaps = performance_gaps(content.table("similarities"), content.table("probe_results"), content.measure)
    correlations = content.of_measure("performance_gaps")
    agreement = content.table("prediction_agreement")
    shown = f"measure {content.measure}; probes of the final layers"
    return [
        Section(
            anchor="performance",
            answers=[*gaps_in_words(gaps), *certainty_in_words(correlations)],
            details=predictions_in_words(agreement, similarities),
            notes=_notes(content, gaps, correlations, agreement),
            figures=[
                content.block("performance_gap", f"{shown}; {counted(len(gaps), 'point')} in all"),
                content.block("gap_correlations", f"{shown}; {counted(len(correlations), 'stimulus set')}"),
                content.block("prediction_agreement", f"{shown}; test images"),
            ],
            tables=_tables(correlations, agreement, content.measure),
        )
    ]


def _notes(
    content: ReportContent, gaps: pd.DataFrame, correlations: pd.DataFrame, agreement: pd.DataFrame
) -> list[str]:
    if not len(content.table("probe_results")):
        return absence_in_words(agreement, content, "prediction_agreement")
    return [
        *([] if len(gaps) else ["No pair of networks has both a similarity and two probe accuracies."]),
        *absence_in_words(correlations, content, "performance_gaps"),
        *undefined_in_words(correlations, "pearson", "correlations with accuracy differences"),
        *absence_in_words(agreement, content, "prediction_agreement"),
        *undefined_in_words(agreement, "error_consistency", "values of error consistency"),
    ]


def gaps_in_words(gaps: pd.DataFrame) -> list[str]:
    """Give the correlation of similarity with accuracy difference on each stimulus set."""
    values = [
        f"{name} ({written_r(pearson(part['similarity'], part['gap']))}, n\u00a0=\u00a0{len(part)})"
        for name, part in gaps.groupby("stimulus_set", sort=True)
    ]
    return (
        [f"Correlation of similarity with accuracy difference: {list_in_words(values, MOST_SETS)}."]
        if values
        else []
    )


def certainty_in_words(correlations: pd.DataFrame) -> list[str]:
    """Count the stimulus sets on which that correlation is beyond chance."""
    tested, able = split_tests(correlations)
    sentences = []
    if len(able):
        is_beyond = able["p_adjusted"] <= LEVEL
        n_falling = int((is_beyond & (able["pearson"] < 0)).sum())
        n_rising = int((is_beyond & (able["pearson"] > 0)).sum())
        sentences.append(
            f"More similar networks have significantly closer accuracies on {n_falling} of "
            f"{counted(len(able), 'stimulus set')}, and more different ones on {n_rising} (permutation of "
            f"network names, p ≤ {LEVEL}, corrected)."
        )
    return sentences + hopeless_in_words(tested, able, "correlations")


def _tables(correlations: pd.DataFrame, agreement: pd.DataFrame, measure: str) -> Sequence[Table]:
    tables = []
    if len(correlations):
        ordered = correlations.sort_values("pearson", kind="stable", na_position="last")
        caption = f"Similarity ({measure}) with accuracy difference"
        tables.append(make_table(ordered, GAP_COLUMNS, caption, is_folded=True, of=["performance_gaps"]))
    return [*tables, *prediction_table(agreement)]
