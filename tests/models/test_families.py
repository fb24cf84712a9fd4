"""Families of architectures: the published counts and receptive fields, one line per variant, refusals."""

import re
from pathlib import Path

import pytest
import torch
import yaml
from tests.models.shipped import LAYERED
from torch import nn

from rep_kedro.errors import UserError
from rep_kedro.models.architecture_files import load_architecture, look_in
from rep_kedro.models.building import build_network
from rep_kedro.models.cost import count_cost
from rep_kedro.models.families.layout import read_layout
from rep_kedro.models.families.registry import make_variant
from rep_kedro.models.fields import find_layer_fields
from rep_kedro.models.shapes import follow_shapes


def build(name):
    with torch.device("meta"):
        return build_network(name, n_classes=10, seed=0)


def weighted(network):
    return [n for n, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]


def conv_fields(name, *, smallest=False):
    """Return the receptive fields of the convolutions, without those on shortcuts."""
    network = build(name)
    fields = {name: field.columns for name, field in find_layer_fields(network, None, 32).known.items()}
    convs = [n for n in weighted(network) if n in fields and isinstance(network.get_submodule(n), nn.Conv2d)]
    chosen = [n for n in convs if "downsample" not in n and "shortcut" not in n]
    return [fields[n].smallest_path_px if smallest else fields[n].size_px for n in chosen]


@pytest.mark.parametrize(
    ("name", "n_parameters", "mega_macs", "n_weighted"),
    [
        ("vgg11", 9_361_418, 152.9, 10),
        ("vgg13", 9_546_314, 228.4, 12),
        ("vgg16", 14_858_570, 313.3, 15),
        ("vgg19", 20_170_826, 398.3, 18),
        ("vgg16_XXS", 234_226, 5.09, 15),
        ("vgg19_d3_published", 20_170_826, 13_278, 18),
        ("vgg19_d3", 20_170_826, 398.3, 18),
        ("resnet18", 11_181_642, 37.0, 21),
        ("resnet18noskip", 11_007_818, 36.6, 18),
        ("resnet34", 21_289_802, 74.8, 37),
        ("resnet50", 23_528_522, 83.4, 54),
        ("resnet18_XXS", 177_362, 0.84, 21),
        ("ResNet18_PC", 11_173_962, 555.4, 21),
        ("ResNet34_PC", 21_282_122, 1_159.4, 37),
        ("ResNet50_PC", 23_520_842, 1_297.8, 54),
        ("ResNet18_PC_noskip", 11_000_138, 549, 18),
        ("ResNet34_PC_noskip", 21_108_298, 1_153, 34),
        ("ResNet50_PC_noskip", 20_744_266, 1_180, 50),
    ],
)
def test_counts_are_the_published_ones(name, n_parameters, mega_macs, n_weighted):
    network = build(name)
    assert len(weighted(network)) == n_weighted
    cost = count_cost(network, (3, 32, 32))
    assert cost.n_parameters == n_parameters
    decimals = len(str(mega_macs).partition(".")[2])
    assert round(cost.n_flops / 2e6, decimals) == mega_macs


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vgg11", [3, 8, 18, 26, 46, 62, 102, 134]),
        ("vgg13", [3, 5, 10, 14, 24, 32, 52, 68, 108, 140]),
        ("vgg16", [3, 5, 10, 14, 24, 32, 40, 60, 76, 92, 132, 164, 196]),
        ("vgg19", [3, 5, 10, 14, 24, 32, 40, 48, 68, 84, 100, 116, 156, 188, 220, 252]),
        ("vgg19_d3", [7, 13, 26, 38, 64, 88, 112, 136, 188, 236, 284, 332, 436, 532, 628, 724]),
        ("resnet18", [7, 19, 27, 35, 43, 51, 67, 83, 99, 115, 147, 179, 211, 243, 307, 371, 435]),
        ("ResNet18_PC", [3, 5, 7, 9, 11, 13, 17, 21, 25, 29, 37, 45, 53, 61, 77, 93, 109]),
    ],
)
def test_receptive_fields_are_the_published_ones(name, expected):
    assert conv_fields(name) == expected


def test_receptive_fields_of_deep_resnets_end_as_published():
    assert conv_fields("resnet34")[-6:] == [579, 643, 707, 771, 835, 899]
    assert conv_fields("resnet50")[-6:] == [299, 363, 363, 363, 427, 427]
    assert conv_fields("ResNet34_PC")[-3:] == [193, 209, 225]


def test_the_smallest_receptive_fields_along_skips_are_the_published_ones():
    expected = [7, 19, 27, 19, 27, 19, 35, 27, 43, 27, 59, 43, 75, 43, 107, 75, 139]
    assert conv_fields("resnet18", smallest=True) == expected


def test_published_padding_lets_maps_grow_and_same_padding_keeps_them():
    sides = {
        name: [
            step.output_shape[-1]
            for step in follow_shapes(load_architecture(name), 10)
            if step.layer.kind == "conv"
        ]
        for name in ("vgg19_d3_published", "vgg19_d3")
    }
    published = [36, 40, 24, 28, 18, 22, 26, 30, 19, 23, 27, 31, 19, 23, 27, 31]
    assert sides == {
        "vgg19_d3_published": published,
        "vgg19_d3": [32, 32, 16, 16, *[8] * 4, *[4] * 4, *[2] * 4],
    }


def test_layers_of_a_vgg_have_the_published_numbers():
    assert [int(name.partition(".")[2]) for name in weighted(build("vgg16"))] == [
        0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40, 2, 6,
    ]  # fmt: skip


