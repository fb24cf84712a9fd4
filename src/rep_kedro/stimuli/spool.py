"""Record batches that grow past a limit move to a temporary file, so that a set may be larger than memory."""

import os
import tempfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

MEMORY_LIMIT_BYTES = 256 << 20


class BatchSpool:
    """Collects record batches; above a limit they go to a mapped file without a name."""

    def __init__(self, schema: "pa.Schema", *, memory_limit_bytes: int = MEMORY_LIMIT_BYTES) -> None:
        self._schema = schema
        self._limit = memory_limit_bytes
        self._batches: list[pa.RecordBatch] = []
        self._bytes = 0
        self._writer: Any = None
        self._path = ""

    def append(self, batch: "pa.RecordBatch") -> None:
        """Take one batch."""
        if self._writer is not None:
            self._writer.write_batch(batch)
            return
        self._batches.append(batch)
        self._bytes += batch.nbytes
        if self._bytes > self._limit:
            self._move_to_file()

    def finish(self) -> "pa.Table":
        """Return all batches as one table; the file, if there is one, is freed with the table."""
        import pyarrow as pa

        if self._writer is None:
            return pa.Table.from_batches(self._batches, schema=self._schema)
        self._writer.close()
        table: pa.Table = pa.ipc.open_file(pa.memory_map(self._path)).read_all()
        self.discard()
        return table

    def discard(self) -> None:
        """Remove the file's name; what is mapped stays readable until it is let go."""
        if self._path:
            os.unlink(self._path)
            self._path = ""

    def _move_to_file(self) -> None:
        import pyarrow as pa

        handle, self._path = tempfile.mkstemp(prefix="rep_kedro_", suffix=".arrow")
        os.close(handle)
        self._writer = pa.ipc.new_file(self._path, self._schema)
        for batch in self._batches:
            self._writer.write_batch(batch)
        self._batches = []
