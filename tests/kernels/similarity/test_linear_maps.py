"""Measures that look for a linear map between two models, against definitions and against each other."""

import numpy as np
import pytest
import torch
from tests.kernels.in_words import in_words
from tests.reference import linear_maps as reference

from rep_kedro.kernels.similarity import linear_maps
from rep_kedro.kernels.similarity.basis import compute_bases, compute_basis, iterate_pair_blocks
from rep_kedro.kernels.similarity.linear_maps import compare_linear_maps
from rep_kedro.kernels.similarity.nuclear_norm import sum_singular_values
from rep_kedro.kernels.similarity.span import find_span

REQUESTS = {
    "cca_mean": {"statistic": "cca_mean"},
    "cca_mean_squared": {"statistic": "cca_mean_squared"},
    "svcca": {"statistic": "svcca", "variance_fraction": 0.9},
    "pwcca": {"statistic": "pwcca"},
    "eigenspace_overlap": {"statistic": "eigenspace_overlap"},
    "linear_regression": {"statistic": "linear_regression"},
    "gulp": {"statistic": "gulp", "ridge": 0.1},
    "nbs": {"statistic": "nbs"},
    "procrustes": {"statistic": "procrustes"},
    "procrustes_angular": {"statistic": "procrustes_angular"},
    "size_and_shape": {"statistic": "size_and_shape"},
    "shape_0": {"statistic": "shape_angular", "alpha": 0.0},
    "shape_half": {"statistic": "shape_angular", "alpha": 0.5},
    "shape_1": {"statistic": "shape_angular", "alpha": 1.0},
}
DIRECTED = {"pwcca", "linear_regression"}
SUBSPACES_ONLY = {"cca_mean", "cca_mean_squared", "pwcca", "eigenspace_overlap", "shape_0"}
WIDTHS = (6, 9, 6, 3)


def compare(representations, names=tuple(REQUESTS), memory_bytes=2**24):
    tensors = [torch.as_tensor(x) for x in representations]
    requests = {name: REQUESTS[name] for name in names}
    answers = compare_linear_maps(tensors, requests, memory_bytes=memory_bytes)
    return {name: (values, in_words(reasons)) for name, values, reasons in answers}


def compare_one(representations, name):
    values, reasons = compare(representations, [name])[name]
    assert not reasons
    return values


def define(name, x, y):
    parameters = {key: value for key, value in REQUESTS[name].items() if key != "statistic"}
    return getattr(reference, REQUESTS[name]["statistic"])(x, y, **parameters)


def draw_related(widths=WIDTHS, n_stimuli=40, seed=0):
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((n_stimuli, 4))
    return [shared @ rng.standard_normal((4, d)) + rng.standard_normal((n_stimuli, d)) + 5 for d in widths]


def draw_oracle_pair():
    """Draw the pair on which independent public implementations were compared; numbers below are theirs."""
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((60, 6))
    x = shared @ rng.standard_normal((6, 30)) + 0.5 * rng.standard_normal((60, 30))
    y = shared @ rng.standard_normal((6, 30)) + 0.5 * rng.standard_normal((60, 30))
    return x, y


@pytest.mark.parametrize(
    ("statistic", "parameters", "forward", "backward"),
    [
        ("procrustes_angular", {}, 0.343724, 0.343724),
        ("nbs", {}, 0.941506, 0.941506),
        ("cca_mean", {}, 0.679087, 0.679087),
        ("cca_mean_squared", {}, 0.560503, 0.560503),
        ("svcca", {"variance_fraction": 0.99}, 0.638396, 0.638396),
        ("pwcca", {}, 0.885177, 0.886536),
    ],
)
def test_values_equal_those_on_which_public_implementations_agree(statistic, parameters, forward, backward):
    pair = [torch.tensor(x) for x in draw_oracle_pair()]
    request = {"it": {"statistic": statistic, **parameters}}
    ((_, values, _),) = compare_linear_maps(pair, request, memory_bytes=2**24)
    assert values[0, 1].item() == pytest.approx(forward, abs=1e-6)
    assert values[1, 0].item() == pytest.approx(backward, abs=1e-6)


