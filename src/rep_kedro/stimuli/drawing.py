"""From a stimulus set and a rule to the table that every subset is."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rep_kedro.stimuli import label_columns
from rep_kedro.stimuli.copies import count_copies, first_of_copies
from rep_kedro.stimuli.subsets import population_of

if TYPE_CHECKING:
    import pyarrow as pa

    from rep_kedro.datasets import ArrowHandle

_COLUMNS = ["stimulus_id", "label", "split"]


def draw_subset(
    handle: "ArrowHandle",
    rule: Any,
    *,
    set_name: str,
    subset_name: str,
    earlier: "Sequence[ArrowHandle]" = (),
) -> "pa.Table":
    """Draw stimuli from a set and return their ids, labels and splits.

    Images are read only where the set has copies, to count those among the drawn ones.

    Args:
        handle: The stimulus set.
        rule: One of the rules of ``rep_kedro.stimuli.subsets``.
        set_name: Enters the seed.
        subset_name: Enters the seed.
        earlier: Sets drawn before from the same generator (rule ``published_class_cap``).

    Returns:
        Table with columns stimulus_id, label, split and the set's further labels, rows in the order of use.
        ``schema.metadata[b"meta"]`` is JSON with ``class_names``, ``image_size_px``, ``n_stimuli``,
        ``counts`` by split, ``n_copies`` and ``n_copies_across_splits`` (exact copies among the drawn images;
        one that is drawn several times counts once), ``rule`` and ``stimulus_set_sha256``;
        ``with_replacement`` where a stimulus comes several times.

    Raises:
        ValueError: If the set lacks a split or a class is too small.
    """
    columns = [*_COLUMNS, *label_columns.further_columns(handle.meta)]
    table = handle.table(columns)
    names: dict[str, Any] = {"set_name": set_name, "subset_name": subset_name}
    if earlier:
        names["earlier"] = [population_of(each.table(_COLUMNS)) for each in earlier]
    rows = rule.draw(population_of(table), **names)
    drawn = table.take(rows).select(columns)
    meta = {
        **{name: handle.meta[name] for name in label_columns.META if name in handle.meta},
        "class_names": handle.meta["class_names"],
        "image_size_px": handle.meta["image_size_px"],
        "n_stimuli": drawn.num_rows,
        "counts": dict(Counter(drawn["split"].to_pylist())),
        **_count_copies(handle, table["split"].to_pylist(), sorted(set(rows))),
        "rule": rule.recipe(),
        "stimulus_set_sha256": handle.meta["sha256"],
    }
    if len(drawn["stimulus_id"].unique()) < drawn.num_rows:
        meta["with_replacement"] = True
    return drawn.replace_schema_metadata({b"meta": json.dumps(meta, ensure_ascii=False).encode()})


def _count_copies(handle: "ArrowHandle", splits: Sequence[str], rows: Sequence[int]) -> dict[str, int]:
    n_copies: int = handle.meta["n_copies"]
    originals = first_of_copies(handle.batches(["image"])) if n_copies else range(len(splits))
    return count_copies([originals[row] for row in rows], [splits[row] for row in rows])
