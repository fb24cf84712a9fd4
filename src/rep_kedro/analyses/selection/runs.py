"""Trained networks as rows: what they are, what their criteria say, how well they do.

Two places have such runs: the study itself, and tables of results that were made elsewhere.
"""

import hashlib
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.selection.params import STUDY, CriteriaParams, RunsTable
from rep_kedro.errors import UserError, require_known

if TYPE_CHECKING:
    from pandas import DataFrame, Series
else:
    DataFrame = Any

ALL = "all"
"""Name of the group of all methods."""
LARGEST_FILE_BYTES = 100_000_000


@dataclass(frozen=True)
class Criterion:
    """What chooses: a measure, of which features, on which stimulus set."""

    measure: str
    space: str = ""
    stimulus_set: str = ""


@dataclass
class Runs:
    """Runs of one source.

    Attributes:
        source: Its name.
        names: Of the runs.
        groups: Method of each run.
        settings: Settings of each run.
        criteria: Values by run, for each criterion; runs without a value are absent.
        performances: Values by run, for each performance.
    """

    source: str
    names: list[str] = field(default_factory=list)
    groups: dict[str, str] = field(default_factory=dict)
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    criteria: dict[Criterion, dict[str, float]] = field(default_factory=dict)
    performances: dict[str, dict[str, float]] = field(default_factory=dict)


def collect_study(label_free: DataFrame, probe_results: DataFrame, network_settings: DataFrame) -> Runs:
    """Return the networks that were trained here, with label-free measures and final probes.

    Args:
        label_free: The table `label_free_measures`.
        probe_results: Test accuracies of final layers are the performance.
        network_settings: Settings of each trained network; its objective is its method.
    """
    runs = Runs(STUDY)
    for model, rows in network_settings.groupby("model", sort=True):
        settings = dict(zip(rows["setting"], rows["value"], strict=True))
        runs.names.append(str(model))
        runs.groups[str(model)] = settings.pop("objective", "")
        runs.settings[str(model)] = {name: value for name, value in settings.items() if name != "seed"}
    own = set(runs.names)
    known = label_free[label_free["model"].isin(own)].dropna(subset=["value"])
    for row in known.to_dict("records"):
        criterion = Criterion(row["measure"], row["space"], row["stimulus_set"])
        runs.criteria.setdefault(criterion, {})[row["model"]] = float(row["value"])
    final = probe_results[probe_results["is_final"].astype(bool) & probe_results["model"].isin(own)]
    for row in final.dropna(subset=["test_accuracy"]).to_dict("records"):
        runs.performances.setdefault(row["stimulus_set"], {})[row["model"]] = float(row["test_accuracy"])
    return runs


def read_runs_tables(params: CriteriaParams) -> Iterator[Runs]:
    """Yield the runs of each table that was made elsewhere."""
    for name, table in sorted(params.runs_tables.items()):
        yield _read(name, table)


def digest_of_files(params: CriteriaParams) -> dict[str, str]:
    """Return the SHA-256 of each table's file, which decides whether results are up to date."""
    return {
        name: hashlib.sha256(_content_of(name, table)).hexdigest()
        for name, table in params.runs_tables.items()
    }


def _content_of(name: str, table: RunsTable) -> bytes:
    size = table.file.stat().st_size
    if size > LARGEST_FILE_BYTES:
        raise UserError(
            f"runs_tables.{name}: {table.file} has {size:,} bytes, at most {LARGEST_FILE_BYTES:,}"
        )
    return table.file.read_bytes()


def find_refused_tables(params: CriteriaParams) -> Iterator[tuple[str, str]]:
    """Yield the name of each table that cannot be read, and why."""
    for name, table in sorted(params.runs_tables.items()):
        try:
            _read(name, table)
        except UserError as problem:
            yield name, str(problem)


def _read(name: str, table: RunsTable) -> Runs:
    rows = _table_of(name, table)
    excluded = [table.exclude] if table.exclude else []
    for column in (table.run, table.group, *excluded, *table.criteria, *table.performances, *table.settings):
        require_known(f"runs_tables.{name}: column", column, [each for each in rows.columns if each])
    names = rows[table.run]
    if n_unnamed := int((names == "").sum()):
        raise UserError(
            f"runs_tables.{name}: column {table.run!r} has no name in {n_unnamed} of {len(names)} rows"
        )
    if doubled := sorted(set(names[names.duplicated()])):
        raise UserError(f"runs_tables.{name}: column {table.run!r} has several rows for {doubled[0]!r}")
    rows = rows.set_index(names)
    if table.exclude:
        rows = rows[~_truths(name, rows, table.exclude)]
        if rows.empty:
            raise UserError(f"runs_tables.{name}: column {table.exclude!r} excludes all runs")
    return Runs(
        name,
        list(rows.index),
        dict(_groups(name, rows, table.group)),
        dict(zip(rows.index, map(_present, rows[list(table.settings)].to_dict("records")), strict=True)),
        {Criterion(column): _numbers(name, rows, column) for column in table.criteria},
        {column: _numbers(name, rows, column) for column in table.performances},
    )


