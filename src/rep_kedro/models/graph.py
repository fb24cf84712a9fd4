"""From a network to the graph of its layers' geometry, for receptive fields."""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn

from rep_kedro.errors import UserError
from rep_kedro.kernels.receptive_field import LayerGeometry
from rep_kedro.models.architecture import INPUT, Conv, Deconv, Pad, Pool, Subsample
from rep_kedro.models.modules import Add, Concat, FlattenChannelsLast, GlobalMean, PaddedSubsample
from rep_kedro.models.network import LayeredNetwork

_POINTWISE = (
    *(nn.BatchNorm2d, nn.BatchNorm1d, nn.GroupNorm, nn.Identity, nn.Dropout, nn.Dropout2d),
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.PReLU),
    *(nn.Sigmoid, nn.Tanh, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Softmax, Add, Concat),
)
_WHOLE_MAP = (nn.Flatten, nn.Linear, FlattenChannelsLast, GlobalMean)
_POINTWISE_NAMES = frozenset(
    {
        "add",
        "add_",
        "iadd",
        "sub",
        "mul",
        "mul_",
        "imul",
        "truediv",
        "cat",
        "batch_norm",
        "contiguous",
        "clone",
    }
    | {"relu", "relu_", "relu6", "leaky_relu", "elu", "gelu", "silu", "silu_", "sigmoid", "tanh", "softmax"}
    | {"hardswish", "hardsigmoid", "dropout"}
)
_WHOLE_MAP_NAMES = frozenset({"flatten", "mean", "view", "reshape"})


def network_graph(module: nn.Module, *, input_px: int | None = None, axis: int = 1) -> list[LayerGeometry]:
    """Return what every layer does to positions along one axis, in order of execution.

    Args:
        module: A network of this project, or any that torch.fx can trace.
        input_px: Side of the image. Needed where a network pools adaptively; the own networks know theirs.
        axis: 0 for rows, 1 for columns; the same where all windows are square.

    Returns:
        One entry per layer. In traced networks functions count as layers, named as torch.fx names them, and
        modules that are called several times are named with the call: `relu@2`.

    Raises:
        ValueError: If the network cannot be traced, or a layer is of a kind whose geometry is not known.
    """
    if isinstance(module, LayeredNetwork):
        return [_of_own_layer(module, name) for name in module.layer_names]
    return _trace(module, input_px, axis)


def _of_own_layer(network: LayeredNetwork, name: str) -> LayerGeometry:
    layer = network.layer(name)
    inputs = tuple(source for source in layer.inputs if source != INPUT)
    match layer:
        case Conv():
            return LayerGeometry(
                name, inputs, layer.kernel, layer.stride, layer.padding, dilation=layer.dilation
            )
        case Pool():
            return LayerGeometry(name, inputs, layer.kernel, layer.stride or layer.kernel, layer.padding)
        case Subsample():
            return LayerGeometry(name, inputs, 1, layer.stride)
        case Pad():
            return LayerGeometry(name, inputs, padding=layer.before, padding_after=layer.after)
        case Deconv():
            raise UserError(f"layer {name!r} is a transposed convolution, whose receptive field is not known")
    is_whole = layer.kind in {"mean", "flatten", "flatten_channels_last", "linear"}
    return LayerGeometry(name, inputs, None if is_whole else 1)


def _trace(module: nn.Module, input_px: int | None, axis: int) -> list[LayerGeometry]:
    try:
        graph = fx.Tracer().trace(module.eval())
    except Exception as error:  # tracing runs the network's own code, which may raise anything
        cause = " ".join(str(error).split())[:200]
        raise UserError(f"torch.fx cannot trace {type(module).__name__}: {cause}") from error
    shapes = {} if input_px is None else _follow_shapes(module, graph, input_px)
    names: dict[fx.Node, str] = {}
    calls: dict[str, int] = {}
    layers: list[LayerGeometry] = []
    for node in graph.nodes:
        if node.op == "call_module":
            calls[str(node.target)] = calls.get(str(node.target), 0) + 1
            n_calls = calls[str(node.target)]
            names[node] = str(node.target) if n_calls == 1 else f"{node.target}@{n_calls}"
            part = module.get_submodule(str(node.target))
            geometry = _of_module(part, names[node], shapes.get(node.all_input_nodes[0]), axis)
        elif node.op in {"call_function", "call_method"}:
            names[node] = node.name
            geometry = _of_function(node)
        else:
            continue
        inputs = tuple(names[source] for source in node.all_input_nodes if source in names)
        layers.append(LayerGeometry(names[node], inputs, **geometry))
    return layers


