"""Tables on disk that are read some rows at a time: Parquet, and Arrow's own format."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rep_kedro.stimuli.base import require_path
from rep_kedro.stimuli.record import DamagedSourceError

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS_PER_BATCH = 128
_COUNTED = re.compile(r"(.*)-(\d{5})-of-(\d{5})(\..*)")


def require_all_counted(files: Iterable[Path]) -> None:
    """Require that no file is missing that others count by their names (``train-00000-of-00005.parquet``).

    Raises:
        DamagedSourceError: Names the first that is missing, and their number.
    """
    there = set(files)
    for path in sorted(there):
        counted = _COUNTED.fullmatch(path.name)
        if counted:
            stem, _, total, ending = counted.groups()
            names = [f"{stem}-{number:05d}-of-{total}{ending}" for number in range(int(total))]
            missing = [name for name in names if path.with_name(name) not in there]
            if missing:
                raise DamagedSourceError(
                    f"{len(missing)} of {int(total)} files of {stem!r} are missing in {path.parent}, such as"
                    f" {missing[0]}"
                )


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

    def holds_text(self, column: str) -> bool:
        """Say whether a column holds text, also as a dictionary."""
        import pyarrow.types as pt

        kind = self.schema.field(column).type
        kind = kind.value_type if pt.is_dictionary(kind) else kind
        return bool(pt.is_string(kind) or pt.is_large_string(kind))

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
