"""Shapes of the layers that are probed while images stream through a network, before anything is read."""

from math import isqrt
from typing import TYPE_CHECKING

from rep_kedro.analyses.probing.layer_params import LayerProbesParams
from rep_kedro.analyses.probing.layer_tasks import Output
from rep_kedro.errors import UserError, require_known

if TYPE_CHECKING:
    from rep_kedro.datasets import TensorsHandle
    from rep_kedro.models.architecture import Architecture
    from rep_kedro.models.foreign import ForeignDefinition
    from rep_kedro.models.layers import LayerReader
    from rep_kedro.models.sources.chosen import ChosenNetwork
    from rep_kedro.models.sources.specs import ZooEntry


def follow_layers(network: "ChosenNetwork", model: str, params: LayerProbesParams) -> dict[str, Output]:
    """Return the output of each chosen layer for one stimulus, in depth order.

    Args:
        network: Its definition or entry is followed; no weights are read.
        model: Its name.
        params: Which layers.

    Raises:
        UserError: If there is no such layer, or what it gives cannot be read.
    """
    from rep_kedro.models.architecture_files import require_layers
    from rep_kedro.models.foreign import ForeignDefinition
    from rep_kedro.models.trained import definition_of

    if network.handle is None:
        assert network.entry is not None  # noqa: S101 - one of the two is there
        return _follow_entry(network.entry, params)
    definition = definition_of(network.handle)
    if isinstance(definition, ForeignDefinition):
        names = choose_patterns(params, network.layers)
        return _run_one_image(network.handle, definition, names)
    n_classes = network.handle.meta["n_classes"]
    return outputs_by_formula(model, require_layers(model, definition), network.layers, n_classes, params)


def input_px_of(network: "ChosenNetwork") -> int:
    """Return the side of the images that a network takes."""
    from rep_kedro.models.sources.zoo import resolve_preprocessing

    if network.handle is not None:
        return int(network.handle.meta["input_px"])
    assert network.entry is not None  # noqa: S101 - one of the two is there
    return resolve_preprocessing(network.entry).size_px


def outputs_by_formula(
    model: str,
    definition: "Architecture",
    kept: tuple[str, ...],
    n_classes: int | None,
    params: LayerProbesParams,
) -> dict[str, Output]:
    """Return the output of each chosen layer of a network of layers as data, in depth order.

    Args:
        model: Its name, for messages.
        definition: Its layers.
        kept: Names and patterns of the layers that it keeps.
        n_classes: Width of its head; None leaves it out.
        params: Which layers.

    Raises:
        UserError: If there is no such layer.
    """
    from rep_kedro.models.layers import GLOB_CHARACTERS, select_layers
    from rep_kedro.models.shapes import follow_shapes

    shapes = {step.layer.name: step.output_shape for step in follow_shapes(definition, n_classes)}
    if isinstance(params.layers, str):
        there = [name for name in kept if name in shapes or GLOB_CHARACTERS & set(name)]
        chosen = select_layers(list(shapes), there) if params.layers == "kept" else tuple(shapes)
    else:
        for name in params.layers:
            require_known(f"layer of {model}", name, shapes)
        chosen = tuple(params.layers)
    return {name: Output(shape[0], shape[1:]) for name, shape in shapes.items() if name in chosen}


def _run_one_image(
    network: "TensorsHandle", definition: "ForeignDefinition", names: tuple[str, ...]
) -> dict[str, Output]:
    """Return what one image gives in a network with drawn weights."""
    import torch

    from rep_kedro.models.layers import LayerReader
    from rep_kedro.models.trained import rebuild_trained_network

    image = torch.zeros(1, definition.input.channels, definition.input.size_px, definition.input.size_px)
    return outputs_of(LayerReader(rebuild_trained_network(network), names, example=image))


def _follow_entry(entry: "ZooEntry", params: LayerProbesParams) -> dict[str, Output]:
    """Return what the layers of a network from elsewhere give, by shapes alone."""
    from rep_kedro.models.outline import outline_network

    layers = choose_patterns(params, entry.layers)
    return outputs_of(outline_network(entry.model_copy(update={"layers": layers})).reader)


def choose_patterns(params: LayerProbesParams, kept: tuple[str, ...]) -> tuple[str, ...]:
    """Return names and patterns of the layers that are probed in a network not made of layers as data."""
    if isinstance(params.layers, list):
        return tuple(params.layers)
    return kept if params.layers == "kept" else ("**",)


def outputs_of(reader: "LayerReader") -> dict[str, Output]:
    """Return the output of each layer of a reader.

    Raises:
        UserError: If what a layer gives cannot be read, or has its tokens before its stimuli.
    """
    shapes = {call.layer: call.shape for call in reader.survey.calls}
    outputs = {}
    for name, form in reader.find_forms("patch_average").items():
        if form.stimulus_axis != 0:
            raise UserError(
                f"layer {name!r} gives tokens before stimuli; leave it out of probing.layer_probes.layers"
            )
        shape = shapes[name]
        assert shape is not None  # noqa: S101 - layers without a tensor were refused
        sides = tuple(n for i, n in enumerate(shape) if i not in {0, form.channel_axis})
        n_prefix = form.n_prefix_tokens if form.kind == "tokens" and sides != (1,) else None
        side = isqrt(sides[0] - n_prefix) if n_prefix is not None and sides[0] > n_prefix else 0
        is_grid = n_prefix is not None and side > 0 and n_prefix + side**2 == sides[0]
        grid = (side, side) if is_grid else None
        outputs[name] = Output(shape[form.channel_axis], sides, grid, n_prefix or 0)
    return outputs
