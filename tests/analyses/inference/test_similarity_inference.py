"""Nulls, errors, sample sizes and noise ceilings: against loops that compute every value afresh."""

import numpy as np
import pandas as pd
import pytest
import torch
from tests.small_collections import make_features, run_plan, store

from rep_kedro.analyses.inference import ceilings, inference, sample_sizes
from rep_kedro.analyses.inference.nulls import draw_stimuli, summarise_null
from rep_kedro.analyses.inference.stimulus_matrices import build_grams
from rep_kedro.analyses.similarity.params import InferenceParams, SampleSizeParams, SimilarityParams
from rep_kedro.datasets import LabelledMatrix, Planned
from rep_kedro.kernels.statistics.resampling import draw_permutations
from rep_kedro.measures import MEASURES, compare_models, get_measure
from rep_kedro.schemas.similarity import NOISE_CEILINGS, SAMPLE_SIZES, SIMILARITY_INFERENCE

N_STIMULI, N_PERMUTATIONS, N_BOOTSTRAP = 26, 19, 40
SIMILARITY = SimilarityParams(measures=["cka_linear_debiased"])
WITH_NULL = [name for name, m in MEASURES.items() if m.inference]
MATRIX = "rep_kedro.datasets.MatrixDataset"


def _draw(seed=0, n=N_STIMULI, widths=(4, 6, 3)):
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    return [
        0.3 * (shared @ torch.randn(2, d, generator=generator, dtype=torch.float64))
        + 0.3 * torch.randn(n, d, generator=generator, dtype=torch.float64)
        for d in widths
    ]


def _value(x, y, name):
    [(_, found)] = compare_models([x, y], [name], memory_bytes=10**7)
    return found.values[0, 1]


def _summarise(representations, name, **choices):
    measure = get_measure(name)
    settings = {"n_permutations": N_PERMUTATIONS, "level": 0.1, "seed": 3, **choices}
    return summarise_null(representations, measure, **settings)


def test_nulls_are_known_for_four_families():
    families = {MEASURES[name].family.name for name in WITH_NULL}
    assert families == {"CKA", "RSA", "NEIGHBOUR", "LINEAR_MAP"}
    assert {"cka_linear_debiased", "cka_rbf_median_0.4_debiased", "rsa_correlation_spearman"} <= set(
        WITH_NULL
    )
    assert {"mutual_knn_10", "jaccard_10", "distance_correlation_debiased"} <= set(WITH_NULL)
    assert {"procrustes", "size_and_shape", "shape_angular_0.5", "gulp_0.1", "svcca_0.99"} <= set(WITH_NULL)
    assert {"rsa_cosine_cosine", "rsa_euclidean_rho_a", "rsa_euclidean_whitened_cosine"} <= set(WITH_NULL)
    without = {"cka_linear_angular", "pwcca", "linear_regression_r2", "rsa_cosine_tau_a"}
    assert not without & set(WITH_NULL)


@pytest.mark.parametrize("name", WITH_NULL)
def test_observed_and_null_values_are_those_of_the_measure_on_permuted_stimuli(name):
    x, y, _ = representations = _draw()
    found = _summarise(representations, name)
    orders = draw_permutations(N_STIMULI, N_PERMUTATIONS, generator=torch.Generator().manual_seed(3))
    observed, null = _value(x, y, name), np.array([_value(x, y[order], name) for order in orders])
    assert found["similarity"][0, 1].item() == pytest.approx(observed, abs=1e-9)
    assert found["null_mean"][0, 1].item() == pytest.approx(null.mean(), abs=1e-9)
    if MEASURES[name].larger_is_more_similar:
        as_similar = (null >= observed - 1e-9).sum()
        threshold = np.sort([*null, observed])[17]  # ceil(0.9 * 20) values reach up to it
        calibrated = (observed - threshold) / (1 - threshold)
    else:
        as_similar = (null <= observed + 1e-9).sum()
        threshold = np.sort([*null, observed])[2]  # as many from above
        calibrated = 1 - observed / threshold
    assert found["p_value"][0, 1].item() == pytest.approx((1 + as_similar) / (N_PERMUTATIONS + 1))
    assert found["threshold"][0, 1].item() == pytest.approx(threshold, abs=1e-9)
    assert found["calibrated"][0, 1].item() == pytest.approx(max(0, calibrated), abs=1e-9)
    for values in found.values():
        assert torch.equal(values.nan_to_num(-9), values.T.nan_to_num(-9))


