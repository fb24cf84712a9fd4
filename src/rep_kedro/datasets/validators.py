"""Contracts of artifacts: checked before anything is written, each broken one named in one line."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from rep_kedro.datasets.member import MemberHandle
from rep_kedro.datasets.plan import Planned, digest_of
from rep_kedro.errors import UserError
from rep_kedro.schemas import get_table
from rep_kedro.schemas.columns import Column, Kind, is_texts

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from rep_kedro.datasets.matrix import LabelledMatrix
    from rep_kedro.datasets.tensors import Tensors

_DIAGONAL_TOLERANCE = 1e-6
_RANGE_TOLERANCE = 1e-9  # of a correlation, say, by rounding
_SHOWN = 3


class TableContract:
    """What a table must hold: the declaration in ``rep_kedro.schemas``.

    Raises:
        UserError: If there is no such table.
    """

    def __init__(self, table: str) -> None:
        self._table = get_table(table)

    def validate(self, data: Any) -> Any:
        """Return a table unchanged, and a plan of one with the contract in it.

        The contract is part of a planned table's recipe, so that a kept table fulfils today's contract; that
        of a handle on a stored table was checked when the table was computed.

        Args:
            data: A DataFrame; or what is planned of one, which is checked when it is computed; or a handle.

        Raises:
            UserError: If columns differ from the declaration, a key is repeated, a value is of another kind,
                out of range or missing without a reason, or the table is empty and must not be.
        """
        if isinstance(data, Planned):
            return Planned({**data.recipe, "contract": self._digest()}, partial(self._checked, data))
        if not isinstance(data, MemberHandle):
            self._require(data)
        return data

    def _digest(self) -> str:
        """Return what the contract demands, its words apart."""
        columns = [
            [
                each.name,
                each.kind.value,
                bool(each.missing),
                each.is_explained,
                *map(str, (each.low, each.high)),
                *each.values,
            ]
            for each in self._table.columns
        ]
        return digest_of(
            {"key": list(self._table.key), "columns": columns, "empty": bool(self._table.empty_when)}
        )

    def _checked(self, planned: Planned) -> Any:
        table: Any = planned.value()
        try:
            self._require(table)
        except UserError as problem:
            raise UserError(f"it breaks its contract in the catalog: {problem}") from problem
        return table

    def _require(self, data: "pd.DataFrame") -> None:
        names = self._table.names
        missing = [name for name in names if name not in data.columns]
        unknown = [str(name) for name in data.columns if name not in names]
        if missing or unknown:
            found = (("columns are missing", missing), ("columns are not declared", unknown))
            raise UserError("; ".join(f"{what}: {', '.join(which)}" for what, which in found if which))
        if data.empty:
            if self._table.empty_when:
                return
            raise UserError("the table has no rows")
        repeated = data[data.duplicated(list(self._table.key), keep=False)]
        if len(repeated):
            raise UserError(
                f"{len(repeated)} rows share a key, e.g. {_shown(repeated[list(self._table.key)])}"
            )
        for column in self._table.columns:
            _require_column(data, column)


def _require_column(data: "pd.DataFrame", column: Column) -> None:
    """Require values of the column's kind and range, and missing ones only where they may be."""
    values = data[column.name]
    absent = values.isna()
    present = values[~absent]
    wrong = ~_are_of_kind(present, column)
    if wrong.any():
        raise UserError(
            f"column {column.name} is not {column.kind} in {int(wrong.sum())} rows,"
            f" e.g. {_shown(present[wrong])}"
        )
    outside = ~_are_in_range(present, column)
    if outside.any():
        raise UserError(
            f"column {column.name} has {int(outside.sum())} values outside {column.range_in_words},"
            f" e.g. {_shown(present[outside])}"
        )
    if column.is_explained:
        absent &= data["reason"] == ""
    elif column.missing:
        return
    if absent.any():
        without = " without a reason" if column.is_explained else ""
        raise UserError(f"column {column.name} has {int(absent.sum())} missing values{without}")


def _are_of_kind(values: Any, column: Column) -> Any:
    """Return which values are of the column's kind; numbers are finite."""
    import numpy as np
    import pandas as pd

    if column.kind is Kind.TEXT:
        return values.map(lambda value: isinstance(value, str)).astype(bool)
    if column.kind is Kind.TEXTS:
        return values.map(is_texts).astype(bool)
    if column.kind is Kind.FLAG:
        return values.map(lambda value: isinstance(value, bool | np.bool_)).astype(bool)
    numbers = pd.to_numeric(values, errors="coerce").astype("float64")
    return np.isfinite(numbers) & ((numbers % 1 == 0) | (column.kind is Kind.NUMBER))


