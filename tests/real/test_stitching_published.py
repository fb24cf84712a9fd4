"""Maps between published networks of one recipe: against other solvers, and against what was measured before.

The figures to compare with (relative accuracy, CKA, best correlations) were measured on another pair of the
same recipe, so bands are as wide as pairs differ.
"""

import numpy as np
import pytest
import torch
from tests.real.published import BATCH, load_published, needs_published, read_cifar10

from rep_kedro.kernels.layers.streaming import flatten_positions
from rep_kedro.kernels.stitching.activations import to_positions
from rep_kedro.kernels.stitching.comparison import compare_outputs
from rep_kedro.kernels.stitching.losses import Batch, measure_cka
from rep_kedro.kernels.stitching.maps import apply_affine_map, fit_affine_map, fit_orthogonal_map
from rep_kedro.kernels.stitching.moments import PairedMoments
from rep_kedro.kernels.stitching.recipes import Schedule, StitchRecipe
from rep_kedro.kernels.stitching.running import EndLayer, FrontLayer
from rep_kedro.kernels.stitching.training import Stitch, train_stitches
from rep_kedro.measures import compare_models
from rep_kedro.models.cutting import CutNetwork
from rep_kedro.models.layers import LayerReader

pytestmark = needs_published
FRONT, END = "tiny10_in0_gn0", "tiny10_in1_gn1"
LAYERS = [f"bn{i}" for i in range(1, 9)]
FIT = ("core/cifar10/train_00000-01999.parquet",)
N_TEST = 1017

RELATIVE_ACCURACY = (1.004, 0.875, 0.778, 0.812, 0.827, 0.909, 0.952, 0.970)
RAW_CKA = (0.970, 0.949, 0.893, 0.882, 0.853, 0.842, 0.729, 0.785)
MAPPED_CKA = (1.000, 0.961, 0.941, 0.917, 0.885, 0.875, 0.797, 0.821)
BEST_CORRELATION = (0.673, 0.615, 0.555, 0.498, 0.386, 0.423, 0.385, 0.472)


class Pair:
    """Two networks, the moments of their layers on training images, their activations on test images."""

    def __init__(self, front, end):
        models = [load_published(name) for name in (front, end)]
        self.end = models[1].module
        train, (test, labels) = read_cifar10(*FIT)[0], read_cifar10()
        self.labels = labels[:N_TEST]
        self.scale = scale = models[0].preprocessing.scale
        example = scale(test[:1])
        self.readers = [LayerReader(model.module, LAYERS, example=example) for model in models]
        self.moments = {}
        for part in scale(train).split(BATCH):
            read = [reader.read(part) for reader in self.readers]
            for layer in LAYERS:
                samples = [flatten_positions(activations[layer]) for activations in read]
                widths = [x.shape[1] for x in samples]
                self.moments.setdefault(layer, PairedMoments(*widths)).update(*samples)
        test = scale(test[:N_TEST])
        self.front_activations, self.end_activations = (reader.read(test) for reader in self.readers)
        with torch.no_grad():
            self.end_logits = self.end(test)

    def train(self, layer, recipes, schedule):
        """Return maps trained on the training images, by the names of their recipes."""
        train, labels = read_cifar10(*FIT)
        parts = [self._read_for_training(layer, part) for part in self.scale(train).split(BATCH)]
        front, end, logits = (torch.cat(own) for own in zip(*parts, strict=True))
        place = EndLayer(
            tuple(self.end_activations[layer].shape[1:]),
            CutNetwork(self.end).tail(layer, is_folded=True),
            samples=end,
            logits=logits,
            labels=labels,
        )
        fronts = {"front": FrontLayer(front, self.moments[layer])}
        stitches = [Stitch("front", recipe) for recipe in recipes.values()]
        trained = train_stitches(stitches, fronts, place, schedule)
        return {name: found.fitted for name, found in zip(recipes, trained, strict=True)}

    @torch.no_grad()
    def _read_for_training(self, layer, images):
        front, end = (reader.read(images)[layer] for reader in self.readers)
        return to_positions(front), to_positions(end), self.end.run(end, start_after=layer)

    def measure_cka(self, layer, fitted):
        mapped = apply_affine_map(fitted, self.front_activations[layer])
        rows = (x.flatten(1).double()[None] for x in (mapped, self.end_activations[layer]))
        return measure_cka(Batch(*rows, None, None, torch.ones(1, 1, 1))).item()

    @torch.no_grad()
    def stitch(self, layer, fitted):
        mapped = apply_affine_map(fitted, self.front_activations[layer])
        return mapped, compare_outputs(self.end.run(mapped, start_after=layer), self.end_logits, self.labels)


@pytest.fixture(scope="module")
def pair():
    return Pair(FRONT, END)


def test_maps_are_those_of_an_ordinary_least_squares_solver(pair):
    images = load_published(FRONT).preprocessing.scale(read_cifar10()[0][:200])
    front, end = (reader.read(images) for reader in pair.readers)
    for layer in LAYERS:
        x, y = (flatten_positions(activations[layer]).double() for activations in (front, end))
        moments = PairedMoments(x.shape[1], y.shape[1])
        moments.update(x, y)
        fitted = fit_affine_map(moments)
        solution = np.linalg.lstsq(np.c_[x.numpy(), np.ones(len(x))], y.numpy(), rcond=None)[0]
        np.testing.assert_allclose(fitted.weight.numpy(), solution[:-1].T, rtol=0, atol=1e-7)
        np.testing.assert_allclose(fitted.bias.numpy(), solution[-1], rtol=0, atol=1e-7)