def test_many_narrow_and_few_wide_networks_give_the_same_null():
    narrow = _draw(widths=(4, 6))
    wide = [torch.cat([x, torch.zeros(N_STIMULI, 200, dtype=x.dtype)], dim=1) for x in narrow]
    for name in ("cka_linear_debiased", "cka_linear_biased"):
        one, other = _summarise(narrow, name), _summarise(wide, name)
        for key, values in one.items():
            torch.testing.assert_close(values, other[key], rtol=0, atol=1e-9, equal_nan=True)


def test_the_p_value_by_the_maximum_is_corrected_for_all_pairs():
    noise = [_draw(seed)[0] for seed in (11, 12, 13)]
    representations = [x[:, :3] + y[:, :3] for x, y in zip(_draw(), noise, strict=True)]
    found = _summarise(representations, "cka_linear_debiased")
    orders = draw_permutations(N_STIMULI, N_PERMUTATIONS, generator=torch.Generator().manual_seed(3))
    pairs = torch.triu_indices(3, 3, offset=1)
    observed = found["similarity"][*pairs]
    largest = [
        max(_value(representations[a], representations[b][order], "cka_linear_debiased") for a, b in pairs.T)
        for order in orders
    ]
    top = int(observed.argmax())
    expected = (1 + sum(float(x) >= observed[top].item() for x in largest)) / (N_PERMUTATIONS + 1)
    assert 1 / (N_PERMUTATIONS + 1) < expected < 1
    assert found["p_maximum"][*pairs][top].item() == pytest.approx(expected)
    assert (found["p_maximum"][*pairs] >= found["p_value"][*pairs]).all()
    assert found["p_maximum"].diagonal().isnan().all()
    unrelated = [torch.randn(N_STIMULI, 5, generator=torch.Generator().manual_seed(s)) for s in range(6)]
    assert (_summarise(unrelated, "cka_linear_debiased")["p_maximum"].nan_to_num(1) > 0.05).all()


def test_the_standard_error_is_from_leaving_out_every_stimulus():
    x, y, _ = representations = _draw()
    keep = [[j for j in range(N_STIMULI) if j != i] for i in range(N_STIMULI)]
    values = np.array([_value(x[rows], y[rows], "cka_linear_debiased") for rows in keep])
    expected = np.sqrt((N_STIMULI - 1) / N_STIMULI * np.square(values - values.mean()).sum())
    found = _summarise(representations, "cka_linear_debiased")["standard_error"]
    assert found[0, 1].item() == pytest.approx(expected, rel=1e-6)
    assert found.diagonal().isnan().all()
    assert _summarise(representations, "cka_linear_biased")["standard_error"].isnan().all()


@pytest.mark.parametrize(
    "name", ["cka_linear_debiased", "cka_rbf_median_0.4_biased", "rsa_cosine_pearson", "mutual_knn_10"]
)
def test_a_network_that_tells_nothing_apart_is_undefined_and_leaves_others_alone(name):
    x, y, _ = _draw()
    blind = torch.ones(N_STIMULI, 4, dtype=torch.float64)
    found, alone = _summarise([x, blind, y], name), _summarise([x, y], name)
    for key in ("similarity", "p_value", "calibrated"):
        assert found[key][1].isnan().all()
        assert found[key][0, 2].item() == pytest.approx(alone[key][0, 1].item(), abs=1e-12)
    assert found["p_maximum"][0, 2].item() == pytest.approx(alone["p_maximum"][0, 1].item())


@pytest.fixture
def features(tmp_path):
    members = {
        f"{stimulus_set}/net_{letter}": make_features({"early": x + 0.1, "late": x})
        for seed, stimulus_set in enumerate(("clouds", "letters"))
        for letter, x in zip("abc", _draw(seed), strict=True)
    }
    return store(tmp_path / "features", members)


