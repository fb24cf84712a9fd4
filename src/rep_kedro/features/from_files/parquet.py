"""Columns of a Parquet file as arrays: a column of lists is one, all columns of single numbers another."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rep_kedro.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from rep_kedro.features.from_files.formats import StoredArray

TOGETHER = "columns"
_ROWS = 1024


class Columns:
    """Some columns as one array.

    Args:
        path: The file.
        name: What messages call it.
        names: Of the columns.
        kind: Of their values.
        n_rows: Rows of the file.
    """

    def __init__(self, path: Path, name: str, names: list[str], kind: str, n_rows: int) -> None:
        self._path, self._name, self._names, self._n_rows = path, name, names, n_rows
        self.kind = kind

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array; its width is that of the first row."""
        first = next(self.blocks(), None)
        return (self._n_rows, *(first.shape[1:] if first is not None else (0,)))

    def blocks(self) -> "Iterator[np.ndarray[Any, Any]]":
        """Yield the array some rows at a time.

        Raises:
            UserError: If a value is missing or lists have different lengths.
        """
        import pyarrow.parquet as pq

        with pq.ParquetFile(self._path) as file:
            for batch in file.iter_batches(batch_size=_ROWS, columns=self._names):
                yield self._to_array(batch)

    def _to_array(self, batch: Any) -> "np.ndarray[Any, Any]":
        import numpy as np
        import pyarrow.compute as pc

        parts = []
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if is_list(column.type):
                lengths = pc.unique(pc.list_value_length(column)).to_pylist()
                if len(lengths) != 1 or None in lengths:
                    raise UserError(
                        f"{self._name}: column {name!r} has lists of different lengths or missing ones:"
                        f" {lengths[:3]}"
                    )
                flat = pc.list_flatten(column)
                rows = flat.to_numpy(zero_copy_only=False).reshape(len(batch), -1)
            else:
                flat = column
                rows = column.to_numpy(zero_copy_only=False)
                rows = rows.reshape(-1, 1) if self.kind == "number" else rows
            if flat.null_count:
                raise UserError(
                    f"{self._name}: column {name!r} has {flat.null_count} missing values in {len(batch)} rows"
                )
            parts.append(rows)
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def open_columns(path: Path, name: str, ids: str | None) -> "Mapping[str, StoredArray]":
    """Return the arrays of a Parquet file by name, with the column of stimulus ids.

    Args:
        path: The file.
        name: What messages call it.
        ids: Name of the column of stimulus ids.
    """
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        schema, n_rows = file.schema_arrow, file.metadata.num_rows
    kinds = {field.name: kind_of_column(field.type) for field in schema}
    listed = [field.name for field in schema if is_list(field.type) and field.name != ids]
    plain = [column for column, kind in kinds.items() if kind == "number" and column not in {ids, *listed}]
    found: dict[str, StoredArray] = {
        column: Columns(path, name, [column], kinds[column], n_rows) for column in listed
    }
    if plain and TOGETHER not in found:
        found[TOGETHER] = Columns(path, name, plain, "number", n_rows)
    if ids in kinds:
        found[str(ids)] = Columns(path, name, [str(ids)], kinds[str(ids)], n_rows)
    return found


def kind_of_column(kind: Any) -> str:
    """Return the kind of the values of a column."""
    import pyarrow as pa

    if is_list(kind):
        kind = kind.value_type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return "number"
    return "text" if pa.types.is_string(kind) or pa.types.is_large_string(kind) else str(kind)


def is_list(kind: Any) -> bool:
    """Return whether a type is one of lists."""
    import pyarrow as pa

    return bool(pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind))
