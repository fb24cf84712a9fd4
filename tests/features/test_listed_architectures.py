"""`kedro layers` of what can be trained: by name, also where a library has a network of that name."""

import click
import pytest

from rep_kedro.commands.layers import _find_unconfigured


def layers_of(name):
    rows, read = _find_unconfigured(name, set())
    assert not read
    return {row.layer: row for row in rows}


def test_an_architecture_that_a_library_has_too_is_asked_for_with_a_prefix():
    with pytest.raises(
        click.ClickException, match=r"'resnet18' is an architecture of this project and a"
    ) as told:
        layers_of("resnet18")
    assert "say own/resnet18 or " in told.value.message
    own, theirs = layers_of("own/resnet18"), layers_of("torchvision/resnet18")
    assert own["layer1.0.add"].shape == (64, 8, 8)
    assert "layer1.0.add" not in theirs
    assert own["layer4.1.conv2"].n_parameters == theirs["layer4.1.conv2"].n_parameters


def test_variants_and_networks_of_libraries_to_train_are_listed():
    assert layers_of("vgg16_XXXS")["features.42"].shape == (32, 2, 2)
    assert layers_of("vgg16_XXXS")["features.40"].receptive_field_px == 196
    assert layers_of("mnasnet05")["layers.8"].shape == (16, 56, 56)


def test_an_unknown_name_is_answered_with_a_close_match():
    with pytest.raises(click.ClickException, match=r"did you mean .*'vgg16_XXS'"):
        layers_of("vgg16_XXSS")
