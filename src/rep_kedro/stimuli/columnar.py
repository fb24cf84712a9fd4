"""Tables on disk that are read some rows at a time: Parquet, and Arrow's own format."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rep_kedro.stimuli.base import require_path
from rep_kedro.stimuli.record import DamagedSourceError

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS_PER_BATCH = 256


class ColumnarFile:
    """One table.

    Attributes:
        name: The file's name.
        schema: Names and types of its columns, and what else its maker wrote down.

    Raises:
        FileNotFoundError: If there is no such file.
        DamagedSourceError: If it is truncated or of another format.
    """

    def __init__(self, file: Path) -> None:
        self._file = require_path(file)
        self.name = file.name
        self._is_arrow = file.suffix == ".arrow"
        with self._opened() as opened:
            self.schema: pa.Schema = opened.schema if self._is_arrow else opened.schema_arrow

    def batches(self, columns: Sequence[str]) -> "Iterator[pa.RecordBatch]":
        """Yield the rows in their order, a few hundred at a time.

        Raises:
            DamagedSourceError: If the file turns out to be damaged on the way.
        """
        with self._opened() as opened:
            if not self._is_arrow:
                yield from opened.iter_batches(batch_size=_ROWS_PER_BATCH, columns=list(columns))
                return
            for batch in opened:
                for start in range(0, batch.num_rows, _ROWS_PER_BATCH):
                    yield batch.slice(start, _ROWS_PER_BATCH).select(list(columns))

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            if self._is_arrow:
                with pa.memory_map(str(self._file)) as mapped, pa.ipc.open_stream(mapped) as stream:
                    yield stream
            else:
                with pq.ParquetFile(self._file) as parquet:
                    yield parquet
        except (pa.ArrowException, OSError) as problem:
            kind = "an Arrow stream" if self._is_arrow else "a Parquet file"
            why = " ".join(str(problem).split())
            raise DamagedSourceError(
                f"{self.name} is truncated or damaged, or not {kind}: {why}"
            ) from problem
