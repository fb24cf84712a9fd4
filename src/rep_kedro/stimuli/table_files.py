"""Some columns of a table in a file, row by row, as text: CSV, TSV, JSON lines, Parquet.

Nothing is inferred: ``00012`` stays that text, and an empty cell is none. Rows come one at a time, and what a
single line, cell or page may hold is bounded before memory is taken for it.
"""

import csv
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from rep_kedro.errors import UserError, suggest
from rep_kedro.stimuli.base import require_path
from rep_kedro.stimuli.columnar import ColumnarFile
from rep_kedro.stimuli.limits import Limits
from rep_kedro.stimuli.record import DamagedSourceError

Cell = str | list[str] | None

_DELIMITED = frozenset({".csv", ".tsv"})
_JSON_LINES = frozenset({".jsonl", ".ndjson"})
_COLUMNAR = frozenset({".parquet", ".parq", ".pq"})
_LONGEST_LINE = 1 << 20
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff")


class Row(NamedTuple):
    """One row.

    Attributes:
        number: Of its last line, or of the row in Parquet, from 1.
        cells: In the order of the columns that were asked for; None where a cell is empty.
    """

    number: int
    cells: list[Cell]


class TableFile:
    """A table with named columns.

    Attributes:
        name: The file's name.
        columns: Names of its columns; of JSON lines the keys of the first line.

    Raises:
        FileNotFoundError: If there is no such file.
        DamagedSourceError: If its ending is unknown, it has no columns, or it is not text in UTF-8.
    """

    def __init__(self, file: Path, limits: Limits, delimiter: str = ",") -> None:
        self._file = require_path(file)
        self._limits = limits
        self.name = file.name
        self._ending = file.suffix.lower()
        self._delimiter = "\t" if self._ending == ".tsv" else delimiter
        if not file.is_file() or self._ending not in _DELIMITED | _JSON_LINES | _COLUMNAR:
            known = ", ".join(sorted(_DELIMITED | _JSON_LINES | _COLUMNAR))
            raise DamagedSourceError(f"{file} is no table of a known format; known endings: {known}")
        self.columns = self._read_columns()

    def require_columns(self, names: Sequence[str]) -> None:
        """Raise unless each name is that of exactly one column.

        Raises:
            DamagedSourceError: Names the first that is not; the message has close matches.
        """
        for name in names:
            count = self.columns.count(name)
            if count > 1:
                raise DamagedSourceError(
                    f"{self.name} has {count} columns {name!r}; rename all but the one that is meant"
                )
            if not count:
                raise DamagedSourceError(
                    f"{self.name} has no column {name!r}; {suggest(name, self.columns)}{self._other_mark()}"
                )

    def rows(self, names: Sequence[str]) -> Iterator[Row]:
        """Yield the rows in their order, with the cells of some columns.

        Raises:
            DamagedSourceError: Names the line of what is wrong.
            TooLargeError: If there are more rows than a set may have stimuli, or a page is too large.
        """
        self.require_columns(names)
        read = self._delimited_rows if self._ending in _DELIMITED else self._typed_rows
        for count, row in enumerate(read(names), start=1):
            self._limits.require_stimuli(count, self.name)
            yield row

    def place(self, number: int) -> str:
        """Return in words where a row is."""
        return f"{'row' if self._ending in _COLUMNAR else 'line'} {number} of {self.name}"

    def _read_columns(self) -> list[str]:
        if self._ending in _COLUMNAR:
            return list(ColumnarFile(self._file, self._limits).schema.names)
        if self._ending in _JSON_LINES:
            return list(next(self._objects(), (0, {}))[1])
        with self._opened() as stream:
            header = next(self._parsed(stream), None)
        if header is None:
            raise DamagedSourceError(f"{self.name} is empty; its first line should name the columns")
        return header[1]

    def _other_mark(self) -> str:
        """Return a hint where all of the header is one column, because another character separates it."""
        [only] = self.columns if self._ending == ".csv" and len(self.columns) == 1 else [""]
        mark = next((mark for mark in ";\t|," if mark in only and mark != self._delimiter), None)
        return f'; its columns look separated by {mark!r}: say `delimiter: "{mark}"`' if mark else ""

    def _delimited_rows(self, names: Sequence[str]) -> Iterator[Row]:
        places = [self.columns.index(name) for name in names]
        with self._opened() as stream:
            lines = self._parsed(stream)
            next(lines)
            for number, fields in lines:
                if len(fields) != len(self.columns):
                    raise DamagedSourceError(
                        f"{self.place(number)} has {len(fields)} fields, its first line names"
                        f" {len(self.columns)} columns; put a field with {self._delimiter!r} in quotes"
                    )
                yield Row(number, [fields[place] if fields[place].strip() else None for place in places])

    def _typed_rows(self, names: Sequence[str]) -> Iterator[Row]:
        """Yield rows whose values have types; those of a column must be of one kind."""
        kinds: dict[str, str] = {}
        rows = self._json_rows(names) if self._ending in _JSON_LINES else self._columnar_rows(names)
        for number, values in rows:
            cells = []
            for name, value in zip(names, values, strict=True):
                kind = _kind_of(value)
                if kind and kinds.setdefault(name, kind) != kind:
                    raise DamagedSourceError(
                        f"{self.place(number)}, column {name!r}: {kind}, while rows before it have"
                        f" {kinds[name]}"
                    )
                try:
                    cells.append(_to_cell(value))
                except UserError as problem:
                    raise DamagedSourceError(f"{self.place(number)}, column {name!r}: {problem}") from problem
            yield Row(number, cells)

    def _parsed(self, stream: IO[str]) -> Iterator[tuple[int, list[str]]]:
        """Yield (number of its last line, fields) of each row that is not blank."""
        reader = csv.reader(self._lines(stream), delimiter=self._delimiter, strict=True)
        try:
            for fields in reader:
                if fields:
                    yield reader.line_num, fields
        except csv.Error as problem:
            raise DamagedSourceError(f"line {reader.line_num} of {self.name}: {problem}") from problem

    def _json_rows(self, names: Sequence[str]) -> Iterator[tuple[int, Sequence[Any]]]:
        for number, found in self._objects():
            yield number, [found.get(name) for name in names]

    def _objects(self) -> Iterator[tuple[int, dict[str, Any]]]:
        with self._opened() as stream:
            for number, line in enumerate(self._lines(stream), start=1):
                if not line.strip():
                    continue
                try:
                    found = json.loads(
                        line, object_pairs_hook=_distinct_keys, parse_constant=_refuse_constant
                    )
                except (ValueError, RecursionError) as problem:
                    raise DamagedSourceError(f"{self.place(number)}: no JSON: {problem}") from problem
                if not isinstance(found, dict):
                    raise DamagedSourceError(
                        f"{self.place(number)} is no JSON object with a key for each column"
                    )
                yield number, found

    def _columnar_rows(self, names: Sequence[str]) -> Iterator[tuple[int, Sequence[Any]]]:
        number = 0
        for batch in ColumnarFile(self._file, self._limits).batches(names):
            for values in zip(*(batch.column(name).to_pylist() for name in names), strict=True):
                number += 1
                yield number, values

    def _opened(self) -> IO[str]:
        with self._file.open("rb") as stream:
            if stream.read(2) in _WIDE_MARKS:
                raise DamagedSourceError(f"{self.name} is in UTF-16; save it as UTF-8")
        return self._file.open(encoding="utf-8-sig", newline="")

    def _lines(self, stream: IO[str]) -> Iterator[str]:
        """Yield lines with their ends; none longer than a megabyte."""
        number = 0
        try:
            while line := stream.readline(_LONGEST_LINE):
                number += 1
                if len(line) == _LONGEST_LINE:
                    raise DamagedSourceError(
                        f"line {number} of {self.name} has more than {_LONGEST_LINE:,} characters"
                    )
                yield line
        except UnicodeDecodeError as problem:
            raise DamagedSourceError(
                f"{self.name} is not UTF-8 behind line {number} ({problem.reason}); save it as UTF-8"
            ) from problem


def _distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not allowed; write null where there is no value")


def _kind_of(value: Any) -> str:
    """Return which of the kinds that exclude each other in a column a value is of; '' for none."""
    if isinstance(value, list):
        return "lists"
    if isinstance(value, bool):
        return "truth values"
    return {str: "text", int: "numbers", float: "numbers"}.get(type(value), "")


def _to_cell(value: Any) -> Cell:
    """Return a value as text.

    Raises:
        UserError: If it is neither text, nor a whole number, a truth value, a list of these, or nothing.
    """
    if isinstance(value, str):
        return value if value.strip() else None
    if isinstance(value, list):
        found = [part for part in map(_to_cell, value) if isinstance(part, str)]
        if len(found) < len(value):
            raise UserError("a list holds something empty, or a list")
        return found
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return str(int(value))
    if isinstance(value, float):
        raise UserError(f"{value!r} is no whole number")
    raise UserError(f"{type(value).__name__} is neither text nor a whole number")
