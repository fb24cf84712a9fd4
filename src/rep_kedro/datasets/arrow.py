"""Arrow tables in Parquet, with the member's header in the schema."""

import json
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
)

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

META_KEY = b"meta"


class ArrowHandle(MemberHandle):
    """Lazy access to one Parquet file."""

    def table(self, columns: list[str] | None = None) -> "pa.Table":
        """Return the table, or some of its columns."""
        import pyarrow.parquet as pq

        return pq.read_table(self.path, columns=columns)

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
        meta = json.loads((data.schema.metadata or {}).get(META_KEY, b"{}"))
        self._write(data, Header(self.format, self._key, self._recipe, meta))

    def _write(self, table: "pa.Table", header: Header) -> None:
        write_parquet(self.path, table.replace_schema_metadata({HEADER_KEY: header.to_json()}))

    @classmethod
    def read_header(cls, path: Path) -> Header:
        """Read and check the header (see :class:`MemberDataset`)."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        size = path.stat().st_size
        try:
            metadata = pq.read_schema(path).metadata or {}
        except (pa.ArrowInvalid, OSError) as problem:
            raise DamagedMemberError(f"{path} is truncated or not a Parquet file ({size} bytes)") from problem
        return header_from(json.loads(metadata.get(HEADER_KEY.encode(), b"null")), path, cls.format)

    @classmethod
    def open_member(cls, path: Path, header: Header) -> MemberHandle:
        """Return a lazy handle."""
        return ArrowHandle(path, header)


def write_parquet(path: Path, table: Any) -> int:
    """Write an Arrow table atomically with deterministic bytes; returns the size in bytes."""
    import pyarrow.parquet as pq

    def write(partial: Path) -> None:
        pq.write_table(table, partial, compression="zstd", store_schema=True)

    return write_atomically(path, write)
