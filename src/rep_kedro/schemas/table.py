"""A table as data: what it is about, its key and its columns; and frames that are exactly so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rep_kedro.schemas.columns import Column, Kind, is_texts

if TYPE_CHECKING:
    from pandas import DataFrame

_NUMBERS = ("integer", "floating", "mixed-integer-float")
_INFERRED = {  # what pandas infers of values that are there
    Kind.TEXT: ("string",),
    Kind.FLAG: ("boolean",),
    Kind.INTEGER: _NUMBERS,
    Kind.NUMBER: _NUMBERS,
}


@dataclass(frozen=True)
class Table:
    """One table that a pipeline makes.

    Attributes:
        name: Its entry in the catalog.
        meaning: What a row is, in one line.
        key: Columns that together are unique.
        columns: In the order in which they are stored.
        empty_when: Why the table may have no rows; empty if it must have some.
    """

    name: str
    meaning: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    empty_when: str = ""

    def __post_init__(self) -> None:
        """Refuse a declaration that contradicts itself.

        Raises:
            ValueError: If a column is declared twice, the key names no column, or values may be missing with
                a reason where there is no column for it.
        """
        names = self.names
        repeated = sorted({name for name in names if names.count(name) > 1})
        unknown = [name for name in self.key if name not in names]
        if repeated or unknown or not self.key:
            raise ValueError(f"table {self.name}: repeated columns {repeated}, key without column {unknown}")
        if "reason" not in names and any(column.is_explained for column in self.columns):
            raise ValueError(f"table {self.name} has no column 'reason' to explain missing values")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(column.name for column in self.columns)

    def pick(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a stored row that may say more says of this table's columns."""
        return {name: row[name] for name in self.names if name in row}

    def frame(self, rows: Iterable[Mapping[str, Any]] | DataFrame) -> DataFrame:
        """Return rows as a frame with exactly the columns and types of this table.

        Args:
            rows: One mapping from column to value for each row, or a frame. A column whose values may be
                missing may be left out; None and NaN are missing values.

        Raises:
            ValueError: If a column is not of this table, one that may not be missing is absent, or values
                are not of its type. Nothing is converted from or to text, and no number is rounded.
        """
        import pandas as pd

        given = pd.DataFrame(rows if isinstance(rows, pd.DataFrame) else list(rows))
        unknown = [str(name) for name in given.columns if name not in self.names]
        absent = [c.name for c in self.columns if not c.missing and c.name not in given.columns]
        if unknown or (absent and len(given)):
            raise ValueError(
                f"rows of table {self.name}: columns without declaration: {', '.join(unknown) or 'none'};"
                f" without value: {', '.join(absent) or 'none'}; src/rep_kedro/schemas declares its columns"
            )
        frame = given.reindex(columns=list(self.names))
        return pd.DataFrame({column.name: self._typed(column, frame[column.name]) for column in self.columns})

    def _typed(self, column: Column, values: Any) -> Any:
        """Return values in the column's type."""
        from pandas.api.types import infer_dtype

        present = values.dropna()
        found = infer_dtype(present) if len(present) and column.kind is not Kind.TEXTS else ""
        try:
            if column.kind is Kind.TEXTS and not present.map(is_texts).all():
                raise TypeError("values are not lists of texts")
            if found and found not in _INFERRED[column.kind]:
                raise TypeError(f"values are {found}")
            if len(present) < len(values) and not column.missing:
                raise TypeError(f"{len(values) - len(present)} values are missing")
            if column.kind is Kind.INTEGER:  # the nullable type refuses to round
                values = values.astype("Int64")
            return values.astype(column.dtype)
        except (TypeError, ValueError) as problem:
            raise ValueError(
                f"table {self.name}, column {column.name} ({column.kind}): {problem}"
            ) from problem
