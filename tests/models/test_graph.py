"""The geometry of real networks: own ones and traced ones, against the footprint of the gradient."""

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from rep_kedro._torchvision import declare_torchvision_operators
from rep_kedro.kernels.layers.receptive_field import compute_receptive_fields, follow_receptive_fields
from rep_kedro.models.graph import network_graph
from rep_kedro.models.network import build_network
from rep_kedro.models.outline import build_on_meta
from rep_kedro.models.sources.specs import ModelEntry


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
    declare_torchvision_operators()
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
    declare_torchvision_operators()
    from torchvision.models import vgg11

    network = vgg11(weights=None)
    fields, unknown = follow_receptive_fields(network_graph(network), 224)
    assert unknown["classifier"].startswith("layer 'avgpool' pools adaptively to 7; give input_px")
    assert fields["features"].size_px == 150
    graph = network_graph(network, input_px=32)
    fields = compute_receptive_fields(graph, 32)
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


def test_only_what_is_behind_a_step_of_unknown_geometry_is_unknown():
    class Forked(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.plain = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 5, padding=2)
            self.odd, self.behind = nn.Upsample(scale_factor=2), nn.ReLU()

        def forward(self, x):
            x = self.stem(x)
            return self.behind(self.odd(x)).mean() + self.plain(x).mean()

    fields, unknown = follow_receptive_fields(network_graph(Forked()), 16)
    assert {name: fields[name].size_px for name in ("stem", "plain")} == {"stem": 3, "plain": 7}
    assert {"odd", "behind", "add"} <= set(unknown)
    assert set(unknown.values()) == {"layer 'odd' is a Upsample, whose receptive field is not known"}
    with pytest.raises(ValueError, match="layer 'odd' is a Upsample"):
        compute_receptive_fields(network_graph(Forked()), 16)


@pytest.mark.parametrize(
    ("source", "name", "side", "sizes"),
    [
        # Sums over kernels and strides by hand, from the tables of the papers: 3, 7, 11, ... of the stem.
        ("torchvision", "inception_v3", 299, {"Conv2d_1a_3x3": 3, "Conv2d_2b_3x3": 11, "maxpool1": 15}),
        ("torchvision", "convnext_tiny", 224, {"features.0": 4, "features.1.0": 28, "features.1": 76}),
        (
            "torchvision",
            "shufflenet_v2_x0_5",
            224,
            {"conv1": 3, "maxpool": 7, "stage2.0": 15, "stage2.1": 31},
        ),
        ("torchvision", "mobilenet_v3_small", 224, {"features.0": 3, "features.1.block.0": 7}),
        ("torchvision", "efficientnet_b0", 224, {"features.0": 3, "features.1.0.block.0": 7}),
        ("torchvision", "regnet_y_400mf", 224, {"stem": 3, "trunk_output.block1.block1-0.f.b": 7}),
        ("torchvision", "vit_b_16", 224, {"conv_proj": 16, "encoder.dropout": 16, "encoder.ln": 224}),
        ("torchvision", "swin_t", 224, {"features.0": 4, "features.1.0.norm1": 4}),
        ("timm", "vit_tiny_patch16_224", 224, {"patch_embed": 16, "blocks.0.norm1": 16, "blocks.0": 224}),
        ("timm", "tf_efficientnet_b0", 224, {"conv_stem": 3, "blocks.0.0.conv_dw": 7}),
        ("timm", "mixer_s16_224", 224, {"stem": 16, "blocks.0.norm1": 16}),
    ],
)
def test_the_fields_of_published_architectures(source, name, side, sizes):
    drawn = {"weights": None} if source == "torchvision" else {"pretrained": False}
    content = {"source": source, "name": name, "layers": ["x"], **drawn}
    module = build_on_meta(TypeAdapter(ModelEntry).validate_python(content))
    with torch.device("meta"):
        fields, _ = follow_receptive_fields(network_graph(module, input_px=side), side)
    assert {layer: fields[layer].size_px for layer in sizes} == sizes


def test_excitation_by_the_whole_map_is_seen_by_every_position_and_the_way_past_it_is_kept():
    class Excited(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.squeeze = nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1)
            self.gate, self.last = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x):
            x = self.conv(x)
            return self.last(x * self.gate(self.squeeze(x)).sigmoid())

    network = Excited()
    fields = compute_receptive_fields(network_graph(network, input_px=16), 16)
    assert (fields["mul"].size_px, fields["mul"].smallest_path_px, fields["mul"].map_size) == (18, 3, 16)
    assert (fields["last"].size_px, fields["last"].smallest_path_px) == (18, 5)
    image = torch.rand(1, 3, 16, 16, requires_grad=True)
    network(image)[0, :, 0, 0].sum().backward()
    assert (image.grad[0].abs().sum(0) > 0).all()  # the corner depends on all 16 pixels, and on its padding


def test_mixing_of_positions_is_not_taken_for_mixing_of_channels():
    entry = {"source": "timm", "name": "mixer_s16_224", "layers": ["x"], "pretrained": False}
    module = build_on_meta(TypeAdapter(ModelEntry).validate_python(entry))
    with torch.device("meta"):
        fields, unknown = follow_receptive_fields(network_graph(module, input_px=224), 224)
    assert "blocks.0" not in fields
    assert "mixes channels or positions" in unknown["blocks.0"]


def test_a_network_that_cannot_be_traced_is_named():
    class Branching(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(ValueError, match=r"torch\.fx cannot trace Branching"):
        network_graph(Branching())