def _infer(tmp_path, features, **params):
    made = InferenceParams(**{"n_permutations": N_PERMUTATIONS, "n_bootstrap": N_BOOTSTRAP, **params})
    return run_plan(tmp_path / "nulls", inference.plan_similarity_nulls(features, SIMILARITY, made)), made


def test_the_table_has_every_pair_once_with_its_corrected_p_value(tmp_path, features):
    measures = ["cka_linear_debiased", "mutual_knn_10"]
    handles, params = _infer(tmp_path, features, measures=measures)
    table = inference.tabulate_similarity_inference(handles, params)
    assert tuple(table.columns) == SIMILARITY_INFERENCE.names
    assert len(table) == 2 * 2 * 3
    assert set(table["n_stimuli"]) == {N_STIMULI}
    has_interval = table["measure"] == measures[0]
    no_interval = MEASURES[measures[1]].inference.no_interval
    assert no_interval
    assert table["reason"].tolist() == ["" if has else no_interval for has in has_interval]
    for column in ("similarity_low", "similarity_high"):
        assert table[column].notna().tolist() == has_interval.tolist()
    assert table["n_bootstrap"].tolist() == [40 if has else 0 for has in has_interval]
    assert table["standard_error"].notna().tolist() == (table["measure"] == measures[0]).tolist()
    bonferroni = params.model_copy(update={"correction": "bonferroni"})
    corrected = inference.tabulate_similarity_inference(handles, bonferroni)
    np.testing.assert_allclose(corrected["p_adjusted"], (3 * table["p_value"]).clip(upper=1))
    expected = _value(*(x.float() for x in _draw(1)[:2]), measures[0])
    row = table[(table["stimulus_set"] == "letters") & (table["model_b"] == "net_b")].iloc[0]
    assert row["similarity"] == pytest.approx(expected, abs=1e-6)


def test_more_stimuli_than_allowed_are_drawn_without_replacement(tmp_path, features):
    handles, params = _infer(tmp_path, features, max_stimuli=12)
    assert set(inference.tabulate_similarity_inference(handles, params)["n_stimuli"]) == {12}
    chosen = draw_stimuli(N_STIMULI, 12, seed=0)
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert draw_stimuli(5, 12, seed=0).tolist() == list(range(5))
    assert chosen.tolist() != draw_stimuli(N_STIMULI, 12, seed=1).tolist()


def test_without_draws_nothing_is_planned_and_tables_are_empty(features):
    nothing = InferenceParams(n_permutations=0, n_bootstrap=0)
    assert inference.plan_similarity_nulls(features, SIMILARITY, nothing) == {}
    assert sample_sizes.plan_sample_size_curves(features, SIMILARITY, SampleSizeParams(n_orders=0)) == {}
    table = inference.tabulate_similarity_inference({}, InferenceParams())
    assert tuple(table.columns) == SIMILARITY_INFERENCE.names
    assert tuple(sample_sizes.tabulate_sample_sizes({}).columns) == SAMPLE_SIZES.names


def test_the_recipe_of_a_null_changes_with_what_it_depends_on(features):
    def recipe(similarity=SIMILARITY, **params):
        plan = inference.plan_similarity_nulls(features, similarity, InferenceParams(**params))
        return plan["letters/cka_linear_debiased"].recipe

    before = recipe()
    assert before == recipe(correction="holm", measures=["mutual_knn_10", "cka_linear_debiased"])
    changes = {"n_permutations": 9, "level": 0.1, "seed": 1, "max_stimuli": 10}
    changes |= {"n_bootstrap": 40, "confidence": 0.9}
    for name, value in changes.items():
        assert recipe(**{name: value}) != before
    assert recipe(SIMILARITY.model_copy(update={"layer": "early"})) != before
    assert recipe(SIMILARITY.model_copy(update={"memory_bytes": 1})) == before


def test_measures_without_a_null_or_a_curve_are_refused(features):
    with pytest.raises(
        ValueError,
        match=r"measure 'pwcca' has no permutation null; .*cca.* and others have one: change",
    ):
        inference.plan_similarity_nulls(features, SIMILARITY, InferenceParams(measures=["pwcca"]))
    with pytest.raises(ValueError, match="measure 'mutual_knn_10' has no curve over the number of stimuli"):
        sample_sizes.plan_sample_size_curves(
            features, SIMILARITY, SampleSizeParams(measures=["mutual_knn_10"])
        )
    with pytest.raises(ValueError, match="unknown similarity measure 'cka'"):
        InferenceParams(measures=["cka"])


