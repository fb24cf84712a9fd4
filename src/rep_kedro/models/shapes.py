"""Input and output shapes of each layer of an architecture, found on torch's meta device.

Nothing is allocated before it is known to be of a size that a machine can hold.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from rep_kedro.errors import UserError
from rep_kedro.models.architecture import INPUT, Architecture, Layer, Linear, Subsample
from rep_kedro.models.modules import make_module

MOST_PARAMETERS = 500_000_000
LARGEST_OUTPUT = 1 << 28
_TWO_IMAGES = 2  # a layer that mixes images gives another number

Shape = tuple[int, ...]


class Step(NamedTuple):
    """One layer, and its shapes for one image, without the batch axis."""

    layer: Layer
    input_shapes: tuple[Shape, ...]
    output_shape: Shape


def follow_shapes(architecture: Architecture, n_classes: int | None) -> Iterator[Step]:
    """Yield the layers in depth order; all but the head and what follows it, if there are no classes.

    Args:
        architecture: The definition.
        n_classes: Width of the head; None leaves it out.

    Raises:
        ValueError: If layers do not fit together, or the network is too large; the layer is named.
    """
    return iter(_follow(architecture, n_classes))


def _follow(architecture: Architecture, n_classes: int | None) -> list[Step]:
    size, n_parameters = architecture.input.size_px, 0
    shapes: dict[str, Shape] = {INPUT: (architecture.input.channels, size, size)}
    steps = []
    for layer in architecture.layers:
        if n_classes is None and isinstance(layer, Linear) and layer.features == "classes":
            break
        inputs = tuple(shapes[name] for name in layer.inputs)
        _require_fitting(layer, inputs)
        output, n_own = _run_without_numbers(layer, inputs, n_classes)
        n_parameters += n_own
        if output.numel() > LARGEST_OUTPUT * _TWO_IMAGES or n_parameters > MOST_PARAMETERS:
            raise UserError(
                f"layer {layer.name!r} is too large: output {_side(tuple(output.shape[1:]))},"
                f" {n_parameters} parameters so far; the limits are {LARGEST_OUTPUT} values per output"
                f" and {MOST_PARAMETERS} parameters"
            )
        shapes[layer.name] = tuple(output.shape[1:])
        steps.append(Step(layer, inputs, shapes[layer.name]))
    return steps


def _run_without_numbers(
    layer: Layer, inputs: tuple[Shape, ...], n_classes: int | None
) -> tuple[Tensor, int]:
    """Return the output for two images and the number of parameters."""
    try:
        with torch.device("meta"), torch.no_grad():
            module = make_module(layer, inputs[0], n_classes).eval()
            output: Tensor = module(*(torch.empty(_TWO_IMAGES, *shape) for shape in inputs))
    except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{_name_inputs(layer, inputs)}: {_first_line(error)}") from error
    if output.ndim < 2 or output.shape[0] != _TWO_IMAGES:
        raise UserError(f"{_name_inputs(layer, inputs)}: its inputs must be maps")
    return output, sum(parameter.numel() for parameter in module.parameters())


def _require_fitting(layer: Layer, inputs: tuple[Shape, ...]) -> None:
    """Refuse what torch would take, in another meaning."""
    why = ""
    if layer.kind == "add" and len(set(inputs)) > 1:
        why = "they must be equal"
    elif isinstance(layer, Linear) and len(inputs[0]) != 1:
        why = "flatten or average the map first"
    elif layer.kind in {"mean", "subsample", "pad", "flatten_channels_last"} and len(inputs[0]) != len("chw"):
        why = "its input must be a map"
    elif isinstance(layer, Subsample) and layer.channels < inputs[0][0]:
        why = f"it cannot reduce the channels to {layer.channels}"
    if why:
        raise UserError(f"{_name_inputs(layer, inputs)}: {why}")


def _name_inputs(layer: Layer, inputs: tuple[Shape, ...]) -> str:
    return f"layer {layer.name!r} of kind {layer.kind} cannot take {', '.join(map(_side, inputs))}"


def _side(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
