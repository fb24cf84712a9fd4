"""One labelled matrix for each measure, from the features of all networks on one stimulus set."""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rep_kedro.measures.given import compare_with_rdms
from rep_kedro.measures.measure import Measure

if TYPE_CHECKING:
    from torch import Tensor

    from rep_kedro.datasets import LabelledMatrix
else:
    LabelledMatrix = Tensor = Any  # so that Kedro can read the hints

NO_RDMS: Mapping[str, Tensor] = MappingProxyType({})


def compare_networks(
    representations: Mapping[str, Tensor],
    measures: Iterable[Measure],
    *,
    memory_bytes: int,
    device: str,
    rdms: Mapping[str, Tensor] = NO_RDMS,
) -> Iterator[tuple[str, LabelledMatrix]]:
    """Compare all networks, and matrices of dissimilarities made elsewhere, under all measures.

    Args:
        representations: By network, shape (n_stimuli, n_features_i), row s for the same stimulus in all.
        measures: From the registry.
        memory_bytes: Working memory; changes speed, not the result.
        device: Where to compute.
        rdms: By name, shape (n_stimuli, n_stimuli), of the same stimuli.

    Yields:
        Measure id and matrix; its meta says how many stimuli and features, whether it is symmetric, and what
        a network compared with itself must give (``self_value``), where that is known. Reasons call networks
        by their names.

    Raises:
        ValueError: If features cannot be compared; networks are called by their names.
    """
    from rep_kedro.datasets import LabelledMatrix

    labels = (*representations, *rdms)
    order = sorted(range(len(labels)), key=labels.__getitem__) if rdms else list(range(len(labels)))
    widths = [*(x.shape[1] for x in representations.values()), *(None for _ in rdms)]
    for measure, values, reasons in compare_with_rdms(
        representations, rdms, list(measures), memory_bytes=memory_bytes, device=device
    ):
        meta: dict[str, Any] = {
            "measure": measure.recipe(),
            "n_stimuli": len(next(iter(representations.values()))),
            "n_features": [widths[place] for place in order],
            "symmetric": measure.symmetric,
        }
        if measure.self_value is not None:
            meta["self_value"] = measure.self_value
        names = tuple(labels[place] for place in order)
        yield measure.id, LabelledMatrix(values[order][:, order], names, reasons, meta)