@pytest.mark.parametrize(
    "name",
    [
        "cka_linear_biased",
        "cka_rbf_median_0.4_debiased",
        "cka_rbf_abs_0.4_debiased",
        "distance_correlation_debiased",
        "rsa_correlation_pearson",
        "rsa_euclidean_spearman",
    ],
)
def test_the_last_size_is_all_stimuli_and_gives_the_measure_itself(tmp_path, features, name):
    params = SampleSizeParams(measures=[name], sizes=[8, 12, N_STIMULI, N_STIMULI + 1, 500], n_orders=2)
    plan = sample_sizes.plan_sample_size_curves(features, SIMILARITY, params)
    handles = run_plan(tmp_path / "curves", plan)
    table = sample_sizes.tabulate_sample_sizes(handles)
    letters = table[table["stimulus_set"] == "letters"]
    assert letters["n_stimuli"].tolist() == [8, 12, N_STIMULI]
    x = [y.float() for y in _draw(1)]
    values = [_value(x[i], x[j], name) for i, j in ((0, 1), (0, 2), (1, 2))]
    last = letters.iloc[-1]
    assert last["mean_similarity"] == pytest.approx(np.mean(values), abs=1e-6)
    assert last["third_quartile"] == pytest.approx(np.quantile(values * 2, 0.75), abs=1e-6)
    assert (last["mean_change"], last["largest_change"]) == (0.0, 0.0)
    assert last["pearson_with_all"] == pytest.approx(1.0)
    assert (letters["mean_change"].iloc[:-1] > 0).all()
    assert letters["pearson_with_all"].between(-1, 1).all()


@pytest.mark.parametrize(
    "name",
    [
        "cka_linear_debiased",
        "cka_rbf_median_0.4_biased",
        "rsa_correlation_pearson",
        "rsa_euclidean_spearman",
    ],
)
def test_a_point_of_the_curve_is_the_measure_on_the_first_stimuli_of_an_order(tmp_path, features, name):
    params = SampleSizeParams(measures=[name], sizes=[9], n_orders=2, seed=4)
    plan = sample_sizes.plan_sample_size_curves(features, SIMILARITY, params)
    handle = run_plan(tmp_path / "curves", plan)[f"letters/{name}"]
    orders = draw_permutations(N_STIMULI, 2, generator=torch.Generator().manual_seed(4))
    x, y, _ = (z.float().double() for z in _draw(1))
    expected = [_value(x[order[:9]], y[order[:9]], name) for order in orders]
    np.testing.assert_allclose(handle.tensor("similarity")[:, 0, 0], expected, atol=1e-9)


def test_curves_of_too_few_stimuli_or_networks_say_so(tmp_path):
    members = {f"letters/net_{i}": make_features({"late": x}) for i, x in enumerate(_draw())}
    features, params = store(tmp_path / "features", members), SampleSizeParams(sizes=[8], n_orders=2)
    for count, reason in ((1, sample_sizes.NO_PAIRS), (2, sample_sizes.FEW_PAIRS)):
        some = dict(list(features.items())[:count])
        plan = sample_sizes.plan_sample_size_curves(some, SIMILARITY, params)
        table = sample_sizes.tabulate_sample_sizes(run_plan(tmp_path / f"of {count}", plan))
        assert set(table["reason"]) == {reason}
    short = {key: make_features({"late": _draw(n=3)[0]}) for key in features}
    plan = sample_sizes.plan_sample_size_curves(store(tmp_path / "short", short), SIMILARITY, params)
    with pytest.raises(
        Exception,
        match="set letters has 3 stimuli, curves over their number need at least 4; leave it out",
    ):
        run_plan(tmp_path / "none", plan)


