"""Batch norms in evaluation mode folded into the layers before them: the same outputs in fewer passes."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from rep_kedro.models.network import LayeredNetwork

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def fold_batch_norms(network: nn.Module, *, behind: str | None = None) -> nn.Module:
    """Return a frozen copy of a network without the batch norms that follow a convolution or linear layer.

    A batch norm in evaluation mode is an affine map of channels, which the layer before it can take over. It
    stays where something else reads that layer, where it keeps no statistics, and where that layer is not
    behind ``behind``: a run that continues from there reaches the batch norm, and not the layer. A layer that
    took over a batch norm gives what the batch norm gave; all other outputs are as before, up to rounding.

    Args:
        network: A `LayeredNetwork`, or a module traced by torch.fx, in evaluation mode; it is not changed.
        behind: The layer of a `LayeredNetwork` from which runs continue; None for the whole network.

    Returns:
        A copy in evaluation mode; no parameter asks for a gradient.

    Raises:
        ValueError: If the network is in training mode, or is of another kind.

    Source:
        Jacob et al. 2018, arXiv:1712.05877, section 3.2.
    """
    if network.training:
        raise ValueError("batch norms are folded in evaluation mode; call .eval() on the network first")
    folded = deepcopy(network).requires_grad_(False)
    for before, norm in list(_find_pairs(folded, behind)):
        _fold_pair(folded, before, norm)
    return folded.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _find_pairs(network: nn.Module, behind: str | None) -> Iterator[tuple[str, str]]:
    """Yield the names of each layer and the batch norm that alone reads it."""
    for before, norm in _edges(network, behind):
        layer, found = network.get_submodule(before), network.get_submodule(norm)
        is_plain = type(layer) in (nn.Conv2d, nn.Linear)
        if is_plain and isinstance(found, _BATCH_NORMS) and found.running_mean is not None:
            yield before, norm


def _edges(network: nn.Module, behind: str | None) -> Iterator[tuple[str, str]]:
    """Yield the names of each module, called once, and of the module, called once, that alone reads it."""
    if isinstance(network, LayeredNetwork):
        names = network.layer_names
        run = names if behind is None else names[names.index(behind) + 1 :]
        inputs = [(source, name) for name in run for source in network.layer(name).inputs]
        readers = [source for source, _ in inputs]
        yield from (edge for edge in inputs if edge[0] in run and readers.count(edge[0]) == 1)
    elif isinstance(network, fx.GraphModule):
        calls = [node for node in network.graph.nodes if node.op == "call_module"]
        targets = [str(node.target) for node in calls]
        for node in calls:
            [source, *others] = node.all_input_nodes
            once = source in calls and all(targets.count(str(n.target)) == 1 for n in (node, source))
            if not others and once and len(source.users) == 1:
                yield str(source.target), str(node.target)
    else:
        kind = type(network).__name__
        raise ValueError(f"batch norms of a {kind} cannot be folded; trace it with torch.fx")


def _fold_pair(network: nn.Module, before: str, norm: str) -> None:
    layer: Any = network.get_submodule(before)
    found: Any = network.get_submodule(norm)
    fuse: Any = fuse_conv_bn_weights if isinstance(layer, nn.Conv2d) else fuse_linear_bn_weights
    statistics = (found.running_mean, found.running_var, found.eps)
    weight, bias = fuse(layer.weight, layer.bias, *statistics, found.weight, found.bias)
    layer.weight, layer.bias = (nn.Parameter(x, requires_grad=False) for x in (weight, bias))
    network.set_submodule(norm, nn.Identity())
