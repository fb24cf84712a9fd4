"""What the features of a final layer say without labels, and how views of one image differ there.

Values are stored with the spectra; `label_free.py` makes rows of them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from rep_kedro.analyses.diagnostics.params import LabelFreeParams
from rep_kedro.kernels.layers.directions import (
    UNIFORMITY_SCALE,
    measure_coherence,
    measure_self_cluster,
    measure_uniformity,
)
from rep_kedro.kernels.layers.learnability import measure_cluster_learnability
from rep_kedro.kernels.layers.measured import Measured, undefined
from rep_kedro.kernels.layers.tree_dimension import measure_tree_dimension
from rep_kedro.kernels.layers.view_scatter import LIDAR_EPSILON, ViewScatter
from rep_kedro.kernels.similarity.centred import choose_evenly

if TYPE_CHECKING:
    from rep_kedro.datasets import ArrowHandle, TensorsHandle
    from rep_kedro.training.objectives.views import Views

FLOAT32_PRECISION = 2.0**-23  # of stored features
IMAGES_PER_DRAW = 32  # views are drawn for so many images together, whatever the batch size;
BYTES_PER_DRAW = 2**28  # for fewer where their views would take more
MOST_FEATURES = 8192  # of scatter matrices, 512 MB each
NOT_TRAINED_HERE = "views are drawn for networks trained here only"
NO_IMAGES = "diagnostics.label_free.n_images is 0"
NO_VIEWS = "the network was trained without views; diagnostics.label_free.views can give some"

Found = dict[str, dict[str, Any]]


def measure_features(rows: torch.Tensor, params: LabelFreeParams) -> Found:
    """Measure the features of a final layer.

    Args:
        rows: Shape (n_stimuli, n_features).
        params: Settings.

    Returns:
        By measure, `value` (null where undefined), `settings` and `reason`, as plain JSON.
    """
    few = rows[choose_evenly(len(rows), params.n_stimuli)].double()
    coherence, rank = measure_coherence(rows, precision=FLOAT32_PRECISION)
    learnability = measure_cluster_learnability(
        few, n_clusters=params.n_clusters, n_neighbours=params.n_neighbours, generator=_generator(params)
    )
    clusters = {"n_clusters": params.n_clusters, "n_neighbours": params.n_neighbours}
    tree, sizes = measure_tree_dimension(few, n_draws=params.n_draws, generator=_generator(params))
    return {
        "coherence": _describe(coherence, rank=rank),
        "self_cluster": _describe(measure_self_cluster(rows)),
        "uniformity": _describe(measure_uniformity(rows), t=UNIFORMITY_SCALE),
        "cluster_learnability": _describe(learnability, **clusters, n_stimuli=len(few), seed=params.seed),
        "idest": _describe(tree, sizes=list(sizes), n_draws=params.n_draws, seed=params.seed),
    }


def measure_views(scatter: ViewScatter | str, params: LabelFreeParams, *, of: str = "") -> Found:
    """Measure how views of one image differ in a final layer.

    Args:
        scatter: Of its features; or why there is none.
        params: Settings.
        of: Whose views they are, `training` or `parameters`.

    Returns:
        As :func:`measure_features`.
    """
    if isinstance(scatter, str):
        return {name: _describe(undefined(scatter)) for name in ("lidar", "alignment")}
    drawn = {"n_images": scatter.n_images, "n_views": scatter.n_views, "views": of, "seed": params.seed}
    lidar = scatter.lidar(delta=params.lidar_delta)
    return {
        "lidar": _describe(lidar, **drawn, delta=params.lidar_delta, epsilon=LIDAR_EPSILON),
        "alignment": _describe(scatter.alignment(), **drawn),
    }


def views_of(network: "TensorsHandle", params: LabelFreeParams) -> tuple[list["Views"], str] | str:
    """Return the views to draw of images for a network, in turn, and whose they are; or why there are none.

    Args:
        network: Trained here; its recipe has the views that it was trained on.
        params: Views of networks without any.
    """
    from rep_kedro.training.objectives.views import Views

    if not params.n_images:
        return NO_IMAGES
    objective: Mapping[str, Any] = network.recipe.get("objective", {})
    own = objective.get("views", {})
    changes = [own, own | (objective.get("second_view") or {})]
    found = [Views.model_validate(views) for views in changes]
    if any(views != Views() for views in found):
        return found, "training"
    return NO_VIEWS if params.views is None else ([Views.model_validate(params.views)], "parameters")


def scatter_views(
    images: Iterator[torch.Tensor],
    views: Sequence["Views"],
    read: Callable[[torch.Tensor], Mapping[str, torch.Tensor]],
    params: LabelFreeParams,
) -> dict[str, ViewScatter | str]:
    """Return the scatter of views in each layer, or why there is none.

    Args:
        images: Batches in [0, 1], shape (n, c, h, w), at most as many as `params.n_images` in all.
        views: Drawn in turn, until there are `params.n_views` of each image.
        read: Gives features by layer, of views in [0, 1].
        params: Numbers and seed.
    """
    generator = _generator(params)
    found: dict[str, ViewScatter | str] = {}
    for batch in images:
        drawn = [views[i % len(views)].draw(batch, generator) for i in range(params.n_views)]
        features = read(torch.stack(drawn, dim=1).flatten(0, 1))
        for layer, rows in features.items():
            if layer not in found:
                found[layer] = _start_scatter(rows.shape[1])
            scatter = found[layer]
            if isinstance(scatter, ViewScatter):
                scatter.update(rows.reshape(len(batch), params.n_views, -1))
    return found


def stream_few(
    stimulus_set: "ArrowHandle", subset: "ArrowHandle", network: "TensorsHandle", params: LabelFreeParams
) -> Iterator[torch.Tensor]:
    """Yield evenly chosen images of a subset, in [0, 1], of the size that a network takes, some at a time."""
    from rep_kedro.features.images import make_pixels
    from rep_kedro.models.trained import preprocessing_of
    from rep_kedro.stimuli.limits import limits_of
    from rep_kedro.stimuli.selection import locate_stimuli, stream_images

    preprocessing, limits = preprocessing_of(network), limits_of(stimulus_set.meta)
    names, rows = locate_stimuli(stimulus_set, subset)
    chosen = choose_evenly(len(rows), params.n_images).tolist()
    names, rows = [names[i] for i in chosen], [rows[i] for i in chosen]
    bytes_per_image = 4 * len(preprocessing.mean) * preprocessing.size_px**2 * params.n_views
    step = max(1, min(IMAGES_PER_DRAW, BYTES_PER_DRAW // bytes_per_image))
    for number, encoded in enumerate(stream_images(stimulus_set, rows, batch_size=step)):
        shown = names[number * step :][: len(encoded)]
        pixels = make_pixels(encoded, preprocessing, names=shown, limits=limits)
        yield torch.from_numpy(pixels).float() / 255


def _start_scatter(n_features: int) -> ViewScatter | str:
    if n_features > MOST_FEATURES:
        return f"{n_features:,} features; scatter matrices are made of {MOST_FEATURES:,} at most"
    return ViewScatter(n_features)


def _generator(params: LabelFreeParams) -> torch.Generator:
    return torch.Generator().manual_seed(params.seed)


def _describe(measured: Measured, **settings: Any) -> dict[str, Any]:
    value = None if measured.reason else measured.value
    return {"value": value, "settings": settings, "reason": measured.reason}