def test_kernel_matrices_without_spread_are_not_a_number():
    blind = torch.ones(N_STIMULI, 3, dtype=torch.float64)
    for name in ("cka_linear_biased", "cka_rbf_median_0.4_biased"):
        grams = build_grams([_draw()[0], blind], MEASURES[name].parameters)
        assert grams[0].isfinite().all()
        assert grams[1].isnan().all()


def _store_matrix(tmp_path, values, labels, measure="cka_linear_debiased"):
    matrix = LabelledMatrix(np.array(values, dtype=float), labels, {}, {})
    plan = {f"letters/{measure}": Planned({"of": measure}, lambda: matrix)}
    return run_plan(tmp_path / measure, plan, MATRIX)


CARDS = pd.DataFrame(
    {
        "model": ["a", "b", "c", "d"],
        "source": "trained",
        "architecture": ["cnn", "cnn", "cnn", "resnet"],
        "objective": ["untrained", "untrained", "simclr", "simclr"],
        "trained_on": [None, None, "letters", "letters"],
        "seed": [0, 1, 0, 0],
        "n_flops": 9,
    }
)
VALUES = [[1, 0.5, 0.3, 0.1], [0.5, 1, 0.2, 0.4], [0.3, 0.2, 1, 0.9], [0.1, 0.4, 0.9, 1]]


def test_repeats_differ_in_their_seed_alone_and_bound_what_others_can_reach(tmp_path):
    [row] = ceilings.compute_noise_ceilings(
        _store_matrix(tmp_path, VALUES, tuple("abcd")), {}, CARDS
    ).to_dict("records")
    assert (row["architecture"], row["objective"]) == ("cnn", "untrained")
    assert pd.isna(row["trained_on"])
    assert row["n_repeats"] == 2
    assert row["ceiling_low"] == pytest.approx(0.5)
    assert row["ceiling_high"] == pytest.approx(np.sqrt(0.75))
    assert row["others_mean"] == pytest.approx(0.25)
    assert row["others_largest"] == pytest.approx(0.4)
    assert row["reason"] == ""


def test_copies_and_files_without_a_seed_are_no_repeats_and_no_others(tmp_path, caplog):
    labels = ("b", "copy", "end", "halfway", "other")
    cards = pd.DataFrame(
        {
            "model": ["other", "end", "copy", "halfway", "b"],
            "source": "checkpoint",
            "architecture": ["resnet", *["cnn"] * 4],
            "objective": "supervised",
            "trained_on": "letters",
            "seed": pd.array([0, 0, 0, None, 1], dtype="Int64"),
            "n_flops": pd.array([None] * 5, dtype="Int64"),
        }
    )
    values = np.array(
        [
            [1.0, 0.5, 0.4, 0.8, 0.1],
            [0.5, 1.0, 1.0, 0.9, 0.2],
            [0.4, 1.0, 1.0, 0.9, 0.3],
            [0.8, 0.9, 0.9, 1.0, 0.6],
            [0.1, 0.2, 0.3, 0.6, 1.0],
        ]
    )
    with caplog.at_level("INFO"):
        [row] = ceilings.compute_noise_ceilings(_store_matrix(tmp_path, values, labels), {}, cards).to_dict(
            "records"
        )
    assert row["n_repeats"] == 2
    assert row["ceiling_low"] == pytest.approx(0.5)  # b and copy, the first by name of seed 0
    assert (row["others_mean"], row["others_largest"]) == pytest.approx((0.15, 0.2))
    assert "leave out 2 networks: end (has the seed of copy), halfway (its seed is unknown)" in caplog.text
    unknown = cards.assign(seed=pd.array([None] * 5, dtype="Int64"))
    assert (
        len(ceilings.compute_noise_ceilings(_store_matrix(tmp_path / "u", values, labels), {}, unknown)) == 0
    )


def _store_features(folder, models):
    drawn = torch.randn(6, len(models), generator=torch.Generator().manual_seed(0)).numpy()
    layers = {name: {"final": drawn[:, [ord(like) - ord("a")]]} for name, like in models.items()}
    return store(folder, {f"letters/{name}": make_features(of) for name, of in layers.items()})