@pytest.mark.parametrize("memory_bytes", [1, 4000, 2**24])
def test_every_entry_equals_the_definition_whatever_the_memory(memory_bytes):
    models = draw_related()
    for name, (values, reasons) in compare(models, memory_bytes=memory_bytes).items():
        assert not reasons
        expected = [[define(name, x, y) for y in models] for x in models]
        # rounding in a cosine near one leaves the arc cosine and the square root uncertain by 1e-7
        np.testing.assert_allclose(values.numpy(), expected, rtol=1e-9, atol=2e-6, err_msg=name)
        off_diagonal = ~np.eye(len(models), dtype=bool)
        np.testing.assert_allclose(
            values.numpy()[off_diagonal],
            np.array(expected)[off_diagonal],
            rtol=1e-10,
            atol=1e-12,
            err_msg=name,
        )


@pytest.mark.parametrize(
    "name", sorted({*REQUESTS} - SUBSPACES_ONLY - {"svcca", "linear_regression", "shape_half"})
)
def test_more_features_than_stimuli_equal_the_definition(name):
    models = draw_related(widths=(30, 80, 12), n_stimuli=20)
    values = compare_one(models, name)
    expected = [[define(name, x, y) for y in models] for x in models]
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-9, atol=2e-7)


def test_idle_and_doubled_features_change_no_rank():
    x = draw_related()[0]
    idle = np.full((len(x), 2), 7.0)
    assert compute_basis(torch.tensor(x)).rank == 6
    assert compute_basis(torch.tensor(np.hstack([x, x[:, :3], idle]))).rank == 6
    assert compute_basis(torch.tensor(np.hstack([x, 2 * x[:, :3], idle]).astype(np.float32))).rank == 6
    assert compute_basis(torch.tensor(np.hstack([x, np.zeros((40, 90))]))).rank == 6


