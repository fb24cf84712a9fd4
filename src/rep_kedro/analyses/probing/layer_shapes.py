"""Shapes of the layers that are probed while images stream through a network, before anything is read."""

from typing import TYPE_CHECKING

from rep_kedro.analyses.probing.layer_params import LayerProbesParams
from rep_kedro.errors import UserError, require_known

if TYPE_CHECKING:
    from rep_kedro.datasets import TensorsHandle
    from rep_kedro.models.architecture import Architecture
    from rep_kedro.models.foreign import ForeignDefinition


def follow_layers(
    network: "TensorsHandle", model: str, params: LayerProbesParams
) -> dict[str, tuple[int, ...]]:
    """Return the output of each chosen layer for one stimulus, in depth order.

    Args:
        network: A network that was trained here.
        model: Its name.
        params: Which layers, and how they are probed.

    Returns:
        By layer (channels, height, width), (channels, tokens) or (features,).

    Raises:
        UserError: If there is no such layer, or the network is one of a library or own code and its maps are
            to be pooled or probed position by position.
    """
    from rep_kedro.models.architecture_files import require_layers
    from rep_kedro.models.foreign import ForeignDefinition
    from rep_kedro.models.trained import definition_of

    definition = definition_of(network)
    if isinstance(definition, ForeignDefinition) and not (params.pooled_sides or params.positions):
        return _run_one_image(network, definition, params)
    return _by_formula(network, model, require_layers(network.meta["architecture"], definition), params)


def _by_formula(
    network: "TensorsHandle", model: str, definition: "Architecture", params: LayerProbesParams
) -> dict[str, tuple[int, ...]]:
    from rep_kedro.models.shapes import follow_shapes

    steps = follow_shapes(definition, network.meta["n_classes"])
    shapes = {step.layer.name: step.output_shape for step in steps}
    if isinstance(params.layers, str):
        chosen = [n for n in definition.keep if n in shapes] if params.layers == "kept" else list(shapes)
    else:
        for name in params.layers:
            require_known(f"layer of {model}", name, shapes)
        chosen = params.layers
    return {name: shape for name, shape in shapes.items() if name in chosen}


def _run_one_image(
    network: "TensorsHandle", definition: "ForeignDefinition", params: LayerProbesParams
) -> dict[str, tuple[int, ...]]:
    """Return the shapes that one image gives in a network with drawn weights."""
    import torch

    from rep_kedro.models.layers import LayerReader
    from rep_kedro.models.trained import kept_layers_of, rebuild_trained_network

    module = rebuild_trained_network(network)
    image = torch.zeros(1, definition.input.channels, definition.input.size_px, definition.input.size_px)
    wanted = params.layers if isinstance(params.layers, list) else None
    names = wanted or (kept_layers_of(network) if params.layers == "kept" else ["**"])
    reader = LayerReader(module, names, example=image)
    shapes = {}
    for name, form in reader.find_forms("average").items():
        if form.stimulus_axis != 0:
            raise UserError(
                f"layer {name!r} gives tokens before stimuli; leave it out of probing.layer_probes.layers"
            )
        [shape] = (call.shape for call in reader.survey.calls if call.layer == name)
        assert shape is not None  # noqa: S101 - layers without a tensor were refused
        shapes[name] = (
            shape[form.channel_axis],
            *(n for i, n in enumerate(shape) if i not in {0, form.channel_axis}),
        )
    return shapes
