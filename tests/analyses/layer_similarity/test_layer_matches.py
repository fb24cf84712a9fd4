"""Best matches of layers: the tables, their chance and their reasons."""

import numpy as np
import pytest
import torch
from tests.small_collections import make_features, run_plan, store

from rep_kedro.analyses.layer_similarity.matches import plan_layer_matches, tabulate_matches
from rep_kedro.analyses.layer_similarity.params import LayerSimilarityParams
from rep_kedro.errors import UserError
from rep_kedro.kernels.statistics.resampling import draw_permutations
from rep_kedro.measures import compare_models
from rep_kedro.schemas.layer_similarity import BEST_LAYER_MATCH, SHARED_REPRESENTATIONS

N_STIMULI, N_PERMUTATIONS = 22, 19
NAMES = ["first", "second", "third"]


def networks():
    """Return three networks: the second of ``a`` is the third of ``b`` but for noise; ``c`` is unrelated."""
    generator = torch.Generator().manual_seed(4)
    x = {m: {n: torch.randn(N_STIMULI, 5, generator=generator) for n in NAMES} for m in "abc"}
    x["b"]["third"] = 3 * x["a"]["second"] + 0.5 * torch.randn(N_STIMULI, 5, generator=generator)
    return x


@pytest.fixture
def features(tmp_path):
    return store(tmp_path / "features", {f"digits/{m}": make_features(x) for m, x in networks().items()})


def match(tmp_path, features, **choices):
    params = LayerSimilarityParams(
        **{"n_permutations": N_PERMUTATIONS, "n_bootstrap": 40, "seed": 5, **choices}
    )
    return tabulate_matches(run_plan(tmp_path / "matches", plan_layer_matches(features, params)), params)


def value(x, y, measure="cka_linear_debiased"):
    [(_, found)] = compare_models([x, y], [measure], memory_bytes=10**7)
    return found.values[0, 1]


def test_a_shared_representation_is_found_at_its_layers_and_an_unrelated_network_is_not(tmp_path, features):
    best, shared = match(tmp_path, features, n_permutations=99)
    assert tuple(best.columns) == BEST_LAYER_MATCH.names
    assert tuple(shared.columns) == SHARED_REPRESENTATIONS.names
    assert len(best) == 3 * 3 * 2
    rows = shared.set_index(["model_a", "model_b"])
    ab = rows.loc["a", "b"]
    assert (ab["layer_a"], ab["depth_a"], ab["layer_b"], ab["depth_b"]) == ("second", 1, "third", 2)
    assert ab["p_value"] == ab["p_adjusted"] == 0.01
    assert ab["similarity_low"] < ab["similarity"] < ab["similarity_high"]
    assert ab["calibrated"] > 0.7
    assert ab["support"] == 1
    assert ab["n_compared"] == 9
    assert set(shared["n_tests"]) == {3}
    assert (rows.loc[[("a", "c"), ("b", "c")], "p_adjusted"] > 0.05).all()
    row = best[(best["model"] == "b") & (best["layer"] == "third") & (best["other_model"] == "a")].iloc[0]
    assert (row["best_layer"], row["best_depth"], row["deepest"]) == ("second", 1, 2)
    assert row["p_adjusted"] == 0.01
    assert set(best["n_tests"]) == {18}
    assert set(best["reason"]) == {""}


def test_the_p_value_is_from_the_largest_over_pairs_of_layers_under_one_permutation(tmp_path, features):
    _, shared = match(tmp_path, features)
    row, x = shared.set_index(["model_a", "model_b"]).loc["a", "c"], networks()
    orders = draw_permutations(N_STIMULI, N_PERMUTATIONS, generator=torch.Generator().manual_seed(5))
    pairs = [(x["a"][i], x["c"][j]) for i in NAMES for j in NAMES]
    observed = max(value(a, c) for a, c in pairs)
    null = np.array([max(value(a, c[order]) for a, c in pairs) for order in orders])
    assert row["similarity"] == pytest.approx(observed, abs=1e-6)
    assert row["p_value"] == pytest.approx((1 + (null >= observed).sum()) / (N_PERMUTATIONS + 1))
    assert row["threshold"] == pytest.approx(np.sort([*null, observed])[18], abs=1e-6)


