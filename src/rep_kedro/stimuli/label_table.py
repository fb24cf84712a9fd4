"""A table of labels in memory: for each id its labels and its split."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rep_kedro.errors import UserError, shorten
from rep_kedro.stimuli.label_ids import SHOWN, normalise_id
from rep_kedro.stimuli.label_table_spec import LabelTableSpec
from rep_kedro.stimuli.limits import Limits
from rep_kedro.stimuli.record import DamagedSourceError
from rep_kedro.stimuli.split_names import parse_name, require_one_name_each
from rep_kedro.stimuli.table_files import Cell, TableFile

_MAY_BE_MISSING = frozenset({"nan", "na", "n/a", "#n/a", "<na>", "null", "none", "nil"})


@dataclass
class LabelTable:
    """The content of a table of labels.

    Attributes:
        name: Of its file.
        rows: Number of each row by id, as ``normalise_id`` writes it.
        labels: By column the label of each row; None where there is none. The first is the set's.
        multi_labels: By column the labels of each row, each once.
        splits: Split of each row, None where the parameters leave it out; None where the table has none.
        n_repeated: Rows that repeat another one in full.
    """

    name: str
    rows: dict[str, int] = field(default_factory=dict)
    labels: dict[str, list[str | None]] = field(default_factory=dict)
    multi_labels: dict[str, list[list[str] | None]] = field(default_factory=dict)
    splits: list[str | None] | None = None
    n_repeated: int = 0


def _choose_label_columns(file: TableFile, spec: LabelTableSpec) -> list[str]:
    """Return the columns of labels, after checking that all columns are there.

    Raises:
        DamagedSourceError: If a column is missing or there twice.
        UserError: If no label column is given and several could be it.
    """
    others = [spec.id, *([] if spec.split is None else [spec.split]), *spec.multi_label]
    file.require_columns([*others, *(spec.label or [])])
    if spec.label is not None:
        return list(spec.label)
    left = [name for name in dict.fromkeys(file.columns) if name not in others]
    if len(left) != 1:
        found = f"{shorten(left)} could each be it" if left else "it has no other column"
        raise UserError(f"{file.name}: the column of labels is not given, and {found}; say `label: NAME`")
    file.require_columns(left)
    return left


def read_label_table(spec: LabelTableSpec, limits: Limits) -> LabelTable:
    """Read a table of labels.

    Raises:
        DamagedSourceError: If the file is damaged, a row has no id, or rows of one id contradict each other.
        UserError: If texts could mean no label, or values of the column of splits are not names of splits.
    """
    file = TableFile(spec.file, limits, spec.delimiter)
    names = _choose_label_columns(file, spec)
    table = LabelTable(file.name, labels={name: [] for name in names})
    split = [] if spec.split is None else [spec.split]
    columns = [*names, *spec.multi_label, *split]
    found: list[tuple[Cell, ...]] = []
    contradictions: list[str] = []
    shared = dict[str, tuple[Cell, ...]]()  # rows with equal labels are one object
    for number, (own_id, *cells) in file.rows([spec.id, *columns]):
        if not isinstance(own_id, str):
            what = "no id" if own_id is None else "a list as id"
            raise DamagedSourceError(f"{file.place(number)} has {what} (column {spec.id!r})")
        name = normalise_id(own_id)
        values = shared.setdefault(repr(cells), tuple(cells))
        row = table.rows.setdefault(name, len(found))
        if row == len(found):
            found.append(values)
        elif found[row] == values:
            table.n_repeated += 1
        elif len(contradictions) <= SHOWN:
            contradictions.append(_contradiction(name, columns, found[row], values))
    if contradictions:
        more = " and others" if len(contradictions) > SHOWN else ""
        raise DamagedSourceError(
            f"rows of {file.name} contradict each other: {'; '.join(contradictions[:SHOWN])}{more}; keep one"
            " row for each id"
        )
    if not found:
        raise DamagedSourceError(f"{file.name} has no rows")
    _fill(table, spec, found)
    return table


def _fill(table: LabelTable, spec: LabelTableSpec, rows: Sequence[tuple[Cell, ...]]) -> None:
    """Turn the cells of all rows into the table's columns."""
    columns = iter(zip(*rows, strict=True))
    for name in table.labels:
        table.labels[name] = _labels_of(next(columns), name, table.name, spec.missing)
    for name, separator in spec.multi_label.items():
        table.multi_labels[name] = _parts_of(next(columns), name, table.name, separator)
    if spec.split is not None:
        table.splits = _splits_of(next(columns), spec, table.name)


