"""Permutation nulls of similarity measures."""

import numpy as np
import pytest
import torch
from tests.kernels.random_numbers import seeded
from tests.reference import inference as reference

from rep_kedro.kernels.statistics import permutation
from rep_kedro.kernels.statistics.calibration import calibrate
from rep_kedro.kernels.statistics.centring import centre_dissimilarities, centre_grams
from rep_kedro.kernels.statistics.permutation import (
    permute_bases,
    permute_linear_cka,
    permute_matrices,
    permute_neighbours,
    sum_of_singular_values,
    sum_of_squares,
)
from rep_kedro.kernels.statistics.resampling import draw_permutations

N_STIMULI, WIDTHS = 14, (3, 5, 20)
PAIRS = [(0, 1), (0, 2), (1, 2), (0, 0), (2, 2)]


def _draw_representations(seed=0, n_stimuli=N_STIMULI, widths=WIDTHS, shared=0.7):
    generator = seeded(seed)
    common = torch.randn(n_stimuli, 2, generator=generator, dtype=torch.float64)
    return [
        torch.randn(n_stimuli, d, generator=generator, dtype=torch.float64)
        + shared * common @ torch.randn(2, d, generator=generator, dtype=torch.float64)
        for d in widths
    ]


def _orders(n_permutations=6):
    return draw_permutations(N_STIMULI, n_permutations, generator=seeded(1))


def _distances(x):
    return torch.cdist(x, x)


def _check_null(null, pairs, compare, orders):
    """Compare with recomputation on permuted rows."""
    assert null.dtype == torch.float64
    assert torch.equal(null, null.mT)
    for index, order in enumerate(orders):
        for a, b in pairs:
            assert null[index, a, b].item() == pytest.approx(compare(a, b, order), abs=1e-12)


@pytest.mark.parametrize("debiased", [True, False])
@pytest.mark.parametrize("pairs_per_block", [1, 5, 256])
def test_cka_null_agrees_with_recomputation_on_permuted_stimuli(debiased, pairs_per_block):
    xs, orders = _draw_representations(), _orders()
    grams = torch.stack([x @ x.T for x in xs])

    def compare(a, b, order):
        moved = xs[b][order]
        return reference.cka(grams[a].numpy(), (moved @ moved.T).numpy(), debiased)

    unit = centre_grams(grams, debiased=debiased)
    _check_null(permute_matrices(unit, orders, pairs_per_block=pairs_per_block), PAIRS, compare, orders)
    _check_null(permute_linear_cka(xs, orders, debiased=debiased), PAIRS, compare, orders)


@pytest.mark.parametrize("coefficient", ["pearson", "spearman"])
def test_rsa_null_agrees_with_recomputation_on_permuted_stimuli(coefficient):
    xs, orders = _draw_representations(), _orders()
    distances = torch.stack([_distances(x) for x in xs])
    upper = np.triu_indices(N_STIMULI, 1)

    def compare(a, b, order):
        moved = distances[b][order][:, order].numpy()
        return reference.CORRELATE[coefficient](distances[a].numpy()[upper], moved[upper])

    unit = centre_dissimilarities(distances, coefficient=coefficient)
    _check_null(permute_matrices(unit, orders), PAIRS, compare, orders)


@pytest.mark.parametrize("jaccard", [False, True])
def test_neighbour_null_agrees_with_new_neighbours_of_permuted_stimuli(jaccard, monkeypatch):
    xs, orders = _draw_representations(), _orders()
    ids = [reference.nearest_neighbours(x.numpy(), 3) for x in xs]

    def compare(a, b, order):
        return reference.neighbour_overlap(
            ids[a], reference.nearest_neighbours(xs[b][order].numpy(), 3), jaccard
        )

    neighbour_ids = torch.from_numpy(np.stack(ids))
    _check_null(permute_neighbours(neighbour_ids, orders, jaccard=jaccard), PAIRS, compare, orders)
    monkeypatch.setattr(permutation, "LOOKUPS", 100)
    _check_null(permute_neighbours(neighbour_ids, orders, jaccard=jaccard), PAIRS, compare, orders)


@pytest.mark.parametrize(
    ("reduce", "norm"),
    [(sum_of_squares, lambda c: np.sum(c**2)), (sum_of_singular_values, lambda c: np.linalg.norm(c, "nuc"))],
)
def test_basis_null_agrees_with_recomputation_on_permuted_stimuli(reduce, norm, monkeypatch):
    bases, orders = [torch.linalg.qr(x)[0] for x in _draw_representations()], _orders()

    def compare(a, b, order):
        return norm(bases[a].numpy().T @ bases[b][order].numpy())

    _check_null(permute_bases(bases, orders, reduce), PAIRS, compare, orders)
    monkeypatch.setattr(permutation, "MOVED_ENTRIES", 1)
    _check_null(permute_bases(bases, orders, reduce), PAIRS, compare, orders)


def test_the_identity_gives_the_observed_value():
    xs = _draw_representations()
    grams = torch.stack([x @ x.T for x in xs])
    null = permute_matrices(centre_grams(grams), torch.arange(N_STIMULI)[None])
    assert null[0].diagonal().tolist() == pytest.approx([1.0] * 3, abs=1e-13)
    assert null[0, 0, 2].item() == pytest.approx(reference.cka(grams[0].numpy(), grams[2].numpy()), abs=1e-13)


