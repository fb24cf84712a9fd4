"""Spectra of the layers of one network: streamed over the positions of its maps, or over stored features."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isnan
from typing import TYPE_CHECKING, Any

import torch

from rep_kedro.analyses.diagnostics.final_layers import (
    NOT_TRAINED_HERE,
    Found,
    measure_features,
    measure_views,
    scatter_views,
    stream_few,
    views_of,
)
from rep_kedro.analyses.diagnostics.params import LabelFreeParams
from rep_kedro.analyses.diagnostics.spaces import spaces_of
from rep_kedro.datasets import Tensors
from rep_kedro.kernels.layers.neighbour_dimensions import measure_neighbour_dimensions
from rep_kedro.kernels.layers.spectrum import compute_eigenvalues
from rep_kedro.kernels.layers.streaming import StreamedMoments, flatten_positions

if TYPE_CHECKING:
    from rep_kedro.datasets import ArrowHandle, TensorsHandle


def stream_spectra(
    network: "TensorsHandle",
    shown: Mapping[str, tuple["ArrowHandle", "ArrowHandle", "TensorsHandle"]],
    keys: Sequence[str],
    params: LabelFreeParams,
    *,
    batch_size: int,
    device: str,
) -> Iterator[tuple[str, object]]:
    """Yield the spectra of a network trained here on several stimulus sets; it is loaded once.

    Args:
        network: The network.
        shown: By key, the stimulus set, the subset, and the features of that subset.
        keys: Which to make.
        params: Settings of measures of the final layers.
        batch_size: Images at a time.
        device: Where the network runs.

    Yields:
        Key and spectra, or the error that stopped this set alone.
    """
    from rep_kedro.features.images import stream_inputs
    from rep_kedro.models.trained import (
        preprocessing_of,
        restore_trained_network,
        run_to_embedding,
    )

    module = restore_trained_network(network)
    every_layer = [layer for _, _, features in shown.values() for layer in features.meta["layers"]]
    run = run_to_embedding(module, network, every_layer)
    module.to(device)
    for key in keys:
        stimulus_set, subset, features = shown[key]
        try:
            batches = stream_inputs(
                stimulus_set, subset, preprocessing_of(network), batch_size=batch_size, device=device
            )
            moments = _stream_layers(module, list(features.meta["layers"]), batches, run)
            views = _measure_views(module, network, shown[key], params, run=run, batch_size=batch_size)
            yield key, _to_member(moments, features, params, views, samples="positions")
        except Exception as error:
            yield key, error


def spectra_of_features(features: "TensorsHandle", params: LabelFreeParams) -> Tensors:
    """Return spectra with stimuli as samples, for a network whose maps are not at hand."""
    no_views = measure_views(NOT_TRAINED_HERE, params)
    moments = {}
    for name in features.meta["layers"]:
        values = _read(features, name)
        moments[name] = StreamedMoments(values.shape[1])
        moments[name].update(values)
    return _to_member(moments, features, params, lambda _: no_views, samples="stimuli")


def _stream_layers(
    module: torch.nn.Module,
    layers: Sequence[str],
    batches: Iterator[torch.Tensor],
    run: Callable[[torch.Tensor], object] | None,
) -> dict[str, StreamedMoments]:
    """Return the moments of each layer's channels over all positions of all images."""
    from rep_kedro.models.layers import LayerReader

    reader: LayerReader | None = None
    moments: dict[str, StreamedMoments] = {}
    for images in batches:
        reader = reader or LayerReader(module, layers, example=images[:1], run=run)
        for name, activation in reader.read(images).items():
            samples = flatten_positions(activation).cpu()
            moments.setdefault(name, StreamedMoments(samples.shape[1])).update(samples)
    return moments


def _measure_views(
    module: torch.nn.Module,
    network: "TensorsHandle",
    shown: tuple["ArrowHandle", "ArrowHandle", "TensorsHandle"],
    params: LabelFreeParams,
    *,
    run: Callable[[torch.Tensor], object] | None,
    batch_size: int,
) -> Callable[[str], Found]:
    """Return what gives the measures of views in a final layer."""
    from rep_kedro.models.layers import LayerReader
    from rep_kedro.models.trained import preprocessing_of

    chosen = views_of(network, params)
    if isinstance(chosen, str):
        reason = chosen
        return lambda _: measure_views(reason, params)
    (views, of), preprocessing = chosen, preprocessing_of(network)
    stimulus_set, subset, features = shown
    layers = list(spaces_of(features.meta["layers"]).values())
    device = next(module.parameters()).device
    reader: LayerReader | None = None

    def read(images: torch.Tensor) -> dict[str, torch.Tensor]:
        nonlocal reader
        found: dict[str, list[torch.Tensor]] = {layer: [] for layer in layers}
        for batch in torch.split(preprocessing.scale(images.to(device) * 255), batch_size):
            reader = reader or LayerReader(module, layers, example=batch[:1], run=run)
            for layer, rows in reader.read(batch, features.meta["pooling"]).items():
                found[layer].append(rows.cpu())
        return {layer: torch.cat(rows) for layer, rows in found.items()}

    scatters = scatter_views(stream_few(stimulus_set, subset, network, params), views, read, params)
    return lambda layer: measure_views(scatters[layer], params, of=of)


def _to_member(
    moments: Mapping[str, StreamedMoments],
    features: "TensorsHandle",
    params: LabelFreeParams,
    views: Callable[[str], Found],
    *,
    samples: str,
) -> Tensors:
    """Return spectra, mean and dimensions of each layer, and of final layers what needs no labels."""
    tensors: dict[str, Any] = {}
    rows = []
    final_layers = spaces_of(features.meta["layers"]).values()
    for depth, name in enumerate(features.meta["layers"]):
        state = moments[name]
        values = _read(features, name).to(torch.float64)
        tensors[f"{name}/eigenvalues"] = compute_eigenvalues(state.covariance())
        tensors[f"{name}/uncentred_eigenvalues"] = compute_eigenvalues(state.second_moment())
        tensors[f"{name}/mean"] = state.mean
        tensors[f"{name}/feature_sigma"] = torch.linalg.svdvals(values)
        near = measure_neighbour_dimensions(values)
        rows.append(
            {
                "layer": name,
                "depth": depth,
                "n_channels": state.n_features,
                "n_samples": state.n_samples,
                "trace": state.covariance().trace().item(),
                "n_stimuli": len(values),
                "two_nn_dimension": None if isnan(near.two_nn) else near.two_nn,
                "mle_dimension": None if isnan(near.mle) else near.mle,
                "neighbours_reason": near.reason or None,
                "reason": "the channels do not vary" if state.is_constant() else None,
            }
        )
        if name in final_layers:
            rows[-1]["label_free"] = measure_features(_read(features, name), params) | views(name)
    return Tensors(tensors, {"samples": samples, "layers": rows})


def _read(features: "TensorsHandle", name: str) -> torch.Tensor:
    return torch.from_numpy(features.tensor(name).copy())
