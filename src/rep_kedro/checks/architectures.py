"""Architectures to be trained, before anything runs: do their layers fit together?"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rep_kedro.pipelines.training.params import TrainingParams

_SOME_CLASSES = 10


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
