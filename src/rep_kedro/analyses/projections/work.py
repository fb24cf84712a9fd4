"""The projections of one network on one stimulus set."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rep_kedro.analyses.projections.directions import choose_layers, find_directions
from rep_kedro.analyses.projections.evaluation import Evaluation
from rep_kedro.analyses.projections.params import ProjectionParams
from rep_kedro.analyses.stitching.splits import Split, read_splits
from rep_kedro.datasets import Tensors
from rep_kedro.errors import UserError, contained
from rep_kedro.features.images import make_pixels
from rep_kedro.models.reading import steady
from rep_kedro.models.sources.loaded import LoadedModel
from rep_kedro.stimuli.label_columns import find_labels

if TYPE_CHECKING:
    from rep_kedro.datasets import ArrowHandle


def project_network(
    load: Callable[[], LoadedModel],
    stimulus_set: "ArrowHandle",
    subset: "ArrowHandle | None",
    params: ProjectionParams,
    labels: str | None = None,
) -> Tensors:
    """Return what a network can do when its layers are projected.

    Args:
        load: Gives the network.
        stimulus_set: With images and labels.
        subset: Whose stimuli are used; all of the set if None.
        params: What is projected.
        labels: Label column that the network predicts; None for the set's own.

    Returns:
        Per layer `<layer>/eigenvalues`, float64, descending; meta: `layers`, `rows`, `original`, `n_fit`,
        `centred`.

    Raises:
        UserError: If the splits lack stimuli or labels, a layer is unknown, the network has no head of the
            set's classes, or one stimulus exceeds `memory_bytes`.
    """
    splits = read_splits(stimulus_set, subset, params, "a projection", labels)
    with contained(), steady(None):
        model = load()
        model.module.to(params.device)
        example = next(_read(splits["test"], model, 1, params.device))[0]
        layers, n_bytes = choose_layers(model, example, params)
        n_together = min(params.batch_size, params.memory_bytes // n_bytes)
        if n_together < 1:
            raise UserError(
                f"what the layers give for one stimulus takes {n_bytes:,} bytes, and projections.memory_bytes"
                f" is {params.memory_bytes:,}; raise it"
            )
        fitted_on = (images for images, _ in _read(splits["train"], model, n_together, params.device))
        directions = find_directions(model, layers, fitted_on, params)
        _, class_names = find_labels(stimulus_set.meta, labels, stimulus_set.key)
        evaluation = Evaluation(model, directions, len(class_names or ()), params)
        for images, classes in _read(splits["test"], model, n_together, params.device):
            evaluation.add(images, classes)
    return Tensors(
        {f"{layer}/eigenvalues": found.eigenvalues for layer, found in directions.items()},
        {
            "layers": list(directions),
            "centred": params.centred,
            "n_fit": len(splits["train"].labels),
            "original": evaluation.original(),
            "rows": evaluation.rows(),
        },
    )


def _read(split: Split, model: LoadedModel, batch_size: int, device: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield stimuli as the network takes them, and their labels."""
    for start in range(0, len(split.labels), batch_size):
        rows = slice(start, start + batch_size)
        encoded = split.images.slice(start, batch_size).to_pylist()
        pixels = make_pixels(encoded, model.preprocessing, names=split.names[rows], limits=split.limits)
        images = model.preprocessing.scale(torch.from_numpy(pixels).to(device))
        yield images, split.labels[rows].to(device)
