"""Cost of a network: parameters, and operations for one stimulus."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rep_kedro.errors import contained
from rep_kedro.models.outline import build_on_meta
from rep_kedro.models.sources.specs import MAY_NEED_NUMBERS, ZooEntry
from rep_kedro.models.sources.zoo import build_model, resolve_preprocessing, runner_of
from rep_kedro.models.trained import NetworkHandle, definition_of, rebuild_trained_network

_IMAGE_SIDES = frozenset({"visual", "vision_model"})  # of two-sided models in open_clip and transformers


@dataclass(frozen=True)
class NetworkCost:
    """Size of a network.

    Attributes:
        n_parameters: Trainable numbers; buffers such as running means are not counted.
        n_flops: Floating point operations of one stimulus: two per multiply-accumulate, in convolutions,
            matrix products and attention; all else is left out.
    """

    n_parameters: int
    n_flops: int


def count_cost(
    module: nn.Module,
    input_shape: tuple[int, ...],
    *,
    run: Callable[[Tensor], object] | None = None,
    device: str = "meta",
) -> NetworkCost:
    """Return parameters and operations; only shapes are followed, unless another device is asked for.

    The module moves to the meta device and loses its weights; its parameters no longer require gradients.

    Args:
        module: The network.
        input_shape: Of one stimulus, without the batch axis.
        run: How the network is called, if not `module(x)`.
        device: `cpu` for a network that cannot be followed without numbers.
    """
    from torch.utils.flop_counter import FlopCounterMode

    n_parameters = sum(parameter.numel() for parameter in module.parameters())
    module.to(device).eval().requires_grad_(False)  # the counter fails on gradients of shared parameters
    counter = FlopCounterMode(display=False)
    # On the meta device attention takes the path that the counter knows.
    with torch.no_grad(), counter, contained():
        (run or module)(torch.zeros(1, *input_shape, device=device))
    return NetworkCost(n_parameters, counter.get_total_flops())


def count_trained_cost(handle: NetworkHandle) -> NetworkCost:
    """Return the cost of a network trained here; its weights are not read."""
    spec = definition_of(handle).input
    return count_cost(rebuild_trained_network(handle), (spec.channels, spec.size_px, spec.size_px))


def count_zoo_cost(entry: ZooEntry) -> NetworkCost:
    """Return the cost of a network from elsewhere, of its image side where there is also a text side."""
    preprocessing, network = resolve_preprocessing(entry), build_on_meta(entry)
    image_shape = (len(preprocessing.mean), preprocessing.size_px, preprocessing.size_px)
    try:
        cost = count_cost(network, image_shape, run=runner_of(network))
    except Exception:  # code that computes with numbers of its own needs real ones
        if entry.source not in MAY_NEED_NUMBERS:
            raise
        network = build_model(entry, with_weights=False)
        cost = count_cost(network, image_shape, run=runner_of(network), device="cpu")
    image_side = next((part for name, part in network.named_children() if name in _IMAGE_SIDES), network)
    return NetworkCost(sum(parameter.numel() for parameter in image_side.parameters()), cost.n_flops)
