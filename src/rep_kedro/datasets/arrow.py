"""Arrow tables in Parquet, with the member's header in the schema.

A large table is written in groups of rows of some megabytes, so that it can be read, and a few of its rows
picked out, without holding the whole of it in memory.
"""

import json
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rep_kedro.datasets.member import (
    HEADER_KEY,
    Header,
    MemberDataset,
    MemberHandle,
    header_from,
    unreadable,
    with_remedy,
)
from rep_kedro.datasets.plan import Json
from rep_kedro.datasets.seal import BLANK_SEAL, DamagedMemberError, write_sealed

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

META_KEY = b"meta"
ROW_GROUP_BYTES = 2 << 20  # of a group of rows; rows picked at random read little more than themselves
_ROW_GROUP_ROWS = 1 << 20
_ROWS_PER_BATCH = 1024
_MAGIC = b"PAR1"
_SEAL = "seal"


class ArrowHandle(MemberHandle):
    """Lazy access to one Parquet file."""

    seal_at_end: ClassVar[bool] = True

    def table(self, columns: list[str] | None = None) -> "pa.Table":
        """Return the table, or some of its columns.

        Raises:
            KeyError: If there is no such column; the message lists those there are.
            DamagedMemberError: If the content is not what was written.
        """
        with self._opened(columns) as file:
            return file.read(columns)

    def batches(
        self, columns: list[str] | None = None, *, batch_size: int = _ROWS_PER_BATCH
    ) -> "Iterator[pa.RecordBatch]":
        """Yield all rows in their order, at most `batch_size` at a time; holds one group of rows in memory.

        Raises:
            KeyError: If there is no such column.
            DamagedMemberError: If the content is not what was written.
        """
        with self._opened(columns) as file:
            for group in range(file.num_row_groups):
                yield from file.read_row_group(group, columns).to_batches(max_chunksize=batch_size)

    def picked(self, rows: Sequence[int], columns: list[str] | None = None) -> "Iterator[pa.RecordBatch]":
        """Yield some rows, reading only the groups of rows that hold them, one group at a time.

        Args:
            rows: Positions in the table, ascending; one may come several times.
            columns: Of these columns; None takes all.

        Raises:
            IndexError: If there is no such row.
            ValueError: If the positions do not ascend.
            KeyError: If there is no such column.
            DamagedMemberError: If the content is not what was written.
        """
        import pyarrow as pa

        with self._opened(columns) as file:
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            starts = [0, *accumulate(sizes)]
            for group, inside in _by_group(rows, starts, self.path):
                table = file.read_row_group(group, columns).take(pa.array(inside, pa.int64()))
                yield from table.combine_chunks().to_batches()

    def n_rows(self) -> int:
        """Return the number of rows, from the file's last bytes alone."""
        with self._opened(None, compares_content=False) as file:
            return int(file.metadata.num_rows)

    @contextmanager
    def _opened(self, columns: list[str] | None, *, compares_content: bool = True) -> "Iterator[Any]":
        import pyarrow as pa
        import pyarrow.parquet as pq

        if compares_content:
            self.require_whole()
        try:
            with pq.ParquetFile(self.path, page_checksum_verification=True) as file:
                self._require_columns(columns or [], file.schema_arrow.names)
                yield file
        except (pa.ArrowException, OSError) as problem:
            damage = DamagedMemberError(f"{self.path} is damaged: {' '.join(str(problem).split())}")
            raise with_remedy(damage, self.collection, self.key) from problem

    def _require_columns(self, columns: list[str], there: list[str]) -> None:
        for column in columns:
            if column not in there:
                raise KeyError(f"no column {column!r} in {self.path}; there are: {', '.join(there)}")

    def frame(self, columns: list[str] | None = None) -> "pd.DataFrame":
        """Return the table, or some of its columns, as a pandas DataFrame."""
        frame: pd.DataFrame = self.table(columns).to_pandas()
        return frame


