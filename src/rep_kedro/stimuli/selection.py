"""Rows of a stimulus set by their ids."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


def select_stimuli(table: "pa.Table", stimulus_ids: "Sequence[str] | pa.Array") -> "pa.Table":
    """Return the rows with the given ids, in the order of the ids; an id may come several times.

    Args:
        table: A stimulus set, or any table with a column ``stimulus_id`` without duplicates.
        stimulus_ids: Ids, such as those of a subset.

    Raises:
        KeyError: If the table lacks an id; names the first ones.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    is_arrow = isinstance(stimulus_ids, pa.Array | pa.ChunkedArray)
    wanted: Any = stimulus_ids if is_arrow else pa.array(list(stimulus_ids), pa.string())
    rows = pc.index_in(wanted, value_set=table["stimulus_id"].combine_chunks())
    if rows.null_count:
        missing = wanted.filter(pc.is_null(rows)).to_pylist()
        raise KeyError(f"{len(missing)} stimuli are not in the set, such as {missing[:3]}")
    return table.take(rows)
