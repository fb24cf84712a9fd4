"""How the weights of a new network are drawn; biases start at zero and batch norms at identity.

`he`: convolutions normal (He et al. 2015, arXiv:1502.01852, fan-out), linear layers uniform within
1 / sqrt(fan-in). `he_normal_linear`: the same, linear layers normal with a deviation of 0.01, as in the VGGs
of torchvision. `torch`: weights, and biases too, uniform within 1 / sqrt(fan-in), as torch draws them.
"""

from collections.abc import Callable, Mapping
from math import prod
from typing import Literal

import torch
from torch import nn

from rep_kedro.models.architecture import Initialisation

_LINEAR_STD = 0.01
_WITH_WEIGHTS = nn.Conv2d | nn.ConvTranspose2d | nn.Linear


def draw_weights(module: nn.Module, generator: torch.Generator, how: Initialisation = "he") -> None:
    """Draw the weights of one layer, if it has numbers."""
    if isinstance(module, _WITH_WEIGHTS) and not module.weight.is_meta:
        INITIALISATIONS[how](module, generator)


def _draw_he(module: _WITH_WEIGHTS, generator: torch.Generator) -> None:
    if isinstance(module, nn.Linear):
        bound = module.in_features**-0.5
        nn.init.uniform_(module.weight, -bound, bound, generator=generator)
    else:
        _draw_he_convolution(module, generator)
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def _draw_he_normal_linear(module: _WITH_WEIGHTS, generator: torch.Generator) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=_LINEAR_STD, generator=generator)
    else:
        _draw_he_convolution(module, generator)
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def _draw_he_convolution(module: nn.Conv2d | nn.ConvTranspose2d, generator: torch.Generator) -> None:
    # The weight of a transposed convolution is (in, out, k, k), so what torch calls fan-in is the fan-out.
    fan: Literal["fan_in", "fan_out"] = "fan_out" if isinstance(module, nn.Conv2d) else "fan_in"
    nn.init.kaiming_normal_(module.weight, mode=fan, nonlinearity="relu", generator=generator)


def _draw_as_torch(module: _WITH_WEIGHTS, generator: torch.Generator) -> None:
    bound = prod(module.weight.shape[1:]) ** -0.5
    nn.init.uniform_(module.weight, -bound, bound, generator=generator)
    if module.bias is not None:
        nn.init.uniform_(module.bias, -bound, bound, generator=generator)


INITIALISATIONS: Mapping[Initialisation, Callable[[_WITH_WEIGHTS, torch.Generator], None]] = {
    "he": _draw_he,
    "he_normal_linear": _draw_he_normal_linear,
    "torch": _draw_as_torch,
}
