"""Receptive fields of the layers of any traceable network, and its border layer."""

import copy
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from rep_kedro.errors import UserError, suggest
from rep_kedro.kernels.layers.receptive_field import BorderRule, find_border_layer, follow_receptive_fields
from rep_kedro.models.graph import network_graph
from rep_kedro.models.network import LayeredNetwork
from rep_kedro.models.survey import CALL_SEPARATOR


@dataclass(frozen=True)
class LayerField:
    """What one position of a layer sees.

    Attributes:
        receptive_field_px: Side of what it sees; counts pixels beyond the image, and so may exceed it.
        jump_px: Pixels between what neighbouring positions see.
        is_border: Whether it is the first of the layers at or behind the border.
        is_beyond_border: Whether it is at or behind the border: nothing local is added from there on.
    """

    receptive_field_px: int
    jump_px: int
    is_border: bool
    is_beyond_border: bool


@dataclass(frozen=True)
class LayerFields:
    """The receptive fields of some layers.

    Attributes:
        known: By layer, in the requested order.
        unknown: Why, by layer whose receptive field is not known.
        no_convolution: Why no border can be found; empty where there is a convolution wider than one pixel.
    """

    known: dict[str, LayerField]
    unknown: dict[str, str]
    no_convolution: str


def find_layer_fields(
    module: nn.Module, layers: Sequence[str] | None, input_px: int, *, rule: BorderRule = "input"
) -> LayerFields:
    """Return the receptive fields of layers; nothing is computed, only shapes are followed.

    Args:
        module: A network of this project, or any that torch.fx can trace; it is left as it is.
        layers: Names of submodules, with the call where one is called several times (``relu@2``); None: all
            submodules that a pass reaches.
        input_px: Side of the image.
        rule: How the border is found among the convolutions wider than one pixel.

    Raises:
        UserError: If the network cannot be traced, or a layer is not among its steps.
    """
    is_own = isinstance(module, LayeredNetwork)
    with nullcontext() if is_own else torch.device("meta"):
        graph = network_graph(
            module if is_own else _copy_to_meta(module), input_px=None if is_own else input_px
        )
    fields, unknown = follow_receptive_fields(graph, input_px)
    order = [layer.name for layer in graph]
    parts = dict(module.named_modules())
    if layers is None:
        layers = [name for name in order if _base_of(name) in parts]
    ends = {name: _end_of(name, order) for name in layers}
    known = {name: end for name, end in ends.items() if end in fields}
    wide = [name for name in order if name in fields and _is_wide(parts.get(_base_of(name)))]
    # No border can be found behind an unknown step; what is known is before it.
    border = find_border_layer(fields, wide, input_px, rule=rule)
    first = len(order) if border is None else order.index(border)
    beyond = {name: order.index(end) >= first for name, end in known.items()}
    marked = next((name for name in known if beyond[name]), None)
    return LayerFields(
        {
            name: LayerField(fields[end].size_px, fields[end].jump_px, name == marked, beyond[name])
            for name, end in known.items()
        },
        {name: unknown[end] for name, end in ends.items() if end in unknown},
        "" if wide else next(iter(unknown.values()), "no convolution is wider than one pixel"),
    )


def _copy_to_meta(module: nn.Module) -> nn.Module:
    """Return the network without its weights on the meta device."""
    tensors = [*module.parameters(), *module.buffers()]
    without_numbers = {
        id(tensor): nn.Parameter(tensor.detach().to("meta"), tensor.requires_grad)
        if isinstance(tensor, nn.Parameter)
        else tensor.to("meta")
        for tensor in tensors
    }
    return copy.deepcopy(module, without_numbers).float()


def _is_wide(part: nn.Module | None) -> bool:
    return isinstance(part, nn.Conv2d) and max(part.kernel_size) > 1


def _base_of(layer: str) -> str:
    return layer.partition(CALL_SEPARATOR)[0]


def _end_of(layer: str, order: Sequence[str]) -> str:
    """Return the step that gives a layer's output.

    Raises:
        UserError: If no step belongs to the layer.
    """
    base, _, call = layer.partition(CALL_SEPARATOR)
    end = base if call in {"", "1"} else layer
    if end not in order:
        raise UserError(f"cannot follow layer {layer!r}: unknown layer; {suggest(layer, order)}")
    return end