@pytest.mark.parametrize(
    ("measure", "has_p", "has_interval", "reason"),
    [
        ("rsa_correlation_spearman", True, True, ""),
        ("mutual_knn_10", True, False, "interval"),
        ("procrustes", True, False, "interval"),
        ("linear_regression_r2", False, False, "no p-value: the measure has no permutation null"),
    ],
)
def test_every_measure_has_best_matches_and_says_what_it_lacks(
    tmp_path, features, measure, has_p, has_interval, reason
):
    best, shared = match(tmp_path, features, measures=[measure], n_bootstrap=40)
    for table in (best, shared):
        assert table["similarity"].notna().all()
        assert set(table["p_adjusted"].notna()) == {has_p}
        assert set(table["similarity_low"].notna()) == {has_interval}
        assert all(reason in why for why in table["reason"])
    row = shared.set_index(["model_a", "model_b"]).loc["a", "b"]
    assert (row["layer_a"], row["layer_b"]) == ("second", "third")
    is_directed = measure == "linear_regression_r2"
    assert len(shared) == (6 if is_directed else 3)


def test_of_a_distance_the_smallest_is_the_best_match(tmp_path, features):
    _, shared = match(tmp_path, features, measures=["procrustes"])
    x, row = networks(), shared.set_index(["model_a", "model_b"]).loc["a", "b"]
    distances = [value(x["a"][i], x["b"][j], "procrustes") for i in NAMES for j in NAMES]
    assert row["similarity"] == pytest.approx(min(distances), abs=1e-6)
    assert row["similarity"] < row["threshold"]


def test_a_layer_that_tells_nothing_apart_has_no_match_and_a_reason(tmp_path):
    x = networks()
    x["c"]["first"] = torch.ones(N_STIMULI, 4)
    features = store(tmp_path / "features", {f"digits/{m}": make_features(layers) for m, layers in x.items()})
    best, shared = match(tmp_path, features)
    blind = best[(best["model"] == "c") & (best["layer"] == "first")]
    assert blind["similarity"].isna().all()
    assert set(blind["best_layer"]) == {""}
    assert all("layer_similarities says why" in why for why in blind["reason"])
    assert set(best[best["other_model"] == "c"]["n_compared"]) == {2}
    assert shared["similarity"].notna().all()
    assert set(best["n_tests"]) == {16}


def test_without_draws_there_are_matches_and_reasons(tmp_path, features):
    best, shared = match(tmp_path, features, n_permutations=0, n_bootstrap=0)
    for table in (best, shared):
        assert table["similarity"].notna().all()
        assert table["p_value"].isna().all()
        assert set(table["reason"]) == {
            "no p-value: layer_similarity.n_permutations is 0; no interval: layer_similarity.n_bootstrap is 0"
        }


def test_within_or_one_network_there_is_nothing_to_match(tmp_path, features):
    for choice in ({"compare": "within"}, {"models": ["a"]}, {"models": []}):
        assert plan_layer_matches(features, LayerSimilarityParams(**choice)) == {}
    best, shared = tabulate_matches({}, LayerSimilarityParams())
    assert tuple(best.columns) == BEST_LAYER_MATCH.names
    assert tuple(shared.columns) == SHARED_REPRESENTATIONS.names


def test_matches_beyond_the_memory_are_refused_before_they_are_computed(features):
    limits = {"memory_bytes": 200_000, "n_permutations": 9, "n_bootstrap": 40}
    message = r"best matches of 9 layers on 22 stimuli of digits need [\d,]+ bytes, more than .*\(200,000\); "
    with pytest.raises(UserError, match=message) as shown:
        plan_layer_matches(features, LayerSimilarityParams(**limits))
    most = int(str(shown.value).partition("set max_stimuli to ")[2].split()[0])
    assert plan_layer_matches(features, LayerSimilarityParams(**limits, max_stimuli=most))
    with pytest.raises(UserError, match="set max_stimuli"):
        plan_layer_matches(features, LayerSimilarityParams(**limits, max_stimuli=most + 1))


def test_the_recipe_changes_with_what_matches_depend_on(features):
    def recipe(**params):
        return plan_layer_matches(features, LayerSimilarityParams(**params))[
            "digits/cka_linear_debiased"
        ].recipe

    before = recipe()
    assert before == recipe(memory_bytes=2_000_000_000, compare="between")
    changes = {"n_permutations": 9, "n_bootstrap": 50, "confidence": 0.9, "level": 0.1, "seed": 1}
    for name, changed in {**changes, "max_stimuli": 10, "layers": {"every": 2}}.items():
        assert recipe(**{name: changed}) != before