def test_networks_with_equal_features_count_once_whatever_their_seeds(tmp_path, caplog):
    cards = pd.DataFrame(
        {
            "model": ["a", "b", "c"],
            "source": "checkpoint",
            "architecture": "cnn",
            "objective": "supervised",
            "trained_on": "letters",
            "seed": pd.array([0, 1, 2], dtype="Int64"),
            "n_flops": 9,
        }
    )
    values = [[1.0, 0.5, 1.0], [0.5, 1.0, 0.5], [1.0, 0.5, 1.0]]
    matrices = _store_matrix(tmp_path / "m", values, ("a", "b", "c"))
    for name, others in (("distinct", {"c": "c"}), ("copies", {"c": "a"})):
        features = _store_features(tmp_path / name, {"a": "a", "b": "b", **others})
        [row] = ceilings.compute_noise_ceilings(matrices, features, cards).to_dict("records")
        if name == "distinct":
            assert row["n_repeats"] == 3
            assert row["ceiling_low"] > 0.6
            assert not [record for record in caplog.records if record.levelname == "WARNING"]
    assert row["n_repeats"] == 2
    assert row["ceiling_low"] == pytest.approx(0.5)
    [warning] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning.endswith("noise ceilings count them once: c (has the features of a)")


def test_networks_for_images_of_another_size_are_no_repeats(tmp_path, caplog):
    cards = pd.DataFrame(
        {
            "model": ["px16_s0", "px16_s2", "px16_s9", "px8_s5"],
            "source": "trained",
            "architecture": "cnn",
            "objective": "supervised",
            "trained_on": "letters",
            "seed": [0, 2, 9, 5],
            "n_flops": [40, 40, 40, 10],
        }
    )
    values = np.full((4, 4), 0.5) + np.eye(4) / 2
    values[3, :3] = values[:3, 3] = 0.1
    matrices = _store_matrix(tmp_path / "m", values, tuple(cards["model"]))
    with caplog.at_level("INFO"):
        [row] = ceilings.compute_noise_ceilings(matrices, {}, cards).to_dict("records")
    assert (row["n_repeats"], np.isnan(row["others_mean"])) == (3, True)
    assert row["ceiling_low"] == pytest.approx(1 / np.sqrt(3))
    assert f"px8_s5 ({ceilings.OTHER_INPUT})" in caplog.text
    cards["n_flops"] = 10
    [row] = ceilings.compute_noise_ceilings(matrices, {}, cards).to_dict("records")
    assert row["n_repeats"] == 4


def test_a_kind_of_copies_alone_has_no_ceiling_and_says_so(tmp_path):
    features = _store_features(tmp_path / "f", dict.fromkeys("abcd", "a"))
    matrices = _store_matrix(tmp_path / "m", VALUES, tuple("abcd"))
    [row] = ceilings.compute_noise_ceilings(matrices, features, CARDS).to_dict("records")
    assert row["n_repeats"] == 1
    assert np.isnan(row["ceiling_low"])
    assert row["reason"] == ceilings.ALL_COPIES


def test_measures_that_are_no_cosines_and_lone_networks_have_no_ceiling(tmp_path):
    for measure in ("mutual_knn_10", "procrustes", "cka_linear_angular", "rsa_cosine_tau_a"):
        handles = _store_matrix(tmp_path, VALUES, tuple("abcd"), measure)
        assert len(ceilings.compute_noise_ceilings(handles, {}, CARDS)) == 0
    table = ceilings.compute_noise_ceilings(_store_matrix(tmp_path / "one", [[1.0]], ("d",)), {}, CARDS)
    assert tuple(table.columns) == NOISE_CEILINGS.names
    assert len(table) == 0


def test_a_ceiling_over_an_undefined_similarity_says_so(tmp_path):
    values = np.array(VALUES, dtype=float)
    values[0, 1] = values[1, 0] = np.nan
    matrix = LabelledMatrix(values, tuple("abcd"), {("a", "b"): "why", ("b", "a"): "why"}, {})
    handles = run_plan(
        tmp_path / "m", {"letters/cka_linear_debiased": Planned({"of": "it"}, lambda: matrix)}, MATRIX
    )
    [row] = ceilings.compute_noise_ceilings(handles, {}, CARDS).to_dict("records")
    assert np.isnan(row["ceiling_low"])
    assert row["reason"] == ceilings.UNDEFINED
