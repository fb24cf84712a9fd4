"""Labels and splits of a table on the stimuli of a source: rows and images are matched, nothing is lost."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rep_kedro.errors import UserError, shorten
from rep_kedro.stimuli.classes import (
    LabelsByName,
    order_names,
    require_distinct,
    require_few_classes,
    shared_names,
)
from rep_kedro.stimuli.label_columns import further_column
from rep_kedro.stimuli.label_ids import SHOWN, RowFinder, describe_unmatched
from rep_kedro.stimuli.label_table import LabelTable, read_label_table
from rep_kedro.stimuli.label_table_spec import TableLabelledSpec
from rep_kedro.stimuli.record import DamagedSourceError, DamageLog, Stimulus, StimulusStream

if TYPE_CHECKING:
    import pyarrow as pa

_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")


def with_table_labels(
    stream: StimulusStream, spec: TableLabelledSpec, log: DamageLog, ids: Iterable[str] | None = None
) -> StimulusStream:
    """Return a stream with the labels and splits of its table; the same stream where it has none.

    Args:
        stream: The source as it is read.
        spec: Its parameters.
        log: Takes notes of what is left out or repeated.
        ids: All stimulus ids, where they are known beforehand; rows and images are then matched before the
            first image is read.

    Raises:
        DamagedSourceError: If the table is damaged, or rows and images do not match.
        UserError: If the table could be read in several ways.
    """
    if spec.labels is None:
        return stream
    joined = _JoinedTable(read_label_table(spec.labels, spec.limits), spec, log)
    if ids is not None:
        for stimulus_id in ids:
            joined.finder.find(stimulus_id)
        joined.require_matched()
    return replace(
        stream,
        class_names=joined.class_names,
        first_label=0 if spec.class_names is None else None,
        stimuli=joined.follow(stream.stimuli, is_matched=ids is not None),
        further=joined,
    )


class _JoinedTable:
    """A table while its source is read."""

    def __init__(self, table: LabelTable, spec: TableLabelledSpec, log: DamageLog) -> None:
        self._table, self._spec, self._log = table, spec, log
        self._may_lack = spec.labels is not None and spec.labels.unmatched == "leave_out"
        self.finder = RowFinder(table.rows)
        self._first, *self._others = table.labels
        where = f"column {self._first!r} of {table.name}"
        found = table.labels[self._first]
        if spec.class_names is not None:
            if shared := shared_names(spec.class_names):
                raise UserError(f"class_names has several classes named {shorten(shared)}; rename them")
            self.class_names = spec.class_names
        else:
            self.class_names = _classes_of(found, where, is_settled=spec.label_map is not None)
        self._label_of = _label_finder(self.class_names, by_number=spec.class_names is not None)
        if table.n_repeated:
            log.notes.append(f"{table.n_repeated} rows of {table.name} repeat others and count once")

    def follow(self, stimuli: Iterator[Stimulus], *, is_matched: bool) -> Iterator[Stimulus]:
        """Yield the stimuli that have a row, with its label and split; the rest goes to the log."""
        labels, splits = self._table.labels[self._first], self._table.splits
        moved, has_own_splits = list[str](), False
        for stimulus in stimuli:
            row = self.finder.find(stimulus.stimulus_id)
            has_own_splits |= stimulus.split != self._spec.split
            if row is None:
                continue  # counted by require_matched
            label, split = labels[row], stimulus.split if splits is None else splits[row]
            if split is None:
                self._log.left_out[f"splits of {self._table.name}"] += 1
                continue
            if split != stimulus.split and len(moved) < SHOWN:
                moved.append(stimulus.stimulus_id)
            number = None if label is None else self._label_of(label)
            if isinstance(number, str):
                self._log.add(stimulus.stimulus_id, number)
            else:
                yield stimulus._replace(label=number, split=split)
        if has_own_splits and moved:
            raise UserError(
                f"names of folders or files say other splits than {self._table.name}, such as of"
                f" {', '.join(moved)}; remove labels.split, or say `splits: none`"
            )
        if not is_matched:
            if self._spec.on_damaged == "error":
                self._log.require_none()
            self.require_matched()

    def require_matched(self) -> None:
        """Raise or note what has no counterpart.

        Raises:
            DamagedSourceError: If an id names two images; unless it is to be left out, if an id names none or
                an image has no row. The message has counts and three examples.
        """
        name, finder = self._table.name, self.finder
        if finder.clashes:
            shown = "; ".join(f"{own_id!r}: {one}, {other}" for own_id, one, other in finder.clashes[:SHOWN])
            raise DamagedSourceError(
                f"{len(finder.clashes)} ids of {name} name several images ({shown}); write paths below the"
                " source"
            )
        ids, lost = finder.unmatched_ids(), finder.without_row
        unmatched = [
            f"{len(items)} {what}, such as {', '.join(map(repr, items[:SHOWN]))}"
            for items, what in (
                (ids, f"ids of {name} match no image"),
                (lost, f"images have no row in {name}"),
            )
            if items
        ]
        if not unmatched:
            return
        if self._may_lack and len(ids) < len(self._table.rows):
            self._log.notes += unmatched
            if lost:
                self._log.left_out[f"without a row in {name}"] += len(lost)
            return
        why = describe_unmatched(ids, lost)
        hint = f"; {why}" if why else ""
        raise DamagedSourceError(
            f"{'; '.join(unmatched)}{hint}; correct them, or say `unmatched: leave_out` in labels"
        )

    def add_to(self, table: "pa.Table") -> "pa.Table":
        """Return a stimulus set with its further label columns."""
        import pyarrow as pa

        found = (self.finder.row_of[stimulus_id] for stimulus_id in table["stimulus_id"].to_pylist())
        rows = [row for row in found if row is not None]
        for name, labels in self._labels_of_others().items():
            column = pa.array([labels[row] for row in rows], pa.int32())
            table = table.append_column(further_column(name), column)
        for name, several in self._multi_labels().items():
            column = pa.array([several[row] for row in rows], pa.list_(pa.int32()))
            table = table.append_column(further_column(name), column)
        return table

    def describe(self, class_names: Sequence[str] | None) -> dict[str, Any]:
        """Return what the set's meta says of its label columns."""
        others = {name: self._classes(name) for name in self._others}
        several = {name: self._classes(name) for name in self._table.multi_labels}
        return {
            "own_label": self._first,
            "label_columns": {self._first: list(class_names or []), **others},
            "multi_label_columns": several,
        }

    def _labels_of_others(self) -> dict[str, list[int | None]]:
        found = {}
        for name in self._others:
            number = {label: place for place, label in enumerate(self._classes(name))}
            found[name] = [None if label is None else number[label] for label in self._table.labels[name]]
        return found

    def _multi_labels(self) -> dict[str, list[list[int] | None]]:
        found = {}
        for name, several in self._table.multi_labels.items():
            number = {label: place for place, label in enumerate(self._classes(name))}
            found[name] = [
                None if labels is None else sorted(map(number.__getitem__, labels)) for labels in several
            ]
        return found

    def _classes(self, column: str) -> list[str]:
        where = f"column {column!r} of {self._table.name}"
        if column in self._table.labels:
            return _classes_of(self._table.labels[column], where)
        return _classes_of(
            (label for parts in self._table.multi_labels[column] for label in parts or ()), where
        )


def _classes_of(labels: Iterable[str | None], where: str, *, is_settled: bool = False) -> list[str]:
    """Return the classes of a column in the order of their labels.

    Raises:
        UserError: If there are too many, or two differ in case, separators or leading zeros only.
    """
    found = {label for label in labels if label is not None}
    require_few_classes(len(found), where)
    try:
        require_distinct(found, is_settled=is_settled)
    except UserError as problem:
        raise UserError(f"{where}: {problem}") from problem
    return order_names(found)


def _label_finder(class_names: Collection[str], *, by_number: bool) -> Callable[[str], int | str]:
    """Return what gives the label of a class, or why there is none; with ``by_number`` also of a number."""
    by_name = LabelsByName(list(class_names))

    def find(label: str) -> int | str:
        is_name = label in known or not by_number
        return int(label) if not is_name and _NUMBER.fullmatch(label) else by_name.find(label)

    known: Mapping[str, object] = dict.fromkeys(class_names)
    return find