def _contradiction(name: str, columns: Sequence[str], one: Sequence[Cell], other: Sequence[Cell]) -> str:
    column, a, b = next(each for each in zip(columns, one, other, strict=True) if each[1] != each[2])
    return f"{name!r} ({column}: {a!r}, {b!r})"


def _labels_of(
    cells: Iterable[Cell], column: str, name: str, missing: Sequence[str] | None
) -> list[str | None]:
    """Return the labels of a column, None where there is none."""
    cells = list(cells)
    for cell in set(map(str, cells)):
        _require_plain(cell, column, name)
    if any(isinstance(cell, list) for cell in cells):
        raise UserError(
            f"column {column!r} of {name} holds lists; name it in multi_label, and another one as label"
        )
    doubtful = {cell for cell in cells if isinstance(cell, str) and cell.strip().lower() in _MAY_BE_MISSING}
    if doubtful and missing is None:
        raise UserError(
            f"column {column!r} of {name}: {shorten(sorted(map(repr, doubtful)))} could be a class or mean no"
            f" label; say `missing: {sorted(doubtful)}`, or `missing: []` if it is a class"
        )
    none = set(missing or ())
    labels = [cell if isinstance(cell, str) and cell not in none else None for cell in cells]
    if not any(label is not None for label in labels):
        raise UserError(f"column {column!r} of {name} has no label in any row")
    return labels


def _parts_of(cells: Iterable[Cell], column: str, name: str, separator: str | None) -> list[list[str] | None]:
    """Return the labels in each cell, sorted; None where a cell is empty."""
    parted = list[list[str] | None]()
    for cell in cells:
        if isinstance(cell, str) and separator is None:
            raise UserError(
                f"column {column!r} of {name} holds text; give its separator, such as"
                f' `multi_label: {{{column}: ";"}}`'
            )
        parts = cell if separator is None or not isinstance(cell, str) else cell.split(separator)
        parted.append(None if parts is None else sorted({part.strip() for part in parts} - {""}))
    for part in {part for parts in parted for part in parts or ()}:
        _require_plain(part, column, name)
    return parted


def _require_plain(label: str, column: str, name: str) -> None:
    if not label.isprintable():
        raise UserError(
            f"column {column!r} of {name}: the label {label[:40]!a} has a line break or another"
            " character that cannot be shown"
        )


def _splits_of(cells: Iterable[Cell], spec: LabelTableSpec, name: str) -> list[str | None]:
    """Return our name of the split of each row; None for those that the stated splits leave out."""
    cells = list(cells)
    place = f"column {spec.split!r} of {name}"
    values = sorted({str(cell) for cell in cells if cell is not None})
    if spec.splits is not None:
        split_of = {value: split for split, stated in spec.splits.items() for value in stated}
        if unused := [value for value in split_of if value not in set(values)]:
            raise UserError(f"splits: {place} never holds {unused[0]!r}; it holds {shorten(values)}")
        return [split_of.get(str(cell)) for cell in cells]
    if None in cells:
        n_empty = sum(cell is None for cell in cells)
        raise UserError(
            f"{place} is empty in {n_empty} rows; fill it, or state splits, such as"
            f" `splits: {{train: [{values[0] if values else 'NAME'}]}}`, to leave them out"
        )
    named = _named_splits(values, place)
    return [named[str(cell)] for cell in cells]


def _named_splits(values: Sequence[str], place: str) -> Mapping[str, str]:
    parsed = {value: parse_name(value) for value in values}
    named = {value: found.split for value, found in parsed.items() if found and not found.rest}
    if len(named) < len(values):
        others = [value for value in values if value not in named]
        raise UserError(
            f"{place}: {shorten(others)} are not names of splits; say"
            f" which they are, such as `splits: {{train: [{', '.join(values[:-1])}], test: [{values[-1]}]}}`"
        )
    require_one_name_each(named, place, "splits")
    return named
