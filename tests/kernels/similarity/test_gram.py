"""Sums over pairs of stimuli: against explicit matrices, for every tile size, shift and scale."""

import numpy as np
import pytest
import torch
from tests.reference import cka as reference

from rep_kedro.kernels.similarity import centred, gram
from rep_kedro.kernels.similarity.centred import centre, centre_all
from rep_kedro.kernels.similarity.cosines import cosines
from rep_kedro.kernels.similarity.gram import PairSums, linear_pair_sums, tiles
from rep_kedro.kernels.undefined import Undefined, explain

WIDTHS = (3, 7, 5)


def draw(n=23, widths=WIDTHS, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, d, generator=generator, dtype=torch.float64).to(dtype) for d in widths]


def explicit_sums(grams):
    hollow = [k - np.diag(np.diag(k)) for k in grams]
    products = np.array([[np.sum(k * m) for m in hollow] for k in hollow])
    return products, np.array([k.sum(axis=1) for k in hollow])


def as_sums(grams):
    products, row_sums = (torch.from_numpy(a) for a in explicit_sums(grams))
    return PairSums(products, row_sums, torch.zeros(len(products), dtype=torch.float64))


def centred_grams(representations):
    grams = [reference.double_centred(reference.linear_gram(x.numpy())) for x in representations]
    return [k * len(k) / np.trace(k) for k in grams]


