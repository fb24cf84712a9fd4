"""A network run up to a layer and continued after it is the network."""

import pytest
import torch
from torch import nn

from rep_kedro.errors import UserError
from rep_kedro.models.building import build_network
from rep_kedro.models.cutting import CutNetwork, require_equal_outputs
from rep_kedro.models.layers import LayerReader


def _own(name):
    network = build_network(name, n_classes=5, seed=0)
    spec = network.architecture.input
    return network, (spec.channels, spec.size_px, spec.size_px)


def _timm(name, **given):
    import timm

    return timm.create_model(name, num_classes=5, **given), (3, 64, 64)


def _torchvision():
    import torchvision

    return torchvision.models.resnet18(num_classes=5), (3, 64, 64)


class _InPlace(nn.Module):
    """Overwrites what a layer gave, as many published networks do."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.second, self.head = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 5)

    def forward(self, x):
        x = self.norm(self.first(x)).relu_()
        x = nn.functional.relu(self.second(x), inplace=True)
        x += 1.0
        return self.head(x.mean((2, 3)))


NETWORKS = {
    "cnn": lambda: _own("cnn"),
    "small_resnet": lambda: _own("small_resnet"),
    "timm_resnet": lambda: _timm("resnet10t"),
    "timm_vit": lambda: _timm("vit_tiny_patch16_224", img_size=64, depth=2),
    "torchvision": _torchvision,
    "own_code": lambda: (_InPlace(), (3, 16, 16)),
}


@pytest.fixture(params=NETWORKS)
def network(request):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module, shape = NETWORKS[request.param]()
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.normal_(0, 0.1)
                part.running_var.uniform_(0.5, 1.5)
        return module.eval(), torch.randn(2, *shape)


def test_the_parts_in_sequence_are_the_network_at_every_cut_point(network):
    module, images = network
    cut = CutNetwork(module)
    given = LayerReader(module, list(cut.cut_points), example=images[:1]).read(images)
    state = {name: value.clone() for name, value in module.state_dict().items()}
    with torch.no_grad():
        whole = module(images)
        for layer in cut.cut_points:
            before = given[layer].clone()
            assert torch.equal(cut.tail(layer)(given[layer]), whole), layer
            assert torch.equal(given[layer], before), f"the rest after {layer} overwrites what it is given"
            folded = cut.tail(layer, is_folded=True)(given[layer])
            torch.testing.assert_close(folded, whole, rtol=1e-4, atol=1e-5)
    assert len(cut.cut_points) > 2
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())


def test_own_networks_have_the_cut_points_of_their_definition():
    for name in ("cnn", "small_resnet"):
        module = _own(name)[0].eval()
        assert CutNetwork(module).cut_points == module.cut_points


def test_folding_leaves_no_batch_norm_behind_a_convolution():
    cut = CutNetwork(_own("cnn")[0].eval())

    def norms(**given):
        return [part for part in cut.tail("relu2", **given).modules() if isinstance(part, nn.BatchNorm2d)]

    assert len(norms()) == 3
    assert not norms(is_folded=True)


def test_later_layers_are_returned_too(network):
    module, images = network
    cut = CutNetwork(module)
    first, *_, last = cut.cut_points
    reader = LayerReader(module, [first, last], example=images[:1])
    given = reader.read(images)
    with torch.no_grad():
        output, [later] = cut.tail(first, also=[last], is_folded=True)(given[first])
        torch.testing.assert_close(later, given[last], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(output, module(images), rtol=1e-4, atol=1e-5)


def test_places_that_are_no_cut_point_are_refused_with_those_that_are():
    cut = CutNetwork(_own("small_resnet")[0].eval())
    with pytest.raises(UserError, match=r"'block1\.ad'; did you mean 'block1\.add'.*; cut points: conv1"):
        cut.require_cut_point("block1.ad")
    with pytest.raises(UserError, match=r"'block1\.bn1': a connection jumps over it; nearest cut.*: relu1"):
        cut.tail("block1.bn1")
    with pytest.raises(UserError, match="'conv1' does not follow 'relu1'"):
        cut.tail("relu1", also=["conv1"])


def test_code_that_fx_does_not_show_is_noticed():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head, self.n = nn.Linear(3, 3), nn.Linear(3, 2), 0

        def forward(self, x):
            self.n += 1
            return self.head(self.body(x)) + self.n

    module = Counting().eval()
    cut = CutNetwork(module)
    with pytest.raises(UserError, match="'body': the rest, run by itself, gives other outputs"):
        require_equal_outputs(cut, module, "body", torch.ones(1, 3))


def test_a_network_that_fx_cannot_follow_is_refused():
    class Choosing(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(UserError, match=r"torch\.fx cannot trace Choosing"):
        CutNetwork(Choosing().eval())
