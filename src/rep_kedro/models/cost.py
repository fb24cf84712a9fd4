"""What a network costs: parameters, and operations for one stimulus."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


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
    module: nn.Module, input_shape: tuple[int, ...], *, run: Callable[[Tensor], object] | None = None
) -> NetworkCost:
    """Return parameters and operations; nothing is computed, only shapes are followed.

    The module is moved to the meta device and loses its weights.

    Args:
        module: The network.
        input_shape: Of one stimulus, without the batch axis.
        run: How the network is called, if not `module(x)`.
    """
    from torch.utils.flop_counter import FlopCounterMode

    n_parameters = sum(parameter.numel() for parameter in module.parameters())
    module.to("meta").eval()
    counter = FlopCounterMode(display=False)
    # On the meta device attention takes the path that the counter knows.
    with torch.no_grad(), counter:
        (run or module)(torch.empty(1, *input_shape, device="meta"))
    return NetworkCost(n_parameters, counter.get_total_flops())
