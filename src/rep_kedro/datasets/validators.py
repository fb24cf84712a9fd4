"""Contracts of artifacts: checked before anything is written, each broken one named in one line."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from rep_kedro.datasets.member import MemberHandle
from rep_kedro.datasets.plan import Planned, digest_of
from rep_kedro.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from rep_kedro.datasets.matrix import LabelledMatrix
    from rep_kedro.datasets.tensors import Tensors

_KINDS = ("text", "integer", "number", "fraction", "flag")
_DIAGONAL_TOLERANCE = 1e-6
_SHOWN = 3


class TableContract:
    """What a table must hold.

    Args:
        key: Columns that together are unique.
        columns: Kind of each required column: ``text``, ``integer``, ``number``, ``fraction`` (0 to 1) or
            ``flag``; with ``?`` behind it, values may be missing.
        may_be_empty: Whether a table without rows is allowed.
        explained: Numbers that may be missing only where the column ``reason`` says why; those that the table
            does not have are passed over.
    """

    def __init__(
        self,
        key: Sequence[str],
        columns: Mapping[str, str],
        *,
        may_be_empty: bool = False,
        explained: Sequence[str] = ("similarity", "pearson"),
    ) -> None:
        unknown = sorted({kind for kind in columns.values() if kind.rstrip("?") not in _KINDS})
        if unknown:
            raise ValueError(f"unknown kinds of column: {', '.join(unknown)}; known: {', '.join(_KINDS)}")
        self._terms = {
            "key": list(key),
            "columns": dict(columns),
            "may_be_empty": may_be_empty,
            "explained": sorted(explained),
        }
        self._key = list(key)
        self._columns = dict(columns)
        self._may_be_empty = may_be_empty
        self._explained = frozenset(explained)

    def validate(self, data: Any) -> Any:
        """Return a table unchanged, and a plan of one with the contract in it.

        The contract is part of a planned table's recipe, so that a kept table fulfils today's contract; that
        of a handle on a stored table was checked when the table was computed.

        Args:
            data: A DataFrame; or what is planned of one, which is checked when it is computed; or a handle.

        Raises:
            ValueError: If a column is missing or of another kind, a key is repeated, a value is out of range
                or missing without a reason, or the table is empty.
        """
        if isinstance(data, Planned):
            recipe = {**data.recipe, "contract": digest_of(self._terms)}
            return Planned(recipe, partial(self._checked, data))
        if not isinstance(data, MemberHandle):
            self._require(data)
        return data

    def _checked(self, planned: Planned) -> Any:
        table: Any = planned.value()
        try:
            self._require(table)
        except UserError as problem:
            raise UserError(f"it breaks its contract in the catalog: {problem}") from problem
        return table

    def _require(self, data: "pd.DataFrame") -> None:
        missing = [name for name in self._columns if name not in data.columns]
        if missing and not (self._may_be_empty and data.empty):
            raise UserError(f"columns are missing: {', '.join(missing)}")
        if data.empty:
            if self._may_be_empty:
                return
            raise UserError("the table has no rows")
        repeated = data[data.duplicated(self._key, keep=False)]
        if len(repeated):
            raise UserError(f"{len(repeated)} rows share a key, e.g. {_shown(repeated[self._key])}")
        for name, kind in self._columns.items():
            self._require_kind(data, name, kind)

    def _require_kind(self, data: "pd.DataFrame", name: str, kind: str) -> None:
        import pandas as pd

        column, base = data[name], kind.rstrip("?")
        absent = column.isna()
        if absent.any() and not kind.endswith("?"):
            raise UserError(f"column {name} has {int(absent.sum())} missing values")
        present = column[~absent]
        if base == "text":
            wrong = ~present.map(lambda value: isinstance(value, str))
        elif base == "flag":
            wrong = ~present.map(lambda value: isinstance(value, bool | _numpy_bool()))
        else:
            numbers = pd.to_numeric(present, errors="coerce")
            wrong = numbers.isna() | numbers.abs().eq(float("inf"))
            if base == "integer":
                wrong |= numbers % 1 != 0
            if base == "fraction":
                wrong |= ~numbers.between(0, 1)
        if wrong.any():
            raise UserError(
                f"column {name} is not {base} in {int(wrong.sum())} rows, e.g. {_shown(present[wrong])}"
            )
        if absent.any() and name in self._explained and "reason" in data.columns:
            silent = data[absent & (data["reason"] == "")]
            if len(silent):
                raise UserError(f"column {name} has {len(silent)} missing values without a reason")


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


def _numpy_bool() -> type:
    import numpy as np

    return np.bool_
