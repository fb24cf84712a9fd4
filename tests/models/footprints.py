"""The region of the image that one position of a layer depends on: by its gradient, and as it is followed."""

import torch
from torch import nn
from torch.nn import functional

from rep_kedro.kernels.layers import sighted
from rep_kedro.models.fields import follow_layers


def average_windows(monkeypatch):
    """Let pooling read all of a window, not the largest number alone."""

    def pool(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
        assert dilation == 1
        return functional.avg_pool2d(x, kernel_size, stride, padding, ceil_mode)

    monkeypatch.setattr(functional, "max_pool2d", pool)


def make_positive(module):
    """Draw positive weights that keep the size of numbers, so that nothing cancels and no unit is dead."""
    generator = torch.Generator().manual_seed(0)
    for weight in module.parameters():
        if weight.ndim > 1:
            drawn = torch.rand(weight.shape, generator=generator) + 0.5
            weight.data = (drawn / weight[0].numel()).to(weight)
    return module.double().eval()


def compute_footprints(module, layers, side, axes):
    """Return, by layer, position and the first and last pixel that it depends on, along rows and columns.

    `axes` are those of rows and columns in the outputs of the layers.
    """
    outputs, handles = {}, []
    for name in layers:

        def keep(_, __, output, name=name):
            outputs.setdefault(name, output)

        handles.append(module.get_submodule(name).register_forward_hook(keep))
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(1, 3, side, side, generator=generator, dtype=torch.float64, requires_grad=True)
    module(image)
    for handle in handles:
        handle.remove()
    found = {}
    for name, output in outputs.items():
        row, column = output.shape[axes[0]] // 2, output.shape[axes[1]] // 3
        channels = output.select(axes[1], column).select(axes[0], row).flatten()
        weights = torch.rand(channels.shape, generator=generator, dtype=torch.float64)
        (gradient,) = torch.autograd.grad((channels * weights).sum(), image, retain_graph=True)
        touched = gradient[0].abs().sum(dim=0) > 0
        ends = [touched.any(dim=axis).nonzero().flatten()[[0, -1]].tolist() for axis in (1, 0)]
        found[name] = ((row, column), ends)
    return found


def follow_footprint(sees, position, side, axes):
    """Return the first and last pixel that a position sees, cut off at the image."""
    one = sighted.select(sighted.select(sees, axes[1], position[1]), axes[0], position[0])
    ends = []
    for sight in (one.rows, one.columns):
        whole = [sight.whole] if sight.whole else []
        first = [int(paths.first.min()) for paths in sight.paths] + [each[0] for each in whole]
        last = [int(paths.last.max()) for paths in sight.paths] + [each[1] for each in whole]
        ends.append([max(0, min(first)), min(side - 1, max(last))])
    return ends


def without_classifier(network):
    """Return a network whose large last layers are left out."""
    network.classifier = nn.Identity()
    return network


def require_equal_footprints(module, layers, side, *, channels_last=False):
    """Require that the gradient of one position of each layer reaches exactly what is followed."""
    passes = {each.layer: each for each in follow_layers(module, side)}
    axes = (1, 2) if channels_last else (2, 3)
    found = compute_footprints(module, layers, side, axes)
    assert list(found) == layers
    for layer, (position, ends) in found.items():
        assert follow_footprint(passes[layer].sees, position, side, axes) == ends, layer


def follow_every_position(module, side):
    """Return what the last layer sees, and by row and column the first and last pixels of its gradient.

    One position of each row and each column of the output (n, channels, rows, columns) is tried.
    """
    image = torch.rand(1, 3, side, side, dtype=torch.float64, requires_grad=True)
    output = module(image)
    n = max(output.shape[-2:])
    found = {}
    for place in range(n):
        position = (place * output.shape[2] // n, place * output.shape[3] // n)
        (gradient,) = torch.autograd.grad(output[0, :, *position].sum(), image, retain_graph=True)
        touched = gradient[0].abs().sum(dim=0) > 0
        found[position] = [touched.any(dim=axis).nonzero().flatten()[[0, -1]].tolist() for axis in (1, 0)]
    return follow_layers(module, side)[-1], found