def test_every_shipped_architecture_is_a_sound_graph_with_and_without_a_head():
    assert len(LAYERED) > 150
    for name in LAYERED:
        architecture = load_architecture(name)
        assert list(follow_shapes(architecture, 10))
        assert list(follow_shapes(architecture, None))


@pytest.mark.parametrize(
    ("name", "theirs"),
    [("resnet18", "resnet18"), ("squeezenet11", "squeezenet1_1")],
)
def test_weights_of_torchvision_give_what_torchvision_computes(name, theirs):
    from rep_kedro.models.sources.torchvision import draw

    other = draw(theirs, n_classes=10)
    network = build_network(name, n_classes=10, seed=0).eval()
    network.load_state_dict(other.state_dict())
    x = torch.randn(2, 3, 62, 62, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(network(x), other(x))


@pytest.mark.parametrize("name", ["squeezenet11", "vggO8", "vgg13lin_readout", "resnet18_XXS"])
def test_a_network_without_a_head_gives_a_vector(name):
    with torch.device("meta"):
        network = build_network(name, n_classes=None, seed=0).eval()
    assert network(torch.empty(2, 3, 32, 32, device="meta")).ndim == 2


def test_skips_are_left_out_where_the_variant_says():
    def adds(name):
        return [layer.name for layer in load_architecture(name).layers if layer.kind == "add"]

    assert len(adds("resnet18")) == 8
    assert not adds("resnet18noskip")
    assert [name[:6] for name in adds("resnet18_nr2_13")] == ["layer2"] * 2 + ["layer4"] * 2
    assert adds("resnet18nodownsample") == [f"layer{stage}.1.add" for stage in range(1, 5)]
    assert sum(".downsample.0" in name for name in weighted(build("resnet18highway"))) == 8


def test_initialisations_draw_as_they_say():
    linear = {"layout": "4 M F 900", "size_px": 32}
    he, torchs = (
        build_network(make_variant("plain", {**linear, "init": how}).define(), n_classes=10, seed=0)
        for how in ("he", "torch")
    )
    fan_in = 4 * 15 * 15
    assert not he.get_submodule("4").bias.any()
    for network in (he, torchs):
        weight = network.get_submodule("4").weight
        assert weight.abs().max() <= fan_in**-0.5
        assert weight.std().item() == pytest.approx(fan_in**-0.5 / 3**0.5, rel=0.01)
    assert torchs.get_submodule("0").weight.abs().max() <= 27**-0.5
    assert 0 < torchs.get_submodule("4").bias.abs().max() <= fan_in**-0.5
    vgg = build_network(make_variant("vgg", {"layout": "8 M 400 M"}).define(), n_classes=10, seed=0)
    assert vgg.get_submodule("classifier.2").weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert vgg.get_submodule("features.4").weight.std().item() == pytest.approx(
        (2 / (400 * 9)) ** 0.5, rel=0.03
    )


def test_input_side_and_scaling_are_arguments():
    entry = {"layout": "8 M", "size_px": 64, "channels": 1, "mean": [0.5], "std": [0.25]}
    architecture = make_variant("vgg", entry).define()
    assert (architecture.input.size_px, architecture.input.std) == (64, (0.25,))
    assert architecture.resized(16).input.size_px == 16
    assert build_network(architecture.resized(16), n_classes=2, seed=0).shapes["features.3"] == (8, 8, 8)


def test_a_map_that_shrinks_to_nothing_names_the_layer():
    with pytest.raises(UserError, match=r"layer 'features.43' of kind maxpool cannot take 512x1x1"):
        list(follow_shapes(load_architecture("vgg16").resized(16), 10))


@pytest.mark.parametrize(
    ("family", "variant", "shown"),
    [
        ("vg", {}, "unknown family 'vg'; did you mean 'vgg'"),
        ("vgg", {"layot": "64 M"}, "family vgg has no 'layot'; did you mean 'layout'"),
        ("vgg", {"layout": "64 N"}, "layout '64 N': 'N' is not a width such as 64, 64x2"),
        ("vgg", {"layout": "64 M F 8"}, "a VGG has no F"),
        ("vgg", {"layout": "M"}, "layout 'M' has no layer with weights"),
        ("vgg", {"layout": "64x9999"}, "has more than 5000 layers"),
        ("vgg", {"layout": "64 M", "kernel": 4}, "kernel 4 is even, which no padding keeps"),
        ("plain", {"layout": "F 8/k3"}, "'8/k3' is not a width such as 100"),
        ("resnet", {"blocks": [1, 1], "without_skips": [3]}, "there are 2 stages"),
        ("vgg", {"layout": "8", "mean": [0.5, 0.5]}, "one mean and std per channel"),
    ],
)
def test_unsound_variants_are_refused_in_one_line(tmp_path, family, variant, shown):
    folder = tmp_path / "local/architectures"
    folder.mkdir(parents=True)
    (folder / "many.yml").write_text(yaml.safe_dump({"family": family, "variants": {"mine": variant}}))
    look_in(tmp_path)
    try:
        with pytest.raises(UserError, match=re.escape(shown)) as caught:
            load_architecture("mine")
    finally:
        look_in(Path("conf"))
    assert "many.yml, variant 'mine'" in str(caught.value)
    assert str(caught.value).isprintable()


def test_layouts_are_read_word_by_word():
    parts = read_layout("64x2 M 128/s2/k7/p3 F 100")
    assert [(p.kind, p.width, p.kernel, p.stride, p.padding) for p in parts] == [
        ("conv", 64, None, 1, None),
        ("conv", 64, None, 1, None),
        ("pool", 0, None, 1, None),
        ("conv", 128, 7, 2, 3),
        ("flatten", 0, None, 1, None),
        ("linear", 100, None, 1, None),
    ]
