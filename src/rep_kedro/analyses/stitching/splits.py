"""The images that networks are stitched on: those that maps are fitted on, and those they are tested on."""

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor

from rep_kedro.errors import UserError
from rep_kedro.stimuli.label_columns import find_labels
from rep_kedro.stimuli.limits import Limits, limits_of

if TYPE_CHECKING:
    import pyarrow as pa

    from rep_kedro.datasets import ArrowHandle


class Split(NamedTuple):
    """Stimuli of one split, encoded, with their labels and names.

    Attributes:
        images: Encoded.
        labels: Class indices, (n_stimuli,); or which classes each stimulus has, 0 or 1,
            (n_stimuli, n_classes).
        names: For messages.
        limits: Of their decoding.
    """

    images: Any
    labels: Tensor
    names: list[str]
    limits: Limits


class SplitSizes(Protocol):
    """How many stimuli of each split are used, and the seed of their draw."""

    @property
    def n_fit(self) -> int | None:
        """The most of `train`; None for all."""

    @property
    def n_test(self) -> int | None:
        """The most of `test`; None for all."""

    @property
    def seed(self) -> int:
        """Of the draw."""


def read_splits(
    stimulus_set: "ArrowHandle",
    subset: "ArrowHandle | None",
    params: SplitSizes,
    needed_by: str = "stitching",
    labels: str | None = None,
) -> dict[str, Split]:
    """Return the splits ``train`` and ``test`` of a stimulus set, or of one of its subsets.

    Args:
        stimulus_set: With images and labels.
        subset: Whose stimuli are used; all of the set if None.
        params: The most stimuli of each split; of more, so many are drawn without replacement.
        needed_by: What asks for them, for messages.
        labels: Label column; None for the set's own label.

    Raises:
        UserError: If a split is empty or has stimuli without a label.
    """
    import pyarrow as pa

    place = f"stimulus set {stimulus_set.key}"
    column, class_names = find_labels(stimulus_set.meta, labels, place)
    table = stimulus_set.table(["stimulus_id", column, "split"])
    table = table.rename_columns(["stimulus_id", "label", "split"])
    table = table.append_column("row", pa.array(range(len(table))))
    if subset is not None:
        table = _pick(table, subset)
        place = f"subset {subset.key}"
    return {
        name: _read_split(
            table, name, most, place, stimulus_set, params.seed, needed_by, n_classes=len(class_names or ())
        )
        for name, most in (("train", params.n_fit), ("test", params.n_test))
    }


def _pick(table: "pa.Table", subset: "ArrowHandle") -> "pa.Table":
    """Return the rows of a subset, in the order of the set."""
    import pyarrow.compute as pc

    return table.filter(pc.is_in(table["stimulus_id"], subset.table(["stimulus_id"])["stimulus_id"]))


def _read_split(
    table: "pa.Table",
    split: str,
    most: int | None,
    place: str,
    stimulus_set: "ArrowHandle",
    seed: int,
    needed_by: str,
    *,
    n_classes: int,
) -> Split:
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = table.filter(pc.equal(table["split"], split))
    if len(rows) == 0 or rows["label"].null_count:
        raise UserError(
            f"split {split!r} of {place} has {len(rows)} stimuli, {rows['label'].null_count} of them without"
            f" a label; {needed_by} needs labels"
        )
    if most is not None and len(rows) > most:
        generator = torch.Generator().manual_seed(seed)
        rows = rows.take(torch.randperm(len(rows), generator=generator)[:most].sort().values.numpy())
    names = [f"{stimulus_set.key}: {stimulus_id}" for stimulus_id in rows["stimulus_id"].to_pylist()]
    labels = _tabulate_labels(rows["label"], n_classes)
    images = pa.Table.from_batches(stimulus_set.picked(rows["row"].to_pylist(), ["image"]))["image"]
    return Split(images, labels, names, limits_of(stimulus_set.meta))


def _tabulate_labels(column: "pa.ChunkedArray", n_classes: int) -> Tensor:
    """Return class indices, or of a column of lists which classes each stimulus has."""
    import pyarrow as pa

    given = column.to_pylist()
    if not pa.types.is_list(column.type):
        return torch.tensor(given)
    found = torch.zeros(len(given), n_classes, dtype=torch.int64)
    for row, chosen in enumerate(given):
        found[row, chosen] = 1
    return found


def first_of(split: Split, most: int | None) -> Split:
    """Return the first stimuli of a split; all of them for None."""
    if most is None or most >= len(split.labels):
        return split
    return split._replace(
        images=split.images.slice(0, most), labels=split.labels[:most], names=split.names[:most]
    )
