"""The geometry of real networks: own ones and traced ones, against the footprint of the gradient."""

import pytest
import torch
from torch import nn

from rep_kedro._torchvision import mend_torchvision
from rep_kedro.kernels.receptive_field import compute_receptive_fields
from rep_kedro.models.graph import network_graph
from rep_kedro.models.network import build_network


def _footprint(network, layer, input_px):
    """Columns of the image that the middle position of a layer depends on, by its gradient."""
    for module in network.modules():  # all weights positive and linear, so that nothing cancels
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.constant_(module.weight, 1.0)
    x = torch.rand(1, 3, input_px, input_px, requires_grad=True)
    activation = network.run(x, stop_at=layer)
    middle = activation.shape[-1] // 2
    activation[..., middle].sum().backward()
    columns = x.grad.abs().sum(dim=(0, 1, 2)).nonzero().flatten()
    return middle, columns.min().item(), columns.max().item()


@pytest.mark.parametrize("name", ["cnn", "small_resnet", "tiny10", "resnet20", "resnet20_a"])
def test_the_gradient_reaches_exactly_the_receptive_field(name):
    network = build_network(name, n_classes=10, seed=0).eval().double()
    input_px = network.architecture.input.size_px
    fields = compute_receptive_fields(network_graph(network), input_px)
    torch.set_default_dtype(torch.float64)
    try:
        for layer in [layer for layer in network.layer_names if len(network.shapes[layer]) == 3][::5]:
            field = fields[layer]
            assert field.map_size == network.shapes[layer][-1]
            middle, first, last = _footprint(network, layer, input_px)
            start = field.start_px + middle * field.jump_px
            assert first == max(0, start), layer
            assert last == min(input_px, start + field.size_px) - 1, layer
    finally:
        torch.set_default_dtype(torch.float32)


def _convolutions(module, graph):
    convolutions = {name for name, part in module.named_modules() if isinstance(part, nn.Conv2d)}
    return [layer.name for layer in graph if layer.name in convolutions and "downsample" not in layer.name]


def test_a_torchvision_resnet_has_the_published_fields():
    mend_torchvision()
    from torchvision.models import resnet18, resnet50

    network = resnet18(weights=None)
    graph = network_graph(network)
    fields = compute_receptive_fields(graph, 32)
    names = _convolutions(network, graph)
    maximal = [7, 19, 27, 35, 43, 51, 67, 83, 99, 115, 147, 179, 211, 243, 307, 371, 435]
    minimal = [7, 19, 27, 19, 27, 19, 35, 27, 43, 27, 59, 43, 75, 43, 107, 75, 139]
    assert [fields[name].size_px for name in names] == maximal
    assert [fields[name].smallest_path_px for name in names] == minimal
    assert "layer1.0.relu@2" in fields
    network = resnet50(weights=None)
    fields = compute_receptive_fields(network_graph(network), 32)
    assert [fields[f"layer4.{i}.conv{k}"].size_px for i in (1, 2) for k in (1, 2, 3)] == [
        299,
        363,
        363,
        363,
        427,
        427,
    ]


def test_a_torchvision_vgg_needs_the_image_size_for_its_adaptive_pooling():
    mend_torchvision()
    from torchvision.models import vgg11

    network = vgg11(weights=None)
    with pytest.raises(ValueError, match="layer 'avgpool' pools adaptively to 7; give input_px"):
        network_graph(network)
    graph = network_graph(network, input_px=32)
    fields = compute_receptive_fields(graph[:-1][: [layer.name for layer in graph].index("avgpool")], 32)
    assert [fields[name].size_px for name in _convolutions(network, graph)] == [
        3,
        8,
        18,
        26,
        46,
        62,
        102,
        134,
    ]


def test_windows_that_are_not_square_differ_by_axis():
    network = nn.Sequential(nn.Conv2d(3, 4, (3, 5), padding="same"), nn.ReLU(), nn.MaxPool2d(2))
    rows, columns = (compute_receptive_fields(network_graph(network, axis=axis), 16) for axis in (0, 1))
    assert (rows["0"].size_px, columns["0"].size_px) == (3, 5)
    assert (rows["2"].size_px, columns["2"].size_px) == (4, 6)
    assert rows["0"].map_size == columns["0"].map_size == 16


def test_a_layer_of_unknown_geometry_is_named():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Upsample(scale_factor=2))
    with pytest.raises(ValueError, match="layer '1' is a Upsample, whose receptive field is not known"):
        network_graph(network)


def test_a_network_that_cannot_be_traced_is_named():
    class Branching(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(ValueError, match=r"torch\.fx cannot trace Branching"):
        network_graph(Branching())
