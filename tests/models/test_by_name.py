"""Layers of networks that no configuration has, by the name in their library or as a file."""

import click
import pytest

from rep_kedro.commands.layers import _find_unconfigured
from rep_kedro.errors import UserError
from rep_kedro.models.architecture_files import FOLDER
from rep_kedro.models.sources.by_name import find_by_name


@pytest.mark.parametrize(
    ("name", "layer", "shape"),
    [
        ("test_vit", "blocks.0", (101, 64)),
        ("timm/test_resnet", "layer1", (32, 40, 40)),
        ("torchvision/squeezenet1_1", "features.0", (64, 111, 111)),
        ("cnn", "relu1", (8, 16, 16)),
        ("own/resnet18", "layer1.0.add", (64, 8, 8)),
        ("vgg16_XXXS", "features.42", (32, 2, 2)),
        ("mnasnet05", "layers.8", (16, 56, 56)),
        (str(FOLDER / "cnn.yml"), "relu1", (8, 16, 16)),
    ],
)
def test_layers_are_listed_before_any_configuration_has_the_network(name, layer, shape):
    rows, _ = _find_unconfigured(name, frozenset())
    found = {row.layer: row.shape for row in rows}
    assert found[layer] == shape


@pytest.mark.parametrize(
    ("name", "read"), [("cnn", ("relu1", "relu2", "relu3", "relu5")), ("test_vit", ()), ("alexnet", None)]
)
def test_layers_that_an_architecture_keeps_are_those_that_are_read(name, read):
    if read is None:
        with pytest.raises(click.ClickException, match="own/alexnet or torchvision/alexnet"):
            _find_unconfigured(name, frozenset())
        _, found = _find_unconfigured(f"own/{name}", frozenset())
        assert found[-1].startswith("features")
    else:
        assert _find_unconfigured(name, frozenset())[1] == read


def test_a_network_of_a_library_is_built_without_its_weights():
    entry = find_by_name("open_clip/ViT-B-32")
    assert (entry.source, entry.name, entry.pretrained) == ("open_clip", "ViT-B-32", None)
    assert find_by_name("no_such_network") is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet18", "network of timm and torchvision; say own/resnet18 or timm/resnet18"),
        ("wide_resnet50_2", "timm and torchvision have a network 'wide_resnet50_2'; say which"),
        ("timm/resnet81", "timm has no network 'resnet81'; did you mean 'resnet18'"),
        ("torchvision/fcn_resnet50", "torchvision has no network 'fcn_resnet50'; did you mean"),
        ("vgg16_XXSS", "did you mean .*'vgg16_XXS'"),
        ("own/vgg17", "unknown architecture 'vgg17' .*did you mean 'vgg"),
        ("my_nett", "no network 'my_nett'; did you mean 'my_net'"),
        ("efficientnet_b00", "no network 'efficientnet_b00'; did you mean 'efficientnet_b0"),
        ("nowhere.yml", "there is no file nowhere.yml"),
    ],
)
def test_unknown_names_are_answered_with_close_ones(name, message):
    with pytest.raises((UserError, click.ClickException), match=message):
        _find_unconfigured(name, frozenset({"my_net"}))
