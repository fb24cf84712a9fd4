"""Networks cut in two: where they can be cut, and what follows a layer as a module of its own."""

import copy
import operator
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from rep_kedro.errors import UserError, suggest
from rep_kedro.models.folding import fold_batch_norms
from rep_kedro.models.survey import CALL_SEPARATOR
from rep_kedro.models.tracing import trace_network

_OUT_OF_PLACE: Mapping[Any, Any] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
    functional.relu_: functional.relu,
}


class CutNetwork:
    """A network that can be continued after its layers.

    Args:
        module: A network in evaluation mode that torch.fx can follow. Its weights are shared, never changed.

    Attributes:
        layers: Names of the layers that give a tensor of the image, in the order in which a pass ends them.
        cut_points: Those that no connection jumps over: what follows depends on their output alone.

    Raises:
        UserError: If torch.fx cannot follow its code.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._graph = trace_network(module)
        self._steps = dict(_named_steps(self._graph))
        self._image = next(node for node in self._graph.nodes if node.op == "placeholder")
        self._output = next(node for node in self._graph.nodes if node.op == "output")
        self.layers = tuple(self._steps)
        self.cut_points = tuple(name for name, step in self._steps.items() if self._is_cut(step))

    def require_cut_point(self, layer: str) -> None:
        """Refuse a layer after which the network cannot be continued.

        Raises:
            UserError: If there is no such layer, or a connection jumps over it; names the nearest cut points.
        """
        if layer not in self._steps:
            near = f"; cut points: {_some(self.cut_points)}"
            raise UserError(f"unknown layer {layer!r}; {suggest(layer, self.layers)}{near}")
        if layer not in self.cut_points:
            place = self.layers.index(layer)
            nearest = sorted(self.cut_points, key=lambda name: abs(self.layers.index(name) - place))
            raise UserError(
                f"cannot continue from layer {layer!r}: a connection jumps over it;"
                f" nearest cut points: {_some(nearest)}"
            )

    def tail(self, layer: str, *, also: Sequence[str] = (), is_folded: bool = False) -> nn.Module:
        """Return what follows a layer: a module from its output to the network's.

        Nothing in it works in place, and its weights need no gradients.

        Args:
            layer: A cut point.
            also: Layers after it whose outputs are returned too: the module then gives (output, [outputs]).
            is_folded: Whether batch norms are folded into the convolutions and linear layers before them:
                faster, and equal to rounding.

        Raises:
            UserError: If the layer is not a cut point, or another one does not follow it.
        """
        self.require_cut_point(layer)
        graph, made = fx.Graph(), dict[fx.Node, fx.Node]()
        made[self._steps[layer]] = graph.placeholder("activation")
        for node in self._graph.nodes:
            if node in self._needed(self._steps[layer], [self._output, *self._later(layer, also)]):
                made[node] = _out_of_place(graph.node_copy(node, lambda source: made[source]))
        self._end(graph, made, also)
        parts = _shared_parts(self._module, graph)
        rest = fx.GraphModule(parts, graph).requires_grad_(False).eval()
        return fold_batch_norms(rest) if is_folded else rest

    def _end(self, graph: fx.Graph, made: Mapping[fx.Node, fx.Node], also: Sequence[str]) -> None:
        output = fx.map_arg(self._output.args[0], lambda source: made[source])
        graph.output((output, [made[self._steps[name]] for name in also]) if also else output)
        graph.lint()

    def _later(self, layer: str, also: Sequence[str]) -> list[fx.Node]:
        for name in also:
            if name not in self._steps or self.layers.index(name) <= self.layers.index(layer):
                later = self.layers[self.layers.index(layer) + 1 :]
                raise UserError(f"layer {name!r} does not follow {layer!r}; {suggest(name, later)}")
        return [self._steps[name] for name in also]

    def _needed(self, step: fx.Node, ends: Sequence[fx.Node]) -> set[fx.Node]:
        """Return the steps, other than `step`, that others need if its output is given."""
        found: set[fx.Node] = set()
        waiting = [
            source for end in ends for source in ([end] if end.op != "output" else end.all_input_nodes)
        ]
        while waiting:
            node = waiting.pop()
            if node is not step and node not in found:
                found.add(node)
                waiting.extend(node.all_input_nodes)
        return found

    def _is_cut(self, step: fx.Node) -> bool:
        needed = self._needed(step, [self._output])
        is_read = any(step in node.all_input_nodes for node in needed)  # not where the output is
        return is_read and self._image not in needed


def _named_steps(graph: fx.Graph) -> Iterator[tuple[str, fx.Node]]:
    """Yield the modules that the graph calls, each with its step, and modules with parts by their last step.

    A module that is called several times is named with the call, `relu@2`.
    """
    calls = [node for node in graph.nodes if node.op == "call_module"]
    totals, counts = Counter(str(node.target) for node in calls), Counter[str]()
    wholes: dict[str, fx.Node] = {}
    for node in graph.nodes:
        for key in node.meta.get("nn_module_stack", {}):
            is_itself = node.op == "call_module" and node.target == key
            if key and CALL_SEPARATOR not in key and not is_itself:
                wholes[key] = node
    last = {node: [name for name, end in wholes.items() if end is node] for node in wholes.values()}
    for node in graph.nodes:
        if node.op == "call_module":
            name = str(node.target)
            counts[name] += 1
            yield (f"{name}{CALL_SEPARATOR}{counts[name]}" if totals[name] > 1 else name), node
        yield from ((name, node) for name in reversed(last.get(node, [])))


def _out_of_place(node: fx.Node) -> fx.Node:
    """Return the step with what it does in place done out of place: its input may be kept by others."""
    if node.op == "call_function":
        node.target = _OUT_OF_PLACE.get(node.target, node.target)
        if node.kwargs.get("inplace"):
            node.kwargs = {**node.kwargs, "inplace": False}
    elif node.op == "call_method" and str(node.target).endswith("_"):
        node.target = str(node.target).removesuffix("_")
    return node


def _shared_parts(module: nn.Module, graph: fx.Graph) -> dict[str, Any]:
    """Return the modules and tensors that a graph names, those that work in place as copies that do not."""
    parts: dict[str, Any] = {}
    for node in graph.nodes:
        name = str(node.target)
        if node.op == "call_module":
            part = module.get_submodule(name)
            if getattr(part, "inplace", False):
                part = copy.copy(part)
                part.inplace = False  # type: ignore[assignment]
            parts[name] = part
        elif node.op == "get_attr":
            owner, _, attribute = name.rpartition(".")
            parts[name] = getattr(module.get_submodule(owner), attribute)
    return parts


def require_equal_outputs(network: CutNetwork, module: nn.Module, layer: str, example: Tensor) -> None:
    """Compare a network with its two parts in sequence, for one stimulus.

    Raises:
        UserError: If the outputs differ: its code does what torch.fx does not show.
    """
    from rep_kedro.models.layers import LayerReader

    with torch.no_grad():
        whole = module(example)
        parts = network.tail(layer)(LayerReader(module, [layer], example=example).read(example)[layer])
    if not torch.equal(whole, parts):
        raise UserError(f"cannot continue from layer {layer!r}: the rest, run by itself, gives other outputs")


def _some(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most]) or 'none'}{more}"
