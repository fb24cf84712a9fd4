"""The small network between representation and self-supervised loss, stored with its network."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from rep_kedro.errors import UserError
from rep_kedro.models.initialisation import draw_weights
from rep_kedro.models.modules import make_undrawn

MOST_WEIGHTS = 2**29  # of a layer


class Projector(nn.Sequential):
    """A perceptron: linear layers, ReLU and maybe batch norm between them, the last one linear.

    Args:
        width: Width of the representation.
        widths: Widths of the layers; the last is that of the embedding.
        generator: Draws the weights, uniformly within 1 / sqrt(fan-in).
        batch_norm: Whether there is batch norm before each ReLU.
        bias: Whether the linear layers have biases, which start at zero.

    Attributes:
        definition: The arguments as plain JSON data.

    Raises:
        UserError: If a layer would have more than 2^29 weights, 2 GiB.
    """

    def __init__(
        self,
        width: int,
        widths: Sequence[int],
        generator: torch.Generator,
        *,
        batch_norm: bool = True,
        bias: bool = False,
    ) -> None:
        layers: list[nn.Module] = []
        n_in = width
        for i, n_out in enumerate(widths):
            if n_in * n_out > MOST_WEIGHTS:
                raise UserError(
                    f"a projector or decoder of widths {width}, {', '.join(map(str, widths))} has"
                    f" {n_in * n_out:,} weights in one layer, at most {MOST_WEIGHTS:,}; lower its widths"
                )
            linear = make_undrawn(nn.Linear, n_in, n_out, bias=bias)
            draw_weights(linear, generator)
            layers.append(linear)
            if i < len(widths) - 1:
                layers += [nn.BatchNorm1d(n_out), nn.ReLU()] if batch_norm else [nn.ReLU()]
            n_in = n_out
        super().__init__(*layers)
        self.definition = {"width": width, "widths": list(widths), "batch_norm": batch_norm, "bias": bias}


def rebuild_projector(definition: Mapping[str, Any]) -> Projector:
    """Return a projector of a definition with other weights, in evaluation mode."""
    projector = Projector(**definition, generator=torch.Generator().manual_seed(0))
    return projector.eval()
