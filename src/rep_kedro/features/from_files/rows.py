"""Which row of a file belongs to which stimulus: by ids, in any order, or by an order that is declared."""

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rep_kedro.errors import UserError, suggest
from rep_kedro.features.from_files.formats import explained
from rep_kedro.features.from_files.parquet import LARGEST_TEXT
from rep_kedro.features.from_files.stored_arrays import StoredArray
from rep_kedro.models.files import require_file
from rep_kedro.models.places import FilePlace
from rep_kedro.models.sources.array_specs import ArrayPlace
from rep_kedro.stimuli.limits import DEFAULT_LIMITS

if TYPE_CHECKING:
    from rep_kedro.datasets import ArrowHandle

SHOWN, ALL = "shown", "all"
IDS_FILE = "file of stimulus ids"
_EXAMPLES = 3
Indices = np.ndarray[Any, np.dtype[np.int64]]


def read_ids(
    place: ArrayPlace, arrays: Mapping[str, StoredArray], name: str, *, may_repeat: bool = False
) -> list[str] | None:
    """Return the stimulus id of each row of a file; None where the order is declared.

    Raises:
        UserError: If the ids are missing, no ids, or one is there twice that may not be.
    """
    if place.row_order is not None:
        return None
    if place.ids is None:
        ids = _read_lines(require_file(FilePlace(path=place.ids_file), IDS_FILE))
    else:
        ids = _read_array(place.ids, arrays, name)
    doubled = _examples_of_doubled(ids)
    if doubled and not may_repeat:
        raise UserError(
            f"{name}: {len(ids) - len(set(ids))} of {len(ids)} stimulus ids are there twice{doubled}"
        )
    return ids


def _read_array(key: str, arrays: Mapping[str, StoredArray], name: str) -> list[str]:
    if key not in arrays:
        raise UserError(f"{name} has no array {key!r} of stimulus ids; {suggest(key, arrays)}")
    array = arrays[key]
    n_rows = array.shape[0] if array.shape else 0
    DEFAULT_LIMITS.require_stimuli(n_rows, f"array {key!r} of {name}")
    is_one_per_row = bool(array.shape) and prod(array.shape[1:]) == 1 and array.kind in {"number", "text"}
    ids, n_chars = list[str](), 0
    try:
        for block in array.blocks() if is_one_per_row else ():
            values = np.asarray(block).reshape(len(block), -1)
            if values.dtype.kind == "f":
                break
            ids += [each.decode() if isinstance(each, bytes) else str(each) for each in values[:, 0].tolist()]
            n_chars += sum(map(len, ids[-len(values) :]))
            if n_chars > LARGEST_TEXT:
                raise UserError(
                    f"{name}: array {key!r} of stimulus ids has more than {LARGEST_TEXT:,} characters"
                )
    except UnicodeDecodeError as problem:
        raise UserError(f"{name}: array {key!r} of stimulus ids is no UTF-8 text") from problem
    if len(ids) != n_rows or not array.shape:
        raise UserError(
            f"{name}: array {key!r} of stimulus ids has shape {array.shape} and holds {array.kind};"
            " it needs one text or whole number per row"
        )
    return ids


def _read_lines(path: Path) -> list[str]:
    if path.stat().st_size > LARGEST_TEXT:
        raise UserError(f"{IDS_FILE} {path} has {path.stat().st_size:,} bytes; at most {LARGEST_TEXT:,}")
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # ids may hold what else ends a line
    except UnicodeDecodeError as problem:
        raise UserError(f"{IDS_FILE} {path} is no UTF-8 text; write one id per line") from problem
    return lines if lines[-1] else lines[:-1]


def find_places(
    ids: Sequence[str] | None,
    n_rows: int,
    place: ArrayPlace,
    stimulus_set: "ArrowHandle",
    subset: "ArrowHandle",
) -> Indices:
    """Return the row in the file of each stimulus of a subset, shape (n_stimuli,).

    Args:
        ids: Of the file's rows; None where the order is declared.
        n_rows: Rows of the file.
        place: Declares the order.
        stimulus_set: Its ids must contain those of the file.
        subset: The stimuli that are shown, in their order.

    Raises:
        UserError: If stimuli of the subset have no row, or rows are of no stimulus; counts and examples.
    """
    wanted: list[str] = subset.table(["stimulus_id"])["stimulus_id"].to_pylist()
    if ids is None:
        ids = _declared_ids(str(place.row_order), stimulus_set, wanted)
        if len(ids) != n_rows:
            raise UserError(
                f"it has {n_rows} rows, but row_order: {place.row_order} means the {len(ids)} stimuli"
                f" of {stimulus_set.key}"
            )
    rows = {stimulus: row for row, stimulus in enumerate(ids)}
    missing = [stimulus for stimulus in dict.fromkeys(wanted) if stimulus not in rows]
    extra: list[str] = []
    if place.row_order is None and len(rows) > len(wanted) - len(missing):
        known = set(stimulus_set.table(["stimulus_id"])["stimulus_id"].to_pylist())
        extra = [stimulus for stimulus in ids if stimulus not in known]
    if missing or extra:
        parts = [
            f"{len(missing)} of {len(wanted)} stimuli of {subset.key} have no row{_examples(missing)}",
            f"{len(extra)} of {len(ids)} rows are of no stimulus of {stimulus_set.key}{_examples(extra)}",
        ]
        raise UserError(
            " and ".join(part for part, found in zip(parts, (missing, extra), strict=True) if found)
        )
    return np.array([rows[stimulus] for stimulus in wanted], dtype=np.int64)