def _are_in_range(values: Any, column: Column) -> Any:
    """Return which values are among those allowed, or in the range up to rounding."""
    if column.values:
        return values.isin(column.values)
    if column.kind in (Kind.TEXT, Kind.TEXTS, Kind.FLAG):
        return values.notna()
    return values.between(column.low - _RANGE_TOLERANCE, column.high + _RANGE_TOLERANCE)


def require_stimulus_set(data: "pa.Table") -> None:
    """Require the columns of a stimulus set, unique ids and non-empty images.

    Raises:
        ValueError: If one of these does not hold.
    """
    import pyarrow.compute as pc

    _require_columns(data, ("stimulus_id", "image", "label", "split"))
    require_stimulus_ids(data)
    n_empty = pc.sum(pc.equal(pc.binary_length(data["image"]), 0)).as_py() or 0
    if n_empty or data["image"].null_count:
        raise UserError(f"{n_empty + data['image'].null_count} images are empty")


def require_stimulus_ids(data: "pa.Table") -> None:
    """Require at least one stimulus, and ids that are there; duplicates only where drawn with replacement.

    Raises:
        ValueError: If one of these does not hold.
    """
    import json

    _require_columns(data, ("stimulus_id", "label", "split"))
    if not data.num_rows:
        raise UserError("there are no stimuli in it")
    ids = data["stimulus_id"].to_pylist()
    if any(not stimulus_id for stimulus_id in ids):
        raise UserError("some stimuli have no id")
    meta = json.loads((data.schema.metadata or {}).get(b"meta", b"{}"))
    if len(set(ids)) != len(ids) and not meta.get("with_replacement"):
        raise UserError(f"{len(ids) - len(set(ids))} stimulus ids are repeated")


def require_finite_tensors(data: "Tensors") -> None:
    """Require that no number is NaN or infinite.

    Raises:
        ValueError: If one is; the message names the tensor and counts.
    """
    import numpy as np

    for name, value in data.tensors.items():
        array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
        n_bad = int(array.size - np.isfinite(array).sum()) if array.dtype.kind == "f" else 0
        if n_bad:
            raise UserError(f"{name} holds {n_bad} of {array.size} values that are NaN or infinite")


def require_features(data: "Tensors") -> None:
    """Require one finite float32 matrix per layer, all with one row per stimulus.

    Raises:
        ValueError: If one of these does not hold.
    """
    require_finite_tensors(data)
    layers = list(data.meta["layers"])
    if sorted(layers) != sorted(data.tensors) or data.meta["final_layer"] not in layers:
        raise ValueError(
            f"layers {', '.join(sorted(data.tensors))} are not those of the header: {', '.join(layers)}"
        )
    for name, value in data.tensors.items():
        if value.ndim != 2 or value.shape[0] != data.meta["n_stimuli"] or "float32" not in str(value.dtype):
            raise ValueError(
                f"layer {name} has shape {tuple(value.shape)} and type {value.dtype}; "
                f"expected ({data.meta['n_stimuli']}, n_features) in float32"
            )


def require_similarity_matrix(data: "LabelledMatrix") -> None:
    """Require a finite value or a reason everywhere, exact symmetry, and the self-similarity that is known.

    Raises:
        ValueError: If one of these does not hold.
    """
    import numpy as np

    values, labels = data.values, data.labels
    for i, j in np.argwhere(~np.isfinite(values)):
        if not data.reasons.get((labels[i], labels[j])):
            raise ValueError(f"entry ({labels[i]}, {labels[j]}) is {values[i, j]} without a reason")
    if data.meta.get("symmetric", True) and not np.array_equal(values, values.T, equal_nan=True):
        raise ValueError("the matrix is not symmetric")
    expected = data.meta.get("self_value")
    if expected is not None:
        gap = np.abs(np.diagonal(values) - expected)
        if np.nanmax(gap, initial=0.0) > _DIAGONAL_TOLERANCE:
            worst = int(np.nanargmax(gap))
            raise ValueError(
                f"{labels[worst]} compared with itself gives {values[worst, worst]}, not {expected}"
            )


def _require_columns(data: "pa.Table", names: Sequence[str]) -> None:
    missing = [name for name in names if name not in data.column_names]
    if missing:
        raise UserError(f"columns are missing: {', '.join(missing)}")


def _shown(values: Any) -> str:
    return "; ".join(str(value) for value in values.head(_SHOWN).to_numpy().tolist())
