"""One labelled matrix for each measure, from the features of all chosen layers on one stimulus set."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.layer_similarity.layers import LayerOf, describe_layers
from rep_kedro.analyses.similarity.comparison import compare_networks
from rep_kedro.measures.measure import Measure

if TYPE_CHECKING:
    from torch import Tensor

    from rep_kedro.datasets import LabelledMatrix
else:
    LabelledMatrix = Tensor = Any  # so that Kedro can read the hints

NOT_BETWEEN = "not compared: layer_similarity.compare is within"
NOT_WITHIN = "not compared: layer_similarity.compare is between"


def compare_layers(
    representations: Mapping[str, Tensor],
    layers: Sequence[LayerOf],
    measures: Iterable[Measure],
    *,
    compare: str,
    memory_bytes: int,
    device: str,
) -> Iterator[tuple[str, LabelledMatrix]]:
    """Compare all layers under all measures; every layer is prepared once.

    Args:
        representations: By label, shape (n_stimuli, n_features_i), row s for the same stimulus in all.
        layers: What the labels are, in their order.
        measures: From the registry.
        compare: ``within`` compares the layers of each network, ``between`` those of different networks,
            ``both`` all with all.
        memory_bytes: Working memory; changes speed, not the result.
        device: Where to compute.

    Yields:
        Measure id and matrix over all layers; what is not compared is NaN with the reason. Its meta is that
        of ``compare_networks``, with ``compare`` and the network, name and depth of each layer.
    """
    if compare == "within":
        yield from _within(representations, layers, measures, memory_bytes=memory_bytes, device=device)
        return
    for measure_id, matrix in compare_networks(
        representations, measures, memory_bytes=memory_bytes, device=device
    ):
        yield measure_id, _finished(matrix, layers, compare)


def _within(
    representations: Mapping[str, Tensor],
    layers: Sequence[LayerOf],
    measures: Iterable[Measure],
    *,
    memory_bytes: int,
    device: str,
) -> Iterator[tuple[str, LabelledMatrix]]:
    """Compare the layers of one network after the other: no pair is computed that is not asked for."""
    import numpy as np

    from rep_kedro.datasets import LabelledMatrix

    chosen, blocks = list(measures), dict[str, list[LabelledMatrix]]()
    for model in dict.fromkeys(each.model for each in layers):
        own = {each.label: representations[each.label] for each in layers if each.model == model}
        for measure_id, block in compare_networks(own, chosen, memory_bytes=memory_bytes, device=device):
            blocks.setdefault(measure_id, []).append(block)
    for measure_id, found in blocks.items():
        values = np.full((len(layers), len(layers)), np.nan)
        start, reasons, widths = 0, dict[tuple[str, str], str](), list[int]()
        for block in found:
            stop = start + len(block.labels)
            values[start:stop, start:stop] = block.values
            reasons |= block.reasons
            widths += block.meta["n_features"]
            start = stop
        meta = {**found[0].meta, "n_features": widths}
        labels = tuple(each.label for each in layers)
        yield measure_id, _finished(LabelledMatrix(values, labels, reasons, meta), layers, "within")


def _finished(matrix: LabelledMatrix, layers: Sequence[LayerOf], compare: str) -> LabelledMatrix:
    """Return a matrix that says what its layers are, with a reason for every pair that is not compared."""
    import numpy as np

    from rep_kedro.datasets import LabelledMatrix

    values, reasons = matrix.values.copy(), dict(matrix.reasons)
    models = np.array([each.model for each in layers])
    same = models[:, None] == models
    if compare != "both":
        hidden, why = (same, NOT_WITHIN) if compare == "between" else (~same, NOT_BETWEEN)
        values[hidden] = np.nan
        labels = matrix.labels
        reasons |= {(labels[i], labels[j]): why for i, j in np.argwhere(hidden)}
    meta = {**matrix.meta, "compare": compare, **describe_layers(layers)}
    return LabelledMatrix(values, matrix.labels, reasons, meta)
