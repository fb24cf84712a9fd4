"""Matrices of dissimilarities that were made elsewhere, among the networks that are compared."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.similarity.params import SimilarityParams
from rep_kedro.analyses.similarity.selection import Selection
from rep_kedro.datasets import MemberKey
from rep_kedro.errors import UserError
from rep_kedro.features import RowFinder
from rep_kedro.features.rows import Rows

if TYPE_CHECKING:
    from torch import Tensor

    from rep_kedro.datasets import ArrowHandle, TensorsHandle
else:
    ArrowHandle = Tensor = TensorsHandle = Any  # so that Kedro can read the hints

NO_RDMS: Mapping[str, TensorsHandle] = MappingProxyType({})


@dataclass(frozen=True)
class GivenRdm:
    """A matrix of dissimilarities, as it is seen.

    Attributes:
        handle: Of the stored matrix.
        rows: Which of its stimuli are seen, in which order; None for all.
    """

    handle: TensorsHandle
    rows: Rows | None

    @property
    def reference(self) -> dict[str, Any]:
        """Key and digest, and the stimuli that are seen if not all, for recipes."""
        own: dict[str, Any] = dict(self.handle.reference)
        return own if self.rows is None else {**own, "rows": self.rows.subset.reference}

    def load(self) -> Tensor:
        """Read it, shape (n_stimuli, n_stimuli), float64."""
        import numpy as np
        import torch

        [name] = self.handle.names
        stored = self.handle.tensor(name)
        seen = stored if self.rows is None else stored[np.ix_(self.rows.indices, self.rows.indices)]
        return torch.from_numpy(np.array(seen, dtype=np.float64))


def choose_rdms(
    dissimilarities: Mapping[str, TensorsHandle], params: SimilarityParams
) -> tuple[dict[str, TensorsHandle], SimilarityParams]:
    """Return the matrices that are wanted, by key, and the parameters with the names of networks alone."""
    names = {MemberKey.parse(key).name for key in dissimilarities}
    if isinstance(params.models, str):
        return dict(dissimilarities), params
    wanted = {
        key: handle for key, handle in dissimilarities.items() if MemberKey.parse(key).name in params.models
    }
    return wanted, params.model_copy(update={"models": [name for name in params.models if name not in names]})


def select_rdms(
    dissimilarities: Mapping[str, TensorsHandle],
    selection: Selection,
    params: SimilarityParams,
    stimulus_subsets: Mapping[str, ArrowHandle],
) -> dict[str, GivenRdm]:
    """Return the matrices that are compared with the networks of one stimulus set, by name.

    Raises:
        UserError: If one is of other stimuli than the networks saw.
    """
    finder, found = RowFinder(stimulus_subsets), dict[str, GivenRdm]()
    seen = next(iter(selection.sources.values())).meta["stimulus_ids_sha256"]
    for key in sorted(dissimilarities):
        stimulus_set, name = MemberKey.parse(key)
        if stimulus_set != selection.stimulus_set:
            continue
        handle, rows = dissimilarities[key], None
        if params.subset is not None:
            rows = finder.find(handle, stimulus_subsets[str(MemberKey(stimulus_set, params.subset))])
        if (handle.meta["stimulus_ids_sha256"] if rows is None else rows.ids_sha256) != seen:
            raise UserError(
                f"dissimilarities {key} are of other stimuli than the networks saw, or in another order;"
                " run the features pipeline"
            )
        found[name] = GivenRdm(handle, rows)
    return found
