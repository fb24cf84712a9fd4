"""Networks as configured, before anything runs: do layers fit together, and files of weights fit them?"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rep_kedro.pipelines.features.params import FeaturesParams
    from rep_kedro.pipelines.training.params import TrainingParams

_SOME_CLASSES = 10


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


def find_unsound_architectures(training: "TrainingParams") -> Iterator[tuple[str, str]]:
    """Yield the name of each architecture to train whose layers do not fit together, and why."""
    import torch

    from rep_kedro.models.network import build_network

    for name in dict.fromkeys(name for grid in training.grids for name in grid.architectures):
        try:
            with torch.device("meta"):
                build_network(name, n_classes=_SOME_CLASSES, seed=0)
        except ValueError as problem:
            yield name, str(problem)