def find_repeats(ids: Sequence[str], wanted: Sequence[str]) -> Indices:
    """Return the rows of each presentation of the wanted stimuli, in the order of the file.

    Returns:
        Rows, shape (n_repeats, n_stimuli).

    Raises:
        UserError: If stimuli have single rows, or different numbers of them.
    """
    rows: dict[str, list[int]] = {stimulus: [] for stimulus in wanted}
    for row, stimulus in enumerate(ids):
        if stimulus in rows:
            rows[stimulus].append(row)
    counts = {stimulus: len(found) for stimulus, found in rows.items()}
    fewest, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    if counts[fewest] < counts[most] or counts[most] == 1:
        raise UserError(
            f"stimulus {fewest!r} has {counts[fewest]} rows, {most!r} has {counts[most]}; repeats needs at"
            " least two of each stimulus, and equally many"
        )
    return np.array([rows[stimulus] for stimulus in wanted], dtype=np.int64).T


def _declared_ids(order: str, stimulus_set: "ArrowHandle", wanted: list[str]) -> list[str]:
    if order == SHOWN:
        return wanted
    table = stimulus_set.table(["stimulus_id", "split"])
    ids, splits = table["stimulus_id"].to_pylist(), table["split"].to_pylist()
    if order == ALL:
        return list(ids)
    if order not in splits:
        known = (SHOWN, ALL, *dict.fromkeys(splits))
        raise UserError(f"row_order {order!r} is no split of {stimulus_set.key}; {suggest(order, known)}")
    return [stimulus for stimulus, split in zip(ids, splits, strict=True) if split == order]


def pick_rows(
    array: StoredArray,
    places: Indices,
    limit_bytes: int,
    name: str,
    *,
    dtype: type[np.floating[Any]] = np.float32,
    is_square: bool = False,
) -> np.ndarray[Any, Any]:
    """Return chosen rows of an array as features, in the order of the choice.

    Args:
        array: Of numbers; rows of more axes than one are laid out as one row.
        places: Rows, shape (n_stimuli,).
        limit_bytes: Most memory that they may take.
        name: What messages call the array.
        dtype: Of the result.
        is_square: Whether columns are chosen as rows are, and the diagonal becomes zero.

    Returns:
        (n_stimuli, n_features).

    Raises:
        UserError: If they would take more memory, or are not finite.
    """
    all_columns = int(np.prod(array.shape[1:], dtype=np.int64))
    columns = places if is_square else slice(None)
    width = len(places) if is_square else all_columns
    n_bytes = np.dtype(dtype).itemsize * len(places) * width
    if n_bytes > limit_bytes:
        raise UserError(
            f"{name} takes {n_bytes:,} bytes, the limit is {limit_bytes:,}; if meant, raise limit_bytes"
        )
    found = np.empty((len(places), width), dtype=dtype)
    order = np.argsort(places, kind="stable")
    ordered, first = places[order], 0
    with explained(name), np.errstate(over="ignore"):  # what is too large for float32 is found below
        for block in array.blocks():
            start, stop = np.searchsorted(ordered, [first, first + len(block)])
            if block.shape[1:] != array.shape[1:]:
                raise UserError(f"a row has shape {block.shape[1:]}, the first has {array.shape[1:]}")
            rows = block.reshape(len(block), all_columns)[ordered[start:stop] - first]
            found[order[start:stop]] = rows[:, columns]
            first += len(block)
    if first != array.shape[0]:
        raise UserError(f"{name} ends after {first} of {array.shape[0]} rows; copy or fetch the file again")
    if is_square:
        np.fill_diagonal(found, 0)
    broken = ~np.isfinite(found)
    if broken.any():
        row = int(np.flatnonzero(broken.any(axis=1))[0])
        raise UserError(
            f"{name} has {int(broken.sum())} of {found.size} values that are NaN, infinite or too large for"
            f" {np.dtype(dtype)}, first in row {int(places[row])}; leave out these features or stimuli"
        )
    return found


def _examples(names: Sequence[str]) -> str:
    return f", such as {', '.join(map(repr, names[:_EXAMPLES]))}" if names else ""


def _examples_of_doubled(ids: Sequence[str]) -> str:
    seen: set[str] = set()
    return _examples([each for each in ids if each in seen or seen.add(each)])  # type: ignore[func-returns-value]
