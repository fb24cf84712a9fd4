"""The final splits: a test split is drawn, or ``val`` serves as one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rep_kedro.errors import UserError
from rep_kedro.stimuli.base import FileSourceSpec, SourceSpec
from rep_kedro.stimuli.record import DamageLog
from rep_kedro.stimuli.splits import draw_test_rows

if TYPE_CHECKING:
    import pyarrow as pa


def settle_splits(
    table: "pa.Table", spec: SourceSpec, originals: Sequence[int], log: DamageLog
) -> "tuple[pa.Table, str | None]":
    """Return the table with its final splits, and what the split ``test`` was before.

    Args:
        table: All stimuli.
        spec: The source's parameters; those of sources with files may ask for a drawn test split.
        originals: Row of the first copy of each stimulus.
        log: Takes notes of what was decided.

    Returns:
        The table, and ``test``, ``val`` (which serves as test where there is none), ``drawn`` or None.

    Raises:
        UserError: If a test split is to be drawn where there are splits.
    """
    splits: list[str] = table["split"].to_pylist()
    there = sorted(set(splits))
    if isinstance(spec, FileSourceSpec) and spec.test_fraction:
        if there != [spec.split]:
            raise UserError(
                f"test_fraction has no effect, for the source has the splits {', '.join(there)}; remove it,"
                " or state splits so that all is one (such as `splits: none`)"
            )
        splits = _draw(table, spec, originals, log)
        return _with_splits(table, splits), "drawn" if "test" in splits else None
    if "val" in there and "test" not in there:
        log.notes.append(f"there is no split test; val serves as test ({splits.count('val')} stimuli)")
        return _with_splits(table, ["test" if split == "val" else split for split in splits]), "val"
    return table, "test" if "test" in there else None


def _draw(table: "pa.Table", spec: FileSourceSpec, originals: Sequence[int], log: DamageLog) -> list[str]:
    is_test = draw_test_rows(
        table["stimulus_id"].to_pylist(),
        table["label"].to_pylist(),
        test_fraction=spec.test_fraction,
        seed=spec.seed,
        originals=originals,
    )
    n_copies = len(originals) - len(set(originals))
    _require_both_splits(table["label"].to_pylist(), is_test, spec, has_copies=n_copies > 0)
    n_wanted, n_test = round(spec.test_fraction * len(is_test)), sum(is_test)
    if n_copies and n_test < n_wanted:
        log.notes.append(
            f"the test split has {n_test} stimuli, not {n_wanted}, for copies stay on one side: {n_copies}"
            " stimuli are exact copies of others"
        )
    return ["test" if test else spec.split for test in is_test]


def _require_both_splits(
    labels: Sequence[int | None], is_test: Sequence[bool], spec: FileSourceSpec, *, has_copies: bool
) -> None:
    """Raise where a drawn split leaves a class without training stimuli, or holds none at all."""
    training = {label for label, test in zip(labels, is_test, strict=True) if not test}
    lost = sorted(str(label) for label in set(labels) - training)
    if lost:
        raise UserError(
            f"test_fraction {spec.test_fraction:g} leaves {len(lost)} classes without a training stimulus,"
            f" such as label {lost[0]}; set a smaller one"
        )
    if not any(is_test) and not has_copies:
        raise UserError(
            f"test_fraction {spec.test_fraction:g} of {len(labels)} stimuli, by class, is no stimulus; set a"
            " larger one, or 0 for no test split"
        )


def _with_splits(table: "pa.Table", splits: list[str]) -> "pa.Table":
    import pyarrow as pa

    place = table.schema.get_field_index("split")
    return table.set_column(place, "split", pa.array(splits, pa.string()))
