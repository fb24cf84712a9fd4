"""Tidy tables: pandas DataFrames in Parquet with deterministic bytes."""

from typing import TYPE_CHECKING

from kedro.io import DatasetError

from rep_kedro.datasets.arrow import write_parquet
from rep_kedro.datasets.file import FileDataset
from rep_kedro.datasets.previews import TablePreview, preview_table

if TYPE_CHECKING:
    import pandas as pd

_PREVIEW_ROWS = 20


class TableDataset(FileDataset["pd.DataFrame", "pd.DataFrame"]):
    """One table in one Parquet file, replaced atomically; the index is not stored."""

    def save(self, data: "pd.DataFrame") -> None:
        """Write the table.

        Raises:
            DatasetError: If the data is not a DataFrame with unique text column names.
        """
        import pandas as pd
        import pyarrow as pa

        name = self._filepath.stem
        if not isinstance(data, pd.DataFrame):
            raise DatasetError(f"{name}: expected a DataFrame, received {type(data).__name__}")
        wrong = [column for column in data.columns if not isinstance(column, str)]
        wrong += data.columns[data.columns.duplicated()].to_list()
        if wrong:
            raise DatasetError(f"{name}: column names must be unique text, received {wrong[0]!r}")
        write_parquet(self.path_to_write(), pa.Table.from_pandas(data, preserve_index=False))

    def load(self) -> "pd.DataFrame":
        """Return the table.

        Raises:
            DatasetError: If it has not been made yet, or the file is damaged.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.path_to_read()
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                table: pd.DataFrame = file.read().to_pandas()
        except (pa.ArrowException, OSError) as problem:
            raise DatasetError(
                f"{path} is damaged or not a Parquet file: {' '.join(str(problem).split())}; "
                "run the pipeline that makes it again"
            ) from problem
        return table

    def preview(self, nrows: int = _PREVIEW_ROWS) -> TablePreview:
        """Return the first rows for Kedro-Viz."""
        frame = self.load().head(nrows).astype(object)
        return preview_table(list(frame.columns), frame.itertuples(index=False, name=None))


class EarlierTableDataset(TableDataset):
    """The same table at an earlier revision, or an empty table where no revision is named."""

    def load(self) -> "pd.DataFrame":
        """Return the table of that revision; empty without one."""
        import pandas as pd

        if self._earlier is None or not self._earlier[1].get("rev"):
            return pd.DataFrame()
        table = super().load()
        table.attrs["revision"] = str(self._earlier[1]["rev"])
        return table

    def preview(self, nrows: int = _PREVIEW_ROWS) -> TablePreview:
        """Return the first rows for Kedro-Viz."""
        return super().preview(nrows)
