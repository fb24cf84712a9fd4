"""What changed since an earlier version?"""

import pandas as pd

from rep_kedro.reporting.content import ReportContent
from rep_kedro.reporting.page import Column, Section, Table, list_in_words, make_table, write_number
from rep_kedro.reporting.run.comparison import (
    CONSISTENCY_KEYS,
    SIMILARITY_KEYS,
    compare_values,
    missing_columns,
    summarise_changes,
)

NO_EARLIER = (
    "This run was given no earlier version. To compare with the tag, branch or commit v1:"
    " kedro run --pipelines=reporting --params compare_with=v1."
)
N_LARGEST_CHANGES = 12
COMPARED = (
    ("similarities", "similarity", SIMILARITY_KEYS, "similarity"),
    ("consistency", "consistency", CONSISTENCY_KEYS, "pearson"),
)
HEADERS = {
    "category": "grouped by",
    "value_a": "kind",
    "value_b": "other kind",
    "stimulus_set": "stimulus set",
    "stimulus_set_a": "stimulus set",
    "stimulus_set_b": "other set",
    "model_a": "network",
    "model_b": "other network",
}
SUMMARY_COLUMNS = {
    "measure": Column("measure"),
    "n_both": Column("values in both", "count"),
    "n_changed": Column("changed", "count"),
    "mean_change": Column("mean |change|", "number", 4),
    "largest_change": Column("largest |change|", "number", 4),
    "n_became_undefined": Column("became undefined", "count"),
    "n_became_defined": Column("became defined", "count"),
    "n_only_now": Column("only now", "count"),
    "n_only_earlier": Column("only earlier", "count"),
}


def describe(content: ReportContent) -> list[Section]:
    """Compare this run with an earlier version, where one was given."""
    parts = [
        (label, compare_values(content.table(name), content.earlier[name], keys, value))
        for name, label, keys, value in COMPARED
        if name in content.earlier and not missing_columns(content.earlier[name], keys, value)
    ]
    notes = [
        f"The earlier table {name} has no {list_in_words(missing)}: it is of an older form and not compared."
        for name, _, keys, value in COMPARED
        if name in content.earlier and (missing := missing_columns(content.earlier[name], keys, value))
    ]
    revision = next((table.attrs.get("revision") for table in content.earlier.values()), None)
    named = [f"The earlier version is {revision}."] if parts and revision else []
    return [
        Section(
            anchor="changes",
            answers=[*named, *(_changes_in_words(label, compared) for label, compared in parts)],
            notes=notes,
            left_out=[] if parts or notes else [NO_EARLIER],
            tables=[table for label, compared in parts for table in _change_tables(label, compared)],
        )
    ]


def _changes_in_words(label: str, compared: pd.DataFrame) -> str:
    both = compared[compared["held_by"] == "both"]
    n_changed = int((both["change"].abs() > 0).sum())
    largest = both["change"].abs().max() if len(both) else float("nan")
    only_now, only_earlier = (int((compared["held_by"] == side).sum()) for side in ("now", "earlier"))
    sentence = f"{label.capitalize()}: {len(both):,} values in both, {n_changed:,} of them changed"
    sentence += f" (by at most {write_number(largest)})" if n_changed else ""
    return f"{sentence}; {only_now:,} only in this run, {only_earlier:,} only in the earlier one."


def _change_tables(label: str, compared: pd.DataFrame) -> list[Table]:
    keys = [column for column in compared.columns if column not in ("now", "earlier", "change", "held_by")]
    changed = compared[compared["change"].abs() > 0].head(N_LARGEST_CHANGES)
    summary = make_table(summarise_changes(compared), SUMMARY_COLUMNS, f"Change of {label} by measure")
    if not len(changed):
        return [summary]
    columns = {key: Column(HEADERS.get(key, key)) for key in keys}
    columns |= {name: Column(name, "number", 4) for name in ("earlier", "now", "change")}
    return [summary, make_table(changed, columns, f"Largest changes of {label}")]
