"""Layers of two networks compared from a notebook: as their features are compared, stored or streamed."""

import matplotlib as mpl
import numpy as np
import pytest
import torch
from torch import nn

import rep_kedro
from rep_kedro.kernels.similarity.streamed import StreamedCka

mpl.use("agg")


def network(seed, width=6):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, width, 3),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, 8, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(128, 5),
    )


@pytest.fixture
def images():
    return torch.randn(24, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def test_values_are_those_of_the_extracted_features(images):
    a, b = network(0), network(1, width=4)
    found = rep_kedro.layer_similarity(a, b, images, ["0", "1", "3"], ["1", "5"], batch_size=7)
    assert (found.layers_a, found.layers_b) == (("0", "1", "3"), ("1", "5"))
    assert (found.n_stimuli, found.n_batches, found.reasons) == (24, None, {})
    x, y = rep_kedro.extract(a, images, ["0", "1", "3"]), rep_kedro.extract(b, images, ["1", "5"])
    for i, own in enumerate(found.layers_a):
        for j, other in enumerate(found.layers_b):
            expected = rep_kedro.similarity([x[own], y[other]]).value
            assert found.values[i, j] == pytest.approx(expected, abs=1e-6)
    other = rep_kedro.layer_similarity(a, b, images, ["3"], ["5"], measure="rsa_correlation_spearman")
    expected = rep_kedro.similarity([x["3"], y["5"]], "rsa_correlation_spearman").value
    assert other.values[0, 0] == pytest.approx(expected, abs=1e-6)


def test_streamed_values_are_means_over_batches_of_flattened_maps(images):
    a, b = network(0), network(1)
    found = rep_kedro.layer_similarity(
        a, b, images, ["0", "1", "3"], stream=True, pool="flatten", batch_size=8
    )
    assert (found.n_batches, found.n_stimuli) == (3, 24)
    assert "mean over 3 batches" in repr(found)
    x, y = (rep_kedro.extract(m, images, ["0", "1", "3"], pool="flatten") for m in (a, b))
    streamed = StreamedCka(6)
    for rows in torch.arange(24).split(8):
        for index, features in enumerate([*x.values(), *y.values()]):
            streamed.put(index, torch.from_numpy(features)[rows])
        streamed.end_batch()
    np.testing.assert_allclose(found.values, streamed.finish()[0][:3, 3:].numpy(), rtol=0, atol=1e-6)


def test_a_network_is_compared_with_itself_in_one_pass(images):
    calls, a = [], network(0)
    a[0].register_forward_hook(lambda *_: calls.append(1))
    found = rep_kedro.layer_similarity(a, None, images, batch_size=12)
    assert len(calls) <= 2 + 2  # and what finding the layers takes
    assert found.layers_a == found.layers_b == ("0", "1", "2", "3", "4", "5")
    np.testing.assert_allclose(np.diag(found.values), 1, atol=1e-6)
    part = rep_kedro.layer_similarity(a, a, images, ["1"], ["5", "3"])
    assert (part.layers_a, part.layers_b) == (("1",), ("3", "5"))
    np.testing.assert_allclose(part.values[0], found.values[1, [3, 5]], atol=1e-6)


def test_batches_of_a_loader_are_read_once_and_stay_as_they_are(images):
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(images, torch.zeros(24)), batch_size=6, shuffle=True
    )
    a, b = network(0), network(1)
    found = rep_kedro.layer_similarity(a, b, iter(loader), ["3"])
    whole = rep_kedro.layer_similarity(a, b, images, ["3"])
    np.testing.assert_allclose(found.values, whole.values, atol=1e-6)  # both networks saw one order
    assert rep_kedro.layer_similarity(a, b, iter(loader), ["3"], stream=True).n_batches == 4


def test_the_network_is_left_as_it_was(images):
    a, b = network(0).train(), network(1)
    rep_kedro.layer_similarity(a, b, images, ["1"])
    assert a.training
    assert not any(part._forward_hooks for part in a.modules())


def test_it_prints_plots_and_names_the_best_matches(images):
    found = rep_kedro.layer_similarity(network(0), network(1), images)
    assert repr(found).startswith("CKA (linear, debiased); 24 images\n")
    assert "<table" in found._repr_html_()
    best = found.best_matches()
    assert list(best.index) == list(found.layers_a)
    assert best["similarity"].tolist() == found.values.max(axis=1).tolist()
    assert found.to_frame().loc["3", best.loc["3", "best_layer"]] == best.loc["3", "similarity"]
    axes = found.plot()
    assert [label.get_text() for label in axes.get_yticklabels()] == list(found.layers_a)
    assert len(axes.texts) == found.values.size
    distance = rep_kedro.layer_similarity(network(0), network(1), images, measure="procrustes")
    assert distance.best_matches()["similarity"].tolist() == distance.values.min(axis=1).tolist()


def test_a_layer_that_tells_nothing_apart_has_no_value_and_a_reason(images):
    blind = network(1)
    nn.init.zeros_(blind[5].weight)
    for stream in (False, True):
        found = rep_kedro.layer_similarity(network(0), blind, images, ["3"], ["3", "5"], stream=stream)
        assert np.isnan(found.values[0, 1])
        assert np.isfinite(found.values[0, 0])
        assert "b/5" in found.reasons["3", "5"]
        assert "undefined for 1 pairs of layers: b/5" in repr(found)
        assert found.best_matches()["best_layer"].tolist() == ["3"]


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"layers": ["7"]}, "unknown layer '7'"),
        ({"measure": "disagreement"}, "compares outputs"),
        ({"measure": "cka_linear_biased", "stream": True}, "stream is for cka_linear_debiased"),
        ({"pool": "averge"}, "unknown pooling 'averge'; did you mean 'average'"),
        ({"batch_size": 3, "stream": True}, "batch_size must be at least 4, got 3"),
    ],
)
def test_choices_that_cannot_be_meant_are_refused(images, choices, message):
    with pytest.raises(rep_kedro.UserError, match=message):
        rep_kedro.layer_similarity(network(0), network(1), images, **choices)


def test_batches_that_cannot_be_streamed_are_refused(images):
    with pytest.raises(rep_kedro.UserError, match="a batch of 2 images"):
        rep_kedro.layer_similarity(network(0), network(1), [images[:8], images[8:10]], stream=True)
    with pytest.raises(rep_kedro.UserError, match="there are no images to show"):
        rep_kedro.layer_similarity(network(0), network(1), [])
    for factor, stream, message in (
        (float("nan"), True, "layer '0' gives NaN or infinity"),
        (1e30, True, "layer '0' gives numbers too large to be squared"),
        (float("nan"), False, "a/0 contains NaN or infinity in 24 of 24 stimuli"),
    ):
        with pytest.raises(rep_kedro.UserError, match=message):
            rep_kedro.layer_similarity(network(0), network(1), images * factor, ["0"], stream=stream)
