"""Dissimilarities of stimuli presented several times: by definition, unbiased, and free of noise's scale."""

from itertools import product

import numpy as np
import pytest
import torch
from tests.kernels.in_words import in_words
from tests.reference import repeats as reference

import rep_kedro
from rep_kedro.errors import UserError
from rep_kedro.kernels.similarity.repeats import COMPARISONS, RDM_KINDS, compare_repeats, make_rdm


def draw(n_repeats=3, n_stimuli=12, d=5, seed=0):
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((n_repeats, n_stimuli, d)) @ rng.standard_normal((d, d))
    return 2 * rng.standard_normal((n_stimuli, d)) + 0.5 * noise + 10


def compare(representations, **chosen):
    values, reasons = compare_repeats(
        [torch.as_tensor(x) for x in representations], memory_bytes=2**20, **chosen
    )
    return values.numpy(), in_words(reasons)


@pytest.mark.parametrize("n_repeats", [2, 3, 5])
@pytest.mark.parametrize("shrinkage", [None, 0.0, 0.3, 1.0])
@pytest.mark.parametrize("kind", RDM_KINDS)
def test_an_rdm_is_the_definition(kind, shrinkage, n_repeats):
    x = draw(n_repeats)
    found = make_rdm(torch.from_numpy(x), kind, shrinkage=shrinkage)
    np.testing.assert_allclose(found, reference.rdm(x, kind, shrinkage), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("how", COMPARISONS)
def test_models_are_compared_by_their_rdms(how):
    models = [draw(d=4), draw(d=6, seed=1), draw(4, seed=2)]
    values, reasons = compare(models, compare=how)
    rdms = [reference.rdm(x, "crossnobis") for x in models]
    assert not reasons
    np.testing.assert_allclose(
        values, [[reference.COMPARE[how](a, b) for b in rdms] for a in rdms], atol=1e-10
    )


def test_crossed_distances_are_unbiased_over_all_noise():
    """Two repeats whose noise is each of three equally probable vectors of mean zero."""
    rng = np.random.default_rng(0)
    true = rng.standard_normal((2, 2))
    noise = rng.standard_normal((3, 2))
    noise -= noise.mean(axis=0)
    found = [
        make_rdm(torch.from_numpy(true + noise[list(chosen)].reshape(2, 2, 2)), "crossvalidated_euclidean")
        for chosen in product(range(3), repeat=4)
    ]
    assert torch.stack(found).mean().item() == pytest.approx(np.sum((true[0] - true[1]) ** 2) / 2, rel=1e-12)


def test_stimuli_that_are_not_distinguished_are_at_zero_on_average_and_of_mahalanobis_they_are_not():
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((4, 150, 6)))
    crossed, plain = make_rdm(x, "crossnobis"), make_rdm(x, "mahalanobis")
    assert abs(crossed.mean().item()) < 0.05
    assert (crossed < 0).double().mean().item() > 0.3
    assert plain.mean().item() == pytest.approx(2 / 4, rel=0.1)
    assert plain.min() > 0


@pytest.mark.parametrize("kind", ["crossnobis", "mahalanobis"])
def test_units_of_features_and_invertible_maps_make_no_difference_to_distances_in_units_of_noise(kind):
    x = draw(4, 30)
    mixed = x @ np.random.default_rng(5).standard_normal((5, 5)) + 3
    expected = make_rdm(torch.from_numpy(x), kind, shrinkage=0.0)
    np.testing.assert_allclose(make_rdm(torch.from_numpy(mixed), kind, shrinkage=0.0), expected, rtol=1e-8)
    scaled = make_rdm(torch.from_numpy(x * [1e-6, 1, 10, 1e5, 3]), kind)
    np.testing.assert_allclose(scaled, make_rdm(torch.from_numpy(x), kind), rtol=1e-6)


