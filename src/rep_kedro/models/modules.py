"""The module of each kind of layer."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from rep_kedro.models.architecture import (
    AdaptivePool,
    BatchNorm,
    Conv,
    Deconv,
    Dropout,
    Layer,
    Linear,
    Pad,
    Pool,
    Subsample,
)


class GlobalMean(nn.Module):
    """Average over all positions: (n, c, h, w) to (n, c)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean over the last two axes."""
        return x.mean(dim=(-2, -1))


class FlattenChannelsLast(nn.Module):
    """Flattening in the order of (h, w, c), as libraries do that keep the channels last."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, h * w * c) for a map (n, c, h, w)."""
        return x.movedim(1, -1).flatten(1)


class Add(nn.Module):
    """Sum of its inputs; a module, so that a hook can read it."""

    def forward(self, *terms: Tensor) -> Tensor:
        """Return the sum of tensors of one shape."""
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        return total


class Concat(nn.Module):
    """Inputs side by side along the channels."""

    def forward(self, *parts: Tensor) -> Tensor:
        """Return the parts joined along axis 1."""
        return torch.cat(parts, dim=1)


class PaddedSubsample(nn.Module):
    """Every `stride`-th pixel, channels filled up by zeros on both sides (He et al. 2016, option A)."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        before = (channels - in_channels) // 2
        self.channel_padding = (before, channels - in_channels - before)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, channels, ceil(h / stride), ceil(w / stride))."""
        x = x[:, :, :: self.stride, :: self.stride]
        return nn.functional.pad(x, (0, 0, 0, 0, *self.channel_padding))


_OF_MAPS = 3
_PLAIN: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "mean": GlobalMean,
    "flatten": nn.Flatten,
    "flatten_channels_last": FlattenChannelsLast,
    "add": Add,
    "concat": Concat,
}


def make_module(layer: Layer, shape: tuple[int, ...], n_classes: int | None) -> nn.Module:  # noqa: PLR0911
    """Return the module of one layer; linear and convolution weights are left undrawn.

    Args:
        layer: Its definition.
        shape: Of what it will be given, without a batch axis.
        n_classes: Width of the head.
    """
    width = shape[0]
    match layer:
        case Conv():
            settings = layer.model_dump(include={"stride", "padding", "dilation", "groups", "bias"})
            return make_undrawn(nn.Conv2d, width, wide(layer.channels, n_classes), layer.kernel, **settings)
        case Deconv():
            settings = layer.model_dump(include={"stride", "padding", "bias"})
            return make_undrawn(nn.ConvTranspose2d, width, layer.channels, layer.kernel, **settings)
        case Pad():
            return nn.ZeroPad2d((layer.before, layer.after) * 2)
        case BatchNorm():
            return (nn.BatchNorm2d if len(shape) == _OF_MAPS else nn.BatchNorm1d)(width, eps=layer.eps)
        case Linear():
            return make_undrawn(nn.Linear, width, wide(layer.features, n_classes), bias=layer.bias)
        case Pool():
            pool = nn.MaxPool2d if layer.kind == "maxpool" else nn.AvgPool2d
            return pool(layer.kernel, layer.stride, layer.padding, ceil_mode=layer.ceil)
        case AdaptivePool():
            return nn.AdaptiveAvgPool2d(layer.side)
        case Subsample():
            return PaddedSubsample(width, layer.channels, layer.stride)
    if isinstance(layer, Dropout):
        return nn.Dropout(layer.fraction)
    return _PLAIN[layer.kind]()


def wide(width: int | Literal["classes"], n_classes: int | None) -> int:
    """Return a layer's width in numbers.

    Raises:
        ValueError: If it is as wide as there are classes, and there are none.
    """
    if width != "classes":
        return width
    if n_classes is None:
        raise ValueError("a head needs classes")
    return n_classes


def make_undrawn(kind: type[nn.Module], *args: Any, **kwargs: Any) -> nn.Module:
    """Return a module whose weights are undefined; the global random state is not touched."""
    module = kind(*args, device="meta", **kwargs)
    for name, weight in tuple(module.named_parameters()):
        setattr(module, name, nn.Parameter(torch.empty(weight.shape)))
    return module
