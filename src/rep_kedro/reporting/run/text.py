"""Settings of this run, and everything that was run."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from rep_kedro.datasets.platform import UNRECORDED, describe_counts
from rep_kedro.reporting.content import ReportContent
from rep_kedro.reporting.page import Column, Section, Table, counted, make_table
from rep_kedro.reporting.tables import in_order

NO_SEED = "–"
COLLECTION_COLUMNS = {
    "collection": Column("collection"),
    "n": Column("results", "count"),
    "seconds": Column("time (s)", "number", 1, absent="not on record"),
    "first": Column("first computed"),
    "last": Column("last computed"),
}
RUN_COLUMNS = {
    "collection": Column("collection"),
    "key": Column("result"),
    "seed": Column("seed", "count", absent=NO_SEED),
    "seconds": Column("time (s)", "number", 2, absent="not on record"),
    "computed_at": Column("computed at"),
    "versions_letter": Column("versions"),
    "short_digest": Column("recipe digest"),
}
VERSION_COLUMNS = {"letter": Column("set"), "versions": Column("package versions")}
PLATFORM_NOTE = (
    "Numbers from different platforms differ in their last digits, which training amplifies:"
    " small differences between such networks may be those of the machines."
)
SEED_NOTE = "Where there is no seed, the recipe names none: nothing was drawn at random in that step."


def describe(content: ReportContent) -> list[Section]:
    """List every parameter and every stored result."""
    return [_describe_settings(content), _describe_results(content)]


def _describe_settings(content: ReportContent) -> Section:
    rows = pd.DataFrame(flatten(content.parameters), columns=["name", "value"])
    columns = {"name": Column("parameter"), "value": Column("value")}
    return Section(
        anchor="settings",
        notes=[] if len(rows) else ["No parameters were handed to the report."],
        tables=[make_table(rows, columns, counted(len(rows), "parameter"), is_folded=True)]
        if len(rows)
        else [],
    )


def flatten(parameters: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Return (dotted name, value as text) of nested parameters, by name.

    Example:
        >>> flatten({"b": {"c": [1, [2, None]]}, "a": True})
        [('a', 'true'), ('b.c', '1, [2, none]')]
    """
    if isinstance(parameters, Mapping) and parameters:
        named = sorted(((str(key), value) for key, value in parameters.items()), key=lambda item: item[0])
        return [row for key, value in named for row in flatten(value, f"{prefix}{key}.")]
    if isinstance(parameters, list | tuple) and any(isinstance(item, Mapping) for item in parameters):
        return [row for index, item in enumerate(parameters) for row in flatten(item, f"{prefix}{index}.")]
    if not prefix:
        return []
    if isinstance(parameters, list | tuple):
        text = ", ".join(map(_plain, parameters)) or "none"
    else:
        text = _plain(parameters)
    return [(prefix.removesuffix("."), text)]


def _plain(value: Any) -> str:
    """Return a parameter as its file has it: true and false, and none where nothing is set."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_plain, value))}]"
    return "none" if value is None or value == {} else str(value)


def _describe_results(content: ReportContent) -> Section:
    table = content.table("run_table")
    return Section(
        anchor="run",
        answers=[*_results_in_words(table), *platforms_in_words(table)],
        notes=[] if len(table) else ["This run has no run table."],
        tables=_run_tables(table, content.n_run_rows) if len(table) else [],
    )


def _results_in_words(table: pd.DataFrame) -> list[str]:
    if not len(table):
        return []
    n_untimed, n_collections = int(table["seconds"].isna().sum()), table["collection"].nunique()
    n_seconds = f"{table['seconds'].sum():,.1f} s"
    counts = f"{counted(len(table), 'result')} in {counted(n_collections, 'collection')}"
    shown = f"{counts} took {n_seconds} to compute"
    return [f"{shown}; {n_untimed:,} of them have no time on record." if n_untimed else f"{shown}."]


def platforms_in_words(table: pd.DataFrame) -> list[str]:
    """Name the collections whose members were computed on several platforms, with counts."""
    found = []
    for name, part in table.groupby("collection", sort=False):
        if part["platform"].notna().any():
            shown = describe_counts(part["platform"].fillna(UNRECORDED))
            found += [f"Members of {name} come from different platforms: {shown}."] if shown else []
    return [*found, PLATFORM_NOTE] if found else []


def _run_tables(table: pd.DataFrame, n_rows: int) -> list[Table]:
    letters = {text: _letter(index) for index, text in enumerate(in_order(table["versions"].dropna()))}
    table = table.assign(
        versions_letter=table["versions"].map(letters),
        short_digest=table["recipe_digest"].astype(str).str.slice(0, 12),
        computed_at=table["computed_at"].astype(object).where(table["computed_at"].notna(), None),
    )
    summary = pd.DataFrame(
        [_collection_row(str(name), part) for name, part in table.groupby("collection", sort=False)]
    )
    versions = pd.DataFrame({"letter": list(letters.values()), "versions": list(letters)})
    return [
        make_table(summary, COLLECTION_COLUMNS, "Collections"),
        make_table(versions, VERSION_COLUMNS, "Package versions"),
        make_table(
            table,
            RUN_COLUMNS,
            "Run table",
            most_rows=n_rows,
            note=SEED_NOTE,
            is_folded=True,
            of=["run_table"],
        ),
    ]


def _collection_row(name: str, part: pd.DataFrame) -> dict[str, Any]:
    times = sorted(str(time) for time in part["computed_at"].dropna())
    return {
        "collection": name,
        "n": len(part),
        "seconds": part["seconds"].sum(min_count=1),
        "first": times[0] if times else None,
        "last": times[-1] if times else None,
    }


def _letter(index: int) -> str:
    return chr(ord("A") + index) if index < 26 else f"set {index + 1}"
