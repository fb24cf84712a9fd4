"""Files of weights, held against their networks before anything runs: names, shapes and types, no number."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rep_kedro.pipelines.features.params import FeaturesParams


def find_unfit_files(features: "FeaturesParams") -> Iterator[tuple[str, str]]:
    """Yield the name of each network whose file of weights is missing or does not fit, and why.

    Files that would have to be fetched first are left to the run.
    """
    from rep_kedro.models.sources.specs import CheckpointModel, WeightsFileModel

    for name, entry in features.entries().items():
        if isinstance(entry, CheckpointModel | WeightsFileModel):
            from rep_kedro.models.outline import build_on_meta
            from rep_kedro.models.sources.zoo import require_fitting_weights

            try:
                require_fitting_weights(entry, build_on_meta(entry))
            except ValueError as problem:
                yield name, str(problem)
