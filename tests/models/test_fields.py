"""Receptive fields of whole networks: gradients, published lists, borders, sizes, what cannot be followed."""

import functools

import pytest
import torch
import torchvision.models as zoo
from pydantic import TypeAdapter
from tests.models.footprints import (
    average_windows,
    make_positive,
    require_equal_footprints,
    without_classifier,
)
from tests.reference.receptive_field import unproductive_nodes
from torch import nn
from torchvision.models.convnext import CNBlockConfig

from rep_kedro.errors import UserError
from rep_kedro.models.building import build_network
from rep_kedro.models.fields import find_layer_fields
from rep_kedro.models.outline import build_on_meta
from rep_kedro.models.sources.specs import ModelEntry

# --------------------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("name", ["cnn", "small_resnet", "tiny10", "resnet20", "resnet20_a"])
def test_the_gradient_of_own_networks_reaches_exactly_the_receptive_field(name, monkeypatch):
    average_windows(monkeypatch)
    network = make_positive(build_network(name, n_classes=10, seed=0))
    maps = [layer for layer in network.layer_names if len(network.shapes[layer]) == 3]
    require_equal_footprints(network, maps[::5], network.architecture.input.size_px)


def _make_googlenet():
    return zoo.googlenet(init_weights=False, aux_logits=False)


def _make_convnext():
    return zoo.ConvNeXt([CNBlockConfig(8, 12, 2), CNBlockConfig(12, None, 1)], layer_scale=0.5)


@pytest.mark.parametrize(
    ("make", "side", "layers"),
    [
        (lambda: without_classifier(zoo.alexnet()), 64, ["features.5", "features.12"]),
        (lambda: zoo.vgg.make_layers(zoo.vgg.cfgs["A"]), 48, ["8", "15"]),
        (zoo.resnet18, 64, ["layer1.1.conv1", "layer2.0", "layer3.1.conv2"]),
        (zoo.squeezenet1_1, 65, ["features.4", "features.9.expand3x3"]),
        (_make_googlenet, 64, ["inception3b", "inception4a"]),
        (zoo.mobilenet_v3_small, 64, ["features.3", "features.4.block.1", "features.8"]),
        (zoo.mnasnet0_5, 64, ["layers.9.0", "layers.10"]),
        (zoo.shufflenet_v2_x0_5, 64, ["stage2.1", "stage3.0"]),
        (zoo.efficientnet_b0, 64, ["features.1.0.block.0", "features.2.1"]),
        (zoo.regnet_x_400mf, 64, ["trunk_output.block2", "trunk_output.block3.block3-1.f.b"]),
        (_make_convnext, 64, ["features.1.1", "features.2", "features.3"]),
    ],
)  # fmt: skip
def test_the_gradient_of_published_families_reaches_exactly_the_receptive_field(
    make, side, layers, monkeypatch
):
    average_windows(monkeypatch)
    require_equal_footprints(make_positive(make()), layers, side)


def test_the_gradient_of_shifted_windows_reaches_exactly_the_receptive_field():
    swin = make_positive(zoo.SwinTransformer([2, 2], 8, [2, 1], [2, 2], [3, 3], num_classes=2))
    layers = ["features.1.0", "features.1.1", "features.2", "features.3.0"]
    require_equal_footprints(swin, layers, 36, channels_last=True)


# ------------------------------------------------------------------------- published lists, 32 px, by paper

VGG = {
    "vgg11": ([3, 8, 18, 26, 46, 62, 102, 134], 5),
    "vgg13": ([3, 5, 10, 14, 24, 32, 52, 68, 108, 140], 7),
    "vgg16": ([3, 5, 10, 14, 24, 32, 40, 60, 76, 92, 132, 164, 196], 7),
    "vgg19": ([3, 5, 10, 14, 24, 32, 40, 48, 68, 84, 100, 116, 156, 188, 220, 252], 7),
}
RESNET18 = [7, 19, 27, 35, 43, 51, 67, 83, 99, 115, 147, 179, 211, 243, 307, 371, 435]
RESNET18_SMALLEST = [7, 19, 27, 19, 27, 19, 35, 27, 43, 27, 59, 43, 75, 43, 107, 75, 139]
RESNET18_PC = [3, 5, 7, 9, 11, 13, 17, 21, 25, 29, 37, 45, 53, 61, 77, 93, 109]
RESNET34_SMALLEST = [7, *[19, 27] * 3, 19, 35, *[27, 43] * 3, 27, 59, *[43, 75] * 5, 43, 107, *[75, 139] * 2]


