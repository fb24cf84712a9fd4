"""What a training costs: parameters, operations, memory; only shapes are followed."""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from rep_kedro.models.architecture import DefinedNetwork
from rep_kedro.models.foreign import ForeignDefinition

_FLOPS_PER_MAC = 2
_PASSES_PER_STEP = 3  # forward, and backward for inputs and for weights
_FLOAT32_BYTES = 4
_STATES = {"adam": 2, "adamw": 2, "radam": 2, "lars": 1, "sgd": 1}


@dataclass(frozen=True)
class TrainingCost:
    """The cost of training one network.

    Attributes:
        n_parameters: Trainable numbers, without the projector of the objective.
        macs_per_image: Multiply-accumulates of one forward pass.
        memory_bytes: Weights, gradients, the optimiser's averages, and the outputs of all layers for one
            batch, in float32; an estimate of the peak, without buffers of the libraries.
    """

    n_parameters: int
    macs_per_image: int
    memory_bytes: int

    def flops_for(self, n_images: int) -> int:
        """Return the operations of training steps with so many images, two per multiply-accumulate.

        Forward and backward; without evaluation, projector and second views.
        """
        return _FLOPS_PER_MAC * self.macs_per_image * _PASSES_PER_STEP * n_images


def predict_cost(
    architecture: DefinedNetwork, n_classes: int | None, batch_size: int, optimizer: str | None
) -> TrainingCost:
    """Return the cost of a training; nothing but shapes is computed.

    Args:
        architecture: Of the network.
        n_classes: Of its head; None without one.
        batch_size: Images in one forward pass.
        optimizer: Its name; None for a network that is not trained.
    """
    import torch
    from torch import nn
    from torch.utils import _pytree as pytree

    from rep_kedro.models.building import build_network
    from rep_kedro.models.cost import count_cost

    # code of others may need numbers to be built
    with nullcontext() if isinstance(architecture, ForeignDefinition) else torch.device("meta"):
        network = build_network(architecture, n_classes=n_classes, seed=0)
    sizes: list[int] = []

    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        sizes.extend(part.numel() for part in pytree.tree_leaves(output) if isinstance(part, torch.Tensor))

    for module in network.modules():
        if not [*module.children()]:
            module.register_forward_hook(note)
    side = architecture.input.size_px
    cost = count_cost(network, (architecture.input.channels, side, side))
    n_numbers = 0
    if optimizer is not None:
        n_numbers = cost.n_parameters * (2 + _STATES[optimizer]) + sum(sizes) * batch_size
    return TrainingCost(cost.n_parameters, cost.n_flops // _FLOPS_PER_MAC, n_numbers * _FLOAT32_BYTES)
