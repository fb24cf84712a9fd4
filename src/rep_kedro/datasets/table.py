"""Tidy tables: pandas DataFrames in Parquet with deterministic bytes."""

from typing import TYPE_CHECKING, Any

from kedro.io import DatasetError

from rep_kedro.datasets.arrow import write_parquet
from rep_kedro.datasets.file import FileDataset
from rep_kedro.datasets.previews import TablePreview

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

        if not isinstance(data, pd.DataFrame) or not data.columns.is_unique:
            raise DatasetError(
                f"{self._filepath.stem}: expected a DataFrame with unique column names, "
                f"received {type(data).__name__}"
            )
        write_parquet(self.path_to_write(), pa.Table.from_pandas(data, preserve_index=False))

    def load(self) -> "pd.DataFrame":
        """Return the table."""
        import pyarrow.parquet as pq

        table: pd.DataFrame = pq.read_table(self.path_to_read()).to_pandas()
        return table

    def preview(self, nrows: int = _PREVIEW_ROWS) -> TablePreview:
        """Return the first rows for Kedro-Viz."""
        content: dict[str, Any] = self.load().head(nrows).astype(object).to_dict(orient="split")
        content["data"] = [[None if value != value else value for value in row] for row in content["data"]]  # noqa: PLR0124
        return TablePreview(content)


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