@functools.cache
def _follow(make, side=32, rule="input"):
    with torch.device("meta"):
        module = make()
    found = find_layer_fields(module, None, side, rule=rule)
    convolutions = [
        name
        for name in found.known
        if isinstance(module.get_submodule(name.partition("@")[0]), nn.Conv2d) and "downsample" not in name
    ]
    return found, [found.known[name] for name in convolutions]


def _border_of(fields):
    return next(place for place, field in enumerate(fields) if field.is_beyond_border)


def _make_dilated_vgg19():
    """Maps grow by four pixels a convolution, as published: padding 5 with an effective kernel of 7."""
    stages = [[nn.Conv2d(3, 3, 3, padding=5, dilation=3) for _ in range(n)] for n in (2, 2, 4, 4, 4)]
    return nn.Sequential(*(layer for stage in stages for layer in (*stage, nn.MaxPool2d(2))))


def _without_early_stride(make):
    network = make()
    network.conv1, network.maxpool = nn.Conv2d(3, 64, 3, padding=1), nn.Identity()
    return network


def _make_resnet18_pc():
    return _without_early_stride(zoo.resnet18)


def _make_resnet34_pc():
    return _without_early_stride(zoo.resnet34)


@pytest.mark.parametrize("name", VGG)
def test_vgg_has_the_published_fields_and_border(name):
    _, fields = _follow(getattr(zoo, name))
    sizes, border = VGG[name]
    assert [field.columns.size_px for field in fields] == sizes
    assert [field.rows.smallest_path_px for field in fields] == sizes
    assert _border_of(fields) == border


def test_dilation_counts():
    _, fields = _follow(_make_dilated_vgg19)
    published = [7, 13, 26, 38, 64, 88, 112, 136, 188, 236, 284, 332, 436, 532, 628, 724]
    assert [field.columns.size_px for field in fields] == published
    assert _border_of(fields) == 4


def test_residual_networks_have_the_published_fields():
    _, fields = _follow(zoo.resnet18)
    assert [field.columns.size_px for field in fields] == RESNET18
    assert [field.columns.smallest_path_px for field in fields] == RESNET18_SMALLEST
    _, fields = _follow(zoo.resnet34)
    sizes = [field.columns.size_px for field in fields]
    assert sizes[:17] == [7, 19, 27, 35, 43, 51, 59, 67, 83, 99, 115, 131, 147, 163, 179, 195, 227]
    assert sizes[-6:] == [579, 643, 707, 771, 835, 899]
    assert [field.columns.smallest_path_px for field in fields] == RESNET34_SMALLEST
    _, fields = _follow(zoo.resnet50)
    assert [field.columns.size_px for field in fields][-6:] == [299, 363, 363, 363, 427, 427]
    _, fields = _follow(_make_resnet18_pc)
    assert [field.columns.size_px for field in fields] == RESNET18_PC
    _, fields = _follow(_make_resnet34_pc)
    assert [field.columns.size_px for field in fields][-3:] == [193, 209, 225]


@pytest.mark.parametrize(
    ("make", "rule", "border"),
    [
        (zoo.resnet18, "input", 4),
        (_make_resnet18_pc, "input", 11),
        (_make_resnet34_pc, "input", 12),
        (zoo.resnet18, "smallest_path", 10),
        (zoo.resnet34, "smallest_path", 16),
    ],
)
def test_border_layers_of_residual_networks_are_the_published_ones(make, rule, border):
    _, fields = _follow(make, 32, rule)
    assert _border_of(fields) == border