def _groups(name: str, rows: DataFrame, column: str) -> "Series[str]":
    groups = rows[column]
    if (without := groups == "").any():
        raise UserError(f"runs_tables.{name}: column {column!r} has no method for {without.idxmax()!r}")
    if (groups == ALL).any():
        raise UserError(
            f"runs_tables.{name}: column {column!r} calls a method {ALL!r}, which is the name of all methods"
            " together; choose another"
        )
    return groups


def _truths(name: str, rows: DataFrame, column: str) -> Any:
    """Return a column of true and false; any text would count as true."""
    truths = rows[column].astype(str).str.lower().map({"true": True, "1": True, "false": False, "0": False})
    if (bad := truths.isna()).any():
        raise UserError(
            f"runs_tables.{name}: column {column!r} has {rows[column][bad].iloc[0]!r}, not true or false"
        )
    return truths.astype(bool)


def _table_of(name: str, table: RunsTable) -> DataFrame:
    """Return the rows of a file whose rows have a cell for each column, and whose columns differ."""
    import csv
    import io

    import pandas as pd

    place = f"runs_tables.{name}: {table.file}"
    try:
        text = _content_of(name, table).decode("utf-8-sig")
        if (at := text.find("\0")) >= 0:
            raise UserError(f"{place} is no text: line {text.count(chr(10), 0, at) + 1} has a NUL byte")
        text = io.StringIO(text, newline=None).read()  # line ends of any system become one
        lines = [line for line in csv.reader(io.StringIO(text), strict=True) if any(map(str.strip, line))]
    except (UnicodeDecodeError, csv.Error) as problem:
        raise UserError(f"{place} is not a CSV file in UTF-8: {problem}") from problem
    if lines and len(lines[0]) == 1 and (other := next((c for c in ";\t|" if c in lines[0][0]), None)):
        raise UserError(f"{place} has {other!r} between columns; save it with commas and decimal points")
    if len(lines) < 2:
        raise UserError(f"{place} needs a header and at least one row")
    header, *body = ([cell.strip() for cell in line] for line in lines)
    if doubled := sorted({column for column in header if column and header.count(column) > 1}):
        raise UserError(f"{place} has several columns {doubled[0]!r}")
    for number, line in enumerate(body, 1):
        if len(line) != len(header):
            raise UserError(f"{place}: row {number} has {len(line)} cells, the header has {len(header)}")
    cells = io.StringIO()
    csv.writer(cells).writerows([header, *body])
    rows = pd.read_csv(io.StringIO(cells.getvalue()), index_col=False).set_axis(header, axis=1)
    for column in {table.run, table.group} & {*header}:  # as they are: "NA" is a name, "01" is not 1
        rows[column] = pd.Series([line[header.index(column)] for line in body], dtype=object)
    return rows


def _present(settings: Mapping[Hashable, Any]) -> dict[str, Any]:
    """Return the settings that have a value."""
    import pandas as pd

    return {str(name): value for name, value in settings.items() if not pd.isna(value)}


def _numbers(name: str, rows: DataFrame, column: str) -> dict[str, float]:
    import numpy as np
    import pandas as pd

    if rows[column].isna().all():
        raise UserError(f"runs_tables.{name}: column {column!r} has no value for any of {len(rows)} runs")
    values = pd.to_numeric(rows[column], errors="coerce")
    is_number = np.isfinite(values) & (rows[column].dtype != bool)
    if (bad := rows[column].notna() & ~is_number).any():
        shown = str(rows[column][bad].iloc[0])
        raise UserError(
            f"runs_tables.{name}: column {column!r} has {shown!r} for {bad.idxmax()!r}, not a finite number"
            " (with a decimal point, as 1234.5); leave the cell empty where there is none"
        )
    return {str(run): float(value) for run, value in values.dropna().items()}
