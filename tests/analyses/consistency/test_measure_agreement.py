"""The table of measure against measure."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from rep_kedro.analyses.consistency.consistency import compute_consistency
from rep_kedro.analyses.consistency.measure_agreement import compare_measures
from rep_kedro.analyses.similarity.params import ConsistencyParams
from rep_kedro.schemas.consistency import MEASURE_AGREEMENT

MODELS = [f"net_{letter}" for letter in "abcdefgh"]
SETS = ("birds", "clouds", "letters")
CARDS = pd.DataFrame({"model": MODELS, "objective": ["supervised"] * 4 + ["simclr"] * 4})
PARAMS = ConsistencyParams(anchors=["net_a"], n_bootstrap=60, n_permutations=0)


def _similarities(measures=("rsa", "cka", "knn"), sets=SETS):
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(len(SETS), 8, 8))
    return pd.DataFrame(
        [
            {"stimulus_set": name, "measure": measure, "model_a": MODELS[i], "model_b": MODELS[j],
             "similarity": latent[SETS.index(name), i, j] + noise * rng.normal()}
            for measure, noise in zip(measures, (0.0, 0.2, 1.0), strict=False)
            for name in sets
            for i, j in combinations(range(8), 2)
        ]
    )  # fmt: skip


def test_every_two_measures_have_a_row_for_similarity_and_one_for_consistency():
    similarities = _similarities()
    consistency = compute_consistency(similarities, CARDS, PARAMS)
    found = compare_measures(similarities, consistency, CARDS, PARAMS)
    assert tuple(found.columns) == MEASURE_AGREEMENT.names
    assert list(zip(found["measure_a"], found["measure_b"], found["compared"], strict=True)) == [
        (a, b, compared)
        for a, b in (("cka", "knn"), ("cka", "rsa"), ("knn", "rsa"))
        for compared in ("similarity", "consistency")
    ]
    means = similarities.groupby(["measure", "model_a", "model_b"])["similarity"].mean().unstack("measure")
    own = consistency[consistency["anchor"] == ""]
    values = own.pivot_table(
        index=["category", "value_a", "value_b", "stimulus_set_a", "stimulus_set_b"],
        columns="measure",
        values="pearson",
    )
    for row in found.itertuples():
        table = means if row.compared == "similarity" else values
        assert row.n == len(table) == (28 if row.compared == "similarity" else 12)
        assert row.pearson == pytest.approx(table[row.measure_a].corr(table[row.measure_b]))
        ranks = table.rank()
        assert row.spearman == pytest.approx(ranks[row.measure_a].corr(ranks[row.measure_b]))
        assert row.pearson_low < row.pearson < row.pearson_high
        assert row.reason == ""
    by_measures = found[found["compared"] == "similarity"].set_index(["measure_a", "measure_b"])["pearson"]
    assert by_measures.loc[("cka", "rsa")] > by_measures.loc[("cka", "knn")]


def test_one_stimulus_set_has_no_consistency_to_compare():
    similarities = _similarities(sets=SETS[:1])
    consistency = compute_consistency(similarities, CARDS, PARAMS)
    found = compare_measures(similarities, consistency, CARDS, PARAMS).set_index("compared")
    assert found.loc["similarity", "pearson"].notna().all()
    assert found.loc["consistency", "pearson"].isna().all()
    assert set(found.loc["consistency", "reason"]) == {"fewer than 3 values defined under both measures"}


def test_sets_that_only_one_measure_has_are_left_out():
    similarities = _similarities()
    lacking = similarities[(similarities["measure"] != "cka") | (similarities["stimulus_set"] != "birds")]
    lacking = lacking[lacking["measure"] != "knn"]
    both = lacking[lacking["stimulus_set"] != "birds"]
    found, expected = (
        compare_measures(table, compute_consistency(both, CARDS, PARAMS), CARDS, PARAMS)
        for table in (lacking, both)
    )
    pd.testing.assert_frame_equal(found, expected)


def test_one_measure_has_nothing_to_be_compared_with():
    similarities = _similarities(measures=("rsa",))
    found = compare_measures(similarities, compute_consistency(similarities, CARDS, PARAMS), CARDS, PARAMS)
    assert found.empty
    assert tuple(found.columns) == MEASURE_AGREEMENT.names


def test_the_seed_decides_the_intervals():
    similarities = _similarities()
    consistency = compute_consistency(similarities, CARDS, PARAMS)
    one, same, other = (
        compare_measures(similarities, consistency, CARDS, PARAMS.model_copy(update={"seed": seed}))
        for seed in (0, 0, 1)
    )
    pd.testing.assert_frame_equal(one, same)
    assert not one["pearson_low"].equals(other["pearson_low"])


def test_one_pair_of_stimulus_sets_has_no_interval_of_consistency_and_says_why():
    similarities = _similarities(sets=SETS[:2])
    consistency = compute_consistency(similarities, CARDS, PARAMS)
    found = compare_measures(similarities, consistency, CARDS, PARAMS).set_index("compared")
    one_pair = found.loc["consistency"]
    assert one_pair["pearson"].notna().all()
    assert one_pair[["pearson_low", "pearson_high"]].isna().all(axis=None)
    assert set(one_pair["reason"]) == {"no interval: one pair of stimulus sets leaves nothing to resample"}
    assert (found.loc["similarity", "pearson_low"] < found.loc["similarity", "pearson_high"]).all()


def test_groups_that_hold_the_same_pairs_of_networks_count_once():
    similarities = _similarities()
    twice = CARDS.assign(source="trained")  # one value: trained/trained holds the pairs of all/all
    params = PARAMS.model_copy(update={"categories": ["objective", "source"]})
    found, expected = (
        compare_measures(similarities, compute_consistency(similarities, twice, own), twice, own)
        for own in (params, params.model_copy(update={"categories": ["objective"]}))
    )
    pd.testing.assert_frame_equal(found, expected)
