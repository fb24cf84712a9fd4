"""Published networks give the logits and the accuracies that were recorded for them."""

import os

import numpy as np
import pytest
import torch
from tests.real.published import (
    ROOT,
    list_entries,
    list_recorded,
    load_published,
    needs_published,
    read_cifar10,
    read_test_set,
    run,
    takes_minutes,
)
from torch.nn import functional

from rep_kedro.stimuli import decode_images
from rep_kedro.stimuli.opening import open_source
from rep_kedro.stimuli.record import DamageLog
from rep_kedro.stimuli.sources import parse_source

pytestmark = needs_published
NAMES = list(list_entries())
UNLABELLED = ["chenjie_autoencoder", "mobilenet_v1_0.25_224"]
CLASSIFIERS = [name for name in NAMES if name not in UNLABELLED]
QUICK_SEEDS = ["tiny10_in0_gn0", "tiny10_in1_gn1", "tiny10_in0_gn0_step10000"]
SLOW = [name for name in CLASSIFIERS if name.startswith(("akamaster", "tiny10")) and name not in QUICK_SEEDS]
N_SOME = 500  # images; test_the_first_logits compares those of 64
CLOG, JERSEY, OVERSKIRT, SWEATSHIRT, SWIMMING_TRUNKS = 502, 610, 689, 841, 842  # classes of ImageNet


def test_every_published_network_has_an_entry_with_its_own_scaling():
    recorded = list_recorded()
    assert set(NAMES) == set(recorded)
    for name in NAMES:
        preprocessing = load_published(name).preprocessing
        assert list(preprocessing.mean) == recorded[name]["input"]["mean"], name
        assert list(preprocessing.std) == recorded[name]["input"]["std"], name


@pytest.mark.parametrize("name", NAMES)
def test_a_network_has_the_recorded_number_of_parameters(name):
    n_parameters = sum(x.numel() for x in load_published(name).module.parameters())
    assert n_parameters == list_recorded()[name]["parameters"]


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_first_logits_are_the_recorded_ones(name):
    model = load_published(name)
    logits = run(model, read_test_set(model)[0][:64])
    with np.load(ROOT / "core/models/logits_first64.npz") as recorded:
        np.testing.assert_allclose(logits.numpy(), recorded[name], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", [name for name in CLASSIFIERS if name not in SLOW])
def test_the_accuracy_on_the_whole_test_set_is_the_recorded_one(name):
    assert_accuracy(name)


@takes_minutes
@pytest.mark.parametrize("name", SLOW)
def test_the_accuracy_of_a_slow_network_on_the_whole_test_set_is_the_recorded_one(name):
    assert_accuracy(name)


@pytest.mark.parametrize("name", SLOW)
def test_the_accuracy_of_a_slow_network_on_some_images_is_near_the_recorded_one(name):
    model = load_published(name)
    pixels, labels = read_cifar10()
    accuracy = (run(model, pixels[:N_SOME]).argmax(dim=1) == labels[:N_SOME]).double().mean().item()
    recorded = list_recorded()[name]["test_accuracy_measured"]
    assert abs(accuracy - recorded) < 3 * (recorded * (1 - recorded) / N_SOME) ** 0.5


def assert_accuracy(name):
    model = load_published(name)
    pixels, labels = read_test_set(model)
    accuracy = (run(model, pixels).argmax(dim=1) == labels).double().mean().item()
    assert abs(accuracy - list_recorded()[name]["test_accuracy_measured"]) <= 0.001


def test_the_autoencoder_reconstructs_as_well_as_recorded():
    pixels = read_cifar10()[0][:2000]
    reconstruction = run(load_published("chenjie_autoencoder"), pixels).double()
    target = pixels.double() / 255
    assert functional.binary_cross_entropy(reconstruction, target).item() == pytest.approx(0.5610, abs=5e-5)
    assert functional.mse_loss(reconstruction, target).item() == pytest.approx(0.00450, abs=5e-6)


def read_clothing():
    spec, log = parse_source({"source": "webdataset", "path": ROOT / "core/wds/clothing/test"}), DamageLog()
    stream = open_source(spec, log)
    stimuli = list(stream.stimuli)
    pixels = decode_images([stimulus.image for stimulus in stimuli], size_px=224)
    return (
        stream.class_names,
        torch.from_numpy(pixels),
        torch.tensor([stimulus.label for stimulus in stimuli]),
    )


def test_the_imagenet_network_names_clothes():
    class_names, pixels, labels = read_clothing()
    chosen = run(load_published("mobilenet_v1_0.25_224"), pixels).argmax(dim=1)
    named = {name: chosen[labels == label].mode().values.item() for label, name in enumerate(class_names)}
    assert {name: named[name] for name in ("dress", "longsleeve", "shoes", "shorts", "t-shirt")} == {
        "dress": OVERSKIRT,
        "longsleeve": SWEATSHIRT,
        "shoes": CLOG,
        "shorts": SWIMMING_TRUNKS,
        "t-shirt": JERSEY,
    }


def test_the_imagenet_network_is_the_one_of_its_description():
    model = load_published("mobilenet_v1_0.25_224")
    weights = model.module.state_dict()
    x = model.preprocessing.scale(read_clothing()[1][:4])

    def convolve(x, name, stride, groups):
        x = functional.pad(x, (0, 1, 0, 1)) if stride == 2 else x
        kernel = weights[f"{name}.weight"]
        padding = 1 if stride == 1 and kernel.shape[-1] == 3 else 0
        x = functional.conv2d(x, kernel, stride=stride, padding=padding, groups=groups)
        norm = [weights[f"{name}_bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        mean, var, weight, bias = (part.view(1, -1, 1, 1) for part in norm)
        return ((x - mean) / (var + 1e-3).sqrt() * weight + bias).clamp(0, 6)

    with torch.no_grad():
        expected = convolve(x, "conv1", 2, 1)
        for k in range(1, 14):
            expected = convolve(expected, f"conv_dw_{k}", 2 if k in {2, 4, 6, 12} else 1, expected.shape[1])
            expected = convolve(expected, f"conv_pw_{k}", 1, 1)
        kernel = weights["conv_preds.weight"].flatten(1)
        expected = expected.mean(dim=(2, 3)) @ kernel.T + weights["conv_preds.bias"]
    torch.testing.assert_close(run(model, read_clothing()[1][:4]), expected, rtol=1e-4, atol=1e-4)


def test_the_folder_of_published_networks_is_named_in_no_entry():
    assert all(str(entry["path"]).startswith("$REP_DATA/") for entry in list_entries().values())
    assert os.environ["REP_DATA"] not in str(list_entries())
