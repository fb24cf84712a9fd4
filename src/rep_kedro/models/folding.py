"""Batch norms in evaluation mode folded into the layers before them: the same outputs in fewer passes."""

from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def fold_batch_norms(network: fx.GraphModule) -> fx.GraphModule:
    """Return a frozen copy of a network without the batch norms that follow a convolution or linear layer.

    A batch norm in evaluation mode is an affine map of channels, which the layer before it can take over. It
    stays where something else reads that layer, where either is called several times, and where it keeps no
    statistics.

    Args:
        network: In evaluation mode; it is not changed.

    Returns:
        A copy in evaluation mode, equal up to rounding; no parameter asks for a gradient.

    Raises:
        ValueError: If the network is in training mode.

    Source:
        Jacob et al. 2018, arXiv:1712.05877, section 3.2.
    """
    if network.training:
        raise ValueError("batch norms are folded in evaluation mode; call .eval() on the network first")
    folded = deepcopy(network).requires_grad_(False)
    for layer, norm in list(_find_pairs(folded)):
        _fold_pair(folded.get_submodule(str(layer.target)), folded.get_submodule(str(norm.target)))
        norm.replace_all_uses_with(layer)
        folded.graph.erase_node(norm)
    folded.recompile()
    folded.delete_all_unused_submodules()
    return folded.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _find_pairs(network: fx.GraphModule) -> Iterator[tuple[fx.Node, fx.Node]]:
    """Yield each layer and the batch norm that alone reads it, both called once."""
    calls = [node for node in network.graph.nodes if node.op == "call_module"]
    counts = Counter(str(node.target) for node in calls)
    for node in calls:
        [source, *others] = node.all_input_nodes
        is_once = source in calls and counts[str(node.target)] == counts[str(source.target)] == 1
        if others or not is_once or len(source.users) > 1:
            continue
        layer, norm = (network.get_submodule(str(each.target)) for each in (source, node))
        is_plain = type(layer) in (nn.Conv2d, nn.Linear)
        if is_plain and isinstance(norm, _BATCH_NORMS) and norm.running_mean is not None:
            yield source, node


def _fold_pair(layer: Any, norm: Any) -> None:
    fuse: Any = fuse_conv_bn_weights if isinstance(layer, nn.Conv2d) else fuse_linear_bn_weights
    statistics = (norm.running_mean, norm.running_var, norm.eps)
    weight, bias = fuse(layer.weight, layer.bias, *statistics, norm.weight, norm.bias)
    layer.weight, layer.bias = (nn.Parameter(x, requires_grad=False) for x in (weight, bias))