def test_a_basis_is_orthonormal_and_rebuilds_the_features_even_if_nearly_dependent():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((50, 8)) @ np.diag(10.0 ** -np.arange(8)) @ rng.standard_normal((8, 8))
    made = compute_basis(torch.tensor(x), with_loadings=True)
    assert made.rank == 8
    gram = made.directions.T @ made.directions
    torch.testing.assert_close(gram, torch.eye(made.rank, dtype=torch.float64), rtol=0, atol=1e-13)
    rebuilt = made.norm * made.directions @ made.loadings
    np.testing.assert_allclose(rebuilt.numpy(), reference.centre(x), atol=1e-4 * made.norm)
    torch.testing.assert_close(made.loadings.norm(dim=1), made.spread, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("offset", [0.0, 1.0, 100.0])
@pytest.mark.parametrize(("n", "rank", "width"), [(60, 5, 8), (200, 10, 64), (100, 30, 256)])
def test_rounding_of_features_that_a_layer_computed_is_no_direction(n, rank, width, offset, dtype):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(n, rank, generator=generator, dtype=dtype).relu()
    features = inputs @ torch.randn(rank, width, generator=generator, dtype=dtype) + offset
    found = [compute_basis(x) for x in (features, features.double())]
    assert [basis.rank for basis in found] == [rank, rank]
    expected = reference.span(inputs.double().numpy())
    overlap = np.linalg.svd(expected.T @ found[0].directions.numpy(), compute_uv=False)
    np.testing.assert_allclose(overlap, 1, atol=1e-7)


@pytest.mark.parametrize(("roundings", "rank"), [(4, 255), (64, 256)])
def test_a_weak_direction_counts_above_the_rounding_times_the_root_of_the_width(roundings, rank):
    generator, width, rounding = torch.Generator().manual_seed(0), 256, 1e-6
    drawn = torch.randn(300, width, generator=generator, dtype=torch.float64)
    spread = torch.ones(width, dtype=torch.float64)
    spread[-1] = roundings * rounding
    features = torch.linalg.qr(drawn - drawn.mean(dim=0)).Q * spread @ torch.linalg.qr(drawn[:width]).Q
    assert find_span(features, rounding).shape[1] == rank


@pytest.mark.parametrize("factor", [1.0, 1e4, 3e5, 1e6, 1e7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_large_stimulus_hides_no_direction(factor, dtype):
    x, y = (torch.tensor(z, dtype=dtype) for z in draw_related()[:2])
    x[3] *= factor
    basis = compute_basis(x)
    assert basis.rank == x.shape[1]
    expected = reference.linear_regression(x.double().numpy(), y.double().numpy())
    found = compare([x, y], ["linear_regression"])["linear_regression"][0]
    assert float(found[0, 1]) == pytest.approx(expected, abs=1e-8)


def test_nbs_is_the_cosine_of_the_angular_procrustes_distance():
    made = compare(draw_related(), ["nbs", "procrustes", "procrustes_angular", "shape_1"])
    nbs = made["nbs"][0]
    torch.testing.assert_close(made["procrustes_angular"][0].cos(), nbs, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(1 - made["procrustes"][0].square() / 2, nbs, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(made["shape_1"][0], made["procrustes_angular"][0], rtol=1e-10, atol=1e-7)


def test_fully_whitened_shape_is_the_angle_of_the_summed_canonical_correlations():
    models = draw_related()
    made = compare(models, ["shape_0", "cca_mean"])
    ranks = torch.tensor(WIDTHS, dtype=torch.float64)
    lower = torch.minimum(ranks[:, None], ranks)
    cosine = made["cca_mean"][0] * lower / (ranks[:, None] * ranks).sqrt()
    torch.testing.assert_close(made["shape_0"][0].cos(), cosine, rtol=1e-12, atol=1e-12)


def test_whole_variance_svcca_is_mean_cca_and_overlap_is_r2_cca_by_rank():
    models = [torch.tensor(x) for x in draw_related()]
    requests = {"all": {"statistic": "svcca", "variance_fraction": 1.0}, **REQUESTS}
    made = {name: values for name, values, _ in compare_linear_maps(models, requests, memory_bytes=2**24)}
    torch.testing.assert_close(made["all"], made["cca_mean"], rtol=1e-12, atol=1e-12)
    ranks = torch.tensor(WIDTHS, dtype=torch.float64)
    share = torch.minimum(ranks[:, None], ranks) / torch.maximum(ranks[:, None], ranks)
    torch.testing.assert_close(
        made["eigenspace_overlap"], made["cca_mean_squared"] * share, rtol=1e-12, atol=0
    )


def test_regression_of_whitened_features_is_the_squared_correlation_per_predicted_direction():
    models = [reference.span(x) for x in draw_related()]
    made = compare(models, ["linear_regression", "cca_mean_squared"])
    predicted = torch.tensor(WIDTHS, dtype=torch.float64)
    lower = torch.minimum(predicted[:, None], predicted)
    expected = made["cca_mean_squared"][0] * lower / predicted
    torch.testing.assert_close(made["linear_regression"][0], expected, rtol=1e-10, atol=1e-12)


def test_size_and_shape_of_unit_norm_features_is_procrustes_and_sees_size():
    models = [reference.unit(x) for x in draw_related()]
    made = compare(models, ["size_and_shape", "procrustes"])
    torch.testing.assert_close(made["size_and_shape"][0], made["procrustes"][0], rtol=1e-9, atol=1e-7)
    grown = compare_one([models[0], 3 * models[0]], "size_and_shape")
    assert grown[0, 1].item() == pytest.approx(2.0, abs=1e-7)


@pytest.mark.parametrize(
    "name", ["procrustes", "procrustes_angular", "size_and_shape", "shape_0", "shape_half"]
)
def test_distances_obey_the_triangle_inequality(name):
    distance = compare_one(draw_related(widths=(5,) * 8, seed=3), name)
    detour = (distance[:, :, None] + distance[None]).amin(dim=1)
    assert (distance <= detour + 1e-7).all()


def test_root_of_gulp_obeys_the_triangle_inequality_and_falls_with_the_ridge():
    models = [torch.tensor(x) for x in draw_related(widths=(5,) * 8, seed=3)]
    requests = {str(ridge): {"statistic": "gulp", "ridge": ridge} for ridge in (1e-3, 1e-2, 1e-1, 1.0)}
    made = [values for _, values, _ in compare_linear_maps(models, requests, memory_bytes=2**24)]
    for squared, weaker in zip(made[1:], made[:-1], strict=True):
        distance = squared.sqrt()
        assert (distance <= (distance[:, :, None] + distance[None]).amin(dim=1) + 1e-7).all()
        assert squared.sum() < weaker.sum()


def change(x, invariance, rng):
    """Change features in a way that a measure may or may not notice."""
    d = x.shape[1]
    match invariance:
        case "rotation":
            return x @ np.linalg.qr(rng.standard_normal((d, d)))[0]
        case "scaling":
            return 3.7 * x
        case "translation":
            return x + 100 * rng.standard_normal(d)
        case "permutation":
            return x[:, rng.permutation(d)]
        case "linear":
            return x @ (rng.standard_normal((d, d)) + 3 * np.eye(d))


ANY = {"scaling", "translation", "permutation"}
KEPT = {name: ANY | {"rotation"} for name in REQUESTS}
KEPT |= {name: ANY | {"rotation", "linear"} for name in SUBSPACES_ONLY}
KEPT |= {"pwcca": ANY, "size_and_shape": {"rotation", "translation", "permutation"}}
KEPT |= {"shape_half": {"rotation", "translation", "permutation"}}


@pytest.mark.parametrize("invariance", ["rotation", "scaling", "translation", "permutation", "linear"])
@pytest.mark.parametrize("name", sorted(REQUESTS))
def test_a_measure_ignores_just_the_changes_that_it_should(name, invariance):
    x, y, *_ = draw_related()
    rng = np.random.default_rng(5)
    before = compare_one([x, y], name)
    after = compare_one([change(x, invariance, rng), y], name)
    drift = (after - before).abs()[[0, 1], [1, 0]].max().item()
    assert drift < 1e-9 if invariance in KEPT[name] else drift > 1e-4


@pytest.mark.parametrize("name", sorted(REQUESTS))
def test_equal_models_are_as_alike_as_can_be_and_the_matrix_is_exactly_symmetric(name):
    models = draw_related()
    models.append(models[1].copy())
    values = compare_one(models, name)
    is_distance = name in {"gulp", "procrustes", "procrustes_angular", "size_and_shape"} or "shape" in name
    best = torch.full((len(models),), 0.0 if is_distance else 1.0, dtype=torch.float64)
    tolerance = 1e-6 if is_distance else 1e-12
    torch.testing.assert_close(values.diagonal(), best, rtol=0, atol=tolerance)
    assert values[1, 4].item() == pytest.approx(best[0].item(), abs=tolerance)
    assert torch.equal(values, values.T) == (name not in DIRECTED)


@pytest.mark.parametrize("factor", [1e-30, 1e-3, 1e3, 1e30])
@pytest.mark.parametrize("name", sorted({*REQUESTS} - {"size_and_shape", "shape_half"}))
def test_very_small_and_very_large_features_make_no_difference(name, factor):
    x, y, *_ = draw_related()
    torch.testing.assert_close(
        compare_one([factor * x, y], name), compare_one([x, y], name), rtol=1e-10, atol=1e-7
    )


def test_features_of_extreme_size_do_not_overflow():
    x, y, *_ = draw_related()
    for factor in (1e-200, 1e200):
        values = compare_one([factor * x, factor * y], "nbs")
        torch.testing.assert_close(values, compare_one([x, y], "nbs"), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", sorted(REQUESTS))
def test_a_large_mean_costs_no_accuracy(name):
    x, y, *_ = draw_related()
    shifted = compare_one([x + 1e6, y], name)
    torch.testing.assert_close(shifted, compare_one([x, y], name), rtol=1e-7, atol=1e-6)


@pytest.mark.parametrize("name", sorted(REQUESTS))
def test_float32_features_give_the_values_of_the_same_numbers_in_float64(name):
    models = [x.astype(np.float32) for x in draw_related()]
    exact = compare_one([x.astype(np.float64) for x in models], name)
    assert torch.equal(compare_one(models, name), exact)


def test_ranks_that_add_up_to_more_than_the_stimuli_are_refused_but_for_a_model_with_itself():
    models = draw_related(widths=(8, 13, 5), n_stimuli=20)
    for name in SUBSPACES_ONLY:
        values, reasons = compare(models, [name])[name]
        assert set(reasons) == {(0, 1), (1, 0)}
        assert reasons[0, 1].startswith("ranks 8 and 13 add up to more than the 20 stimuli")
        assert values.isnan().nonzero().tolist() == [[0, 1], [1, 0]]
    values, reasons = compare(models, ["svcca"])["svcca"]
    assert not reasons  # the leading components are few enough
    assert values[0, 1].item() == pytest.approx(define("svcca", models[0], models[1]), abs=1e-12)


def test_svcca_refuses_by_the_components_that_it_keeps():
    rng = np.random.default_rng(2)
    wide, narrow = rng.standard_normal((20, 40)), rng.standard_normal((20, 2))
    values, reasons = compare([wide, wide + 1, narrow], ["svcca"])["svcca"]
    assert set(reasons) == {(0, 1), (1, 0)}
    assert values[0, 2].item() == pytest.approx(define("svcca", wide, narrow), abs=1e-12)


def test_svcca_keeps_other_counts_of_components_in_models_of_equal_rank():
    rng = np.random.default_rng(4)
    models = [rng.standard_normal((40, 6)) * np.arange(1, 7) ** -power for power in (0.0, 1.0, 2.0, 4.0)]
    values = compare_one(models, "svcca")
    np.testing.assert_allclose(values, [[define("svcca", x, y) for y in models] for x in models], atol=1e-12)


def test_a_predictor_of_full_rank_is_refused_in_its_direction_alone():
    models = draw_related(widths=(40, 4), n_stimuli=20)
    values, reasons = compare(models, ["linear_regression"])["linear_regression"]
    assert set(reasons) == {(0, 1)}
    assert "a predictor of rank 19 fits any features of 20 centred stimuli" in reasons[0, 1]
    assert values[1, 0].item() == pytest.approx(define("linear_regression", models[1], models[0]), abs=1e-12)


def test_a_model_that_does_not_tell_stimuli_apart_has_no_value_and_a_reason():
    x, y, *_ = draw_related()
    constant = np.full((40, 3), 0.1)
    for name, (values, reasons) in compare([x, constant, y]).items():
        undefined = {(0, 1), (1, 0), (1, 1), (1, 2), (2, 1)}
        assert set(reasons) == undefined, name
        assert {tuple(pair) for pair in values.isnan().nonzero().tolist()} == undefined
        assert reasons[0, 1] == "model 1: all stimuli have the same features up to rounding"


def test_unrelated_models_regress_and_overlap_at_chance():
    rng = np.random.default_rng(0)
    n_stimuli, width = 400, 20
    models = [rng.standard_normal((n_stimuli, width)) for _ in range(12)]
    off_diagonal = ~torch.eye(len(models), dtype=torch.bool)
    for name in ("linear_regression", "cca_mean_squared"):
        mean = compare_one(models, name)[off_diagonal].mean().item()
        assert mean == pytest.approx(width / (n_stimuli - 1), rel=0.05)


def test_one_model_alone_is_compared_with_itself():
    assert compare_one([draw_related()[0]], "nbs").tolist() == [[pytest.approx(1.0, abs=1e-14)]]


def test_nuclear_norms_by_eigenvalues_are_singular_values_summed(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn(5, 7, 4, generator=generator, dtype=torch.float64)
    expected = torch.linalg.svdvals(matrices).sum(dim=1)
    monkeypatch.setattr(torch.linalg, "svdvals", None)  # well conditioned: never asked for
    torch.testing.assert_close(sum_singular_values(matrices), expected, rtol=1e-14, atol=0)
    torch.testing.assert_close(sum_singular_values(matrices.mT), expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize("smallest", [1e-4, 1e-6, 1e-8, 1e-12, 0.0])
def test_nuclear_norms_keep_their_digits_when_singular_values_fall_steeply(smallest):
    generator = torch.Generator().manual_seed(0)
    left, right = torch.linalg.qr(torch.randn(2, 40, 40, generator=generator, dtype=torch.float64))[0]
    steps = torch.linspace(0, 1, 40, dtype=torch.float64)
    values = smallest**steps if smallest else (steps < 0.5).double()
    matrices = torch.stack([left * values @ right, torch.zeros_like(left), left * values @ right * 1e-90])
    expected = torch.stack([values.sum(), values.sum() * 0, values.sum() * 1e-90])
    torch.testing.assert_close(sum_singular_values(matrices), expected, rtol=1e-13, atol=0)


def test_doubtful_eigenvalues_are_replaced_by_singular_values(monkeypatch):
    asked = []
    svdvals = torch.linalg.svdvals
    monkeypatch.setattr(torch.linalg, "svdvals", lambda x: asked.append(len(x)) or svdvals(x))
    steep = torch.diag(torch.logspace(0, -9, 30, dtype=torch.float64))
    flat = torch.eye(30, dtype=torch.float64)
    torch.testing.assert_close(
        sum_singular_values(torch.stack([flat, steep, flat])),
        torch.stack([flat.trace(), steep.trace(), flat.trace()]),
        rtol=1e-15,
        atol=0,
    )
    assert asked == [1]


@pytest.mark.parametrize("seed", range(5))
def test_a_model_and_its_double_have_exactly_the_value_of_the_model_with_itself(seed):
    x = draw_related(seed=seed)[0]
    for name, (values, reasons) in compare([x, x.copy(), x + 1e-5 * x[::-1]]).items():
        assert not reasons
        assert values[0, 1] == values[0, 0], name
        assert values[0, 2] != values[0, 0], name


def test_blocks_hold_every_pair_once_and_obey_the_memory_bound():
    bases = compute_bases([torch.tensor(x) for x in draw_related()])
    memory_bytes = 4 * 8 * 6 * 6 * 2
    pairs = []
    for block in iterate_pair_blocks(bases, memory_bytes=memory_bytes):
        assert block.cross.numel() * 32 <= memory_bytes or len(block.first) == 1
        pairs += [tuple(sorted(pair)) for pair in zip(block.first, block.second, strict=True)]
    assert sorted(pairs) == [(a, b) for a in range(4) for b in range(a, 4)]


def test_inputs_stay_as_they_are():
    models = [torch.tensor(x) for x in draw_related()]
    copies = [x.clone() for x in models]
    list(compare_linear_maps(models, REQUESTS, memory_bytes=2**20))
    assert all(torch.equal(x, copy) for x, copy in zip(models, copies, strict=True))


def test_pwcca_of_bases_without_loadings_is_refused():
    bases = compute_bases([torch.tensor(x) for x in draw_related()])
    block = next(iterate_pair_blocks(bases, memory_bytes=2**20))
    with pytest.raises(ValueError, match="basis of representation 0 has no loadings"):
        linear_maps.FORMULAS["pwcca"](block)
