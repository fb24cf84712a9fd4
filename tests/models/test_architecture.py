"""Architectures as data: counts from the papers, the graph checks, running in part."""

import pytest
import torch
from pydantic import ValidationError
from tests.models.shipped import SHIPPED

from rep_kedro.models.architecture import Architecture
from rep_kedro.models.architecture_files import load_architecture
from rep_kedro.models.building import build_network, restore_network
from rep_kedro.models.network import scale_images_in_unit_range


def _define(*layers, keep=("a",)):
    return Architecture.model_validate(
        {
            "description": "test",
            "input": {"channels": 1, "size_px": 4, "mean": [0.0], "std": [1.0]},
            "layers": list(layers),
            "keep": list(keep),
        }
    )


A = {"name": "a", "kind": "conv", "channels": 2, "kernel": 3, "padding": 1}


@pytest.mark.parametrize(
    ("name", "n_scalars"),
    [
        ("tiny10", 87_426),
        ("nbn_tiny10", 86_138),
        ("resnet20", 274_063),
        ("lenet", 62_006),
        ("dense", 1_105_510),
    ],
)
def test_a_published_architecture_has_the_published_number_of_scalars(name, n_scalars):
    state = build_network(name, n_classes=10, seed=0).state_dict()
    assert sum(x.numel() for x in state.values()) == n_scalars


def test_the_option_a_resnet_has_the_published_number_of_parameters():
    network = build_network("resnet20_a", n_classes=10, seed=0)
    assert sum(x.numel() for x in network.parameters()) == 269_722


def test_tiny10_has_the_published_map_sizes():
    network = build_network("tiny10", n_classes=10, seed=0)
    assert [network.shapes[f"conv{i}"][-1] for i in range(1, 9)] == [30, 28, 13, 11, 9, 4, 2, 2]


def test_state_dict_keys_are_the_usual_dotted_names():
    keys = set(build_network("resnet20", n_classes=10, seed=0).state_dict())
    assert {"conv1.weight", "layer2.0.downsample.1.running_mean", "layer3.2.conv2.weight", "fc.bias"} <= keys
    assert len(keys) == 128


@pytest.mark.parametrize("name", ["cnn", "small_resnet"])
def test_the_default_architectures_are_small_and_keep_sixty_channels(name):
    network = build_network(name, n_classes=10, seed=0)
    assert 8_000 <= sum(x.numel() for x in network.parameters()) <= 12_000
    assert [network.shapes[layer][0] for layer in network.kept_layers] == [8, 12, 16, 24]


@pytest.mark.parametrize("name", SHIPPED)
def test_running_in_two_parts_at_any_cut_point_gives_the_same_bits(name):
    network = build_network(name, n_classes=5, seed=1).eval()
    side = network.architecture.input.size_px
    x = torch.randn(
        3, network.architecture.input.channels, side, side, generator=torch.Generator().manual_seed(0)
    )
    whole = network(x)
    for layer in network.cut_points[:: max(1, len(network.cut_points) // 8)]:
        assert torch.equal(network.run(network.run(x, stop_at=layer), start_after=layer), whole)


def test_cut_points_leave_out_layers_that_a_skip_jumps_over():
    network = build_network("small_resnet", n_classes=10, seed=0)
    cuts = set(network.cut_points)
    assert {"relu1", "block1.add", "block1.relu2", "mean"} <= cuts
    assert not cuts & {"block1.conv1", "block1.bn2", "block2.downsample.1", "fc"}


def test_going_on_from_a_layer_inside_a_block_is_refused_and_names_the_cut_points():
    network = build_network("small_resnet", n_classes=10, seed=0).eval()
    x = torch.zeros(1, 8, 16, 16)
    with pytest.raises(
        ValueError, match=r"cannot continue from layer 'block1.bn1'.*'block1.add'.*cut points: conv1"
    ):
        network.run(x, start_after="block1.bn1")


def test_starting_where_one_stops_returns_the_input_itself():
    network = build_network("cnn", n_classes=10, seed=0)
    x = torch.zeros(1, 8, 16, 16)
    assert network.run(x, start_after="relu1", stop_at="relu1") is x


def test_stopping_before_the_start_is_refused():
    network = build_network("cnn", n_classes=10, seed=0)
    with pytest.raises(ValueError, match="layer 'bn1' does not come after 'relu1'"):
        network.run(torch.zeros(1, 8, 16, 16), start_after="relu1", stop_at="bn1")


def test_an_unknown_layer_is_answered_with_a_close_match():
    network = build_network("cnn", n_classes=10, seed=0)
    with pytest.raises(ValueError, match="unknown layer 'rleu1'; did you mean 'relu1'"):
        network.run(torch.zeros(1, 3, 16, 16), stop_at="rleu1")


def test_a_network_without_a_head_ends_at_the_representation():
    network = build_network("small_resnet", n_classes=None, seed=0).eval()
    assert network.layer_names[-1] == "mean"
    assert network(torch.zeros(2, 3, 16, 16)).shape == (2, 24)


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_random_state_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, again = (build_network("cnn", n_classes=10, seed=7).state_dict() for _ in range(2))
    other = build_network("cnn", n_classes=10, seed=8).state_dict()
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])


