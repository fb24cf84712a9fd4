"""Networks with folded batch norms give what they gave before, from every cut point."""

from collections import OrderedDict

import pytest
import torch
from torch import fx, nn

from rep_kedro.models.architecture import Architecture
from rep_kedro.models.building import build_network
from rep_kedro.models.folding import fold_batch_norms

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def _spread_norms(network):
    """Give batch norms numbers that are not those of a fresh network."""
    generator = torch.Generator().manual_seed(0)
    for part in network.modules():
        if isinstance(part, NORMS):
            for x in (part.weight, part.bias, part.running_mean, part.running_var):
                if x is not None:
                    x.data = torch.rand(x.shape, generator=generator) + 0.5
    return network.eval()


def _norms(network):
    return [name for name, part in network.named_modules() if isinstance(part, NORMS)]


@pytest.mark.parametrize("architecture", ["tiny10", "small_resnet"])
def test_the_folded_network_gives_what_the_network_gives(architecture):
    network = _spread_norms(build_network(architecture, n_classes=4, seed=0))
    spec = network.architecture.input
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(3, spec.channels, spec.size_px, spec.size_px, generator=generator)
    before = {name: x.clone() for name, x in network.state_dict().items()}
    folded = fold_batch_norms(fx.symbolic_trace(network))
    with torch.no_grad():
        torch.testing.assert_close(folded(images), network(images), rtol=1e-4, atol=1e-4)
    assert _norms(folded) == []
    assert all(torch.equal(x, before[name]) for name, x in network.state_dict().items())


def test_a_convolution_that_two_layers_read_keeps_its_batch_norm():
    layers = [
        {"name": "conv", "kind": "conv", "channels": 4, "kernel": 3},
        {"name": "bn", "kind": "bn"},
        {"name": "sum", "kind": "add", "from": ["conv", "bn"]},
        {"name": "mean", "kind": "mean"},
        {"name": "fc", "kind": "linear", "features": "classes"},
    ]
    size = {"channels": 3, "size_px": 8, "mean": [0.5] * 3, "std": [0.5] * 3}
    content = {"description": "both", "input": size, "layers": layers, "keep": ["sum"]}
    network = _spread_norms(build_network(Architecture.model_validate(content), n_classes=2, seed=0))
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    folded = fold_batch_norms(fx.symbolic_trace(network))
    assert _norms(folded) == ["bn"]
    torch.testing.assert_close(folded(images), network(images))


def test_a_folded_network_is_frozen_and_in_evaluation_mode():
    network = fx.symbolic_trace(build_network("tiny10", n_classes=4, seed=0).eval())
    folded = fold_batch_norms(network)
    assert not folded.training
    assert not any(parameter.requires_grad for parameter in folded.parameters())
    assert all(parameter.requires_grad for parameter in network.parameters())


class Branching(nn.Module):
    """A convolution that two layers read, one that is called twice, a linear layer, and plain pairs."""

    def __init__(self):
        super().__init__()
        self.read_twice = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.called_twice = nn.Conv2d(4, 4, 1)
        self.second = nn.BatchNorm2d(4)
        self.plain = nn.Conv2d(4, 5, 3, bias=False)
        self.third = nn.BatchNorm2d(5, affine=False)
        self.linear = nn.Linear(5, 6)
        self.fourth = nn.BatchNorm1d(6)
        self.untracked = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        y = self.read_twice(self.untracked(x))
        y = self.norm(y) + y
        y = self.second(self.called_twice(self.called_twice(y)))
        y = self.third(self.plain(torch.relu(y)))
        return self.fourth(self.linear(y.mean(dim=(2, 3))))


def test_traced_networks_fold_what_one_layer_alone_reads():
    torch.manual_seed(0)
    network = _spread_norms(fx.symbolic_trace(Branching()))
    images = torch.rand(5, 3, 8, 8)
    folded = fold_batch_norms(network)
    assert _norms(folded) == ["norm", "second"]
    torch.testing.assert_close(folded(images), network(images), rtol=1e-4, atol=1e-5)


def test_statistics_of_the_batch_cannot_be_folded():
    parts = OrderedDict(conv=nn.Conv2d(3, 4, 1), norm=nn.BatchNorm2d(4, track_running_stats=False))
    network = fx.symbolic_trace(nn.Sequential(parts)).eval()
    assert _norms(fold_batch_norms(network)) == ["norm"]


def test_training_mode_is_refused():
    with pytest.raises(ValueError, match=r"call \.eval"):
        fold_batch_norms(fx.symbolic_trace(build_network("tiny10", n_classes=4, seed=0)).train())