@pytest.mark.parametrize("factor", [1e-150, 1e-3, 1e150])
def test_very_small_and_very_large_features_make_no_difference(factor):
    models = [draw(), draw(seed=1)]
    np.testing.assert_allclose(compare([factor * x for x in models])[0], compare(models)[0], rtol=1e-9)


def test_single_precision_is_computed_in_double():
    models = [draw().astype(np.float32), draw(seed=1).astype(np.float32)]
    np.testing.assert_allclose(compare(models)[0], compare([x.astype(float) for x in models])[0], rtol=1e-5)


def test_idle_features_are_left_out_and_what_is_undefined_has_a_reason():
    x, same = draw(), np.ones((3, 12, 2))
    certain = np.concatenate([x[..., :2], np.broadcast_to(np.arange(12.0)[:, None], (3, 12, 1))], axis=2)
    expected, _ = compare([x, draw(seed=1)])
    values, reasons = compare([np.concatenate([x, same], axis=2), draw(seed=1), same, certain])
    np.testing.assert_allclose(values[:2, :2], expected, rtol=1e-10)
    assert np.isnan(values[2:]).all()
    assert reasons[0, 2] == "model 2: all stimuli have the same features up to rounding"
    assert "differs between stimuli but not between repeats" in reasons[0, 3]
    for n_repeats, dtype in ((3, np.float64), (7, np.float64), (7, np.float32)):
        equal = np.repeat(draw()[:1].astype(dtype), n_repeats, axis=0)
        assert "differs between stimuli but not between repeats" in compare([equal, equal])[1][0, 1]
    wide = draw(2, 6, 20)
    assert "choose a positive shrinkage" in compare([x[:, :6], wide], shrinkage=0.0)[1][0, 1]
    assert not compare([x[:, :6], wide])[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rdm": "cross"}, "unknown kind of RDM 'cross'; known: crossnobis, mahalanobis"),
        ({"compare": "tau"}, "unknown comparison 'tau'; known: pearson, spearman, cosine"),
        ({"shrinkage": 1.5}, r"shrinkage must be between 0 and 1, got 1\.5"),
        ({"representations": [draw(1)]}, "a has 1 repeat, need at least 2"),
        (
            {"representations": [draw()[0]]},
            r"a has shape \(12, 5\), need \(n_repeats, n_stimuli, n_features\)",
        ),
        ({"representations": [draw(), draw(3, 11)]}, "b has 11 stimuli, a has 12; all must have the same"),
        ({"representations": [draw(3, 3)]}, "a has 3 stimuli, need at least 4"),
        ({"representations": [np.full((3, 12, 5), np.nan)]}, "a contains NaN or infinity"),
    ],
)
def test_what_cannot_be_compared_is_refused_by_name(change, message):
    change = dict(change)
    representations = change.pop("representations", [draw()])
    with pytest.raises(UserError, match=message):
        rep_kedro.similarity_of_repeats(representations, names=["a", "b"][: len(representations)], **change)


def test_memory_is_bounded_before_anything_is_made():
    with pytest.raises(
        ValueError, match="RDMs of 1 models of 12 stimuli take 528 bytes, but memory_bytes is 527"
    ):
        compare_repeats([torch.from_numpy(draw())], memory_bytes=527)


def test_the_table_is_labelled_and_an_undefined_rdm_is_an_error():
    found = rep_kedro.similarity_of_repeats({"cnn": draw(), "vit": draw(seed=1)}, compare="spearman")
    assert list(found.index) == list(found.columns) == ["cnn", "vit"]
    rdms = [reference.rdm(draw(seed=seed), "crossnobis") for seed in (0, 1)]
    assert found.loc["cnn", "vit"] == pytest.approx(reference.COMPARE["spearman"](*rdms), abs=1e-12)
    with pytest.raises(
        UserError, match=r"dead: all stimuli have the same features .*, so crossnobis is undefined"
    ):
        rep_kedro.similarity_of_repeats({"cnn": draw(), "dead": np.ones((3, 12, 2))})