def _of_module(part: nn.Module, name: str, shape: tuple[int, ...] | None, axis: int) -> dict[str, Any]:
    """Return kernel, stride, padding and dilation of a module."""
    if isinstance(part, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
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
    if isinstance(part, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
        return _of_adaptive_pool(part, name, shape, axis)
    if isinstance(part, PaddedSubsample):
        return {"kernel": 1, "stride": part.stride}
    if isinstance(part, _WHOLE_MAP):
        return {"kernel": None}
    if isinstance(part, _POINTWISE):
        return {}
    raise UserError(f"layer {name!r} is a {type(part).__name__}, whose receptive field is not known")


def _of_adaptive_pool(part: nn.Module, name: str, shape: tuple[int, ...] | None, axis: int) -> dict[str, Any]:
    wanted = _along(part.output_size, axis)
    if wanted == 1:
        return {"kernel": None}
    if shape is None:
        raise UserError(
            f"layer {name!r} pools adaptively to {wanted}; give input_px, so that its windows are known"
        )
    size = shape[-2 + axis]
    if wanted is None or wanted == size:
        return {}
    if size == 1:
        return {"kernel": None}
    if size % wanted:
        raise UserError(f"layer {name!r} pools {size} positions to {wanted}, in windows of different sizes")
    return {"kernel": size // wanted, "stride": size // wanted}


def _of_function(node: fx.Node) -> dict[str, Any]:
    target: str | Callable[..., Any] = node.target
    name = target if isinstance(target, str) else target.__name__
    if name in _POINTWISE_NAMES or target in {operator.add, operator.mul}:
        return {}
    if name in _WHOLE_MAP_NAMES or (name == "adaptive_avg_pool2d" and node.args[1] in {1, (1, 1)}):
        return {"kernel": None}
    raise UserError(f"step {node.name!r} calls {name}, whose receptive field is not known")


def _follow_shapes(module: nn.Module, graph: fx.Graph, input_px: int) -> dict[fx.Node, tuple[int, ...]]:
    """Return the output shape of every step for one image."""
    shapes: dict[fx.Node, tuple[int, ...]] = {}

    class Watcher(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            output = super().run_node(n)
            if isinstance(output, torch.Tensor):
                shapes[n] = tuple(output.shape)
            return output

    first = next((m for m in module.modules() if isinstance(m, nn.Conv2d)), None)
    n_channels = first.in_channels if first is not None else 3
    try:
        with torch.no_grad():
            Watcher(fx.GraphModule(module, graph)).run(torch.zeros(1, n_channels, input_px, input_px))
    except Exception as error:  # the network's own code, which may raise anything
        cause = " ".join(str(error).split())[:200]
        raise UserError(f"{type(module).__name__} cannot be followed with one image: {cause}") from error
    return shapes


def _numeric_padding(part: nn.Module) -> tuple[Any, Any]:
    """Return the padding before and after, also where it is given as `same` or `valid`."""
    padding: Any = part.padding
    if padding == "valid":
        return 0, 0
    if padding == "same":
        reach = tuple((k - 1) * d for k, d in zip(part.kernel_size, part.dilation, strict=True))  # type: ignore[arg-type]
        return tuple(r // 2 for r in reach), tuple(r - r // 2 for r in reach)
    return padding, padding


def _along(value: Any, axis: int) -> Any:
    """Return the entry of one axis of a number or a pair."""
    return value[axis] if isinstance(value, tuple | list) else value
