"""Resuming behind a module gives what a whole pass with that output gives."""

import pytest
import torch
from torch import nn

from rep_kedro.errors import UserError
from rep_kedro.models.building import build_network
from rep_kedro.models.resuming import Resuming
from rep_kedro.models.survey import listening


class Shared(nn.Module):
    """Parts that are called twice, an in-place sum on what a part gave, and a part that gives a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.act = nn.ReLU(inplace=True)
        self.rnn = nn.LSTM(4, 4, batch_first=True)
        self.block = nn.Sequential(self.b, self.act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.act(self.a(x))
        second = self.block(first)
        first += self.c(second)
        third = self.block(first)
        steps, _ = self.rnn(third[:, None])
        return self.b(steps[:, 0])


def _make(name):
    torch.manual_seed(0)
    if name == "shared":
        return Shared().eval(), torch.randn(5, 4)
    if name in ("cnn", "small_resnet"):
        network = build_network(name, n_classes=3, seed=0).eval()
        spec = network.architecture.input
        return network, torch.randn(4, spec.channels, spec.size_px, spec.size_px)
    from torchvision.models import get_model

    return get_model(name, weights=None, num_classes=7).eval(), torch.randn(2, 3, 64, 64)


def _whole_pass(module, x, layer, output):
    """Return the network's output with one output replaced, everything computed."""
    name, _, number = layer.partition("@")
    calls = []

    def replace(*_):
        calls.append(1)
        return output.clone() if len(calls) == int(number or 1) else None

    handle = module.get_submodule(name).register_forward_hook(replace)
    with torch.no_grad():
        found = module(x)
    handle.remove()
    return found


def _layers(module, x):
    found = []
    with listening(module, lambda call, _: found.append(call)), torch.no_grad():
        module(x)
    parts = dict(module.named_modules())
    return [call for call in found if isinstance(parts[call.partition("@")[0]], nn.Conv2d | nn.Linear)]


@pytest.mark.parametrize(
    "name",
    ["shared", "cnn", "small_resnet", "resnet18", "mobilenet_v2", "shufflenet_v2_x0_5"],
)
def test_resuming_equals_a_whole_pass(name):
    module, x = _make(name)
    with torch.no_grad():
        expected = module(x)
    resuming = Resuming(module)
    torch.testing.assert_close(resuming.record(x), expected, rtol=0, atol=0)
    layers = _layers(module, x)
    for layer in layers[:: max(1, len(layers) // 8)]:
        output = resuming.output_of(layer)
        torch.testing.assert_close(resuming.resume(layer, output.clone()), expected, rtol=0, atol=0)
        other = output.roll(1, dims=1) + 0.5
        found = resuming.resume(layer, other.clone())
        torch.testing.assert_close(found, _whole_pass(module, x, layer, other), rtol=0, atol=0)
    with torch.no_grad():
        torch.testing.assert_close(module(x), expected, rtol=0, atol=0)


def test_what_comes_before_does_not_run_again():
    module, x = _make("small_resnet")
    resuming = Resuming(module)
    resuming.record(x)
    [*_, last_but_one, _] = _layers(module, x)
    counts = {}
    layer = last_but_one
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            run = part._conv_forward
            part._conv_forward = lambda *a, run=run: counts.update(n=counts.get("n", 0) + 1) or run(*a)
    resuming.resume(layer, resuming.output_of(layer).clone())
    assert not counts


def test_a_forward_of_its_own_is_put_back():
    module, x = _make("cnn")
    part = next(part for part in module.modules() if isinstance(part, nn.Conv2d))
    part.forward = own = part.forward
    resuming = Resuming(module)
    resuming.record(x)
    resuming.resume(_layers(module, x)[-1], resuming.output_of(_layers(module, x)[-1]))
    assert vars(part)["forward"] is own


def test_a_network_without_one_output_is_refused():
    class Two(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x, x

    with pytest.raises(UserError, match="returns tuple, not one tensor"):
        Resuming(Two().eval()).record(torch.zeros(1))
    module, x = _make("shared")
    resuming = Resuming(module)
    resuming.record(x)
    with pytest.raises(UserError, match="'rnn' does not return a tensor"):
        resuming.output_of("rnn")