def test_a_width_suffix_multiplies_the_channels():
    network = build_network("resnet20_w3", n_classes=10, seed=0)
    assert network.shapes["layer3.2.relu2"] == (192, 8, 8)


def _scalars_of_resnet20(factor):
    """Return how many numbers the state dict holds, counted layer by layer for ten classes."""

    def norm(width):
        return 4 * width + 1  # scale, shift, mean, variance, and a counter

    n, before = 3 * 9 * 16 * factor + norm(16 * factor), 16 * factor
    for width in (16 * factor, 32 * factor, 64 * factor):
        for _ in range(3):
            n += 9 * before * width + 9 * width * width + 2 * norm(width)
            n += 0 if before == width else before * width + norm(width)
            before = width
    return n + 10 * before + 10


@pytest.mark.parametrize(
    ("factor", "n_scalars"),
    [(1, 274_063), (3, 2_441_071), *((n, _scalars_of_resnet20(n)) for n in range(1, 6))],
)
def test_a_widened_resnet_is_the_published_one_for_32_pixels(factor, n_scalars):
    with torch.device("meta"):
        network = build_network(f"resnet_w{factor}", n_classes=10, seed=0)
    assert sum(x.numel() for x in network.state_dict().values()) == n_scalars
    assert network.architecture.input.size_px == 32
    assert network.architecture == load_architecture(f"resnet20_w{factor}" if factor > 1 else "resnet20")


def test_no_name_claims_to_be_the_resnet():
    with pytest.raises(ValueError, match=r"unknown architecture 'resnet' .*did you mean .*'resnet20'"):
        load_architecture("resnet")


def test_an_unknown_architecture_is_answered_with_a_close_match():
    with pytest.raises(ValueError, match=r"unknown architecture 'small_resnt' .*did you mean 'small_resnet'"):
        load_architecture("small_resnt")


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([A, A], "layer name 'a' occurs twice"),
        (
            [A, {"name": "b", "kind": "relu", "from": "z"}],
            "layer 'b' takes its input from 'z', which is not an earlier layer",
        ),
        ([A, {"name": "b", "kind": "add"}], "layer 'b' of kind add has 1 inputs; it takes two or more"),
        ([A, {"name": "b", "kind": "relu", "from": ["a", "input"]}], "kind relu has 2 inputs; it takes one"),
        ([A, {"name": "b", "kind": "rleu"}], "does not match any of the expected tags"),
        ([{**A, "padings": 1}], "Extra inputs are not permitted"),
    ],
)
def test_an_unsound_graph_is_refused_by_name(layers, message):
    with pytest.raises(ValidationError, match=message):
        _define(*layers)


def test_kept_layers_out_of_depth_order_are_refused():
    with pytest.raises(ValidationError, match="keep must name layers in depth order"):
        _define(A, {"name": "b", "kind": "relu"}, keep=("b", "a"))


def test_layers_that_do_not_fit_together_are_named():
    definition = _define(A, {"name": "b", "kind": "maxpool", "kernel": 9})
    with pytest.raises(ValueError, match=r"layer 'b' of kind maxpool cannot take 2x4x4: "):
        build_network(definition, n_classes=None, seed=0)


def test_weights_return_from_a_state_dict_even_without_batch_counters():
    network = build_network("cnn", n_classes=10, seed=4).eval()
    state = {k: v for k, v in network.state_dict().items() if "num_batches" not in k}
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(restore_network(network.architecture, 10, state)(x), network(x))
    with pytest.raises(ValueError, match=r"weights do not fit the architecture: .*size mismatch"):
        restore_network(network.architecture, 3, state)


def test_a_definition_survives_json():
    definition = load_architecture("small_resnet")
    assert Architecture.model_validate(definition.as_json()) == definition


def test_images_are_scaled_channel_by_channel():
    definition = load_architecture("cnn")
    images = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 1, 1)
    assert scale_images_in_unit_range(images, definition)[:, 0, 0, 0].tolist() == [-1.0, 1.0]


def test_the_subsampling_shortcut_takes_every_second_pixel_and_pads_channels_on_both_sides():
    definition = _define({"name": "a", "kind": "subsample", "channels": 3, "stride": 2})
    x = torch.arange(16.0).view(1, 1, 4, 4)
    y = build_network(definition, n_classes=None, seed=0)(x)
    assert y[0, 1].tolist() == [[0.0, 2.0], [8.0, 10.0]]
    assert y[0, 0].abs().sum() == y[0, 2].abs().sum() == 0
