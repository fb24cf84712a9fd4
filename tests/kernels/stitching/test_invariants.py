"""What holds for every stitch: of a network with itself, of donors, of counts, of similarity."""

from dataclasses import replace

import pytest
import torch
from tests.kernels.stitching.cases import Case, stream

from rep_kedro.kernels.stitching.activations import to_positions
from rep_kedro.kernels.stitching.comparison import compare_outputs
from rep_kedro.kernels.stitching.losses import Batch, measure_cka
from rep_kedro.kernels.stitching.maps import fit_affine_map, fit_orthogonal_map
from rep_kedro.kernels.stitching.recipes import Schedule, StitchRecipe
from rep_kedro.kernels.stitching.running import EndLayer, FrontLayer, map_positions, run_maps
from rep_kedro.kernels.stitching.starts import STARTS
from rep_kedro.kernels.stitching.training import Stitch, train_stitches
from rep_kedro.models.building import build_network

LAYERS = ("conv1", "bn2", "relu3", "mean")


def measure_cka_of(first, second):
    rows = [x.flatten(1)[None].double() for x in (first, second)]
    return measure_cka(Batch(*rows, None, None, torch.ones(1, 1, 1))).item()


class SelfStitch:
    """A network whose layer goes over into itself."""

    def __init__(self, layer):
        self.network = build_network("cnn", n_classes=3, seed=0).eval()
        generator = torch.Generator().manual_seed(1)
        self.images = torch.rand(24, 3, 16, 16, generator=generator) * 2
        with torch.no_grad():
            activation = self.network.run(self.images, stop_at=layer)
            self.logits = self.network(self.images)
        self.labels = torch.randint(3, (24,), generator=generator)
        self.samples = to_positions(activation)
        self.moments = stream(self.samples, self.samples)
        self.end = EndLayer(
            tuple(activation.shape[1:]),
            lambda x: self.network.run(x, start_after=layer),
            samples=self.samples,
            logits=self.logits,
            labels=self.labels,
        )


@pytest.mark.parametrize("layer", LAYERS)
def test_the_identity_from_a_network_to_itself_is_the_network(layer):
    own = SelfStitch(layer)
    eye = STARTS["eye"](own.moments, torch.Generator())
    [logits] = run_maps([eye], own.samples, own.end, stimuli_per_call=7)
    compared = compare_outputs(logits, own.logits, own.labels)
    torch.testing.assert_close(logits, own.logits, rtol=1e-5, atol=1e-6)
    assert (compared.relative_accuracy, compared.agreement) == (1.0, 1.0)
    assert compared.kl_divergence == pytest.approx(0.0, abs=1e-9)
    assert compared.js_divergence == pytest.approx(0.0, abs=1e-9)
    mapped = map_positions(eye.weight[None].float(), eye.bias[None].float(), own.samples[None])[0]
    assert measure_cka_of(mapped, own.samples) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("layer", LAYERS)
def test_least_squares_from_a_network_to_itself_is_the_identity(layer):
    own = SelfStitch(layer)
    fitted = fit_affine_map(own.moments)
    mapped = own.samples.double() @ fitted.weight.T + fitted.bias  # dead channels have no weight and no need
    torch.testing.assert_close(mapped, own.samples.double(), rtol=0, atol=1e-6)
    if fitted.rank == own.moments.n_front:
        torch.testing.assert_close(fitted.weight, torch.eye(fitted.rank).double(), rtol=0, atol=1e-6)


def test_donors_are_the_same_bytes_before_and_after():
    own = SelfStitch("bn2")
    before = {name: x.clone() for name, x in own.network.state_dict().items()}
    recipe = StitchRecipe(start="random", learning_rate=0.1)
    [found] = train_stitches(
        [Stitch("self", recipe)],
        {"self": FrontLayer(own.samples, own.moments)},
        own.end,
        Schedule(n_epochs=4, batch_size=6),
    )
    assert found.losses[-1] < found.losses[0]
    assert all(torch.equal(x, before[name]) for name, x in own.network.state_dict().items())
    assert all(parameter.grad is None for parameter in own.network.parameters())


def test_cka_is_blind_to_rotations_and_scale_of_channels():
    case = Case()
    front, end = case.fronts["a"].samples, case.end_samples
    rotation = fit_orthogonal_map(case.fronts["a"].moments)
    raw = measure_cka_of(front, end)
    assert measure_cka_of(front @ rotation.weight.T + rotation.bias, end) == pytest.approx(raw, abs=1e-12)
    assert measure_cka_of(front * 17.0, end) == pytest.approx(raw, abs=1e-12)
    stretched = front * torch.tensor([1.0, 1.0, 1.0, 30.0])
    assert abs(measure_cka_of(stretched, end) - raw) > 0.01


def test_the_four_counts_add_up_to_the_stimuli():
    case = Case()
    recipes = [replace(StitchRecipe(), start=name) for name in STARTS]
    found = train_stitches(
        [Stitch("a", recipe) for recipe in recipes],
        case.fronts,
        case.end,
        Schedule(n_epochs=1, batch_size=10),
    )
    logits = run_maps([one.fitted for one in found], case.fronts["a"].samples, case.end)
    for one in logits:
        compared = compare_outputs(one, case.end.logits, case.labels)
        hits = compared[-4:]
        assert sum(hits) == len(case.labels)
        assert (hits[0] + hits[1]) / len(case.labels) == compared.accuracy
