"""Dimensions and receptive fields of published networks: against definitions written out, and relations."""

import numpy as np
import pytest
import torch
from tests.real.published import load_published, needs_published, read_cifar10, read_pooled

from rep_kedro.kernels.layers.spectrum import (
    compute_eigenvalues,
    measure_effective_rank_centred_lambda,
    measure_intrinsic_dimension,
    measure_rankme_uncentred_sigma,
)
from rep_kedro.kernels.layers.streaming import StreamedMoments, flatten_positions
from rep_kedro.models.architecture import Conv
from rep_kedro.models.building import build_network
from rep_kedro.models.fields import find_layer_fields, follow_layers
from rep_kedro.models.layers import LayerReader

pytestmark = needs_published
INPUT_PX = 32
TINY10_FIELDS_PX = [3, 5, 7, 11, 15, 19, 27, 27]
RESNET20_FIELDS_PX = [3, 5, 7, 9, 11, 13, 15, 17, 21, 25, 29, 33, 37, 41, 49, 57, 65, 73, 81]


def list_convolutions(module):
    return [layer.name for layer in module.architecture.layers if isinstance(layer, Conv)]


@pytest.mark.parametrize(
    ("name", "sizes_px", "border"),
    [
        ("tiny10_in0_gn0", TINY10_FIELDS_PX, None),
        ("akamaster_resnet20", RESNET20_FIELDS_PX, "layer2.2.conv2"),
    ],
)
def test_receptive_fields_are_those_of_the_recursion(name, sizes_px, border):
    module = load_published(name).module
    fields = find_layer_fields(module, list_convolutions(module), INPUT_PX).known
    assert [field.columns.size_px for field in fields.values()] == sizes_px
    assert next((layer for layer, field in fields.items() if field.is_border), None) == border
    by_smallest = find_layer_fields(module, None, INPUT_PX, rule="smallest_path").known
    assert not any(field.is_beyond_border for field in by_smallest.values())


@pytest.mark.parametrize("name", ["tiny10_in0_gn0", "akamaster_resnet20", "cnn_a_mix", "marabou_medium"])
def test_a_position_depends_on_the_pixels_of_its_receptive_field_and_no_others(name):
    module = load_published(name).module
    passes = {each.layer: each for each in follow_layers(module, INPUT_PX)}
    images = load_published(name).preprocessing.scale(read_cifar10()[0][:64]).requires_grad_(True)
    for layer in list_convolutions(module)[:15]:
        output = module.run(images, stop_at=layer)
        row = output.shape[-1] // 2
        (gradient,) = torch.autograd.grad(output[:, :, row].abs().sum(), images)
        seen = gradient.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
        (paths,) = passes[layer].sees.rows.paths
        first, last = paths.first[row], paths.last[row]
        assert (seen.min().item(), seen.max().item()) == (max(first, 0), min(last, INPUT_PX - 1)), layer


def read_eigenvalues(module, preprocessing, layers, pixels):
    images = preprocessing.scale(pixels)
    reader = LayerReader(module, layers, example=images[:1])
    moments = {}
    for part in images.split(200):
        for layer, activation in reader.read(part).items():
            samples = flatten_positions(activation)
            moments.setdefault(layer, StreamedMoments(samples.shape[1])).update(samples)
    return {layer: compute_eigenvalues(state.covariance()) for layer, state in moments.items()}


def test_streamed_spectra_and_saturation_are_those_of_the_whole_activation():
    model, pixels = load_published("tiny10_in0_gn0"), read_cifar10()[0][:500]
    layers = [f"conv{i}" for i in range(1, 9)]
    streamed = read_eigenvalues(model.module, model.preprocessing, layers, pixels)
    images = model.preprocessing.scale(pixels)
    whole = LayerReader(model.module, layers, example=images[:1]).read(images)
    for layer in layers:
        maps = whole[layer].double().numpy()
        samples = np.moveaxis(maps, 1, -1).reshape(-1, maps.shape[1])
        expected = np.linalg.eigvalsh(np.cov(samples.T, ddof=0))[::-1]
        np.testing.assert_allclose(streamed[layer].numpy(), expected, rtol=1e-6, atol=1e-9 * expected[0])
        shares = np.cumsum(expected) / expected.sum()
        by_hand = int(np.argmax(shares >= 0.99)) + 1
        assert measure_intrinsic_dimension(streamed[layer], delta=0.99) == by_hand


def measure_saturations(name):
    model = load_published(name)
    layers = list_convolutions(model.module)
    found = read_eigenvalues(model.module, model.preprocessing, layers, read_cifar10()[0][:500])
    return [measure_intrinsic_dimension(found[layer], delta=0.99) / len(found[layer]) for layer in layers]


def test_a_network_whose_receptive_field_stays_inside_the_image_has_no_unsaturated_tail():
    first, second = (measure_saturations(name) for name in ("tiny10_in0_gn0", "tiny10_in1_gn1"))
    assert min(first[1:]) > 0.5
    np.testing.assert_allclose(first, second, atol=0.15)  # a property of the recipe, not of the seed


def read_last(name):
    model = load_published(name)
    (features,) = read_pooled(model, [model.layers[-1]], read_cifar10()[0][:2000])
    return features.double()


def measure_rankme_by_hand(features):
    sigma = np.linalg.svd(features.numpy(), compute_uv=False)
    share = sigma / sigma.sum() + 1e-7
    return float(np.exp(-(share * np.log(share)).sum()))


@pytest.mark.parametrize("name", ["tiny10_in0_gn0", "akamaster_resnet56", "cnn_a_adv4"])
def test_rankme_of_real_features_is_that_of_its_formula(name):
    features = read_last(name)
    found = measure_rankme_uncentred_sigma(torch.linalg.svdvals(features))
    assert found == pytest.approx(measure_rankme_by_hand(features), rel=1e-9)
    assert 1 < found < features.shape[1]


def test_ranks_know_training_depth_and_dead_units():
    def measure(features):
        return measure_rankme_uncentred_sigma(torch.linalg.svdvals(features))

    model = load_published("tiny10_in0_gn0")
    images = model.preprocessing.scale(read_cifar10()[0][:2000])
    untrained = build_network("tiny10", n_classes=10, seed=0).eval()
    with torch.no_grad():
        drawn = torch.cat([untrained.run(part, stop_at="mean") for part in images.split(250)]).double()
    trained = read_last("tiny10_in0_gn0")
    early = read_last("tiny10_in0_gn0_step10000")
    assert measure(drawn) < 0.6 * measure(trained)
    assert measure(early) < measure(trained)
    residual = read_last("akamaster_resnet20")
    assert residual.shape == trained.shape
    assert measure(residual) < measure(trained)  # nearer to one direction for each class
    robust = read_last("cnn_a_adv4")
    n_alive = int((robust.std(dim=0) > 0).sum())
    assert n_alive < 30 < robust.shape[1]
    assert measure(robust) < n_alive
    rank = measure_effective_rank_centred_lambda(compute_eigenvalues(torch.cov(robust.T, correction=0)))
    assert rank < n_alive