@pytest.mark.parametrize(
    ("make", "smallest", "largest"), [(zoo.resnet50, 96, 427), (zoo.efficientnet_b0, 299, 851)]
)
def test_feasible_sizes_are_those_of_the_receptive_field_toolbox(make, smallest, largest):
    found, _ = _follow(make, 399)
    assert (found.feasible.smallest_px, found.feasible.largest_px) == (smallest, largest)


def test_unproductive_and_critical_layers_are_those_of_the_receptive_field_toolbox():
    with torch.device("meta"):
        places = [
            p for p, part in enumerate(zoo.vgg16().features) if isinstance(part, nn.Conv2d | nn.MaxPool2d)
        ]
    found, _ = _follow(zoo.vgg16)
    windows = [found.known[f"features.{place}"] for place in places]
    assert sum(field.is_unproductive for field in windows) == 10
    assert sum(field.columns.smallest_path_px > 32 for field in windows) == 10
    assert not any(field.is_critical for field in windows)
    _, fields = _follow(zoo.resnet18)
    assert sum(field.columns.smallest_path_px > 32 for field in fields) == 9
    assert [place for place, field in enumerate(fields) if field.is_critical] == [6, 8]
    found, _ = _follow(zoo.vgg16, 42_000)
    windows = [found.known[f"features.{place}"] for place in places]
    assert not any(field.is_unproductive or field.is_critical for field in windows)


@pytest.mark.parametrize(
    ("make", "n_blocks", "kernels", "n_convolutions", "n_additions"),
    [(zoo.resnet101, [3, 4, 23, 3], (1, 3, 1), 54, 3), (zoo.resnet18, [2, 2, 2, 2], (3, 3), 7, 2)],
)
def test_counts_of_the_receptive_field_toolbox_are_those_of_its_own_residual_networks(
    make, n_blocks, kernels, n_convolutions, n_additions
):
    """It counts 58 and 10: its additions are nodes, and one node more than its rule gives."""
    nodes = unproductive_nodes(n_blocks, kernels, 32)
    assert sum("addition" in name for name in nodes) == n_additions
    assert len(nodes) == n_convolutions + n_additions
    _, fields = _follow(functools.partial(_with_early_stride, make))
    assert sum(field.is_unproductive for field in fields) == n_convolutions


def _with_early_stride(make):
    """Residual networks of 2015: the first convolution of a stage has the stride, not that of 3 x 3."""
    network = make()
    for part in network.modules():
        if isinstance(part, zoo.resnet.Bottleneck):
            part.conv1.stride, part.conv2.stride = part.conv2.stride, part.conv1.stride
    return network


def test_the_stride_in_the_middle_of_a_block_keeps_two_layers_productive():
    _, fields = _follow(zoo.resnet101)
    assert sum(field.is_unproductive for field in fields) == 52


# ----------------------------------------------------------------------- networks from elsewhere, by hand


@pytest.mark.parametrize(
    ("source", "name", "side", "sizes"),
    [
        # Sums over kernels and strides by hand, from the tables of the papers: 3, 7, 11, ... of the stem.
        ("torchvision", "inception_v3", 299, {"Conv2d_1a_3x3": 3, "Conv2d_2b_3x3": 11, "maxpool1": 15}),
        ("torchvision", "convnext_tiny", 224, {"features.0": 4, "features.1.0": 28, "features.1": 76}),
        ("torchvision", "shufflenet_v2_x0_5", 224, {"conv1": 3, "stage2.0": 15, "stage2.1": 31}),
        ("torchvision", "mobilenet_v3_small", 224, {"features.0": 3, "features.1.block.0": 7}),
        ("torchvision", "regnet_y_400mf", 224, {"stem": 3, "trunk_output.block1.block1-0.f.b": 7}),
        ("torchvision", "vgg11", 128, {"features": 150, "avgpool": 182, "classifier.0": 246}),
        ("torchvision", "vit_b_16", 224, {"conv_proj": 16, "encoder.dropout": 16, "encoder.ln": 224}),
        # windows of 7 patches of 4 px; shifted by half they reach two; merging reads two neighbours
        ("torchvision", "swin_t", 224, {"features.0": 4, "features.1.0": 28, "features.1.1": 56}),
        ("timm", "vit_tiny_patch16_224", 224, {"patch_embed": 16, "blocks.0.norm1": 16, "blocks.0": 224}),
        ("timm", "tf_efficientnet_b0", 224, {"conv_stem": 3, "blocks.0.0.conv_dw": 7}),
        ("timm", "mixer_s16_224", 224, {"stem": 16, "blocks.0.norm1": 16, "blocks.0": 224}),
    ],
)  # fmt: skip
def test_the_fields_of_published_architectures(source, name, side, sizes):
    drawn = {"weights": None} if source == "torchvision" else {"pretrained": False}
    content = {"source": source, "name": name, "layers": ["x"], **drawn}
    module = build_on_meta(TypeAdapter(ModelEntry).validate_python(content))
    found = find_layer_fields(module, list(sizes), side)
    assert {layer: field.columns.size_px for layer, field in found.known.items()} == sizes
    assert found.unknown == {}


