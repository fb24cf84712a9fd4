"""Receptive fields of convolutional networks: the image region that a position of each layer sees."""

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.diagnostics.params import DiagnosticsParams
from rep_kedro.datasets import MemberKey
from rep_kedro.errors import UserError
from rep_kedro.schemas.diagnostics import RECEPTIVE_FIELDS

if TYPE_CHECKING:
    from pandas import DataFrame
    from torch import nn

    from rep_kedro.datasets import TensorsHandle
else:
    DataFrame = TensorsHandle = Any  # Kedro reads the hints

_log = logging.getLogger(__name__)


def compute_receptive_fields(
    networks: Mapping[str, TensorsHandle],
    params: DiagnosticsParams,
    features: Mapping[str, TensorsHandle] | None = None,
) -> DataFrame:
    """Compute the receptive field of each layer that is read, and from which layer on nothing local is added.

    The border is found among the convolutions wider than one pixel; the first layer at or after it that is
    read is marked. A network whose last convolution still sees part of the image has no border. Networks from
    elsewhere that are not plainly convolutional, such as transformers, have no rows; the log says why.

    Args:
        networks: Handles of the networks trained here, by name; only the form matters, not the weights.
        params: The rule for the border.
        features: Handles by `<stimulus set>/<model>`; their recipes name the networks from elsewhere.

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
    from rep_kedro.models.layers import GLOB_CHARACTERS, select_layers
    from rep_kedro.models.sources.trained import kept_layers_of, rebuild_trained_network

    network, layers = rebuild_trained_network(handle), kept_layers_of(handle)
    if GLOB_CHARACTERS & set("".join(layers)):
        layers = tuple(select_layers([name for name, _ in network.named_modules()], layers))
    return _rows_of(model, network, layers, int(handle.meta["input_px"]), params)


def _rows_of_foreign(
    model: str, handle: TensorsHandle, networks: Mapping[str, TensorsHandle], params: DiagnosticsParams
) -> list[dict[str, Any]]:
    """Return the rows of a network whose entry is in the recipe of its features.

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
    from rep_kedro.models.fields import find_layer_fields

    found = find_layer_fields(module, layers, input_px, rule=params.border_rule)
    if is_foreign and found.no_convolution:
        raise UserError(found.no_convolution)
    for why in dict.fromkeys(found.unknown.values()):
        names = ", ".join(name for name, reason in found.unknown.items() if reason == why)
        _log.info("no receptive fields of %s, layers %s: %s", model, names, why)
    return [
        {
            "model": model,
            "layer": name,
            "depth": depth,
            "receptive_field_px": found.known[name].receptive_field_px,
            "jump_px": found.known[name].jump_px,
            "input_px": input_px,
            "is_border": found.known[name].is_border,
            "is_beyond_border": found.known[name].is_beyond_border,
        }
        for depth, name in enumerate(layers)
        if name in found.known
    ]
