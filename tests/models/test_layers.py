"""Layer access: what is read is what the layer gave, in any layout, and no more is computed."""

import pytest
import torch
from torch import nn

from rep_kedro.errors import UserError
from rep_kedro.models.activation_form import Form
from rep_kedro.models.building import build_network
from rep_kedro.models.layers import LayerReader, select_layers
from rep_kedro.models.pooling import pool_activation


@pytest.fixture
def images():
    return torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))


class _Bypass(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.ReLU()
        self.drop = nn.Dropout()

    def forward(self, x):
        return self.inner(x)


def _torchvision_resnet18():
    from torchvision.models import resnet18

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return resnet18(weights=None).eval()


def test_a_batch_norm_followed_by_an_in_place_relu_keeps_its_negative_values(images):
    network = _torchvision_resnet18()
    assert network.relu.inplace
    read = LayerReader(network, ["bn1"], example=images[:1]).read(images)
    expected = network.bn1(network.conv1(images)).detach()
    assert torch.equal(read["bn1"], expected)
    assert (read["bn1"] < 0).any()


def test_pooling_happens_before_the_in_place_relu(images):
    network = _torchvision_resnet18()
    read = LayerReader(network, ["layer1.0.bn1", "fc"], example=images[:1]).read(images, "flatten")
    x = network.maxpool(network.relu(network.bn1(network.conv1(images))))
    expected = network.layer1[0].bn1(network.layer1[0].conv1(x)).flatten(1).detach()
    assert torch.equal(read["layer1.0.bn1"], expected)


def test_a_module_called_twice_is_read_by_call(images):
    network = _torchvision_resnet18()
    with pytest.raises(
        ValueError, match=r"'layer1.0.relu' is called 2 times; name one of layer1.0.relu@1, layer1.0.relu@2"
    ):
        LayerReader(network, ["layer1.0.relu"], example=images[:1])
    read = LayerReader(network, ["layer1.0.relu@1", "layer1.0.relu@2", "layer1.0"], example=images[:1]).read(
        images
    )
    assert list(read) == ["layer1.0.relu@1", "layer1.0.relu@2", "layer1.0"]
    assert torch.equal(read["layer1.0.relu@2"], read["layer1.0"])
    assert not torch.equal(read["layer1.0.relu@1"], read["layer1.0"])


def test_the_pass_ends_at_the_last_wanted_layer(images):
    network = _torchvision_resnet18()
    reader = LayerReader(network, ["layer1"], example=images[:1])
    later = []
    network.layer2.register_forward_hook(lambda *_: later.append(1))
    reader.read(images)
    assert later == []


def test_hooks_are_gone_after_a_pass_that_fails(images):
    network = _torchvision_resnet18()
    reader = LayerReader(network, ["layer1"], example=images[:1])
    with pytest.raises(RuntimeError):
        reader.read(images[:, :2])
    assert not any(part._forward_hooks for part in network.modules())


def test_layers_come_in_the_order_of_the_pass_whatever_order_was_asked(images):
    network = build_network("small_resnet", n_classes=10, seed=0).eval()
    reader = LayerReader(network, ["fc", "block*.add", "conv1"], example=images[:1, :, :16, :16])
    assert reader.layers == ("conv1", "block1.add", "block2.add", "block3.add", "fc")


def test_hooks_and_running_in_part_agree():
    network = build_network("small_resnet", n_classes=10, seed=0).eval()
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    read = LayerReader(network, ["**"], example=x[:1]).read(x)
    assert list(read) == list(network.layer_names)
    with torch.no_grad():
        assert all(torch.equal(read[name], network.run(x, stop_at=name)) for name in network.layer_names)


def test_an_unknown_name_is_answered_with_close_matches(images):
    with pytest.raises(ValueError, match=r"unknown layer 'layr1'; did you mean 'layer1'"):
        LayerReader(_torchvision_resnet18(), ["layr1"], example=images[:1])


def test_a_star_stays_within_one_part_of_a_name_and_two_stars_do_not():
    known = ["blocks.0.attn", "blocks.0", "blocks.1.attn", "blocks.1", "head"]
    assert select_layers(known, ["blocks.*"]) == ("blocks.0", "blocks.1")
    assert select_layers(known, ["blocks.?.attn"]) == ("blocks.0.attn", "blocks.1.attn")
    assert select_layers(known, ["**"]) == tuple(known)


def test_a_pattern_that_fits_nothing_and_an_empty_list_are_refused():
    with pytest.raises(ValueError, match="unknown layer 'block\\*'"):
        select_layers(["conv1", "relu1"], ["block*"])
    with pytest.raises(ValueError, match="no layers are requested"):
        select_layers(["conv1"], [])


@pytest.mark.parametrize("pattern", ["block.drop", "block.dr*"])
def test_a_layer_that_is_never_called_is_not_called_unknown(pattern):
    network = nn.Sequential()
    network.add_module("block", _Bypass())
    with pytest.raises(
        UserError,
        match=r"layer 'block\.drop' exists but is never called: .* layers called in block: block\.inner",
    ):
        LayerReader(network.eval(), [pattern], example=torch.zeros(1, 3))


def test_parts_that_attention_computes_without_calling_them_are_named_so():
    import timm

    network = timm.create_model("test_vit", pretrained=False).eval()
    example = torch.zeros(1, 3, 160, 160)
    with pytest.raises(UserError, match=r"'blocks.0.attn.attn_drop' exists but is never called"):
        LayerReader(network, ["blocks.0.attn.attn_drop"], example=example)
    attention = nn.TransformerEncoderLayer(8, 2, batch_first=True).eval()
    with pytest.raises(
        UserError, match=r"'self_attn.out_proj' exists but is never called: .*; choose 'self_attn'"
    ):
        LayerReader(attention, ["self_attn.out_proj"], example=torch.zeros(1, 4, 8))


def test_a_network_in_training_mode_is_refused(images):
    with pytest.raises(ValueError, match="evaluation mode"):
        LayerReader(build_network("cnn", n_classes=2, seed=0), ["conv1"], example=images[:1])


def test_a_layer_that_gives_no_tensor_is_named():
    class Pair(nn.Module):
        def forward(self, x):
            return {"x": x}

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.pair = Pair()

        def forward(self, x):
            return self.pair(x)["x"]

    x = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="layer 'pair' returns dict, not a tensor"):
        LayerReader(Net().eval(), ["pair"], example=x[:1]).read(x)


