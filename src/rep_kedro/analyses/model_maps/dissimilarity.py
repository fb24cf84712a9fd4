"""Dissimilarities of networks from the values of any measure, and their mean over stimulus sets.

Direction and range of a measure decide what is done; they are read from the registry, never guessed from
numbers. Networks with undefined values are left out by name, as few as possible.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rep_kedro.errors import UserError
from rep_kedro.measures import Measure

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

    from rep_kedro.datasets import LabelledMatrix

    Numbers = NDArray[float64]
else:
    LabelledMatrix = Numbers = Any

ROUNDING = 1e-6  # a similarity may exceed its largest value by so much
SAME = 1e-9  # networks that are less apart are the same but for rounding


@dataclass(frozen=True)
class Closeness:
    """Networks with all values between them defined.

    Attributes:
        models: Their names, sorted.
        values: Values of the measure, both directions averaged, shape (n_models, n_models).
        dissimilarities: The same shape, 0 or more; 0 on the diagonal.
        left_out: Why, by name of each network that is left out.
    """

    models: tuple[str, ...]
    values: Numbers
    dissimilarities: Numbers
    left_out: Mapping[str, str]


def average_matrices(matrices: Mapping[str, LabelledMatrix]) -> LabelledMatrix:
    """Return the mean over stimulus sets; undefined where one lacks the value or the network."""
    import numpy as np

    from rep_kedro.datasets import LabelledMatrix

    models = tuple(sorted({model for matrix in matrices.values() for model in matrix.labels}))
    total = np.zeros((len(models), len(models)))
    reasons: dict[tuple[str, str], str] = {}
    for stimulus_set, matrix in matrices.items():
        own = {model: index for index, model in enumerate(matrix.labels)}
        for row, a in enumerate(models):
            for column, b in enumerate(models):
                absent = next((model for model in (a, b) if model not in own), None)
                value = np.nan if absent else matrix.values[own[a], own[b]]
                total[row, column] += value
                if np.isnan(value):
                    why = f"{absent} is missing" if absent else _reason_of(matrix, a, b)
                    reasons.setdefault((a, b), f"on {stimulus_set}: {why or 'undefined'}")
    return LabelledMatrix(total / len(matrices), models, reasons, {})


def measure_closeness(matrix: LabelledMatrix, measure: Measure) -> Closeness:
    """Return dissimilarities of all networks whose values are defined.

    A distance is its own dissimilarity. Of a similarity with a largest value it is that value minus the
    similarity (1 - s). Of one without, it is the mean of the two similarities with themselves minus the
    similarity. Directed measures count by the mean of both directions, the diagonal as 0. A network that is
    undefined with itself alone, or more similar to another than the measure allows, counts as undefined.

    Returns:
        Networks in alphabetical order.
    """
    import numpy as np

    order = np.argsort(np.array(matrix.labels, dtype=object))
    labels = [matrix.labels[index] for index in order]
    values = matrix.values[np.ix_(order, order)]
    values = (values + values.T) / 2
    apart = _subtract(values, measure)
    np.fill_diagonal(apart, 0.0)
    kept, left_out = _leave_out(labels, apart, matrix, measure)
    chosen = np.ix_(kept, kept)
    return Closeness(
        tuple(labels[index] for index in kept), values[chosen], np.maximum(apart[chosen], 0.0), left_out
    )


def compute_affinities(closeness: Closeness, measure: Measure, kind: str) -> Numbers:
    """Return how strongly networks belong together, for spectral clustering.

    Of a similarity with a largest value its ``absolute`` value or ``positive`` part; of a distance with a
    largest value how much is missing to it, as a share. Otherwise a Gaussian of the dissimilarity, as wide as
    the median dissimilarity of two networks.

    Args:
        closeness: Values of one measure.
        measure: That measure.
        kind: ``absolute`` or ``positive``.

    Returns:
        Shape (n_models, n_models), symmetric, 0 or more.

    Raises:
        ValueError: If the Gaussian has no width: more than half of the networks' pairs are equal.
    """
    import numpy as np

    values, apart = closeness.values, closeness.dissimilarities
    if np.isfinite(measure.value_range[1]):
        if not measure.larger_is_more_similar:
            return np.asarray(np.maximum(1.0 - apart / measure.value_range[1], 0.0))
        return np.abs(values) if kind == "absolute" else np.maximum(values, 0.0)
    width = float(np.median(apart[np.triu_indices(len(apart), 1)])) if len(apart) > 1 else 1.0
    if width == 0:
        raise UserError("most pairs of networks do not differ, so the width of affinities is undefined")
    return np.asarray(np.exp(-((apart / width) ** 2) / 2))


def _subtract(values: Numbers, measure: Measure) -> Numbers:
    """Return dissimilarities; NaN where they would be negative by more than rounding."""
    import numpy as np

    low, high = measure.value_range
    if not measure.larger_is_more_similar:
        apart = values - (low if np.isfinite(low) else 0.0)
    elif np.isfinite(high):
        apart = high - values
        apart[np.abs(apart) < SAME * high] = 0.0
    else:
        selves = np.diagonal(values)
        apart = (selves[:, None] + selves) / 2 - values
    return np.asarray(np.where(apart < -ROUNDING, np.nan, apart))


def _leave_out(
    labels: Sequence[str], apart: Numbers, matrix: LabelledMatrix, measure: Measure
) -> tuple[list[int], dict[str, str]]:
    """Drop the network with the most undefined values, of equals the last by name, until all are defined."""
    import numpy as np

    undefined = np.isnan(apart)
    kept, left_out = list(range(len(labels))), {}
    while undefined[np.ix_(kept, kept)].any():
        counts = undefined[np.ix_(kept, kept)].sum(1)
        worst = kept[len(kept) - 1 - int(counts[::-1].argmax())]
        other = next(index for index in kept if undefined[worst, index])
        why = _reason_of(matrix, labels[worst], labels[other])
        left_out[labels[worst]] = (
            f"undefined with {int(counts.max())} of {len(kept) - 1} networks, e.g. {labels[other]}: "
            f"{why or f'outside the range of {measure.id}'}"
        )
        kept.remove(worst)
    return kept, left_out


def _reason_of(matrix: LabelledMatrix, a: str, b: str) -> str:
    """Return why a value is undefined, in either direction; an empty text where nobody says."""
    return matrix.reasons.get((a, b)) or matrix.reasons.get((b, a)) or ""
