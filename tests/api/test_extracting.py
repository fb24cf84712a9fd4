"""Features of any network: those of hooks written by hand, with the network left as it was."""

import numpy as np
import pytest
import torch
from torch import nn

import rep_kedro
from rep_kedro.models.layers import LayerReader


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Conv2d(6, 4, 3)
    )


@pytest.fixture
def images():
    return torch.randn(11, 3, 9, 9, generator=torch.Generator().manual_seed(1))


def by_hand(network, images, layer):
    """The layer's output in evaluation mode, copied before an in-place layer behind it changes it."""
    network.eval()
    with torch.no_grad():
        return network[: layer + 1](images).clone().numpy()


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_features_are_those_of_running_the_layers_by_hand(network, images, batch_size):
    found = rep_kedro.extract(network, images, batch_size=batch_size)
    assert list(found) == ["0", "1", "2", "3", "4"]
    for layer, features in found.items():
        expected = by_hand(network, images, int(layer)).mean(axis=(2, 3))
        np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-6)
        assert features.dtype == np.float32


def test_they_are_those_of_the_pipelines_reader(network, images):
    reader = LayerReader(network.eval(), ["0", "4"], example=images[:1])
    for pool in ("average", "flatten", None):
        found = rep_kedro.extract(network, images, ["4", "0"], pool=pool)
        assert list(found) == ["0", "4"]
        for layer, expected in reader.read(images, pool).items():
            np.testing.assert_array_equal(found[layer], expected.numpy())


def test_parts_keep_their_modes_weights_and_statistics(network, images):
    network.train()
    network[1].eval()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    rep_kedro.extract(network, images, "4")
    assert [part.training for part in network.modules()] == [True, True, False, True, True, True]
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    network.train()
    network(images).sum().backward()  # nothing that was cached stops training
    with pytest.raises(rep_kedro.UserError):
        rep_kedro.extract(network, images, "nowhere")
    assert all(part.training for part in network.modules())


def test_arrays_and_batches_of_any_kind_are_shown_in_order(network, images):
    expected = rep_kedro.extract(network, images, "4")["4"]
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(images, torch.arange(11)), batch_size=4
    )
    for other in (images.numpy(), loader, iter([images[:1], images[1:].numpy()]), [(images, "labels")]):
        np.testing.assert_allclose(
            rep_kedro.extract(network, other, "4")["4"], expected, rtol=1e-5, atol=1e-6
        )


def test_layers_are_named_exactly_or_by_pattern(images):
    torch.manual_seed(0)
    block = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU())
    network = nn.Sequential(block, block, nn.Flatten())
    assert list(rep_kedro.extract(network, images, "0.1@2")) == ["0.1@2"]
    assert list(rep_kedro.extract(network, images)) == ["0@1", "0@2", "2"]
    assert len(rep_kedro.extract(network, images, "0.**")) == 4


