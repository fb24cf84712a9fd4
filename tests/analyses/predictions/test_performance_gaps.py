"""Similarity against differences of accuracy: values, intervals and p-values against written-out samples."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from scipy.stats import pearsonr, spearmanr
from tests.reference import agreement as reference

from rep_kedro.analyses.predictions.performance_gaps import compute_performance_gaps
from rep_kedro.analyses.probing.params import ProbingParams
from rep_kedro.kernels.statistics.resampling import draw_bootstrap_counts, draw_permutations
from rep_kedro.schemas.probing import PERFORMANCE_GAPS

N = 7
MODELS = [f"net_{letter}" for letter in "abcdefg"]
UPPER = np.triu_indices(N, 1)


def _params(**gaps):
    return ProbingParams(performance_gaps={"n_bootstrap": 40, "n_permutations": 60, **gaps})


def _draw(seed=0):
    rng = np.random.default_rng(seed)
    accuracy = rng.uniform(0.2, 0.9, size=N)
    similarity = -np.abs(accuracy[:, None] - accuracy) + 0.2 * rng.normal(size=(N, N))
    return (similarity + similarity.T) / 2, accuracy


def _pairs(similarity, stimulus_set="birds", measure="cka"):
    return pd.DataFrame(
        [
            {"stimulus_set": stimulus_set, "measure": measure, "model_a": MODELS[i], "model_b": MODELS[j],
             "similarity": similarity[i, j]}
            for i, j in combinations(range(N), 2)
        ]
    )  # fmt: skip


def _probes(accuracy, stimulus_set="birds", models=MODELS):
    rows = []
    for model, value in zip(models, accuracy, strict=True):
        for layer, number in (("conv", 0.1), ("pool", value)):
            rows.append(
                {"stimulus_set": stimulus_set, "model": model, "layer": layer, "is_final": layer == "pool",
                 "test_accuracy": number}
            )  # fmt: skip
    return pd.DataFrame(rows)


def test_correlations_intervals_and_p_values_agree_with_written_out_samples():
    similarity, accuracy = _draw()
    found = compute_performance_gaps(_pairs(similarity), _probes(accuracy), _params(confidence=0.8))
    assert tuple(found.columns) == PERFORMANCE_GAPS.names
    row = found.iloc[0]
    gaps = np.abs(accuracy[:, None] - accuracy)
    assert row["n_pairs"] == 21
    assert row["pearson"] == pytest.approx(pearsonr(similarity[UPPER], gaps[UPPER]).statistic)
    assert row["spearman"] == pytest.approx(spearmanr(similarity[UPPER], gaps[UPPER]).statistic)
    counts = draw_bootstrap_counts(torch.zeros(N), 40, generator=torch.Generator().manual_seed(0))
    replicates = [reference.performance_gap(similarity, accuracy, c) for c in counts.tolist()]
    assert [row["pearson_low"], row["pearson_high"]] == pytest.approx(
        list(np.nanquantile(replicates, [0.1, 0.9])), abs=1e-12
    )
    orders = draw_permutations(N, 60, generator=torch.Generator().manual_seed(0)).tolist()
    observed, p_value = reference.permuted_performance_gap(similarity, accuracy, orders)
    assert (row["pearson"], row["p_value"]) == pytest.approx((observed, p_value))
    assert row["p_adjusted"] == row["p_value"]
    assert row["reason"] == ""


FAMILY = ["p_adjusted", "p_smallest", "n_tests"]


def test_where_no_p_value_can_pass_the_rows_and_the_log_say_so(caplog):
    drawn = [(name, *_draw(seed)) for seed, name in enumerate(("birds", "clouds", "letters"))]
    similarities = pd.concat([_pairs(similarity, name) for name, similarity, _ in drawn])
    probes = pd.concat([_probes(accuracy, name) for name, _, accuracy in drawn])
    found = compute_performance_gaps(similarities, probes, _params(n_permutations=39))
    assert (found["n_tests"] == 3).all()
    np.testing.assert_allclose(found["p_smallest"], 3 / 40)
    assert "none of 3 correlations can reach p ≤ 0.05" in caplog.text
    caplog.clear()
    compute_performance_gaps(similarities, probes, _params(n_permutations=59))
    assert not caplog.text


def test_measures_and_stimulus_sets_have_a_row_each_and_one_correction_over_sets():
    similarities, probes = [], []
    for seed, name in enumerate(("birds", "clouds", "letters")):
        similarity, accuracy = _draw(seed)
        similarities += [_pairs(similarity, name), _pairs(similarity**3, name, "rsa")]
        probes.append(_probes(accuracy, name))
    params = _params(correction="bonferroni")
    found = compute_performance_gaps(pd.concat(similarities), pd.concat(probes), params)
    assert list(zip(found["stimulus_set"], found["measure"], strict=True)) == [
        (name, measure) for name in ("birds", "clouds", "letters") for measure in ("cka", "rsa")
    ]
    np.testing.assert_allclose(found["p_adjusted"], (3 * found["p_value"]).clip(upper=1))
    for index, name in enumerate(("birds", "clouds", "letters")):
        alone = compute_performance_gaps(similarities[2 * index], probes[index], params).iloc[0]
        together = found[(found["stimulus_set"] == name) & (found["measure"] == "cka")].iloc[0]
        pd.testing.assert_series_equal(alone.drop(FAMILY), together.drop(FAMILY), check_names=False)


def test_a_directed_measure_enters_with_the_mean_of_its_directions():
    similarity, accuracy = _draw()
    one = _pairs(similarity)
    change = np.linspace(-1, 1, len(one))
    other = one.rename(columns={"model_a": "model_b", "model_b": "model_a"})
    both = pd.concat(
        [
            one.assign(similarity=one["similarity"] + change),
            other.assign(similarity=one["similarity"] - change),
        ]
    )
    found, expected = (compute_performance_gaps(t, _probes(accuracy), _params()) for t in (both, one))
    pd.testing.assert_frame_equal(found, expected)


def test_networks_without_a_probe_are_left_out():
    similarity, accuracy = _draw()
    found = compute_performance_gaps(_pairs(similarity), _probes(accuracy[:5], models=MODELS[:5]), _params())
    inside = np.triu_indices(5, 1)
    gaps = np.abs(accuracy[:, None] - accuracy)
    assert found.loc[0, "n_pairs"] == 10
    assert found.loc[0, "pearson"] == pytest.approx(np.corrcoef(similarity[inside], gaps[inside])[0, 1])


def test_a_missing_similarity_is_left_out_and_leaves_no_p_value():
    similarity, accuracy = _draw()
    similarity[0, 3] = similarity[3, 0] = np.nan
    whole = _draw()[0]
    table = pd.concat([_pairs(similarity), _pairs(whole, measure="rsa")])
    found = compute_performance_gaps(table, _probes(accuracy), _params()).set_index("measure")
    assert found.loc["cka", "n_pairs"] == 20
    assert found.loc["cka", ["pearson", "pearson_low", "pearson_high"]].notna().all()
    assert found.loc["cka", ["p_value", "p_adjusted"]].isna().all()
    assert found.loc["cka", "reason"].startswith("no p-value: a similarity is undefined")
    assert found.loc["rsa", "reason"] == ""
    assert found.loc["rsa", "n_pairs"] == 21
    counts = draw_bootstrap_counts(torch.zeros(N), 40, generator=torch.Generator().manual_seed(0))
    replicates = [reference.performance_gap(similarity, accuracy, c) for c in counts.tolist()]
    assert found.loc["cka", "pearson_low"] == pytest.approx(np.nanquantile(replicates, 0.025), abs=1e-12)


def test_a_network_without_any_similarity_is_left_out_of_the_permutations():
    similarity, accuracy = _draw()
    similarity[6] = similarity[:, 6] = np.nan
    found = compute_performance_gaps(_pairs(similarity), _probes(accuracy), _params()).iloc[0]
    orders = draw_permutations(6, 60, generator=torch.Generator().manual_seed(0)).tolist()
    expected = reference.permuted_performance_gap(similarity[:6, :6], accuracy[:6], orders)
    assert found["n_pairs"] == 15
    assert (found["pearson"], found["p_value"]) == pytest.approx(expected)
    assert found["reason"] == ""


@pytest.mark.parametrize(
    ("similarity", "accuracy", "reason"),
    [
        (_draw()[0], [], "fewer than 3 pairs of networks with a similarity and two accuracies"),
        (_draw()[0], [0.5], "fewer than 3 pairs of networks with a similarity and two accuracies"),
        (_draw()[0], [0.5, 0.6], "fewer than 3 pairs of networks with a similarity and two accuracies"),
        (_draw()[0], [0.5] * N, "accuracies do not vary, or all differ equally"),
        (np.full((N, N), 0.3), list(_draw()[1]), "similarities do not vary"),
        (np.full((N, N), 0.3), [0.5] * N, "neither similarities nor differences of accuracies vary"),
    ],
)
def test_what_has_no_correlation_says_why(similarity, accuracy, reason):
    probes = _probes(accuracy, models=MODELS[: len(accuracy)])
    if not accuracy:
        probes = _probes([0.5] * N, stimulus_set="clouds")
    found = compute_performance_gaps(_pairs(similarity), probes, _params()).iloc[0]
    assert found["reason"] == reason
    assert found[["pearson", "spearman", "pearson_low", "pearson_high", "p_value", "p_adjusted"]].isna().all()


def test_tables_without_rows_give_a_table_without_rows():
    similarity, accuracy = _draw()
    found = compute_performance_gaps(_pairs(similarity)[:0], _probes(accuracy), _params())
    assert found.empty
    assert tuple(found.columns) == PERFORMANCE_GAPS.names
    nothing = compute_performance_gaps(_pairs(similarity), _probes(accuracy)[:0], _params())
    assert nothing["pearson"].isna().all()


def test_without_bootstrap_or_permutations_there_are_correlations_alone():
    similarity, accuracy = _draw()
    params = _params(n_bootstrap=0, n_permutations=0)
    found = compute_performance_gaps(_pairs(similarity), _probes(accuracy), params).iloc[0]
    assert found[["pearson_low", "pearson_high", "p_value", "p_adjusted"]].isna().all()
    assert found[["pearson", "spearman"]].notna().all()
    assert found["reason"] == ""


def test_pairs_of_networks_that_share_a_network_make_no_false_findings():
    """Accuracies that have nothing to do with similarities: rejected at the nominal rate."""
    p_values = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        effect = rng.normal(size=N)
        similarity = effect[:, None] + effect
        table = compute_performance_gaps(
            _pairs(similarity), _probes(rng.uniform(size=N)), _params(n_bootstrap=0, n_permutations=99)
        )
        p_values.append(table.loc[0, "p_value"])
    rejected = np.mean(np.array(p_values) <= 0.1)
    assert abs(rejected - 0.1) < 3 * np.sqrt(0.09 / 150)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"confidence": 1.0}, "less than 1"),
        ({"n_boot": 3}, "n_boot"),
        ({"correction": "none"}, "holm"),
        (
            {"n_bootstrap": 3},
            r"3 resamples have no interval of 0\.95; set n_bootstrap to at least 40, or to 0",
        ),
        ({"n_bootstrap": 19, "confidence": 0.9}, "to at least 20,"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        _params(**change)
