"""Layer kinds that published networks need: what they compute, written out by hand, and what is refused."""

import pytest
import torch
from pydantic import TypeAdapter
from safetensors.torch import save_file
from torch.nn.functional import conv2d, pad

from rep_kedro.models.architecture import Architecture
from rep_kedro.models.architecture_files import load_architecture
from rep_kedro.models.building import build_network
from rep_kedro.models.fields import find_layer_fields, follow_layers
from rep_kedro.models.sources.specs import ModelEntry
from rep_kedro.models.sources.zoo import build_model, describe_model


def define(*layers, size_px=5):
    return Architecture.model_validate(
        {
            "description": "test",
            "input": {"channels": 2, "size_px": size_px, "mean": [0.0, 0.0], "std": [1.0, 1.0]},
            "layers": list(layers),
            "keep": [layers[-1]["name"]],
        }
    )


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def build(*layers, size_px=5):
    return build_network(define(*layers, size_px=size_px), n_classes=None, seed=0).eval()


def test_flattening_with_channels_last_goes_position_by_position():
    network = build({"name": "a", "kind": "flatten_channels_last"}, size_px=2)
    x = torch.arange(8.0).view(1, 2, 2, 2)
    assert network(x).tolist() == [[0, 4, 1, 5, 2, 6, 3, 7]]


def test_padding_may_lie_on_one_side_only():
    conv = {"name": "b", "kind": "conv", "channels": 3, "kernel": 3, "stride": 2, "bias": False}
    network = build({"name": "a", "kind": "pad", "after": 1}, conv, size_px=6)
    x = draw(2, 2, 6, 6)
    weight = network.get_submodule("b").weight
    assert torch.equal(network(x), conv2d(pad(x, (0, 1, 0, 1)), weight, stride=2))
    (paths,) = follow_layers(network, 6)[-1].sees.columns.paths
    assert (paths.first.tolist(), paths.last.tolist()) == ([0, 2, 4], [2, 4, 6])


def test_a_transposed_convolution_spreads_each_position():
    layer = {"name": "a", "kind": "deconv", "channels": 3, "kernel": 2, "stride": 2}
    network = build(layer, size_px=4)
    x = draw(1, 2, 4, 4)
    weight = network.get_submodule("a").weight
    expected = torch.zeros(1, 3, 8, 8)
    for row in range(4):
        for column in range(4):
            patch = torch.einsum("c,coij->oij", x[0, :, row, column], weight)
            expected[0, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2] += patch
    torch.testing.assert_close(network(x), expected)
    assert not network.get_submodule("a").bias.any()


def test_the_receptive_field_is_known_behind_a_transposed_convolution():
    conv = {"name": "a", "kind": "conv", "channels": 3, "kernel": 3, "stride": 2}
    deconv = {"name": "b", "kind": "deconv", "channels": 3, "kernel": 2, "stride": 2}
    network = build(conv, deconv, {"name": "c", "kind": "conv", "channels": 3, "kernel": 3})
    found = find_layer_fields(network, None, 9)
    # each position of b is made of one of a; three neighbours of b are made of two of a, two pixels apart
    fields = {name: (field.columns.size_px, field.columns.jump_px) for name, field in found.known.items()}
    assert fields == {"a": (3, 2), "b": (3, 1), "c": (5, 1)}


def test_batch_norm_takes_its_epsilon_from_the_architecture():
    x = draw(1, 2, 5, 5)
    for eps in (1e-5, 1e-3):
        network = build({"name": "a", "kind": "bn", "eps": eps})
        torch.testing.assert_close(network(x), x / (1 + eps) ** 0.5, rtol=1e-6, atol=0)
    assert build({"name": "a", "kind": "bn"}).get_submodule("a").eps == 1e-5


def test_relu6_stops_at_six():
    assert build({"name": "a", "kind": "relu6"})(torch.full((1, 2, 5, 5), 9.0)).unique().tolist() == [6.0]


def test_widening_keeps_a_depthwise_convolution_depthwise():
    depthwise = {"name": "b", "kind": "conv", "channels": 4, "kernel": 3, "groups": 4}
    definition = define({"name": "a", "kind": "conv", "channels": 4, "kernel": 1}, depthwise)
    wide = build_network(definition.widened(3), n_classes=None, seed=0)
    assert wide.get_submodule("b").weight.shape == (12, 1, 3, 3)


def test_widening_leaves_a_convolution_to_one_channel_whole():
    definition = define({"name": "a", "kind": "conv", "channels": 1, "kernel": 1})
    wide = build_network(definition.widened(2), n_classes=None, seed=0)
    assert wide.get_submodule("a").weight.shape == (2, 2, 1, 1)


def test_a_network_with_a_decoder_is_not_widened():
    with pytest.raises(ValueError, match=r"decoder cannot be widened: layer 'decoder\.0'"):
        load_architecture("autoencoder_w2")


@pytest.mark.parametrize(
    ("name", "n_classes", "n_parameters"),
    [
        ("resnet32_a", 10, 464_154),
        ("resnet44_a", 10, 658_586),
        ("resnet56_a", 10, 853_018),
        ("autoencoder", None, 30_835),
        ("lenet_keras", 10, 62_006),
        ("mobilenet_v1_025", None, 470_072),
        ("cnn_a", 10, 214_918),
        ("oval_base", 10, 105_966),
        ("oval_deep", 10, 54_902),
        ("marabou_small", 10, 85_218),
        ("marabou_medium", 10, 165_498),
        ("conv_small", 10, 125_318),
        ("conv_small_28px", 10, 89_606),
        ("cnn_a_28px", 10, 166_406),
        ("mlp_6x100", 10, 119_910),
        ("mlp_6x200", 10, 319_810),
        ("mlp_9x100", 10, 150_210),
    ],
)
def test_an_architecture_has_as_many_parameters_as_the_published_weights(name, n_classes, n_parameters):
    network = build_network(name, n_classes=n_classes, seed=0)
    assert sum(x.numel() for x in network.parameters()) == n_parameters


def test_the_path_of_a_checkpoint_may_name_an_environment_variable(tmp_path, monkeypatch):
    state = build_network("lenet", n_classes=10, seed=3).state_dict()
    save_file(state, tmp_path / "weights.safetensors")
    entry = {"source": "checkpoint", "architecture": "lenet", "path": "$MY_WEIGHTS/weights.safetensors"}
    spec = TypeAdapter(ModelEntry).validate_python({**entry, "n_classes": 10})
    monkeypatch.setenv("MY_WEIGHTS", str(tmp_path))
    assert torch.equal(build_model(spec).state_dict()["fc1.weight"], state["fc1.weight"])
    monkeypatch.delenv("MY_WEIGHTS")
    with pytest.raises(
        ValueError, match=r"checkpoint \$MY_WEIGHTS/.* environment variable MY_WEIGHTS, which is not set"
    ):
        describe_model(spec)