def test_paths_through_attention_are_kept_apart_from_those_through_windows():
    module = zoo.VisionTransformer(32, 8, 1, 2, 16, 32)
    found = find_layer_fields(
        module, ["conv_proj", "encoder.layers.encoder_layer_0.self_attention", "heads"], 32
    )
    patch, attention, head = (field.columns for field in found.known.values())
    assert (patch.size_px, patch.sees_whole_map, patch.jump_px) == (8, False, 8)
    assert (attention.size_px, attention.windows_px, attention.sees_whole_map) == (32, 8, True)
    assert (head.size_px, head.windows_px, head.smallest_path_px) == (32, None, None)


# ------------------------------------------------------------------------------------------- small networks


def test_windows_that_are_not_square_differ_by_axis():
    network = nn.Sequential(nn.Conv2d(3, 4, (3, 5), padding="same"), nn.ReLU(), nn.MaxPool2d((2, 4)))
    found = find_layer_fields(network, None, 16).known
    assert [(field.rows.size_px, field.columns.size_px) for field in found.values()] == [
        (3, 5),
        (3, 5),
        (4, 8),
    ]
    assert (found["2"].rows.jump_px, found["2"].columns.jump_px) == (2, 4)


class Diagonal(nn.Module):
    """Reads one diagonal."""

    def forward(self, x):
        return x.diagonal(dim1=2, dim2=3)


def test_only_what_is_behind_an_operator_that_is_not_known_is_unknown():
    class Forked(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.plain = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 5, padding=2)
            self.odd, self.behind = Diagonal(), nn.ReLU()

        def forward(self, x):
            x = self.stem(x)
            return self.behind(self.odd(x)).mean() + self.plain(x).mean()

    found = find_layer_fields(Forked(), None, 16)
    assert {name: field.columns.size_px for name, field in found.known.items()} == {"stem": 3, "plain": 7}
    assert set(found.unknown) == {"odd", "behind"}
    assert set(found.unknown.values()) == {
        "layer 'odd' calls the operator diagonal, whose receptive field is not known"
    }
    assert found.feasible is None


def test_a_gate_by_the_whole_map_is_seen_by_every_position_and_the_way_past_it_is_kept():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.squeeze = nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1)
            self.gate, self.last = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x):
            x = self.conv(x)
            return self.last(x * self.gate(self.squeeze(x)).sigmoid())

    network = Gated()
    last = find_layer_fields(network, ["last"], 16).known["last"].columns
    assert (last.size_px, last.windows_px, last.smallest_path_px, last.sees_whole_map) == (18, 5, 5, True)
    image = torch.rand(1, 3, 16, 16, requires_grad=True)
    network(image)[0, :, 0, 0].sum().backward()
    assert (image.grad[0].abs().sum(0) > 0).all()  # the corner depends on all 16 pixels, and on its padding


