"""One labelled matrix for each measure, from the features of all networks on one stimulus set."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from rep_kedro.measures.flat_stimuli import compare_without_flat
from rep_kedro.measures.given import compare_with_rdms
from rep_kedro.measures.measure import Measure
from rep_kedro.measures.named import Reasons

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from rep_kedro.datasets import LabelledMatrix
else:
    LabelledMatrix = Tensor = Any  # so that Kedro can read the hints

NO_RDMS: Mapping[str, Tensor] = MappingProxyType({})
Numbers: TypeAlias = "np.ndarray[Any, Any]"
_log = logging.getLogger(__name__)


def compare_networks(
    representations: Mapping[str, Tensor],
    measures: Iterable[Measure],
    *,
    memory_bytes: int,
    device: str,
    rdms: Mapping[str, Tensor] = NO_RDMS,
    leave_out_flat: bool = False,
) -> Iterator[tuple[str, LabelledMatrix]]:
    """Compare all networks, and matrices of dissimilarities made elsewhere, under all measures.

    Args:
        representations: By network, shape (n_stimuli, n_features_i), row s for the same stimulus in all.
        measures: From the registry.
        memory_bytes: Working memory; changes speed, not the result.
        device: Where to compute.
        rdms: By name, shape (n_stimuli, n_stimuli), of the same stimuli; none where flat ones are left out.
        leave_out_flat: Compare two networks without the stimuli that are flat for one of them.

    Yields:
        Measure id and matrix; its meta says how many stimuli and features, whether it is symmetric, and what
        a network compared with itself must give (``self_value``), where that is known; and ``n_left_out``,
        how many flat stimuli each comparison leaves out, where any does. Reasons name networks.

    Raises:
        ValueError: If features cannot be compared; networks are called by their names.
    """
    if leave_out_flat:
        for found in compare_without_flat(
            representations, measures, memory_bytes=memory_bytes, device=device
        ):
            matrix = _label(representations, {}, found.measure, found.values, found.reasons)
            if found.n_left_out.any():
                matrix.meta["n_left_out"] = found.n_left_out.tolist()
                _log.info(
                    "%s leaves out up to %d stimuli that are flat for one of two networks",
                    found.measure.id,
                    found.n_left_out.max(),
                )
            yield found.measure.id, matrix
        return
    for measure, values, reasons in compare_with_rdms(
        representations, rdms, list(measures), memory_bytes=memory_bytes, device=device
    ):
        yield measure.id, _label(representations, rdms, measure, values, reasons)


def _label(
    representations: Mapping[str, Tensor],
    rdms: Mapping[str, Tensor],
    measure: Measure,
    values: Numbers,
    reasons: Reasons,
) -> LabelledMatrix:
    """Return a matrix with rows and columns by name; dissimilarities are sorted in among the networks."""
    from rep_kedro.datasets import LabelledMatrix

    labels = (*representations, *rdms)
    order = sorted(range(len(labels)), key=labels.__getitem__) if rdms else list(range(len(labels)))
    widths = [*(x.shape[1] for x in representations.values()), *(None for _ in rdms)]
    meta: dict[str, Any] = {
        "measure": measure.recipe(),
        "n_stimuli": len(next(iter(representations.values()))),
        "n_features": [widths[place] for place in order],
        "symmetric": measure.symmetric,
    }
    if measure.self_value is not None:
        meta["self_value"] = measure.self_value
    names = tuple(labels[place] for place in order)
    return LabelledMatrix(values[order][:, order], names, reasons, meta)