class ArrowDataset(MemberDataset):
    """Parquet with deterministic bytes; what the maker reports is in ``schema.metadata[b"meta"]``."""

    suffix: ClassVar[str] = ".parquet"
    format: ClassVar[str] = "arrow/2"
    handle: ClassVar[type[MemberHandle]] = ArrowHandle

    def save(self, data: "pa.Table") -> None:
        """Write the file atomically.

        Raises:
            TypeError: If the data is not a pyarrow Table.
        """
        import pyarrow as pa

        if not isinstance(data, pa.Table):
            raise TypeError(f"{self._key}: expected a pyarrow Table, received {type(data).__name__}")
        meta = _meta_of(data, self._key)
        self._write(data, Header(self.format, self._key, self._recipe, meta))

    def _write(self, table: "pa.Table", header: Header) -> None:
        write_parquet(self.path, table.replace_schema_metadata({HEADER_KEY: header.to_json()}))

    @classmethod
    def read_header(cls, path: Path) -> Header:
        """Read and check the header (see :class:`MemberDataset`)."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with path.open("rb") as stream:
                magic = stream.read(len(_MAGIC))
                size = os.fstat(stream.fileno()).st_size
        except OSError as problem:
            raise unreadable(path, problem) from problem
        try:
            metadata = pq.read_metadata(path).metadata or {} if magic == _MAGIC else None
        except (pa.ArrowException, OSError, ValueError):
            metadata = None
        if metadata is None:
            raise DamagedMemberError(f"{path} is truncated or not a Parquet file ({size} bytes)")
        return header_from(metadata.get(HEADER_KEY.encode()), path, cls.format)


def _meta_of(table: "pa.Table", key: str) -> Json:
    text = (table.schema.metadata or {}).get(META_KEY, b"{}")
    try:
        meta = json.loads(text)
    except ValueError:
        meta = None
    if not isinstance(meta, dict):
        raise ValueError(f'{key}: schema.metadata[b"meta"] must be a JSON object, received {text!r}')
    return meta


def _by_group(rows: Sequence[int], starts: list[int], path: Path) -> Iterator[tuple[int, list[int]]]:
    """Yield (group, positions in it) of ascending rows; `starts` are the groups' first rows and the end."""
    group, inside, before = 0, list[int](), 0
    for row in rows:
        if not 0 <= row < starts[-1]:
            raise IndexError(f"no row {row} in {path}, it holds {starts[-1]}")
        if row < before:
            raise ValueError(f"rows must ascend, received {row} after {before}")
        before = row
        if row >= starts[group + 1]:
            if inside:
                yield group, inside
            group, inside = bisect_right(starts, row) - 1, []
        inside.append(row - starts[group])
    if inside:
        yield group, inside


def write_parquet(path: Path, table: Any) -> int:
    """Write an Arrow table atomically with deterministic bytes and a seal; returns the size in bytes.

    Groups of rows end by the sizes of what is in them, not by the table's chunks; one is held in memory.
    """
    import pyarrow.parquet as pq

    ends = _ends_of_groups(table)
    # What bounds the rows of a large table would hold whole small images, once for each group.
    bounds: bool | list[str] = True if len(ends) < 2 else _narrow_columns(table)

    def write(partial: Path) -> None:
        # The schema is stored without its metadata, which would otherwise be in the file twice.
        with pq.ParquetWriter(
            partial,
            table.schema.remove_metadata(),
            compression="zstd",
            write_page_checksum=True,
            write_statistics=bounds,
        ) as writer:
            for start, end in zip([0, *ends], ends, strict=False):
                group = table.slice(
                    start, end - start
                ).combine_chunks()  # page borders would follow the chunks
                writer.write_table(group.replace_schema_metadata(None), row_group_size=max(1, end - start))
            writer.add_key_value_metadata({**(table.schema.metadata or {}), _SEAL: BLANK_SEAL})

    return write_sealed(path, write, at_end=True)


def _ends_of_groups(table: Any) -> list[int]:
    """Return the row after each group's last: a group has at most so many bytes, or one row."""
    import numpy as np
    import pyarrow.compute as pc

    sizes = np.full(table.num_rows, 8 * table.num_columns, dtype=np.int64)
    for column in _wide_columns(table):
        at = 0
        for chunk in table[column].chunks:
            widths = pc.fill_null(pc.binary_length(chunk), 0)
            sizes[at : at + len(chunk)] += widths.to_numpy(zero_copy_only=False)
            at += len(chunk)
    ends, total, start = [], np.cumsum(sizes), 0
    while start < table.num_rows:
        before = int(total[start - 1]) if start else 0
        end = int(np.searchsorted(total, before + ROW_GROUP_BYTES, side="right"))
        start = min(max(end, start + 1), start + _ROW_GROUP_ROWS, table.num_rows)
        ends.append(start)
    return ends or [0]


def _wide_columns(table: Any) -> list[str]:
    import pyarrow.types as pt

    kinds = (pt.is_string, pt.is_large_string, pt.is_binary, pt.is_large_binary)
    return [field.name for field in table.schema if any(is_kind(field.type) for is_kind in kinds)]


def _narrow_columns(table: Any) -> list[str]:
    import pyarrow.types as pt

    return [
        field.name
        for field in table.schema
        if not (pt.is_binary(field.type) or pt.is_large_binary(field.type))
    ]
