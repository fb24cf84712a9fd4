"""Receptive fields of the networks trained here: what a position of each kept layer sees of the image."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rep_kedro.pipelines.diagnostics.params import DiagnosticsParams

if TYPE_CHECKING:
    from pandas import DataFrame

    from rep_kedro.datasets import TensorsHandle
else:
    DataFrame = TensorsHandle = Any  # Kedro reads the hints

COLUMNS = (
    *("model", "layer", "depth", "receptive_field_px", "jump_px", "input_px"),
    *("is_border", "is_beyond_border"),
)


def compute_receptive_fields(networks: Mapping[str, TensorsHandle], params: DiagnosticsParams) -> DataFrame:
    """Compute the receptive field of each kept layer, and from which layer on nothing local is added.

    The border is found among the convolutions wider than one pixel; the first kept layer at or behind it is
    marked. A network whose last convolution still sees part of the image has no border.

    Args:
        networks: Handles by name; only the form of a network matters, not its weights.
        params: The rule for the border.

    Returns:
        Columns as in docs/architecture.md, section 3.
    """
    import pandas as pd

    rows = [row for name in sorted(networks) for row in _rows_of(name, networks[name], params)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rows_of(model: str, handle: TensorsHandle, params: DiagnosticsParams) -> list[dict[str, Any]]:
    from rep_kedro.kernels.receptive_field import compute_receptive_fields as follow_graph
    from rep_kedro.kernels.receptive_field import find_border_layer
    from rep_kedro.models.architecture import Conv
    from rep_kedro.models.graph import network_graph
    from rep_kedro.models.sources.trained import rebuild_trained_network

    network = rebuild_trained_network(handle)
    input_px = int(handle.meta["input_px"])
    fields = follow_graph(network_graph(network), input_px)
    wide = [
        layer.name for layer in network.architecture.layers if isinstance(layer, Conv) and layer.kernel > 1
    ]
    border = find_border_layer(fields, wide, input_px, rule=params.border_rule)
    order = list(network.layer_names)
    first = len(order) if border is None else order.index(border)
    is_beyond = {name: order.index(name) >= first for name in network.kept_layers}
    marked = next((name for name in network.kept_layers if is_beyond[name]), None)
    return [
        {
            "model": model,
            "layer": name,
            "depth": depth,
            "receptive_field_px": fields[name].size_px,
            "jump_px": fields[name].jump_px,
            "input_px": input_px,
            "is_border": name == marked,
            "is_beyond_border": is_beyond[name],
        }
        for depth, name in enumerate(network.kept_layers)
    ]
