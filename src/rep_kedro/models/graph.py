"""From a network to the graph of its layers' geometry, for receptive fields."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import fx, nn

from rep_kedro.errors import UserError
from rep_kedro.kernels.layers.receptive_field import LayerGeometry
from rep_kedro.models.architecture import INPUT, AdaptivePool, Conv, Deconv, Pad, Pool, Subsample
from rep_kedro.models.network import LayeredNetwork
from rep_kedro.models.steps import Shape, Step, count_tokens, describe_function, describe_module

_STEPS = frozenset({"call_module", "call_function", "call_method"})
_LEAVES = (
    nn.Conv2d,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.LayerNorm,
)  # also where a library derives its own from them


def network_graph(module: nn.Module, *, input_px: int | None = None, axis: int = 1) -> list[LayerGeometry]:
    """Return what every layer does to positions along one axis, in order of execution.

    Args:
        module: A network of this project, or any that torch.fx can trace.
        input_px: Side of the image. Needed where a network pools adaptively or lays maps out as tokens; the
            own networks know theirs.
        axis: 0 for rows, 1 for columns; the same where all windows are square.

    Returns:
        One entry per layer; one of unknown geometry gives the reason. In traced networks functions
        count as layers, named as torch.fx names them, modules that are called several times are named with
        the call: `relu@2`, and a module with parts follows the last of them.

    Raises:
        ValueError: If the network cannot be traced.
    """
    if isinstance(module, LayeredNetwork):
        return [_of_own_layer(module, name) for name in module.layer_names]
    return _trace(module, input_px, axis)


def _of_own_layer(network: LayeredNetwork, name: str) -> LayerGeometry:  # noqa: PLR0911 - one per kind
    layer = network.layer(name)
    inputs = tuple(source for source in layer.inputs if source != INPUT)
    match layer:
        case Conv():
            return LayerGeometry(
                name, inputs, layer.kernel, layer.stride, layer.padding, dilation=layer.dilation
            )
        case Pool():
            return LayerGeometry(
                name,
                inputs,
                layer.kernel,
                layer.stride or layer.kernel,
                layer.padding,
                has_ceil_size=layer.ceil,
            )
        case AdaptivePool():
            return _of_adaptive_pool(network, layer, inputs)
        case Subsample():
            return LayerGeometry(name, inputs, 1, layer.stride)
        case Pad():
            return LayerGeometry(name, inputs, padding=layer.before, padding_after=layer.after)
        case Deconv():
            why = f"layer {name!r} is a transposed convolution, whose receptive field is not known"
            return LayerGeometry(name, inputs, unknown=why)
    is_whole = layer.kind in {"mean", "flatten", "flatten_channels_last", "linear"}
    return LayerGeometry(name, inputs, None if is_whole else 1)


def _of_adaptive_pool(network: LayeredNetwork, layer: AdaptivePool, inputs: tuple[str, ...]) -> LayerGeometry:
    taken, size = network.shapes[layer.inputs[0]][-1], layer.side
    if size == 1:
        return LayerGeometry(layer.name, inputs, None)
    if taken % size == 0:
        return LayerGeometry(layer.name, inputs, taken // size, taken // size)
    why = f"layer {layer.name!r} pools {taken} positions to {size}, by windows of different sizes"
    return LayerGeometry(layer.name, inputs, unknown=why)


class _Tracer(fx.Tracer):
    """Steps into modules of libraries, but not into those that are windows themselves."""

    def __init__(self) -> None:
        # timm lists what torch.fx must not step into.
        listed = sys.modules.get("timm.layers._fx")
        functions: Iterable[Callable[..., Any]] = listed.get_notrace_functions() if listed else ()
        super().__init__(autowrap_functions=tuple(functions))
        self._leaves = (*_LEAVES, *(listed.get_notrace_modules() if listed else ()))

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, self._leaves) or super().is_leaf_module(m, module_qualified_name)


def trace_network(module: nn.Module) -> fx.Graph:
    """Return the steps of a network in evaluation mode.

    Raises:
        UserError: If torch.fx cannot follow its code.
    """
    try:
        return _Tracer().trace(module.eval())
    except Exception as error:  # tracing runs the network's own code, which may raise anything
        cause = " ".join(str(error).split())[:200]
        raise UserError(f"torch.fx cannot trace {type(module).__name__}: {cause}") from error


def _trace(module: nn.Module, input_px: int | None, axis: int) -> list[LayerGeometry]:
    graph = trace_network(module)
    shapes = None if input_px is None else _follow_shapes(module, graph, input_px)
    names: dict[fx.Node, str] = {}
    calls: Counter[str] = Counter()
    layers: list[LayerGeometry] = []
    token_counts = count_tokens((shapes or {}).values())
    for node in _steps_of_image(graph, shapes):
        names[node] = node.name
        if node.op == "call_module":
            calls[str(node.target)] += 1
            n_calls = calls[str(node.target)]
            names[node] = str(node.target) if n_calls == 1 else f"{node.target}@{n_calls}"
        inputs = tuple(dict.fromkeys(names[source] for source in node.all_input_nodes if source in names))
        taken, given = _shapes_at(node, shapes or {})
        step = Step(names[node], taken, given, axis, len(inputs), token_counts)
        if node.op == "call_module":
            geometry = describe_module(module.get_submodule(str(node.target)), step)
        else:
            geometry = describe_function(node, step)
        layers.append(LayerGeometry(names[node], inputs, **geometry))
    return _with_wholes(layers, names)


def _steps_of_image(graph: fx.Graph, shapes: Mapping[fx.Node, Shape | None] | None) -> Iterator[fx.Node]:
    """Yield the steps that depend on the image: no sizes, no weights, nor what is made of these alone."""
    reading = {next(node for node in graph.nodes if node.op == "placeholder")}
    for node in graph.nodes:
        is_tensor = shapes is None or node in shapes
        if node.op in _STEPS and is_tensor and reading.intersection(node.all_input_nodes):
            reading.add(node)
            yield node


def _with_wholes(layers: list[LayerGeometry], names: Mapping[fx.Node, str]) -> list[LayerGeometry]:
    """Return the layers, each followed by the modules with parts whose last step it is."""
    last: dict[str, str] = {}  # in the order in which the modules are entered: the outer ones first
    for node, step in names.items():
        for key in node.meta.get("nn_module_stack", {}):
            base, _, repeated = key.partition("@")
            last[f"{base}@{int(repeated) + 1}" if repeated else base] = step
    taken = {layer.name for layer in layers}
    wholes: dict[str, list[LayerGeometry]] = {}
    for whole, step in reversed(last.items()):
        if whole and whole not in taken:
            wholes.setdefault(step, []).append(LayerGeometry(whole, (step,)))
    return [each for layer in layers for each in (layer, *wholes.get(layer.name, ()))]


def _shapes_at(node: fx.Node, shapes: Mapping[fx.Node, Shape | None]) -> tuple[Shape | None, Shape | None]:
    """Return the shapes of the first input and of the output; None where unknown, or not one tensor."""
    first = next((source for source in node.all_input_nodes if source.op != "get_attr"), None)
    return None if first is None else shapes.get(first), shapes.get(node)


def _follow_shapes(module: nn.Module, graph: fx.Graph, input_px: int) -> dict[fx.Node, Shape | None]:
    """Return the output shape of every step that gives tensors, for one image; None for several tensors."""
    shapes: dict[fx.Node, Shape | None] = {}

    class Watcher(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            output = super().run_node(n)
            if isinstance(output, torch.Tensor):
                shapes[n] = tuple(output.shape)
            elif isinstance(output, tuple | list) and any(isinstance(x, torch.Tensor) for x in output):
                shapes[n] = None
            return output

    first = next((m for m in module.modules() if isinstance(m, nn.Conv2d)), None)
    n_channels = first.in_channels if first is not None else 3
    try:
        with torch.no_grad():
            Watcher(fx.GraphModule(module, graph)).run(torch.zeros(1, n_channels, input_px, input_px))
    except Exception as error:  # the network's own code, which may raise anything
        cause = " ".join(str(error).split())[:200]
        raise UserError(f"{type(module).__name__} cannot be traced with one image: {cause}") from error
    return shapes
