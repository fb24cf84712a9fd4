"""Input and output shapes of each layer of an architecture.

Shapes of the usual layers follow from formulas. Anything else, and what does not fit, runs on torch's meta
device, whose first use takes seconds. Nothing is allocated before its size is known to fit a machine.
"""

from collections.abc import Iterator
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from rep_kedro.errors import UserError
from rep_kedro.models.architecture import (
    INPUT,
    AdaptivePool,
    Architecture,
    BatchNorm,
    Conv,
    Deconv,
    Dropout,
    Layer,
    Linear,
    Pad,
    Plain,
    Pool,
    Subsample,
)
from rep_kedro.models.modules import make_module, wide

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
    for layer in architecture.layers if n_classes is not None else architecture.without_head():
        inputs = tuple(shapes[name] for name in layer.inputs)
        _require_fitting(layer, inputs)
        output = _shape_by_formula(layer, inputs, n_classes)
        if output is None:
            output, n_own = _run_without_numbers(layer, inputs, n_classes)
        else:
            n_own = _count_parameters(layer, inputs[0], output)
        n_parameters += n_own
        if prod(output) > LARGEST_OUTPUT or n_parameters > MOST_PARAMETERS:
            raise UserError(
                f"layer {layer.name!r} is too large: output {_side(output)},"
                f" {n_parameters} parameters so far; the limits are {LARGEST_OUTPUT} values per output"
                f" and {MOST_PARAMETERS} parameters"
            )
        shapes[layer.name] = output
        steps.append(Step(layer, inputs, shapes[layer.name]))
    return steps


def _shape_by_formula(  # noqa: PLR0911, PLR0912 - one formula per kind
    layer: Layer, inputs: tuple[Shape, ...], n_classes: int | None
) -> Shape | None:
    """Return the output shape, or None where torch has to say whether the layer fits."""
    first, *sides = shape = inputs[0]
    if isinstance(layer, Linear):
        return (wide(layer.features, n_classes),)
    if isinstance(layer, BatchNorm | Dropout) or layer.kind in {"relu", "relu6", "sigmoid", "tanh", "add"}:
        return shape if len(shape) in {1, 3} else None
    if layer.kind in {"flatten", "flatten_channels_last"}:
        return (prod(shape),)
    if layer.kind == "concat":
        is_fitting = len({other[1:] for other in inputs}) == 1
        return (sum(other[0] for other in inputs), *sides) if is_fitting else None
    if len(sides) != 2:
        return None
    match layer:
        case Plain(kind="mean"):
            return (first,)
        case Pad():
            return (first, *(side + layer.before + layer.after for side in sides))
        case Subsample():
            return (layer.channels, *(-(-side // layer.stride) for side in sides))
        case Conv() if first % layer.groups == 0 and wide(layer.channels, n_classes) % layer.groups == 0:
            reach = layer.dilation * (layer.kernel - 1) + 1 - 2 * layer.padding
            found = wide(layer.channels, n_classes), *((side - reach) // layer.stride + 1 for side in sides)
        case Deconv():
            reach = layer.kernel - 2 * layer.padding
            found = layer.channels, *((side - 1) * layer.stride + reach for side in sides)
        case Pool() if layer.padding <= layer.kernel // 2:
            found = first, *(_pooled(side, layer) for side in sides)
        case AdaptivePool():
            return (first, layer.side, layer.side)
        case _:
            return None
    return found if min(found) > 0 else None


def _pooled(side: int, pool: Pool) -> int:
    """Return how many windows there are along one side."""
    stride = pool.stride or pool.kernel
    room = side + 2 * pool.padding - pool.kernel
    if not pool.ceil:
        return room // stride + 1
    n = -(-room // stride) + 1
    return n - ((n - 1) * stride >= side + pool.padding)  # none begins beyond the image


def _count_parameters(layer: Layer, shape: Shape, output: Shape) -> int:
    """Return how many numbers a layer learns, from its input and output shapes."""
    match layer:
        case Conv():
            return output[0] * (shape[0] // layer.groups * layer.kernel**2 + layer.bias)
        case Deconv():
            return output[0] * (shape[0] * layer.kernel**2 + layer.bias)
        case Linear():
            return output[0] * (shape[0] + layer.bias)
        case BatchNorm():
            return 2 * shape[0]
    return 0


def _run_without_numbers(layer: Layer, inputs: tuple[Shape, ...], n_classes: int | None) -> tuple[Shape, int]:
    """Return the output shape and the number of parameters, by running the layer on the meta device."""
    try:
        with torch.device("meta"), torch.no_grad():
            module = make_module(layer, inputs[0], n_classes).eval()
            output: Tensor = module(*(torch.empty(_TWO_IMAGES, *shape) for shape in inputs))
    except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{_name_inputs(layer, inputs)}: {_first_line(error)}") from error
    if output.ndim < 2 or output.shape[0] != _TWO_IMAGES:
        raise UserError(f"{_name_inputs(layer, inputs)}: its inputs must be maps")
    return tuple(output.shape[1:]), sum(parameter.numel() for parameter in module.parameters())


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
