"""The geometry of one step of a traced network, or why it is unknown."""

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from torch import fx, nn

from rep_kedro.models.modules import Add, Concat, FlattenChannelsLast, GlobalMean, PaddedSubsample

Shape = tuple[int, ...]
_POINTWISE = (
    *(nn.BatchNorm2d, nn.BatchNorm1d, nn.GroupNorm, nn.LayerNorm, nn.Identity, nn.Dropout, nn.Dropout2d),
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.PReLU),
    *(nn.Sigmoid, nn.Tanh, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Softmax, Add, Concat),
)
_WHOLE_MAP = (nn.Flatten, FlattenChannelsLast, GlobalMean)
_POINTWISE_NAMES = frozenset(
    {
        *("add", "add_", "iadd", "sub", "mul", "mul_", "imul", "truediv", "neg", "pow", "cat", "stack"),
        *("batch_norm", "group_norm", "layer_norm", "contiguous", "clone", "to", "float", "type_as"),
        *("relu", "relu_", "relu6", "leaky_relu", "elu", "gelu", "silu", "silu_", "sigmoid", "tanh"),
        *("softmax", "hardswish", "hardsigmoid", "dropout", "dropout_", "stochastic_depth", "drop_path"),
        *("permute", "transpose", "movedim", "swapaxes", "chunk", "split", "unbind", "unsqueeze", "expand"),
    }
)
_RESHAPING = frozenset({"flatten", "view", "reshape", "mean", "squeeze", "sum"})
_PRODUCTS = frozenset({"matmul", "bmm", "scaled_dot_product_attention", "einsum", "linear"})
_POOLS = frozenset({"max_pool2d", "avg_pool2d"})
_POINTWISE_CLASSES = frozenset({"StochasticDepth", "DropPath", "LayerScale", "LayerScale2d"})
_PREFIXES = (0, 1, 2, 4, 5)  # class and distillation token, registers


class Step(NamedTuple):
    """One step of a traced network.

    Attributes:
        name: For messages.
        taken: Shape of its first input, if known.
        given: Shape of its output, if known.
        axis: 0 for rows, 1 for columns.
        n_inputs: Number of its inputs that depend on the image.
        token_counts: Numbers of tokens that the network may have, see `count_tokens`.
    """

    name: str
    taken: Shape | None
    given: Shape | None
    axis: int
    n_inputs: int = 1
    token_counts: frozenset[int] = frozenset()


