"""Tables on disk that are read some rows at a time: Parquet, and Arrow's own format."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rep_kedro.stimuli.arrow_messages import require_small_messages
from rep_kedro.stimuli.base import require_path
from rep_kedro.stimuli.limits import Limits
from rep_kedro.stimuli.parquet_pages import require_small_pages
from rep_kedro.stimuli.record import DamagedSourceError

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS_PER_BATCH = 128
_BYTES_PER_BATCH = 32 << 20
_READ_BYTES = 1 << 20


class ColumnarFile:
    """One table.

    Args:
        file: Parquet, or an Arrow stream if its name ends in ``.arrow``.
        limits: Of what is unpacked at once.

    Attributes:
        name: The file's name.
        schema: Names and types of its columns, and what else its maker wrote down.

    Raises:
        FileNotFoundError: If there is no such file.
        DamagedSourceError: If it is truncated or of another format.
    """

    def __init__(self, file: Path, limits: Limits) -> None:
        self._file = require_path(file)
        self._limits = limits
        self.name = file.name
        self._is_arrow = file.suffix == ".arrow"
        with self._opened() as opened:
            self.schema: pa.Schema = opened.schema if self._is_arrow else opened.schema_arrow
            _ = self.schema.names  # which may not be text

    def holds_text(self, column: str) -> bool:
        """Return whether a column holds text, also as a dictionary."""
        import pyarrow.types as pt

        kind = self.schema.field(column).type
        kind = kind.value_type if pt.is_dictionary(kind) else kind
        return bool(pt.is_string(kind) or pt.is_large_string(kind))

    def batches(self, columns: Sequence[str]) -> "Iterator[pa.RecordBatch]":
        """Yield the rows in their order, at most a few hundred at a time.

        Raises:
            TooLargeError: If there are more rows than a set may have stimuli, or a page or buffer unpacks to
                more than one record.
            DamagedSourceError: If the file turns out to be damaged on the way.
        """
        if self._is_arrow:
            yield from self._arrow_batches(columns)
            return
        with self._opened() as opened:
            self._limits.require_stimuli(opened.metadata.num_rows, self.name)
            largest = require_small_pages(self._file, opened.metadata, columns, self._limits)
            # a dictionary may say one large value for every row: few rows at a time where values may be large
            n_rows = min(_ROWS_PER_BATCH, max(1, _BYTES_PER_BATCH // largest))
            for batch in opened.iter_batches(batch_size=n_rows, columns=list(columns)):
                batch.validate(full=True)  # text that is not UTF-8
                yield batch

    def _arrow_batches(self, columns: Sequence[str]) -> "Iterator[pa.RecordBatch]":
        self._limits.require_stimuli(require_small_messages(self._file, self._limits), self.name)
        with self._opened(columns) as opened:
            for batch in opened:
                batch.validate(full=True)  # the library trusts offsets into the file
                for start in range(0, batch.num_rows, _ROWS_PER_BATCH):
                    yield batch.slice(start, _ROWS_PER_BATCH).select(list(columns))

    @contextmanager
    def _opened(self, columns: Sequence[str] = ()) -> Iterator[Any]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            if self._is_arrow:
                wanted = [self.schema.get_field_index(name) for name in columns]
                options = pa.ipc.IpcReadOptions(included_fields=sorted(wanted) or None)
                with (
                    pa.memory_map(str(self._file)) as mapped,
                    pa.ipc.open_stream(mapped, options=options) as stream,
                ):
                    yield stream
            else:
                how = {"buffer_size": _READ_BYTES, "pre_buffer": False, "page_checksum_verification": True}
                with pq.ParquetFile(self._file, **how) as parquet:
                    yield parquet
        except (pa.ArrowException, OSError, OverflowError, UnicodeDecodeError) as problem:
            kind = "an Arrow stream" if self._is_arrow else "a Parquet file"
            why = " ".join(str(problem).split())
            raise DamagedSourceError(
                f"{self.name} is truncated or damaged, or not {kind}: {why}"
            ) from problem
