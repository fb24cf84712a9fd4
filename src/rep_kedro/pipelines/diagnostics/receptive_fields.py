"""Receptive fields of convolutional networks: what a position of each layer sees of the image."""

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rep_kedro.datasets import MemberKey
from rep_kedro.errors import UserError
from rep_kedro.pipelines.diagnostics.params import DiagnosticsParams
from rep_kedro.schemas.diagnostics import RECEPTIVE_FIELDS

if TYPE_CHECKING:
    from pandas import DataFrame
    from torch import nn

    from rep_kedro.datasets import TensorsHandle
else:
    DataFrame = TensorsHandle = Any  # Kedro reads the hints

_CALL = "@"
_log = logging.getLogger(__name__)


def compute_receptive_fields(
    networks: Mapping[str, TensorsHandle],
    params: DiagnosticsParams,
    features: Mapping[str, TensorsHandle] | None = None,
) -> DataFrame:
    """Compute the receptive field of each layer that is read, and from which layer on nothing local is added.

    The border is found among the convolutions wider than one pixel; the first layer at or behind it that is
    read is marked. A network whose last convolution still sees part of the image has no border. Networks from
    elsewhere that are no plain convolutional ones, such as transformers, have no rows; the log says why.

    Args:
        networks: Handles of the networks trained here, by name; only the form matters, not the weights.
        params: The rule for the border.
        features: Handles by `<stimulus set>/<model>`; their recipes tell of the networks from elsewhere.

    Returns:
        Columns as in docs/tables.md.
    """
    rows = [row for name in sorted(networks) for row in _rows_of_trained(name, networks[name], params)]
    foreign = {MemberKey.parse(key).name: handle for key, handle in sorted((features or {}).items())}
    for name, handle in sorted(foreign.items()):
        if name in networks:
            continue
        try:
            rows += _rows_of_foreign(name, handle, networks, params)
        except UserError as problem:
            _log.info("no receptive fields of %s: %s", name, problem)
        except Exception as problem:  # another library's code; one network does not end the run
            _log.warning("no receptive fields of %s: %s: %s", name, type(problem).__name__, problem)
    return RECEPTIVE_FIELDS.frame(rows)


def _rows_of_trained(model: str, handle: TensorsHandle, params: DiagnosticsParams) -> list[dict[str, Any]]:
    from rep_kedro.models.sources.trained import rebuild_trained_network

    network = rebuild_trained_network(handle)
    return _rows_of(model, network, network.kept_layers, int(handle.meta["input_px"]), params)


def _rows_of_foreign(
    model: str, handle: TensorsHandle, networks: Mapping[str, TensorsHandle], params: DiagnosticsParams
) -> list[dict[str, Any]]:
    """Return the rows of a network whose entry stands in the recipe of its features.

    Raises:
        ValueError: If the network cannot be followed layer by layer, or has no convolution.
    """
    from rep_kedro.models.outline import build_on_meta
    from rep_kedro.models.sources.trained import rebuild_trained_network
    from rep_kedro.models.sources.zoo import read_recipe

    recipe, layers = handle.recipe["model"], handle.meta["layers"]
    if recipe["source"] == "trained":
        source = networks[recipe["network"]["key"]]
        input_px = int(source.meta["input_px"])
        return _rows_of(model, rebuild_trained_network(source), layers, input_px, params)
    module = build_on_meta(read_recipe(recipe))
    return _rows_of(model, module, layers, recipe["preprocessing"]["size_px"], params, is_foreign=True)


def _rows_of(
    model: str,
    module: "nn.Module",
    layers: Sequence[str],
    input_px: int,
    params: DiagnosticsParams,
    *,
    is_foreign: bool = False,
) -> list[dict[str, Any]]:
    import torch

    from rep_kedro.kernels.receptive_field import find_border_layer, follow_receptive_fields
    from rep_kedro.models.graph import network_graph

    with torch.device("meta" if is_foreign else "cpu"):
        graph = network_graph(module, input_px=input_px if is_foreign else None)
    fields, unknown = follow_receptive_fields(graph, input_px)
    order = [layer.name for layer in graph]
    wide = [name for name in _wide_convolutions(module, order) if name in fields]
    if is_foreign and not wide:
        why = next(iter(unknown.values()), "it has no convolution wider than one pixel")
        raise UserError(why)
    # Behind an unknown step no border can be found; what is known lies before it.
    border = find_border_layer(fields, wide, input_px, rule=params.border_rule)
    first = len(order) if border is None else order.index(border)
    ends = {name: _end_of(name, order) for name in layers}
    known = {name: end for name, end in ends.items() if end in fields}
    _log_unknown(model, ends, unknown)
    is_beyond = {name: order.index(end) >= first for name, end in known.items()}
    marked = next((name for name in known if is_beyond[name]), None)
    return [
        {
            "model": model,
            "layer": name,
            "depth": depth,
            "receptive_field_px": fields[known[name]].size_px,
            "jump_px": fields[known[name]].jump_px,
            "input_px": input_px,
            "is_border": name == marked,
            "is_beyond_border": is_beyond[name],
        }
        for depth, name in enumerate(layers)
        if name in known
    ]


def _log_unknown(model: str, ends: Mapping[str, str], unknown: Mapping[str, str]) -> None:
    """Say of which layers the receptive field is not known, and why."""
    missing = {name: unknown[end] for name, end in ends.items() if end in unknown}
    for why in dict.fromkeys(missing.values()):
        names = ", ".join(name for name, reason in missing.items() if reason == why)
        _log.info("no receptive fields of %s, layers %s: %s", model, names, why)


def _wide_convolutions(module: "nn.Module", order: Sequence[str]) -> list[str]:
    """Return the steps that are convolutions wider than one pixel."""
    from torch.nn import Conv2d

    parts = dict(module.named_modules())
    found = ((name, parts.get(name.partition(_CALL)[0])) for name in order)
    return [name for name, part in found if isinstance(part, Conv2d) and max(part.kernel_size) > 1]


def _end_of(layer: str, order: Sequence[str]) -> str:
    """Return the step that gives a layer's output.

    Raises:
        ValueError: If no step belongs to the layer.
    """
    base, _, call = layer.partition(_CALL)
    end = base if call in {"", "1"} else layer
    if end not in order:
        raise UserError(f"layer {layer!r} is not among the steps that can be followed")
    return end
