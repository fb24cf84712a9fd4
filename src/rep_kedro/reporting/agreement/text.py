"""Do other similarity measures say the same?"""

from typing import Any

import pandas as pd

from rep_kedro.reporting.content import ReportContent
from rep_kedro.reporting.page import Column, Section, counted, list_in_words, make_table, write_number
from rep_kedro.reporting.run.absences import lack_in_words, undefined_in_words
from rep_kedro.reporting.tables import in_order

COMPARED = {
    "similarity": "Mean similarities of network pairs",
    "consistency": "Consistency values of kinds of network pair",
}
COLUMNS = {
    "compared": Column("compared"),
    "measure_a": Column("measure"),
    "measure_b": Column("other measure"),
    "n": Column("values", "count"),
    "pearson": Column("Pearson r", "number", 2),
    "pearson_low": Column("interval from", "number", 2, absent="–"),
    "pearson_high": Column("to", "number", 2, absent="–"),
    "spearman": Column("Spearman ρ", "number", 2),
}


def describe(content: ReportContent) -> list[Section]:
    """Say how far measures agree on similarity and on consistency."""
    rows = content.table("measure_agreement")
    n_measures = len(set(rows["measure_a"]) | set(rows["measure_b"]))
    lack = lack_in_words(content, "measure_agreement")
    is_single = content.table("similarities")["measure"].nunique() == 1
    absent = (
        "This run used one measure: there is none to compare it with."
        if is_single
        else lack or "This run made no table measure_agreement: the question stays unanswered."
    )
    return [
        Section(
            anchor="agreement",
            answers=agreement_in_words(rows, content.measure),
            notes=undefined_in_words(rows, "pearson", "correlations of measures") if len(rows) else [absent],
            figures=[content.block("measure_agreement", f"{counted(n_measures, 'measure')}; Pearson's r")],
            tables=[
                make_table(rows, COLUMNS, "Agreement of measures", is_folded=True, of=["measure_agreement"])
            ]
            if len(rows)
            else [],
        )
    ]


def agreement_in_words(rows: pd.DataFrame, measure: str) -> list[str]:
    """Give the correlation of the report's measure with each other, by name, with its interval."""
    sentences = []
    for compared, what in COMPARED.items():
        is_own = (rows["measure_a"] == measure) | (rows["measure_b"] == measure)
        own = rows[is_own & (rows["compared"] == compared)].dropna(subset=["pearson"])
        found = sorted(f"{_other(row, measure)} ({_with_interval(row)})" for _, row in own.iterrows())
        if found:
            why = in_order(own.loc[own["pearson_low"].isna(), "reason"].dropna())
            reasons = "".join(f" {reason[:1].upper()}{reason[1:]}." for reason in why if reason)
            among = list_in_words(found, 12)
            sentences.append(f"{what} under {measure} correlate with those under {among}.{reasons}")
    return sentences


def _with_interval(row: "pd.Series[Any]") -> str:
    r, low, high = (write_number(row[name], digits=2) for name in ("pearson", "pearson_low", "pearson_high"))
    if pd.isna(row["pearson_low"]):
        return f"r\u00a0=\u00a0{r}"
    return f"r\u00a0=\u00a0{r}, interval {low} to {high}"


def _other(row: "pd.Series[str]", measure: str) -> str:
    return str(row["measure_b"] if row["measure_a"] == measure else row["measure_a"])