def test_a_network_of_another_device_comes_back(network, images, monkeypatch):
    moves = []
    monkeypatch.setattr(nn.Module, "to", lambda self, device: (moves.append(str(device)), self)[1])
    rep_kedro.extract(network, images, "4", device="cpu")
    assert moves == []
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *_, **__: self)
    monkeypatch.setattr("rep_kedro.api.extracting.require_device", torch.device)
    with pytest.raises(rep_kedro.UserError, match="unknown layer 'nowhere'"):
        rep_kedro.extract(network, images, "nowhere", device="cuda:1")
    assert moves == ["cuda:1", "cpu"]


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda x: x, {"layers": "44"}, r"unknown layer '44'; did you mean '4'"),
        (lambda x: x, {"layers": []}, r"no layers are requested"),
        (lambda x: x, {"pool": "mean"}, r"unknown pooling 'mean'; known: average, flatten"),
        (lambda x: x, {"pool": "cls"}, r"layer '0': pooling 'cls' needs tokens"),
        (lambda x: x, {"batch_size": 0}, r"batch_size must be at least 1, got 0"),
        (lambda x: x, {"batch_size": 2.5}, r"batch_size must be an integer of at least 1, got 2.5"),
        (lambda x: x, {"batch_size": True}, r"batch_size must be an integer of at least 1, got True"),
        (lambda x: x, {"layers": 3}, r"layers are names or patterns as text, .*, got 3"),
        (lambda x: x, {"layers": ["0", None]}, r"layers are names or patterns as text, .*, got None"),
        (lambda x: 5, {}, r"images must be an array, or an iterable of batches, got int"),
        (lambda x: [x, x[:, :2]], {}, r"stimuli of shape \(3, 9, 9\), but not of \(2, 9, 9\), as in a later"),
        (
            lambda x: [x, x[..., :8]],
            {"layers": "0", "pool": "flatten"},
            r"layer '0' gives \d+ features for the first stimuli, \d+ for later ones; give",
        ),
        (
            lambda x: [x, x[..., :8]],
            {"layers": "0", "pool": None},
            r"layer '0' gives [\d x]+ features for the first stimuli, [\d x]+ for later ones",
        ),
        (lambda x: x[:0], {}, r"there are no images to show"),
        (lambda x: x.byte(), {}, r"the array of images has type torch.uint8; give floats"),
        (lambda x: x[0], {}, r"shape \(3, 9, 9\); give \(n_images, channels, height, width\)"),
        (list, {}, r"batch 0 has shape \(3, 9, 9\)"),
        (lambda x: x.movedim(1, 3), {}, r"does not take images of shape \(1, 9, 9, 3\): .*channels"),
        (lambda x: x / 0, {}, r"layer '0': \d+ of \d+ features are NaN or infinite"),
    ],
)  # fmt: skip
def test_what_cannot_be_shown_is_refused_in_one_line(network, images, change, options, message):
    with pytest.raises(rep_kedro.UserError, match=message) as refused:
        rep_kedro.extract(network, change(images), **options)
    assert "\n" not in str(refused.value)


class Skips(nn.Module):
    """Calls its second layer for dark images alone."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3)

    def forward(self, x):
        found = self.first(x)
        return found if x.mean() > 10 else self.second(found)


def test_a_layer_that_later_images_skip_is_named(images):
    batches = [images, images + 50]
    for show in (
        lambda layers: rep_kedro.extract(Skips(), batches, layers),
        lambda layers: rep_kedro.layer_similarity(Skips(), None, batches, layers, stream=True),
        lambda layers: rep_kedro.layer_similarity(Skips(), None, batches, layers),
    ):
        show(["first"])
        with pytest.raises(rep_kedro.UserError, match="layer 'second' is reached for some stimuli only"):
            show(["first", "second"])


def test_images_of_two_sizes_are_named_by_layer_similarity_too(network, images):
    with pytest.raises(rep_kedro.UserError, match=r"does not take images of shape \(\d+, 2, 9, 9\)"):
        rep_kedro.layer_similarity(network, None, [images, images[:, :2]])
    with pytest.raises(
        rep_kedro.UserError, match=r"layer '0' gives \d+ features for the first stimuli, \d+ for"
    ):
        rep_kedro.layer_similarity(network, None, [images, images[..., :8]], "0", pool="flatten")


def test_what_is_no_network_is_refused(network, images):
    message = "must be a torch.nn.Module, got str"
    with pytest.raises(rep_kedro.UserError, match=message):
        rep_kedro.extract("resnet18", images)
    with pytest.raises(rep_kedro.UserError, match=message):
        rep_kedro.layer_similarity(network, "resnet18", images)
    with pytest.raises(rep_kedro.UserError, match=message):
        rep_kedro.receptive_field("resnet18", 32)


@pytest.mark.parametrize("seed", [2**64, -1, 1.5, "a", None, True])
def test_seeds_and_sizes_that_are_none_are_refused(network, seed):
    x, y = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 2
    with pytest.raises(rep_kedro.UserError, match=r"seed must be .*from 0 to 4294967295, got"):
        rep_kedro.probe(x, y, x, y, seed=seed)
    if seed != 2**64:
        with pytest.raises(rep_kedro.UserError, match=r"size must be .*at least 1, got"):
            rep_kedro.receptive_field(network, seed)