def test_a_timm_resnet_with_in_place_activations_is_read_before_them():
    import timm

    network = timm.create_model("test_resnet", pretrained=False).eval()
    x = torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    read = LayerReader(network, ["layer1.0.bn1", "layer1.0.act1"], example=x[:1]).read(x)
    assert (read["layer1.0.bn1"] < 0).any()
    assert torch.equal(read["layer1.0.act1"], read["layer1.0.bn1"].relu())


def test_tokens_of_a_vision_transformer_are_pooled_as_asked():
    import timm

    network = timm.create_model("test_vit", pretrained=False).eval()
    x = torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    reader = LayerReader(network, ["blocks.2", "blocks.5"], example=x[:1])
    whole = reader.read(x)["blocks.5"]
    assert whole.shape == (2, 101, 64)
    assert torch.equal(reader.read(x, "cls")["blocks.5"], whole[:, 0])
    torch.testing.assert_close(reader.read(x, "patch_average")["blocks.5"], whole[:, 1:].mean(1))


def test_pooling_by_hand():
    maps = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[0.0, 0.0], [0.0, 4.0]]]])
    assert pool_activation(maps, "average", Form("map")).tolist() == [[3.0, 1.0]]
    assert pool_activation(maps, "flatten", Form("map")).tolist() == [
        [1.0, 2.0, 3.0, 6.0, 0.0, 0.0, 0.0, 4.0]
    ]
    last = maps.movedim(1, -1)
    assert pool_activation(last, "average", Form("map", channel_axis=3)).tolist() == [[3.0, 1.0]]
    tokens = torch.tensor([[[9.0], [5.0], [1.0], [3.0]]])
    one, two = (Form("tokens", 0, 2, n_prefix, has_class_token=True) for n_prefix in (1, 2))
    assert pool_activation(tokens, "average", one).item() == 4.5
    assert pool_activation(tokens, "patch_average", two).item() == 2.0
    assert pool_activation(tokens, "cls_and_patch_average", one).tolist() == [[9.0, 3.0]]
    assert pool_activation(tokens.transpose(0, 1), "cls", one._replace(stimulus_axis=1)).item() == 9.0
    assert pool_activation(tokens.transpose(1, 2), "cls", one._replace(channel_axis=1)).item() == 9.0
    assert pool_activation(torch.tensor([[1.0, 2.0]]), "cls", Form("vector")).tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize(
    ("shape", "pooling", "form", "message"),
    [
        ((1, 2, 3, 3), "cls", Form("map"), "pooling 'cls' needs tokens, got a map"),
        ((1, 4, 3), "cls", Form("tokens", 0, 2, 0), "needs a class token, and this layer has none"),
        ((1, 8, 3), "cls", Form("tokens", 0, 2, 4), "the 4 tokens before its patches are registers"),
        ((1, 8, 3), "patch_average", Form("tokens", 0, 2, None), "which of the 8 tokens are patches"),
        (
            (1, 1, 3),
            "patch_average",
            Form("tokens", 0, 2, 1),
            "needs patches, and the layer gives only the 1",
        ),
        ((1, 4, 3), "mean", Form("tokens", 0, 2), "unknown pooling 'mean'; known: average"),
    ],
)
def test_pooling_that_makes_no_sense_is_refused(shape, pooling, form, message):
    with pytest.raises(UserError, match=message):
        pool_activation(torch.zeros(shape), pooling, form)


def test_averages_of_large_offsets_keep_their_digits():
    x = (torch.full((1, 1, 64, 64), 1e6) + torch.linspace(0, 1, 4096).view(64, 64)).float()
    pooled = pool_activation(x, "average", Form("map"))
    assert pooled.item() == pytest.approx(x.double().mean().item(), rel=1e-7)
