"""Tidy tables: pandas DataFrames in Parquet with deterministic bytes and the recipe in the header."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.io import DatasetError

from rep_kedro.datasets.arrow import ArrowHandle, write_parquet
from rep_kedro.datasets.file import KeptFileDataset
from rep_kedro.datasets.member import HEADER_KEY, Header, header_from
from rep_kedro.datasets.plan import Json, Planned, digest_of
from rep_kedro.datasets.previews import TablePreview, preview_table
from rep_kedro.datasets.rows import rows_digest
from rep_kedro.datasets.seal import DamagedMemberError

if TYPE_CHECKING:
    import pandas as pd

_FORMAT = "table/2"
_ROWS = "rows"
_PREVIEW_ROWS = 20


class TableHandle(ArrowHandle):
    """Lazy access to one table; what is made of it depends on its rows, whatever they were made of."""

    @cached_property
    def digest(self) -> str:
        """Digest of the rows; from the header, or of the rows themselves where the header has none."""
        return str(self.meta.get(_ROWS) or rows_digest(self.frame()))

    @property
    def reference(self) -> dict[str, str]:
        """What the recipe of something made from the table holds of it."""
        return {_ROWS: self.digest}

    def require_whole(self) -> None:
        """Do nothing: the file was compared with its seal before it was opened."""


def opened(value: Any) -> Any:
    """Return the table of a handle on one, the value of what is only planned; anything else as it is."""
    if isinstance(value, Planned):  # made by a node of the same run, and in no entry of the catalog
        return value.value()
    return value.frame() if isinstance(value, TableHandle) else value


class TableDataset(KeptFileDataset[Any]):
    """One table in one Parquet file, replaced atomically; the index is not stored.

    Attributes:
        loads_handles: Whether loading gives a :class:`TableHandle` in place of the table, so that a run reads
            only tables from which it computes something.
    """

    loads_handles = False

    def load(self) -> Any:
        """Return the table, or a lazy handle on it (see :attr:`loads_handles`).

        Raises:
            DatasetError: If it has not been made yet, or the file is damaged.
        """
        path = self.path_to_read()
        try:
            handle = TableHandle(path, self._header(path))
            return handle if self.loads_handles else handle.frame()
        except DamagedMemberError as problem:
            raise DatasetError(f"{problem}; run the pipeline that makes it again") from problem

    def preview(self, nrows: int = _PREVIEW_ROWS) -> TablePreview:
        """Return the first rows for Kedro-Viz."""
        frame = opened(self.load()).head(nrows).astype(object)
        return preview_table(list(frame.columns), frame.itertuples(index=False, name=None))

    def _write(self, path: Path, value: Any, recipe: Json) -> None:
        import pandas as pd
        import pyarrow as pa

        if not isinstance(value, pd.DataFrame):
            raise DatasetError(f"{self.name}: expected a DataFrame, received {type(value).__name__}")
        wrong = [column for column in value.columns if not isinstance(column, str)]
        wrong += value.columns[value.columns.duplicated()].to_list()
        if wrong:
            raise DatasetError(f"{self.name}: column names must be unique text, received {wrong[0]!r}")
        header = Header(_FORMAT, "", recipe, {_ROWS: rows_digest(value)})
        table = pa.Table.from_pandas(value, preserve_index=False)
        metadata = {**(table.schema.metadata or {}), HEADER_KEY: header.to_json()}
        write_parquet(path, table.replace_schema_metadata(metadata))

    def _stored_recipe(self, path: Path) -> str | None:
        try:
            header = self._header(path)
        except DamagedMemberError:
            return None
        return digest_of(header.recipe) if header.recipe else None

    def _header(self, path: Path) -> Header:
        """Return a file's header; an empty one of a table that was written before tables had headers."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            metadata = pq.read_metadata(path).metadata or {}
        except (pa.ArrowException, OSError, ValueError) as problem:
            raise DamagedMemberError(
                f"{path} is damaged or not a Parquet file: {' '.join(str(problem).split())}"
            ) from problem
        text = metadata.get(HEADER_KEY.encode())
        return Header(_FORMAT, "", {}, {}) if text is None else header_from(text, path, _FORMAT)


class EarlierTableDataset(TableDataset):
    """The same table at an earlier revision, or an empty table where no revision is named."""

    def load(self) -> "pd.DataFrame":
        """Return the table of that revision; empty without one."""
        import pandas as pd

        if self._earlier is None or not self._earlier[1].get("rev"):
            return pd.DataFrame()
        table: pd.DataFrame = opened(super().load())
        table.attrs["revision"] = str(self._earlier[1]["rev"])
        return table