def describe_module(part: nn.Module, step: Step) -> dict[str, Any]:
    """Return kernel, stride, padding and dilation of a module, or why they are not known."""
    if isinstance(part, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
        return _checked(
            _of_window(part, step.axis), step, has_tf_padding=type(part).__name__.endswith("Same")
        )
    if isinstance(part, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
        return _of_adaptive_pool(part.output_size, step)
    if isinstance(part, nn.Linear):
        return _of_linear(step)
    if isinstance(part, nn.Flatten):
        return _of_reshaping(step)
    return _of_plain_module(part, step)


def _of_plain_module(part: nn.Module, step: Step) -> dict[str, Any]:
    if isinstance(part, PaddedSubsample):
        return {"kernel": 1, "stride": part.stride}
    if isinstance(part, nn.MultiheadAttention):
        return {"sees_all": True}
    if isinstance(part, _WHOLE_MAP):
        return {"kernel": None}
    # Layers of other libraries that change nothing but numbers; their classes are not ours to import.
    if isinstance(part, _POINTWISE) or type(part).__name__ in _POINTWISE_CLASSES:
        return {}
    return {"unknown": f"layer {step.name!r} is a {type(part).__name__}, whose receptive field is not known"}


def describe_function(node: fx.Node, step: Step) -> dict[str, Any]:
    """Return the same for a function or method that a network calls."""
    target: str | Callable[..., Any] = node.target
    name = target if isinstance(target, str) else getattr(target, "__name__", str(target))
    is_part = name == "getitem" and (step.taken is None or step.taken == step.given)
    if name in _POINTWISE_NAMES or target in {operator.add, operator.mul} or is_part:
        return {}
    if name in _RESHAPING:
        return _of_reshaping(step)
    if name == "adaptive_avg_pool2d":
        return _of_adaptive_pool(node.args[1], step)
    if name in _POOLS:
        return _checked(_of_pooling(node, step.axis), step)
    if name in _PRODUCTS:
        return _of_product(step)
    return {"unknown": f"step {step.name!r} calls {name}, whose receptive field is not known"}


def _of_product(step: Step) -> dict[str, Any]:
    """Return what a product of matrices does: of two that depend on the image, attention to all positions."""
    if step.n_inputs < 2:
        return _of_linear(step)
    if step.given is not None and step.given[0] == 1:
        return {"sees_all": True}
    return {"unknown": f"step {step.name!r} is attention within parts, whose receptive fields are not known"}


def _of_linear(step: Step) -> dict[str, Any]:
    """Return whether the last axis, which is mixed, is that of the channels: then positions stay apart."""
    if step.taken is None or len(step.taken) == 2:
        return {"kernel": None}
    is_map = len(step.taken) == 4 and step.taken[1] == step.taken[2]
    is_tokens = [len(step.taken) == 3 and size in step.token_counts for size in step.taken[1:]]
    if is_map or is_tokens == [True, False]:
        return {}
    return {"unknown": f"layer {step.name!r} mixes channels or positions, and its input does not show which"}


def count_tokens(shapes: Iterable[Shape | None]) -> frozenset[int]:
    """Return how many tokens the maps that a network shows may become, with or without tokens before them."""
    maps = [shape for shape in shapes if shape is not None and len(shape) == 4]
    sizes = {sides[0] ** 2 for shape in maps for sides in (shape[1:3], shape[2:]) if sides[0] == sides[1]}
    return frozenset(size + n_prefix for size in sizes for n_prefix in _PREFIXES)


def _of_reshaping(step: Step) -> dict[str, Any]:
    """Return whether positions stay: a map laid out as tokens keeps them, a row of numbers does not."""
    taken, given = step.taken, step.given
    if taken is None or given is None or len(given) < 3:
        return {"kernel": None}
    if given[0] != taken[0]:
        return {"unknown": f"step {step.name!r} cuts the map into parts, whose fields are not known"}
    if len(given) == 4 and given[2:] == (1, 1):
        return {"kernel": None}
    return {}


def _of_window(part: nn.Module, axis: int) -> dict[str, Any]:
    stride = part.stride if part.stride is not None else part.kernel_size
    padding = _numeric_padding(part)
    return {
        "kernel": _along(part.kernel_size, axis),
        "stride": _along(stride, axis),
        "padding": _along(padding[0], axis),
        "padding_after": _along(padding[1], axis),
        "dilation": _along(getattr(part, "dilation", 1), axis),
        "has_ceil_size": bool(getattr(part, "ceil_mode", False)),
    }


def _of_pooling(node: fx.Node, axis: int) -> dict[str, Any]:
    """Return the window of a pooling function; its arguments are (x, kernel_size, stride, padding, ...)."""
    given = dict(zip(("input", "kernel_size", "stride", "padding"), node.args, strict=False)) | dict(
        node.kwargs
    )
    kernel = given["kernel_size"]
    return {
        "kernel": _along(kernel, axis),
        "stride": _along(given.get("stride") or kernel, axis),
        "padding": _along(given.get("padding", 0), axis),
        "has_ceil_size": bool(given.get("ceil_mode", False)),
    }


def _checked(geometry: dict[str, Any], step: Step, *, has_tf_padding: bool = False) -> dict[str, Any]:
    """Return the geometry if it gives as many positions as the step; some libraries pad in their own way."""
    if step.taken is None or step.given is None or geometry["has_ceil_size"]:
        return geometry
    size, found, stride = step.taken[-2 + step.axis], step.given[-2 + step.axis], geometry["stride"]
    reach = (geometry["kernel"] - 1) * geometry.get("dilation", 1) + 1
    if has_tf_padding:  # as much as is needed for size / stride positions, the odd one behind
        padding = max((-(-size // stride) - 1) * stride + reach - size, 0)
        geometry = {**geometry, "padding": padding // 2, "padding_after": padding - padding // 2}
    after = geometry.get("padding_after", geometry["padding"])
    if (size + geometry["padding"] + after - reach) // stride + 1 == found:
        return geometry
    return {"unknown": f"layer {step.name!r} pads its input in an unknown way"}


def _of_adaptive_pool(output_size: Any, step: Step) -> dict[str, Any]:
    wanted = _along(output_size, step.axis)
    if wanted == 1:
        return {"kernel": None}
    if step.taken is None:
        why = (
            f"layer {step.name!r} pools adaptively to {wanted}; give input_px, so that its windows are known"
        )
        return {"unknown": why}
    size = step.taken[-2 + step.axis]
    if wanted is None or wanted == size:
        return {}
    if size == 1:
        return {"kernel": None}
    if size % wanted:
        return {"unknown": f"layer {step.name!r} pools {size} positions to {wanted}, in unequal windows"}
    return {"kernel": size // wanted, "stride": size // wanted}


def _numeric_padding(part: nn.Module) -> tuple[Any, Any]:
    """Return the padding before and after, also where it is given as `same` or `valid`."""
    padding: Any = part.padding
    if padding == "valid":
        return 0, 0
    if padding == "same":
        sides: Sequence[tuple[int, int]] = list(zip(part.kernel_size, part.dilation, strict=True))  # type: ignore[arg-type]
        reach = tuple((k - 1) * d for k, d in sides)
        return tuple(r // 2 for r in reach), tuple(r - r // 2 for r in reach)
    return padding, padding


def _along(value: Any, axis: int) -> Any:
    """Return the entry of one axis of a number or a pair."""
    return value[axis] if isinstance(value, tuple | list) else value