def test_joining_a_network_with_itself_changes_nothing():
    pair = Pair(END, END)
    for layer in LAYERS:
        fitted = fit_affine_map(pair.moments[layer])
        torch.testing.assert_close(
            fitted.weight, torch.eye(fitted.rank, dtype=torch.float64), rtol=0, atol=1e-8
        )
        assert fitted.bias.abs().max() < 1e-8
        _, compared = pair.stitch(layer, fitted)
        assert compared.agreement == 1
        assert compared.kl_divergence == pytest.approx(0, abs=1e-6)


def test_one_recipe_is_joined_as_well_as_was_measured_on_another_pair(pair):
    found = []
    for layer in LAYERS:
        _, compared = pair.stitch(layer, fit_affine_map(pair.moments[layer]))
        found.append(compared.relative_accuracy)
    assert compared.end_accuracy == pytest.approx(0.8781, abs=1e-4)
    np.testing.assert_allclose(found, RELATIVE_ACCURACY, atol=0.1)
    assert found[0] > 0.98  # the first layer says the same in all networks
    assert min(found[1:5]) < 0.85 < min(found[5:])  # the dip in the middle
    assert found[7] > 0.96


def test_maps_raise_the_similarity_to_what_was_measured_on_another_pair(pair):
    raw, mapped, rotated = [], [], []
    for layer in LAYERS[2:]:  # the maps of the first two are large and take half a minute
        front, end = pair.front_activations[layer], pair.end_activations[layer]
        affine, _ = pair.stitch(layer, fit_affine_map(pair.moments[layer]))
        orthogonal, _ = pair.stitch(layer, fit_orthogonal_map(pair.moments[layer]))
        flat = [x.flatten(1) for x in (front, end, affine, orthogonal)]
        ((_, comparison),) = compare_models(flat, ["cka_linear_biased"], memory_bytes=10**9)
        raw.append(comparison.values[0, 1])
        mapped.append(comparison.values[2, 1])
        rotated.append(comparison.values[3, 1])
    np.testing.assert_allclose(raw, RAW_CKA[2:], atol=0.04)
    np.testing.assert_allclose(mapped, MAPPED_CKA[2:], atol=0.02)
    np.testing.assert_allclose(rotated, raw, atol=1e-5)  # rotations of channels leave CKA alone


def test_a_map_that_is_left_out_or_only_rotates_does_worse_where_layers_differ(pair):
    for layer in LAYERS:
        with torch.no_grad():
            logits = pair.end.run(pair.front_activations[layer], start_after=layer)
        unmapped = compare_outputs(logits, pair.end_logits, pair.labels)
        _, affine = pair.stitch(layer, fit_affine_map(pair.moments[layer]))
        assert unmapped.relative_accuracy < 0.4 < affine.relative_accuracy


def test_the_task_loss_lifts_accuracy_and_not_cka_and_starts_better_from_least_squares(pair):
    recipes = {"task": StitchRecipe(), "random": StitchRecipe(start="random")}
    maps = pair.train("bn5", recipes, Schedule(n_epochs=10, batch_size=128))  # 150 steps on 2,000 images
    maps["direct"] = fit_affine_map(pair.moments["bn5"])
    accuracy = {name: pair.stitch("bn5", fitted)[1].relative_accuracy for name, fitted in maps.items()}
    cka = {name: pair.measure_cka("bn5", fitted) for name, fitted in maps.items()}
    assert accuracy["task"] > accuracy["direct"] + 0.04
    assert cka["task"] < cka["direct"] + 0.02
    assert accuracy["task"] > accuracy["random"] + 0.3


def test_a_penalty_lowers_cka_and_not_accuracy(pair):
    recipes = {"apart": StitchRecipe(cka_penalty=0.5)}
    maps = pair.train("bn7", recipes, Schedule(n_epochs=20, batch_size=128))
    maps["direct"] = fit_affine_map(pair.moments["bn7"])
    accuracy = {name: pair.stitch("bn7", fitted)[1].relative_accuracy for name, fitted in maps.items()}
    cka = {name: pair.measure_cka("bn7", fitted) for name, fitted in maps.items()}
    assert cka["apart"] < cka["direct"] - 0.05
    assert accuracy["apart"] > accuracy["direct"] - 0.02


def test_single_channels_of_two_networks_correlate_as_was_measured_on_another_pair(pair):
    found = []
    for layer in LAYERS:
        moments = pair.moments[layer]
        scale = moments.joint.scatter.diagonal().sqrt()
        correlation = moments.cross_scatter / torch.outer(scale[moments.n_front :], scale[: moments.n_front])
        found.append(correlation.max(dim=1).values.mean().item())
    np.testing.assert_allclose(found[1:], BEST_CORRELATION[1:], atol=0.06)
    assert found[0] == pytest.approx(
        BEST_CORRELATION[0], abs=0.2
    )  # 16 filters of 3 x 3 pixels, by chance alike
