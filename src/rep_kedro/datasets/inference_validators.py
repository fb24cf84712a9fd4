"""Contracts of what inference stores: nulls with intervals, and curves over the number of stimuli."""

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from rep_kedro.schemas.similarity import SIMILARITY_INFERENCE

if TYPE_CHECKING:
    from rep_kedro.datasets.tensors import Tensors

_CHECK = "kedro verify checks the features that it is made of"
# a rounding error above 1 is allowed where float32 features are compared; debiased values have no lower bound
_MOST = 1 + 1e-5
_VALUES = ("similarity", "null_mean", "threshold", "similarity_low", "similarity_high")
_COLUMNS = {column.name: (column.low, column.high) for column in SIMILARITY_INFERENCE.columns}
_NULL_RANGES = {
    **{name: _COLUMNS[name] for name in (*_VALUES, "standard_error", "p_value", "calibrated")},
    "p_maximum": _COLUMNS["p_adjusted"],
}


def require_similarity_null(data: "Tensors") -> None:
    """Require square matrices with the numbers that chance and resamples leave of similarities or distances.

    Similarities, and what is on their scale, are at most ``largest_value`` of the meta: 1 where it says
    nothing, null for a distance without bound.
    NaN is a value here (an undefined similarity, the diagonal, a measure without intervals), infinity never.

    Raises:
        ValueError: If a matrix is missing, of another shape, not symmetric, infinite or out of range, a
            probability goes without its similarity, ends of an interval are swapped, or names are repeated.
    """
    import numpy as np

    n_models = _require_labels(data)
    found = {name: _matrix_of(data, name, (n_models, n_models)) for name in _NULL_RANGES}
    largest = data.meta.get("largest_value", 1.0)
    most = float("inf") if largest is None else float(largest) * _MOST
    for name, (low, usual) in _NULL_RANGES.items():
        high = most if name in _VALUES else usual
        values = found[name]
        if not np.array_equal(values, values.T, equal_nan=True):
            raise ValueError(f"matrix {name} is not symmetric; {_CHECK}")
        _require_range(name, values, low, high)
        stray = np.isfinite(values) & ~np.isfinite(found["similarity"])
        if stray.any():
            raise ValueError(f"{name} is a number in {int(stray.sum())} pairs without similarity; {_CHECK}")
    swapped = found["similarity_low"] > found["similarity_high"]
    if swapped.any():
        raise ValueError(f"{int(swapped.sum())} intervals end below their start; {_CHECK}")


def require_sample_size_curve(data: "Tensors") -> None:
    """Require similarities by order, size and pair of networks, at most 1 or NaN, and rising sizes.

    Raises:
        ValueError: If one of these does not hold, or names are repeated.
    """
    n_models, sizes = _require_labels(data), list(data.meta["sizes"])
    if not sizes or sizes[0] < 1 or any(a >= b for a, b in pairwise(sizes)):
        raise ValueError(f"numbers of stimuli must be positive and rise, got {sizes}; {_CHECK}")
    n_pairs = n_models * (n_models - 1) // 2
    values = _matrix_of(data, "similarity", (None, len(sizes), n_pairs))
    _require_range("similarity", values, -float("inf"), _MOST)


def _require_labels(data: "Tensors") -> int:
    labels = list(data.meta["labels"])
    repeated = sorted({str(label) for label in labels if labels.count(label) > 1})
    if repeated or not labels:
        raise ValueError(f"networks are named twice: {repeated}" if repeated else "no network is named")
    return len(labels)


def _matrix_of(data: "Tensors", name: str, shape: tuple[int | None, ...]) -> Any:
    """Return a float64 array of the member; None in a shape means any positive length."""
    import numpy as np

    if name not in data.tensors:
        raise ValueError(f"{name} is missing; there are: {', '.join(sorted(data.tensors))}")
    value = data.tensors[name]
    values = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    fits = len(values.shape) == len(shape) and all(
        found == wanted if wanted is not None else found > 0
        for found, wanted in zip(values.shape, shape, strict=True)
    )
    if not fits or values.dtype != np.float64:
        wanted = ", ".join("any" if length is None else str(length) for length in shape)
        raise ValueError(
            f"{name} has shape {values.shape} and type {values.dtype}; expected ({wanted}) in float64"
        )
    return values


def _require_range(name: str, values: Any, low: float, high: float) -> None:
    import numpy as np

    wrong = np.isinf(values) | (values < low) | (values > high)  # NaN is none of these
    if wrong.any():
        raise ValueError(
            f"{name} has {int(wrong.sum())} values outside [{low:g}, {high:g}], e.g. {values[wrong][0]:g}; "
            f"{_CHECK}"
        )