class Rearranged(nn.Module):
    """Follows channels and positions through permutations, views, a shuffle of channels and tokens."""

    def __init__(self):
        super().__init__()
        self.conv, self.line, self.last = (
            nn.Conv2d(3, 4, 3, 2, 1),
            nn.Linear(4, 4),
            nn.Conv2d(4, 4, 3, padding=1),
        )
        self.shuffled, self.tokens = nn.Identity(), nn.Identity()

    def forward(self, x):
        x = self.conv(x)
        n, c, h, w = x.shape
        x = self.shuffled(x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w))
        tokens = torch.cat([x.new_zeros(n, 1, c), x.flatten(2).transpose(1, 2)], dim=1)
        x = self.tokens(self.line(tokens))[:, 1:].transpose(1, 2).unflatten(2, (h, w))
        return self.last(x[..., 1:, ::2])


def test_positions_are_followed_through_tokens_and_back():
    found = find_layer_fields(Rearranged(), None, 16).known
    widths = {name: (field.rows.size_px, field.columns.size_px) for name, field in found.items()}
    assert widths == {
        **dict.fromkeys(("conv", "shuffled", "line", "tokens"), (3, 3)),
        "last": (
            7,
            11,
        ),  # 3 + 2 x 2 pixels along rows, 3 + 2 x 4 along columns, where every second is left out
    }
    assert (found["last"].rows.jump_px, found["last"].columns.jump_px) == (2, 4)


def test_positions_of_attention_are_those_of_the_queries():
    class Coarse(nn.Module):
        """Keys and values of a coarser map, as in pyramid transformers; a convolution behind."""

        def __init__(self):
            super().__init__()
            self.patch, self.coarse = nn.Conv2d(3, 4, 4, 4), nn.Conv2d(4, 4, 2, 2)
            self.attended, self.last = nn.Identity(), nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x):
            x = self.patch(x)
            q, k = (each.flatten(2).transpose(1, 2) for each in (x, self.coarse(x)))
            y = (
                self.attended((q @ k.transpose(1, 2)).softmax(-1) @ k)
                .transpose(1, 2)
                .unflatten(2, x.shape[2:])
            )
            return self.last(x + y)

    found = find_layer_fields(Coarse(), None, 32).known
    assert [(name, field.columns.jump_px) for name, field in found.items()] == [
        *[("patch", 4), ("coarse", 8), ("attended", 4), ("last", 4)]
    ]
    assert (found["last"].columns.windows_px, found["last"].columns.size_px) == (12, 32)


def test_layers_called_twice_are_named_with_the_call():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3)

        def forward(self, x):
            return self.conv(self.conv(x))

    network = Twice()
    found = find_layer_fields(network, ["conv@1", "conv@2"], 16).known
    assert [field.columns.size_px for field in found.values()] == [3, 5]
    assert list(find_layer_fields(network, None, 16).known) == ["conv", "conv@2"]
    with pytest.raises(UserError, match="cannot follow layer 'conv@3': unknown layer"):
        find_layer_fields(network, ["conv@3"], 16)


def test_writing_into_a_part_of_a_tensor_is_not_followed_by_guess():
    class Writing(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.after = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()

        def forward(self, x):
            x = self.conv(x)
            y = torch.zeros_like(x)
            y[:, :, 1:] = x[:, :, :-1]
            return self.after(y)

    found = find_layer_fields(Writing(), None, 8)
    assert found.unknown == {"after": "its own forward writes into a part of a tensor, which is not followed"}


def test_code_that_computes_with_its_own_numbers_runs_with_them_and_is_left_as_it_was():
    class Numbers(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3)
            self.register_buffer("steps", torch.tensor([2.0]))

        def forward(self, x):
            return self.conv(x)[..., :: int(self.steps.item())]

    network = Numbers().train()
    assert find_layer_fields(network, None, 8).known["conv"].columns.size_px == 3
    assert network.training
    assert network.conv.training


def test_a_network_that_cannot_be_followed_is_named():
    class Branching(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(UserError, match="cannot follow Branching: its own forward branches on values that"):
        find_layer_fields(Branching(), None, 8)
    with pytest.raises(
        UserError, match=r"VisionTransformer cannot pass one image of 24 px: Wrong image height"
    ):
        find_layer_fields(zoo.VisionTransformer(32, 8, 1, 2, 16, 32), None, 24)
