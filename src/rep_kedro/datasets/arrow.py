"""Arrow tables in Parquet, with the member's header in the schema."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rep_kedro.datasets.atomic import write_atomically
from rep_kedro.datasets.member import (
    HEADER_KEY,
    DamagedMemberError,
    Header,
    MemberDataset,
    MemberHandle,
    header_from,
    unreadable,
)
from rep_kedro.datasets.plan import Json

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

META_KEY = b"meta"
_MAGIC = b"PAR1"


class ArrowHandle(MemberHandle):
    """Lazy access to one Parquet file."""

    def table(self, columns: list[str] | None = None) -> "pa.Table":
        """Return the table, or some of its columns.

        Raises:
            KeyError: If there is no such column; the message lists those there are.
            DamagedMemberError: If the content is not what was written (pages carry checksums).
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(self.path, page_checksum_verification=True) as file:
                self._require_columns(columns or [], file.schema_arrow.names)
                return file.read(columns)
        except (pa.ArrowException, OSError) as problem:
            raise DamagedMemberError(f"{self.path} is damaged: {' '.join(str(problem).split())}") from problem

    def _require_columns(self, columns: list[str], there: list[str]) -> None:
        for column in columns:
            if column not in there:
                raise KeyError(f"no column {column!r} in {self.path}; there are: {', '.join(there)}")

    def frame(self, columns: list[str] | None = None) -> "pd.DataFrame":
        """Return the table, or some of its columns, as a pandas DataFrame."""
        frame: pd.DataFrame = self.table(columns).to_pandas()
        return frame


class ArrowDataset(MemberDataset):
    """Parquet with deterministic bytes; what the maker tells stands in ``schema.metadata[b"meta"]``."""

    suffix: ClassVar[str] = ".parquet"
    format: ClassVar[str] = "arrow/1"

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

    @classmethod
    def open_member(cls, path: Path, header: Header) -> MemberHandle:
        """Return a lazy handle."""
        return ArrowHandle(path, header)


def _meta_of(table: "pa.Table", key: str) -> Json:
    text = (table.schema.metadata or {}).get(META_KEY, b"{}")
    try:
        meta = json.loads(text)
    except ValueError:
        meta = None
    if not isinstance(meta, dict):
        raise ValueError(f'{key}: schema.metadata[b"meta"] must be a JSON object, received {text!r}')
    return meta


def write_parquet(path: Path, table: Any) -> int:
    """Write an Arrow table atomically with deterministic bytes; returns the size in bytes."""
    import pyarrow.parquet as pq

    whole = table.combine_chunks()  # page borders would follow the chunks

    def write(partial: Path) -> None:
        # The schema is stored without its metadata, which would otherwise stand in the file twice.
        with pq.ParquetWriter(
            partial, whole.schema.remove_metadata(), compression="zstd", write_page_checksum=True
        ) as writer:
            writer.write_table(whole.replace_schema_metadata(None))
            writer.add_key_value_metadata(whole.schema.metadata or {})

    return write_atomically(path, write)
