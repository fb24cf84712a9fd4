"""The small network between representation and self-supervised loss."""

from collections.abc import Sequence

import torch
from torch import nn

from rep_kedro.models.initialisation import draw_weights
from rep_kedro.models.modules import make_undrawn


def build_projector(width: int, widths: Sequence[int], generator: torch.Generator) -> nn.Module:
    """Return a perceptron: linear layers, batch norm and ReLU between them, the last one linear without bias.

    Args:
        width: Width of the representation.
        widths: Widths of the layers; the last is that of the embedding. Empty for no projector.
        generator: Draws the weights, uniformly within 1 / sqrt(fan-in).
    """
    layers: list[nn.Module] = []
    for i, n_out in enumerate(widths):
        linear = make_undrawn(nn.Linear, width, n_out, bias=False)
        draw_weights(linear, generator)
        layers.append(linear)
        if i < len(widths) - 1:
            layers += [nn.BatchNorm1d(n_out), nn.ReLU()]
        width = n_out
    return nn.Sequential(*layers)
