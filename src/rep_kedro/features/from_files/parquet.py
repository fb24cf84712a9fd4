"""Columns of a Parquet file as arrays: a column of lists is one, all columns of single numbers another."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rep_kedro.errors import UserError
from rep_kedro.features.from_files.stored_arrays import LONGEST_TEXT_BYTES, StoredArray, rows_per_block
from rep_kedro.parameter_rules import require_once

if TYPE_CHECKING:
    import numpy as np

TOGETHER = "columns"
LARGEST_TEXT = 1 << 30
_ROWS = 1024
_PAGE_BYTES = 1 << 20
_RAGGED = "lists of different lengths"


class Columns:
    """Some columns as one array.

    Args:
        path: The file.
        names: Of the columns.
        kind: Of their values.
        shape: Of the array, by the file's own count of its values: nothing is read for it.
        limit_bytes: Most memory that a page of the file may take.
    """

    def __init__(
        self, path: Path, names: list[str], kind: str, shape: tuple[int, ...], limit_bytes: int
    ) -> None:
        self._path, self._names, self._limit_bytes = path, names, limit_bytes
        self.kind, self.shape = kind, shape

    def blocks(self) -> "Iterator[np.ndarray[Any, Any]]":
        """Yield the array some rows at a time.

        Raises:
            UserError: If a value is missing, lists have different lengths, or a page is too large.
        """
        import pyarrow.parquet as pq

        n_rows = min(_ROWS, rows_per_block(self.shape))
        # a text that rows share is read once, so that its length is known before it is written out for each
        with pq.ParquetFile(self._path, read_dictionary=self._names if self.kind == "text" else ()) as file:
            self._require_small_pages(file.metadata)
            for batch in file.iter_batches(batch_size=n_rows, columns=self._names):
                yield self._to_array(batch)

    def _require_small_pages(self, metadata: Any) -> None:
        from rep_kedro.stimuli.limits import Limits, TooLargeError
        from rep_kedro.stimuli.parquet_pages import require_small_pages

        try:
            require_small_pages(self._path, metadata, self._names, Limits(record_bytes=self._limit_bytes))
        except TooLargeError as problem:
            columns = ", ".join(map(repr, self._names[:3]))
            raise UserError(
                f"a page of column {columns} takes more than {self._limit_bytes:,} bytes; if meant, raise"
                " limit_bytes"
            ) from problem

    def _to_array(self, batch: Any) -> "np.ndarray[Any, Any]":
        import numpy as np
        import pyarrow.compute as pc

        parts = []
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if is_list(column.type):
                lengths = pc.unique(pc.list_value_length(column)).to_pylist()
                if len(lengths) != 1 or None in lengths:
                    raise UserError(
                        f"{self._path}: column {name!r} has lists of different lengths or missing ones:"
                        f" {lengths[:3]}"
                    )
                flat = pc.list_flatten(column)
                rows = flat.to_numpy(zero_copy_only=False).reshape(len(batch), -1)
            else:
                if self.kind == "text":
                    _require_short(column, f"{self._path}: column {name!r}")
                flat = column
                rows = column.to_numpy(zero_copy_only=False)
                rows = rows.reshape(-1, 1) if self.kind == "number" else rows
            if flat.null_count:
                raise UserError(
                    f"{self._path}: column {name!r} has {flat.null_count} missing values in {len(batch)} rows"
                )
            parts.append(rows)
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def open_columns(path: Path, ids: str | None, limit_bytes: int) -> Mapping[str, StoredArray]:
    """Return the arrays of a Parquet file by name: its columns, those of single numbers as one.

    Raises:
        UserError: If two columns have one name.
    """
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        schema, metadata = file.schema_arrow, file.metadata
    require_once(schema.names, "columns")
    kinds = {field.name: kind_of_column(field.type) for field in schema}
    listed = {field.name for field in schema if is_list(field.type)}
    plain = [name for name, kind in kinds.items() if kind == "number" and name not in {ids, *listed}]
    if plain and TOGETHER in kinds and TOGETHER not in plain:
        raise UserError(
            f"column {TOGETHER!r} has the name of the array of all single numbers; rename one of them"
        )
    widths = _widths_of_lists(metadata, {name for name in listed if kinds[name] in {"number", "text"}})
    kinds |= _large_texts(metadata) | {name: _RAGGED for name, width in widths.items() if width is None}
    alone = [name for name in kinds if name not in plain]
    found: dict[str, StoredArray] = {}
    for name in sorted(alone, key=lambda name: name == ids or name not in listed):
        width = widths.get(name)
        shape = (metadata.num_rows,) if width is None else (metadata.num_rows, width)
        found[name] = Columns(path, [name], kinds[name], shape, limit_bytes)
    if plain:
        found[TOGETHER] = Columns(path, plain, "number", (metadata.num_rows, len(plain)), limit_bytes)
    return found


def _require_short(column: Any, name: str) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = column.dictionary if pa.types.is_dictionary(column.type) else column
    longest = pc.max(pc.binary_length(texts)).as_py() or 0
    if longest > LONGEST_TEXT_BYTES:
        raise UserError(f"{name} has a text of {longest:,} bytes; at most {LONGEST_TEXT_BYTES:,}")


def _large_texts(metadata: Any) -> dict[str, str]:
    """Return the kind of those columns of bytes that take too much memory, by the file's own count."""
    found = dict[str, str]()
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        most = min(LARGEST_TEXT, group.num_rows * LONGEST_TEXT_BYTES + _PAGE_BYTES)
        for column in map(group.column, range(group.num_columns)):
            if column.physical_type == "BYTE_ARRAY" and column.total_uncompressed_size > most:
                found[column.path_in_schema] = f"texts of {column.total_uncompressed_size:,} bytes"
    return found


def _widths_of_lists(metadata: Any, names: set[str]) -> dict[str, int | None]:
    """Return the length of the lists of columns by the file's counts of their values; None: they differ."""
    found = dict[str, int | None]()
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for column in map(group.column, range(group.num_columns)):
            name = column.path_in_schema.rsplit(".", 2)[0]  # <name>.list.element
            if name in names and group.num_rows:
                width, left = divmod(column.num_values, group.num_rows)
                if left or found.setdefault(name, width) != width:
                    found[name] = None
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
