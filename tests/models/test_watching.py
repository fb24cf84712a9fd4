"""Watching a network: what its layers give before any norm, as spectra, in any network."""

import math

import pytest
import torch
from tests.reference import positions as reference_positions
from tests.reference import spectrum as reference
from torch import nn

from rep_kedro.errors import UserError
from rep_kedro.kernels.layers.positions import count_positions
from rep_kedro.models.building import build_network
from rep_kedro.models.watched_layers import Amount, WatchedLayer, choose_amount, find_watched_layers
from rep_kedro.models.watching import CONSTANT, NO_SAMPLES, NOT_FINITE, LayerWatch


class Mixed(nn.Module):
    """A convolution with a norm behind it, an LSTM over the rows, and a linear layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.act = nn.ReLU(inplace=True)
        self.rnn = nn.LSTM(16, 5)
        self.head = nn.Linear(5, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.act(self.norm(self.conv(x)))  # (n, 4, 4, 4)
        steps, _ = self.rnn(maps.flatten(2).transpose(0, 1))  # (4 steps, n, 16)
        return self.head(self.act(self.head(steps[-1])))


@pytest.fixture
def mixed():
    torch.manual_seed(0)
    return Mixed(), torch.randn(6, 2, 4, 4, generator=torch.Generator().manual_seed(1))


def _eigenvalues(rows):
    return torch.linalg.eigvalsh(torch.tensor(reference.covariance(rows), dtype=torch.float64)).flip(0)


@pytest.mark.parametrize("is_training", [True, False])
@pytest.mark.parametrize("way", ["channelwise", "mean", "max", "median", "flatten"])
def test_spectra_are_of_outputs_before_the_norm_over_all_batches(mixed, way, is_training):
    network, x = mixed
    network.train(is_training)
    with torch.no_grad():
        maps = network.conv(x)
    watch = LayerWatch(network, find_watched_layers(network, x[:1]), way=way)
    watch.start()
    for batch in x.split([4, 2]):
        network(batch)
    seen = watch.take()
    rows = reference_positions.read_map(maps.double().tolist(), way)
    expected = _eigenvalues(rows)
    bound = 1e-5 * expected[0]
    assert (seen["conv"].eigenvalues - expected).abs().max() < bound
    assert seen["conv"].n_samples == len(rows)
    assert network.training is is_training
    watch.close()


def test_every_call_and_every_time_step_is_a_sample(mixed):
    network, x = mixed
    watch = LayerWatch(network, find_watched_layers(network, x[:1]))
    watch.start()
    network(x)
    seen = watch.take()
    assert {name: each.n_samples for name, each in seen.items()} == {"conv": 96, "rnn": 24, "head": 12}
    assert list(seen) == ["conv", "rnn", "head"]
    watch.close()
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())


def test_nothing_is_read_outside_of_start_and_pause(mixed):
    network, x = mixed
    watch = LayerWatch(network, find_watched_layers(network, x[:1]))
    network(x)
    assert watch.take()["conv"].reason == NO_SAMPLES
    watch.start(every=2)
    for batch in x.split(2):
        network(batch)
    watch.pause()
    network(x)
    assert watch.take()["conv"].n_samples == 2 * 2 * 16


def test_random_positions_have_a_stream_of_their_own(mixed):
    network, x = mixed
    watch = LayerWatch(network, find_watched_layers(network, x[:1]))
    spectra = []
    for seed in (3, 3, 4):
        state = torch.random.get_rng_state()
        watch.start(n_positions=3, generator=torch.Generator().manual_seed(seed))
        network(x)
        assert torch.equal(torch.random.get_rng_state(), state)
        spectra.append(watch.take()["conv"].eigenvalues)
    assert torch.equal(spectra[0], spectra[1])
    assert not torch.equal(spectra[0], spectra[2])
    with pytest.raises(ValueError, match="need a generator"):
        watch.start(n_positions=3)


def test_a_watched_step_has_the_gradients_of_a_bare_one(mixed):
    network, x = mixed
    network(x).sum().backward()
    bare = {name: p.grad.clone() for name, p in network.named_parameters()}
    network.zero_grad()
    watch = LayerWatch(network, find_watched_layers(network, x[:1]))
    watch.start(n_positions=2, generator=torch.Generator().manual_seed(0))
    network(x).sum().backward()
    assert all(torch.equal(p.grad, bare[name]) for name, p in network.named_parameters())


def test_sums_go_on_from_a_state(mixed):
    network, x = mixed
    layers = find_watched_layers(network, x[:1])
    whole, first, second = (LayerWatch(network, layers) for _ in range(3))
    for batch, watches in ((x[:4], (whole, first)), (x[4:], (whole, second))):
        if second in watches:
            second.load_state(first.state(), "cpu")
        for watch in watches:
            watch.start()
        network(batch)
        for watch in watches:
            watch.pause()
    one, other = whole.take(), second.take()
    for name in one:
        assert torch.equal(one[name].eigenvalues, other[name].eigenvalues)
        assert one[name].n_samples == other[name].n_samples


def test_layers_without_a_spectrum_say_why(mixed):
    network, x = mixed
    with torch.no_grad():
        network.conv.weight.zero_()
        network.head.weight[0, 0] = torch.inf
    watch = LayerWatch(network, find_watched_layers(network, x[:1]), n_neighbours=5)
    watch.start(neighbours=True)
    network(x)
    seen = watch.take()
    assert (seen["conv"].reason, seen["head"].reason) == (CONSTANT, NOT_FINITE)
    assert not seen["conv"].eigenvalues.any()
    assert not seen["head"].eigenvalues.any()
    assert math.isnan(seen["conv"].neighbours.two_nn)
    assert "samples that differ: 1" in seen["conv"].neighbours.reason


@pytest.mark.parametrize(
    ("name", "n_layers", "n_positions", "n_multiply_adds"),
    [("resnet18", 21, 618, 37.0e6), ("resnet50", 54, None, 83.4e6), ("vgg16_bn", 15 + 1, 2814 + 1, None)],
)
def test_published_networks_have_the_published_numbers(name, n_layers, n_positions, n_multiply_adds):
    """Counts of the saturation experiments, 10 classes, 32 px; their VGG16 has one linear layer fewer."""
    from torchvision.models import get_model

    with torch.device("meta"):
        network = get_model(name, weights=None, num_classes=10)
    layers = find_watched_layers(network, torch.zeros(1, 3, 32, 32, device="meta"))
    assert len(layers) == n_layers
    if n_positions:
        assert sum(count_positions(layer.shape) for layer in layers) == n_positions
    if n_multiply_adds:
        total = sum(layer.n_multiply_adds for layer in layers)
        assert total == pytest.approx(n_multiply_adds, rel=2e-3)


def test_multiply_adds_agree_with_torchs_counter():
    from torch.utils.flop_counter import FlopCounterMode

    network = build_network("small_resnet", n_classes=10, seed=0).eval()
    spec = network.architecture.input
    x = torch.zeros(1, spec.channels, spec.size_px, spec.size_px)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(x)
    total = sum(layer.n_multiply_adds for layer in find_watched_layers(network, x))
    assert 2 * total == counter.get_total_flops()


def _extra(layers, amount, batch):
    """Return the multiply-adds that products add to a pass, for one stimulus."""
    rows = [amount.n_positions or 10**9 for _ in layers]
    return (
        sum(
            min(n, math.prod(layer.shape[2:])) * layer.shape[1] ** 2
            for n, layer in zip(rows, layers, strict=True)
        )
        / amount.every
    )


@pytest.mark.parametrize("is_step", [True, False])
@pytest.mark.parametrize(("channels", "side"), [(8, 32), (64, 16), (512, 2), (2048, 1)])
def test_the_default_amount_stays_within_its_share(channels, side, is_step):
    layers = tuple(
        WatchedLayer(name, (1, channels, side, side), side**2 * channels**2) for name in ("a", "b", "c")
    )
    amount = choose_amount(layers, "channelwise", share=0.08, n_batches=400, batch_size=128, is_step=is_step)
    budget = 0.08 * sum(layer.n_multiply_adds for layer in layers) * (3 if is_step else 1)
    assert 0 < _extra(layers, amount, 128) <= budget
    assert amount.n_positions is None or amount.n_positions >= 4


def test_at_least_one_batch_is_read_and_pooled_ways_read_all_positions():
    layers = (WatchedLayer("a", (1, 2048, 7, 7), 49 * 2048),)
    few = choose_amount(layers, "channelwise", share=0.08, n_batches=3, batch_size=2, is_step=True)
    assert few == Amount(4, 3)
    pooled = choose_amount(layers, "mean", share=1000.0, n_batches=3, batch_size=64, is_step=True)
    assert pooled == Amount(None, 1)


def test_a_network_without_such_layers_is_refused():
    with pytest.raises(UserError, match="no convolution, linear layer or LSTM"):
        find_watched_layers(nn.Sequential(nn.ReLU()), torch.zeros(1, 3))
