"""How similar a network can be to what networks share that differ in their seed alone."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rep_kedro.measures import Measure, get_measure

if TYPE_CHECKING:
    from pandas import DataFrame

    from rep_kedro.datasets import LabelledMatrix, MatrixHandle
else:
    DataFrame = LabelledMatrix = MatrixHandle = Any  # so that Kedro can read the hints

COLUMNS = (
    *("stimulus_set", "measure", "source", "architecture", "objective", "trained_on", "n_repeats"),
    *("ceiling_low", "ceiling_high", "others_mean", "others_largest", "reason"),
)
_SAME = ("source", "architecture", "objective", "trained_on")
_COSINES = ("pearson", "spearman", "cosine", "whitened_cosine")


def has_ceiling(measure: Measure) -> bool:
    """Tell whether a measure is the cosine of what it prepares for each network: CKA, and most of RSA."""
    parameters = measure.parameters
    match measure.family.value:
        case "gram matrices":
            return "transform" not in parameters
        case "dissimilarity matrices":
            return parameters["compare"] in _COSINES
    return False


def compute_noise_ceilings(
    similarity_matrices: Mapping[str, MatrixHandle], model_cards: DataFrame
) -> DataFrame:
    """Bound the similarity with what repeats share, and set similarities with other networks beside it.

    Repeats are networks of one source, architecture, objective and training set; there must be at least two.

    Args:
        similarity_matrices: Handles by ``<stimulus set>/<measure>``; measures that are no cosines are left
            out.
        model_cards: One row per network.

    Returns:
        Columns as in docs/architecture.md, section 3: one row per stimulus set, measure and group of repeats.
        ``others_mean`` and ``others_largest`` are over similarities of the repeats with all other networks.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for key, handle in sorted(similarity_matrices.items()):
        stimulus_set, _, measure_id = key.partition("/")
        if has_ceiling(get_measure(measure_id)):
            for row in _rows_of(handle.matrix(), model_cards):
                rows.append({"stimulus_set": stimulus_set, "measure": measure_id, **row})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rows_of(matrix: LabelledMatrix, cards: DataFrame) -> Iterator[dict[str, Any]]:
    import numpy as np
    import torch

    from rep_kedro.kernels.noise_ceiling import estimate_noise_ceiling

    own = cards.set_index("model").loc[list(matrix.labels)].reset_index()
    repeats = [
        (kind, indices)
        for kind, indices in own.groupby(list(_SAME), sort=True, dropna=False).indices.items()
        if len(indices) > 1
    ]
    if not repeats:
        return
    members = np.zeros((len(repeats), len(own)), dtype=bool)
    for group, (_, indices) in enumerate(repeats):
        members[group, indices] = True
    found = estimate_noise_ceiling(torch.from_numpy(matrix.values.copy()), torch.from_numpy(members))
    for group, (_, indices) in enumerate(repeats):
        facts = own.loc[indices[0], list(_SAME)]
        others = matrix.values[np.ix_(members[group], ~members[group])]
        others = others[np.isfinite(others)]
        low, high = float(found.lower[group]), float(found.upper[group])
        yield {
            **{
                name: None if facts[name] is None or facts[name] != facts[name] else str(facts[name])
                for name in _SAME
            },
            "n_repeats": len(indices),
            "ceiling_low": low,
            "ceiling_high": high,
            "others_mean": float(others.mean()) if others.size else np.nan,
            "others_largest": float(others.max()) if others.size else np.nan,
            "reason": "a similarity between the repeats is undefined" if np.isnan(low) else "",
        }
