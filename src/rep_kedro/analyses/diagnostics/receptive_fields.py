"""Receptive fields of networks: the image region that a position of each layer sees."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.diagnostics.params import DiagnosticsParams
from rep_kedro.datasets import MemberKey
from rep_kedro.errors import UserError
from rep_kedro.features.params import FeaturesParams
from rep_kedro.models.sources.code_specs import PythonModel
from rep_kedro.models.sources.specs import MAY_NEED_NUMBERS, ModelEntry, ZooEntry
from rep_kedro.models.sources.transformers_spec import TransformersModel
from rep_kedro.schemas.columns import Kind
from rep_kedro.schemas.diagnostics import RECEPTIVE_FIELDS

if TYPE_CHECKING:
    from pandas import DataFrame
    from torch import nn

    from rep_kedro.datasets import TensorsHandle
else:
    DataFrame = TensorsHandle = Any  # Kedro reads the hints

_log = logging.getLogger(__name__)
_NO_ENTRIES = FeaturesParams()


def counted_entries(params: FeaturesParams) -> dict[str, Any]:
    """Return what receptive fields depend on beyond the recipes of features: networks of code of the user."""
    return {name: entry.without_places() for name, entry in params.entries().items() if _is_local(entry)}


def _is_local(entry: ModelEntry) -> bool:
    """Return whether a recipe does not suffice to build the network again."""
    return isinstance(entry, PythonModel) or (isinstance(entry, TransformersModel) and entry.name is None)


def compute_receptive_fields(
    networks: Mapping[str, TensorsHandle],
    params: DiagnosticsParams,
    features: Mapping[str, TensorsHandle] | None = None,
    registry: FeaturesParams = _NO_ENTRIES,
) -> DataFrame:
    """Compute the receptive field of each layer that is read, and from which layer on nothing local is added.

    The border is found among the convolutions wider than one pixel; the first layer at or after it that is
    read is marked. A network whose last convolution still sees part of the image has no border. A layer that
    cannot be followed has a row with the reason, which names the layer and the operator.

    Args:
        networks: Handles of the networks trained here, by name; only the form matters, not the weights.
        params: The rule for the border.
        features: Handles by `<stimulus set>/<model>`; their recipes name the networks from elsewhere.
        registry: Entries of networks that code of the user makes; the code runs only where its entry is here.

    Returns:
        Columns as in docs/tables.md.
    """
    from rep_kedro.models.trained import kept_layers_of

    rows = []
    for name, handle in sorted(networks.items()):
        layers, input_px = kept_layers_of(handle), int(handle.meta["input_px"])
        rows += _rows_or_reason(name, layers, input_px, partial(_rows_of_trained, name, handle, params))
    foreign = {MemberKey.parse(key).name: handle for key, handle in sorted((features or {}).items())}
    for name, handle in sorted(foreign.items()):
        recipe = handle.recipe["model"]
        if name in networks or recipe["source"] == "features":
            continue
        layers, entry = handle.meta["layers"], registry.entries().get(name)
        if recipe["source"] == "trained":
            source = networks[recipe["network"]["key"]]
            input_px = int(source.meta["input_px"])
            make = partial(_rows_of_trained, name, source, params, layers)
        else:
            input_px = int(recipe["preprocessing"]["size_px"])
            make = partial(_rows_of_recipe, name, recipe, layers, params, entry)
        rows += _rows_or_reason(name, layers, input_px, make)
    return RECEPTIVE_FIELDS.frame(rows)


def _rows_or_reason(
    model: str, layers: Sequence[str], input_px: int, make: Callable[[], list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Return the rows of a network, or why there are none: one network does not end the run."""
    try:
        return make()
    except UserError as problem:
        why = str(problem)
    except Exception as problem:  # another library's code, which may raise anything
        why = f"{type(problem).__name__}: {' '.join(str(problem).split())[:200]}"
        _log.warning("no receptive fields of %s: %s", model, why)
    return [_unknown_row(model, name, depth, input_px, why) for depth, name in enumerate(layers)]


def _rows_of_trained(
    model: str, handle: TensorsHandle, params: DiagnosticsParams, layers: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    from rep_kedro.models.layers import GLOB_CHARACTERS, select_layers
    from rep_kedro.models.trained import kept_layers_of, rebuild_trained_network

    network, layers = rebuild_trained_network(handle), kept_layers_of(handle) if layers is None else layers
    if GLOB_CHARACTERS & set("".join(layers)):
        layers = tuple(select_layers([name for name, _ in network.named_modules()], layers))
    shape = handle.meta["definition"]["input"]["channels"], int(handle.meta["input_px"])
    return _rows_of(model, network, layers, shape, params)


def _rows_of_recipe(
    model: str,
    recipe: Mapping[str, Any],
    layers: Sequence[str],
    params: DiagnosticsParams,
    entry: ModelEntry | None,
) -> list[dict[str, Any]]:
    """Return the rows of a network from elsewhere that features were made of."""
    preprocessing = recipe["preprocessing"]
    shape = len(preprocessing["mean"]), int(preprocessing["size_px"])
    return _rows_of_entry(model, _entry_of(recipe, entry), layers, shape, params)


def _entry_of(recipe: Mapping[str, Any], entry: ModelEntry | None) -> ZooEntry:
    """Return an entry for the form of the network that features were made of.

    Raises:
        UserError: If that needs code whose entry the configuration does not have, or has with other code.
    """
    from rep_kedro.models.sources.zoo import describe_model, read_recipe

    if not isinstance(entry, PythonModel | TransformersModel) or not _is_local(entry):
        return read_recipe(recipe)
    found = describe_model(entry)
    if {name: recipe.get(name) for name in found} != found:
        raise UserError(
            f"the entry of {entry.title!r} is not the one that its features were made of; run again"
        )
    return entry


def _rows_of_entry(
    model: str, entry: ZooEntry, layers: Sequence[str], shape: tuple[int, int], params: DiagnosticsParams
) -> list[dict[str, Any]]:
    from rep_kedro.models.outline import build_on_meta
    from rep_kedro.models.sources.zoo import build_model

    try:
        return _rows_of(model, build_on_meta(entry), layers, shape, params)
    except UserError:
        if entry.source not in MAY_NEED_NUMBERS:
            raise
        # code that computes with numbers of its own needs real ones
        return _rows_of(model, build_model(entry, with_weights=False), layers, shape, params)


def _rows_of(
    model: str, module: "nn.Module", layers: Sequence[str], shape: tuple[int, int], params: DiagnosticsParams
) -> list[dict[str, Any]]:
    """Return the rows of a network for images of some channels and a side."""
    from rep_kedro.models.fields import find_layer_fields
    from rep_kedro.models.sources.zoo import run_network

    channels, input_px = shape
    found = find_layer_fields(
        module, layers, input_px, rule=params.border_rule, run=run_network, channels=channels
    )
    return [
        {**_place(model, name, depth, input_px), **found.row(name), "reason": ""}
        if name in found.known
        else _unknown_row(model, name, depth, input_px, found.unknown[name])
        for depth, name in enumerate(layers)
    ]


def _unknown_row(model: str, layer: str, depth: int, input_px: int, why: str) -> dict[str, Any]:
    """Return the row of a layer whose receptive field is not known."""
    flags = {column.name: False for column in RECEPTIVE_FIELDS.columns if column.kind is Kind.FLAG}
    return {**_place(model, layer, depth, input_px), **flags, "reason": why}


def _place(model: str, layer: str, depth: int, input_px: int) -> dict[str, Any]:
    return {"model": model, "layer": layer, "depth": depth, "input_px": input_px}
