"""What the run could not make, and why."""

import pandas as pd

from rep_kedro.reporting.content import ReportContent
from rep_kedro.reporting.page import Column, Section, counted, list_in_words, make_table
from rep_kedro.reporting.tables import in_order

COLUMNS = {"collection": Column("collection"), "key": Column("result"), "reason": Column("why")}


def describe(content: ReportContent) -> list[Section]:
    """List what is missing; no section where nothing is."""
    table = content.table("missing_members")
    if not len(table):
        return []
    return [
        Section(
            anchor="missing",
            notes=[_gaps_in_words(table)],
            tables=[make_table(table, COLUMNS, counted(len(table), "result"))],
        )
    ]


def _gaps_in_words(table: pd.DataFrame) -> str:
    collections = list_in_words(in_order(table["collection"]))
    are = "is" if len(table) == 1 else "are"
    return (
        f"This report is incomplete: {counted(len(table), 'result')} of {collections} {are} missing or made"
        " without some inputs. Everything below describes what is there."
    )