@pytest.mark.parametrize("memory_bytes", [1, 2_000, 10_000, 10**7])
@pytest.mark.parametrize("n", [4, 23])
def test_sums_equal_explicit_gram_matrices_at_any_memory(memory_bytes, n):
    representations = draw(n)
    sums = linear_pair_sums([centre(x) for x in representations], memory_bytes=memory_bytes)
    products, row_sums = explicit_sums(centred_grams(representations))
    np.testing.assert_allclose(sums.products, products, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(sums.row_sums, row_sums, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("memory_bytes", [1, 5_000, 10**7])
def test_products_in_feature_space_equal_those_in_stimulus_space(memory_bytes):
    models = [centre(x) for x in draw(n=50)]
    energy = torch.stack([m.squared_norms for m in models])
    by_features = gram._products_in_feature_space(models, memory_bytes) - energy @ energy.T
    by_stimuli = gram._products_in_stimulus_space(models, memory_bytes)
    torch.testing.assert_close(by_features, by_stimuli, rtol=1e-12, atol=1e-10)


def test_fewer_features_than_stimuli_are_multiplied_in_feature_space(monkeypatch):
    monkeypatch.setattr(gram, "_products_in_stimulus_space", None)
    linear_pair_sums([centre(x) for x in draw(n=200)], memory_bytes=10**6)
    with pytest.raises(TypeError):
        linear_pair_sums([centre(x) for x in draw(n=20, widths=(40, 40))], memory_bytes=10**6)


@pytest.mark.parametrize("side", [1, 2, 5, 9, 23, 40])
def test_tiles_cover_every_unordered_pair_once(side):
    seen = np.zeros((23, 23), dtype=int)
    for rows, columns in tiles(23, side):
        seen[rows, columns] += 1
        if rows != columns:
            seen[columns, rows] += 1
    assert (seen == 1).all()


@pytest.mark.parametrize("widths", [(5, 5, 5), (3, 5, 5, 3, 3), (4,), (2, 3, 4)])
@pytest.mark.parametrize("memory_bytes", [1, 3000, 10**7])
def test_models_side_by_side_in_memory_give_the_same_sums_as_models_apart(widths, memory_bytes):
    xs = draw(widths=widths)
    apart, together = [centre(x) for x in xs], centre_all(xs)
    for one, other in zip(apart, together, strict=True):
        assert torch.equal(one.features, other.features)
        assert (one.unit, one.flaw) == (other.unit, other.flaw)
    n_runs = sum(a != b for a, b in zip((None, *widths), widths, strict=False))
    assert len(gram._stacks_of([m.features for m in together])) == n_runs
    assert len(gram._stacks_of([m.features for m in apart])) == len(widths)
    want = gram._products_in_stimulus_space(apart, memory_bytes)
    got = gram._products_in_stimulus_space(together, memory_bytes)
    torch.testing.assert_close(got, want, rtol=1e-13, atol=1e-12)


def test_only_models_that_follow_each_other_in_memory_are_stacked():
    first, second, third = (m.features for m in centre_all(draw(widths=(5, 5, 5))))
    assert len(gram._stacks_of([first, third])) == 2
    assert len(gram._stacks_of([second, first])) == 2
    assert len(gram._stacks_of([second, third])) == 1
    [stack] = gram._stacks_of([first, second, third])
    assert torch.equal(stack, torch.stack([first, second, third]))


def test_centring_works_through_as_many_blocks_as_it_takes(monkeypatch):
    x = draw(n=101, widths=(7,), dtype=torch.float32)[0] * 40 + 1000
    whole = centre(x)
    monkeypatch.setattr(centred, "NUMBERS_PER_CENTRING", 30)
    blocks = centre(x)
    torch.testing.assert_close(blocks.features, whole.features, rtol=1e-6, atol=1e-7)
    assert blocks.squared_norms.mean().item() == pytest.approx(1, rel=1e-6)
    expected = x.double() - x.double().mean(dim=0)
    torch.testing.assert_close(whole.features.double() * whole.unit, expected, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(whole.squared_norms, whole.features.double().square().sum(dim=1))


def test_row_terms_equal_those_added_to_the_matrices():
    grams = [gram.astype(np.float64) for gram in centred_grams(draw())]
    u = np.random.default_rng(3).standard_normal((3, 23))
    changed = [k + a[:, None] + a for k, a in zip(grams, u, strict=True)]
    got = as_sums(grams).scaled(-2.0).with_row_terms(torch.from_numpy(-2 * u))
    want = as_sums([-2 * k for k in changed])
    torch.testing.assert_close(got.products, want.products)
    torch.testing.assert_close(got.row_sums, want.row_sums)


def test_corrections_equal_the_matrices_they_stand_for():
    grams = [reference.gaussian_gram(x.numpy(), 1.5) for x in draw()]
    sums, n = as_sums(grams), 23
    diagonal = torch.from_numpy(np.array([np.diag(k) for k in grams]))
    for a, k in enumerate(grams):
        for b, m in enumerate(grams):
            unbiased = n * (n - 3) * reference.hsic_by_equation_5(k, m)
            assert sums.u_centred()[a, b].item() == pytest.approx(unbiased, rel=1e-11)
            biased = (n - 1) ** 2 * reference.hsic_biased(k, m)
            assert sums.double_centred(diagonal)[a, b].item() == pytest.approx(biased, rel=1e-11)
            v, w = reference.upper(k), reference.upper(m)
            spread = 2 * np.sum((v - v.mean()) * (w - w.mean()))
            assert sums.mean_centred()[a, b].item() == pytest.approx(spread, rel=1e-11)


def test_products_are_exactly_symmetric():
    for n, widths in ((60, (90, 80, 70)), (300, (4, 5, 6))):
        models = [centre(x) for x in draw(n=n, widths=widths, dtype=torch.float32)]
        products = linear_pair_sums(models, memory_bytes=40_000).products
        assert torch.equal(products, products.T)


def test_single_precision_sums_come_within_a_millionth_of_double_precision_ones():
    for widths in ((400, 300), (20, 30)):
        double = draw(n=300, widths=widths)
        exact = linear_pair_sums([centre(x) for x in double], memory_bytes=10**6).u_centred()
        single = [centre(x.float()) for x in double]
        torch.testing.assert_close(
            linear_pair_sums(single, memory_bytes=10**6).u_centred(), exact, rtol=1e-6, atol=0
        )


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e3, 1e18])
@pytest.mark.parametrize("shift", [0.0, 1e3])
def test_centring_is_blind_to_scale_and_to_a_large_mean(scale, shift):
    x = draw(dtype=torch.float32)[0]
    plain, changed = centre(x), centre((x + shift) * scale)
    torch.testing.assert_close(changed.features, plain.features, atol=2e-7 * (1 + shift), rtol=0)
    assert changed.unit == pytest.approx(plain.unit * scale, rel=1e-4)
    assert changed.flaw is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_a_model_that_sees_no_difference_is_flawed(dtype, value):
    nearly = torch.full((9, 4), value, dtype=dtype)
    nearly[3, 2] += value * torch.finfo(dtype).eps
    for x in (torch.full((9, 4), value, dtype=dtype), nearly):
        model = centre(x)
        assert model.flaw == "all stimuli have the same features up to rounding"
        assert not model.features.any()


def test_centring_leaves_its_input_alone():
    x = draw()[0]
    before = x.clone()
    centre(x)
    assert torch.equal(x, before)


def test_cosines_explain_every_undefined_entry_by_the_models_at_fault():
    inner = torch.eye(3, dtype=torch.float64)
    inner[1, 1] = 1e-9
    values, reasons = cosines(inner, torch.full((3,), 1e-8), {2: "broken"}, if_zero="nothing left")
    assert values[0, 0] == 1
    assert values.isnan().sum() == 8
    assert set(reasons) == {(a, b) for a in range(3) for b in range(3)} - {(0, 0)}
    assert reasons[0, 1] == reasons[1, 0] == (Undefined("nothing left", model=1),)
    assert reasons[1, 2] == (Undefined("nothing left", model=1), Undefined("broken", model=2))
    assert explain(reasons[1, 2], ["vit", "cnn", "mlp"]) == "cnn: nothing left; mlp: broken"
