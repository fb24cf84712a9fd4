"""Rows of a stimulus set by their ids: all at once, or as a stream that never holds the whole set."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from rep_kedro.errors import UserError
from rep_kedro.stimuli.spool import BatchSpool

if TYPE_CHECKING:
    import pyarrow as pa

    from rep_kedro.datasets import ArrowHandle


def select_stimuli(table: "pa.Table", stimulus_ids: "Sequence[str] | pa.Array") -> "pa.Table":
    """Return the rows with the given ids, in the order of the ids; an id may come several times.

    Args:
        table: A stimulus set, or any table with a column ``stimulus_id`` without duplicates.
        stimulus_ids: Ids, such as those of a subset.

    Raises:
        UserError: If the table lacks an id; names the first ones.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    is_arrow = isinstance(stimulus_ids, pa.Array | pa.ChunkedArray)
    wanted: Any = stimulus_ids if is_arrow else pa.array(list(stimulus_ids), pa.string())
    rows = pc.index_in(wanted, value_set=table["stimulus_id"].combine_chunks())
    if rows.null_count:
        missing = wanted.filter(pc.is_null(rows)).to_pylist()
        raise UserError(f"{len(missing)} stimuli are not in the set, such as {missing[:3]}")
    return table.take(rows)


def locate_stimuli(stimulus_set: "ArrowHandle", subset: "ArrowHandle") -> tuple[list[str], list[int]]:
    """Return a subset's ids and their rows in the stimulus set, in the subset's order; no image is read.

    Raises:
        ValueError: If the subset names a stimulus that the set does not hold, or holds twice.
    """
    ids = stimulus_set.table(["stimulus_id"])["stimulus_id"].to_pylist()
    position = {stimulus_id: row for row, stimulus_id in enumerate(ids)}
    if len(position) != len(ids):
        raise UserError(f"stimulus set {stimulus_set.key!r} holds some stimulus_id twice")
    wanted = subset.table(["stimulus_id"])["stimulus_id"].to_pylist()
    missing = [stimulus_id for stimulus_id in wanted if stimulus_id not in position]
    if missing:
        raise UserError(
            f"subset {subset.key!r} names {len(missing)} stimuli that set {stimulus_set.key!r} does not hold,"
            f" first {missing[0]!r}"
        )
    return wanted, [position[stimulus_id] for stimulus_id in wanted]


def stream_images(
    stimulus_set: "ArrowHandle", rows: Sequence[int], *, batch_size: int
) -> Iterator[list[bytes]]:
    """Yield the encoded images of some rows, in their order, `batch_size` at a time.

    Rows that ascend are read as they are asked for; any others are read once, in the set's order, and wait in
    memory, or above a limit in a temporary file (folder ``TMPDIR``).

    Args:
        stimulus_set: Holds the images.
        rows: Positions in the set (see :func:`locate_stimuli`); one may come several times.
        batch_size: So many images are yielded together; the last time fewer.

    Cost:
        Memory: one group of rows of the file, one batch, and up to 256 MB of images that wait.
    """
    if all(before <= after for before, after in pairwise(rows)):
        images = _in_order_of_file(stimulus_set, rows)
    else:
        images = _in_given_order(stimulus_set, rows)
    batch: list[bytes] = []
    for image in images:
        batch.append(image)
        if len(batch) == batch_size:
            yield batch
            batch = []
    if batch:
        yield batch


def _in_order_of_file(stimulus_set: "ArrowHandle", rows: Sequence[int]) -> Iterator[bytes]:
    for picked in stimulus_set.picked(rows, ["image"]):
        for image in picked.column(0):
            yield image.as_py()


def _in_given_order(stimulus_set: "ArrowHandle", rows: Sequence[int]) -> Iterator[bytes]:
    import pyarrow as pa

    wanted = sorted(set(rows))
    spool = BatchSpool(pa.schema([("image", pa.binary())]))
    try:
        for picked in stimulus_set.picked(wanted, ["image"]):
            spool.append(picked)
        chunks = spool.finish()["image"].chunks
    finally:
        spool.discard()
    place = {row: position for position, row in enumerate(wanted)}
    starts = [0, *accumulate(len(chunk) for chunk in chunks)]
    for row in rows:
        chunk = bisect_right(starts, place[row]) - 1
        yield chunks[chunk][place[row] - starts[chunk]].as_py()
