"""One labelled matrix for each measure of outputs, from the outputs of all networks that have any."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.similarity.comparison import compare_networks
from rep_kedro.measures.measure import Measure

if TYPE_CHECKING:
    from torch import Tensor

    from rep_kedro.datasets import LabelledMatrix
else:
    LabelledMatrix = Tensor = Any  # so that Kedro can read the hints


def compare_outputs(
    outputs: Mapping[str, Tensor],
    labels: tuple[str, ...],
    layer: str,
    measures: Sequence[Measure],
    *,
    memory_bytes: int,
    device: str,
) -> Iterator[tuple[str, LabelledMatrix]]:
    """Compare outputs among networks with the same number of classes; all other pairs get a reason.

    Args:
        outputs: Logits by network, shape (n_stimuli, n_classes_i), of those that have any.
        labels: All networks, in the order of rows and columns.
        layer: Where outputs were looked for, for the reasons.
        measures: Of outputs.
        memory_bytes: Working memory; changes speed, not the result.
        device: Where to compute.

    Yields:
        Measure id and matrix.
    """
    import numpy as np

    from rep_kedro.datasets import LabelledMatrix

    widths = {model: x.shape[1] for model, x in outputs.items()}
    missing = _explain_missing(labels, widths, layer)
    by_measure: dict[str, list[LabelledMatrix]] = {measure.id: [] for measure in measures}
    for width in sorted(set(widths.values())):
        group = {model: x for model, x in outputs.items() if widths[model] == width}
        for measure_id, matrix in compare_networks(group, measures, memory_bytes=memory_bytes, device=device):
            by_measure[measure_id].append(matrix)
    for measure_id, parts in by_measure.items():
        values, reasons = np.full((len(labels), len(labels)), np.nan), dict(missing)
        for part in parts:
            places = [labels.index(model) for model in part.labels]
            values[np.ix_(places, places)] = part.values
            reasons |= part.reasons
        meta = {**parts[0].meta, "n_features": [widths.get(model) for model in labels]}
        yield measure_id, LabelledMatrix(values, labels, reasons, meta)


def _explain_missing(
    labels: Sequence[str], widths: Mapping[str, int], layer: str
) -> dict[tuple[str, str], str]:
    """Say for each pair that cannot be compared why."""
    reasons = {}
    for a in labels:
        for b in labels:
            without = sorted({model for model in (a, b) if model not in widths})
            if without:
                reasons[a, b] = f"no outputs of {' and '.join(without)}: layer {layer!r} is not stored"
            elif widths[a] != widths[b]:
                few, many = sorted((widths[a], widths[b]))
                reasons[a, b] = f"outputs for {few} and for {many} classes cannot be compared"
    return reasons