def test_mean_of_the_null_is_what_theory_says():
    """Debiased CKA is unbiased at 0, the overlap of neighbours is k / (n - 1)."""
    xs, orders = _draw_representations(shared=0), draw_permutations(N_STIMULI, 4000, generator=seeded(2))
    null = permute_linear_cka(xs, orders)[:, 0, 1]
    assert abs(null.mean()) < 4 * null.std() / 4000**0.5
    ids = torch.from_numpy(np.stack([reference.nearest_neighbours(x.numpy(), 3) for x in xs]))
    overlap = permute_neighbours(ids, orders)[:, 0, 1]
    assert abs(overlap.mean() - 3 / 13) < 4 * overlap.std() / 4000**0.5


@pytest.mark.parametrize("measure", ["debiased cka", "biased cka", "rsa spearman", "neighbours", "cca"])
def test_unrelated_models_are_rejected_at_the_nominal_rate(measure):
    n_trials, n_permutations, level = 300, 39, 0.1
    generator, p_values, exceeded = seeded(3), [], 0
    for trial in range(n_trials):
        xs = _draw_representations(1000 + trial, widths=(4, 30), shared=0)
        orders = draw_permutations(N_STIMULI, n_permutations, generator=generator)
        orders = torch.cat([torch.arange(N_STIMULI)[None], orders])
        match measure:
            case "debiased cka" | "biased cka":
                values = permute_linear_cka(xs, orders, debiased=measure == "debiased cka")
            case "rsa spearman":
                distances = torch.stack([_distances(x) for x in xs])
                values = permute_matrices(centre_dissimilarities(distances, coefficient="spearman"), orders)
            case "neighbours":
                ids = torch.stack([_distances(x).fill_diagonal_(torch.inf).argsort(dim=1)[:, :3] for x in xs])
                values = permute_neighbours(ids, orders)
            case _:
                values = permute_bases([torch.linalg.qr(x[:, :5])[0] for x in xs], orders, sum_of_squares)
        found = calibrate(
            values[0, 0, 1], values[1:, 0, 1], level=level, largest=4 if measure == "cca" else 1
        )
        p_values.append(found.p_value.item())
        exceeded += found.calibrated.item() > 0
    rate, bound = np.mean(np.array(p_values) <= level), 3 * np.sqrt(level * (1 - level) / n_trials)
    assert rate < level + bound
    assert exceeded / n_trials < level + bound
    if measure != "neighbours":  # ties make that test conservative
        assert rate > level - bound


def test_related_models_are_found():
    xs = _draw_representations(5, n_stimuli=60, shared=2.0)
    orders = draw_permutations(60, 199, generator=seeded(4))
    observed = permute_linear_cka(xs, torch.arange(60)[None])[0]
    found = calibrate(observed, permute_linear_cka(xs, orders))
    assert found.p_value.max() == 1 / 200
    assert (found.calibrated > 0).all()
    assert (found.calibrated <= observed + 1e-12).all()


@pytest.mark.parametrize("debiased", [True, False])
@pytest.mark.parametrize(("scale", "shift"), [(1e-90, 0.0), (1e70, 0.0), (1.0, 1e3)])
def test_scale_and_shift_of_features_do_not_matter(debiased, scale, shift):
    xs, orders = _draw_representations(), _orders()
    before = permute_linear_cka(xs, orders, debiased=debiased)
    after = permute_linear_cka([scale * x + shift for x in xs], orders, debiased=debiased)
    torch.testing.assert_close(before, after, rtol=0, atol=1e-9)
    grams = torch.stack([(scale * x + shift) @ (scale * x + shift).T for x in xs])
    direct = permute_matrices(centre_grams(grams, debiased=debiased), orders)
    torch.testing.assert_close(before, direct, rtol=0, atol=1e-9)


def test_a_model_that_does_not_tell_stimuli_apart_is_undefined_and_alone():
    xs, orders = _draw_representations(), _orders()
    xs[1] = torch.full_like(xs[1], 0.1)
    nulls = [
        permute_linear_cka(xs, orders),
        permute_matrices(centre_grams(torch.stack([x @ x.T for x in xs])), orders),
        permute_matrices(centre_dissimilarities(torch.stack([_distances(x) for x in xs])), orders),
    ]
    for null in nulls:
        assert null[:, 1].isnan().all()
        assert not null[:, [0, 2]][:, :, [0, 2]].isnan().any()


def test_impossible_requests_are_refused_with_what_is_wrong():
    xs, orders = _draw_representations(), _orders()
    grams = torch.stack([x @ x.T for x in xs])
    with pytest.raises(
        ValueError, match=r"permutations must have shape \(n_permutations, 14\), got \(6, 13\)"
    ):
        permute_matrices(centre_grams(grams), orders[:, :13])
    with pytest.raises(ValueError, match="debiased CKA needs at least 4 stimuli, got 3"):
        centre_grams(grams[:, :3, :3])
    with pytest.raises(ValueError, match="debiased CKA needs at least 4 stimuli, got 3"):
        permute_linear_cka([x[:3] for x in xs], orders)
    with pytest.raises(
        ValueError, match=r"representations must have the same stimuli, got row counts \[13, 14\]"
    ):
        permute_linear_cka([xs[0], xs[1][:13]], orders)
    with pytest.raises(
        ValueError, match="unknown coefficient 'tau_a' for RSA; known: pearson, spearman, rho_"
    ):
        centre_dissimilarities(grams, coefficient="tau_a")
