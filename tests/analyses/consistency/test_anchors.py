"""One network against kinds of networks: rows of the consistency tables, and their comparison."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch
from tests.reference.rank_sum import rank_sum

from rep_kedro.analyses.consistency.anchors import compare_anchors
from rep_kedro.analyses.consistency.consistency import compute_consistency, summarise_consistency
from rep_kedro.analyses.similarity.params import ConsistencyParams
from rep_kedro.kernels.statistics.resampling import draw_bootstrap_counts
from rep_kedro.schemas.consistency import ANCHOR_COMPARISONS

N = 12
MODELS = [f"net_{letter}" for letter in "abcdefghijkl"]
KINDS = ["supervised"] * 5 + ["simclr"] * 4 + ["untrained"] * 3
SETS = ("birds", "clouds", "letters", "shapes", "words")
CARDS = pd.DataFrame({"model": MODELS, "objective": KINDS, "architecture": ["cnn", "resnet"] * 6})


def _draw(seed=0, noise=0.4, n_sets=5):
    """Similarities of one anchor to kinds of networks; those to simclr change from set to set."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(N, N))
    matrices = {}
    for name in SETS[:n_sets]:
        own = rng.normal(size=(N, N))
        weight = np.where([k == "simclr" for k in KINDS], 3.0, noise)
        matrix = shared + own * np.maximum(weight[:, None], weight[None, :])
        matrices[name] = (matrix + matrix.T) / 2
    return matrices


def _tabulate(matrices, measure="cka_linear_debiased"):
    return pd.DataFrame(
        [
            {"stimulus_set": name, "measure": measure, "model_a": MODELS[i], "model_b": MODELS[j],
             "similarity": matrix[i, j]}
            for name, matrix in matrices.items()
            for i, j in combinations(range(N), 2)
        ]
    )  # fmt: skip


def _params(**params):
    return ConsistencyParams(
        **{
            "categories": ["objective"],
            "n_bootstrap": 40,
            "n_permutations": 19,
            "anchors": ["net_b"],
            **params,
        }
    )


def test_an_anchor_gives_one_group_for_all_others_and_one_for_each_value():
    matrices = _draw()
    table = compute_consistency(_tabulate(matrices), CARDS, _params(categories=["objective", "architecture"]))
    rows = table[table["anchor"] != ""]
    counts = rows.groupby(["anchor", "category", "value_a", "value_b"], sort=False)["n_pairs"]
    assert counts.max().to_dict() == {
        ("net_b", "all", "net_b", "all"): 11,
        ("net_b", "objective", "net_b", "simclr"): 4,
        ("net_b", "objective", "net_b", "supervised"): 4,
        ("net_b", "objective", "net_b", "untrained"): 3,
        ("net_b", "architecture", "net_b", "cnn"): 6,
        ("net_b", "architecture", "net_b", "resnet"): 5,
    }
    assert set(counts.size()) == {10}
    for row in rows.itertuples():
        others = [
            i for i in range(N) if i != 1 and row.value_b in ("all", KINDS[i], CARDS["architecture"][i])
        ]
        first, second = (matrices[s][1, others] for s in (row.stimulus_set_a, row.stimulus_set_b))
        assert row.pearson == pytest.approx(np.corrcoef(first, second)[0, 1], abs=1e-12)


def test_the_rank_sum_test_is_that_of_counting_on_the_rows_of_the_consistency_table():
    for seed in range(3):
        similarities, params = _tabulate(_draw(seed)), _params(anchors=["net_b", "net_g"])
        table = compute_consistency(similarities, CARDS, params)
        found = compare_anchors(similarities, CARDS, params)
        assert tuple(found.columns) == ANCHOR_COMPARISONS.names
        assert len(found) == 2 * 3
        tested = found["p_value"].notna()
        for row in found[tested].itertuples():
            of_value = [
                table.loc[(table["anchor"] == row.anchor) & (table["value_b"] == value), "pearson"].dropna()
                for value in (row.value_a, row.value_b)
            ]
            assert (row.statistic, row.p_value) == pytest.approx(rank_sum(*of_value), rel=1e-12)
            assert (row.n_a, row.n_b) == tuple(len(values) for values in of_value)
            assert [row.median_a, row.median_b] == pytest.approx([values.median() for values in of_value])
        for _, own in found[tested].groupby("anchor"):  # each anchor is a family of its own
            np.testing.assert_allclose(own["p_adjusted"], (own["p_value"] * len(own)).clip(upper=1))
            assert (own["n_tests"] == len(own)).all()
            _, clearest = rank_sum(range(10), range(10, 20))  # ten pairs of stimulus sets each
            np.testing.assert_allclose(own["p_smallest"], clearest * len(own))


def test_the_interval_is_that_of_resampled_networks_and_sets_with_the_anchor_kept():
    matrices = np.stack(list(_draw().values()))
    params = _params(n_bootstrap=25, confidence=0.8)
    found = compare_anchors(_tabulate(_draw()), CARDS, params).set_index(["value_a", "value_b"])
    strata = torch.tensor([1] * 5 + [0] * 4 + [2] * 3)
    strata[1] = N
    generator = torch.Generator().manual_seed(params.seed)
    networks = draw_bootstrap_counts(strata, 25, generator=generator).tolist()
    sets = draw_bootstrap_counts(torch.zeros(5), 25, generator=generator).tolist()

    def median_of(kind, of_networks, of_sets):
        others = [i for i in range(N) if i != 1 and KINDS[i] == kind and of_networks[i]]
        weights = np.array([of_networks[i] for i in others], dtype=float)
        drawn = []
        for s, t in combinations(range(5), 2):
            if len(others) > 2 and of_sets[s] * of_sets[t]:
                cov = np.cov(matrices[s][1, others], matrices[t][1, others], aweights=weights)
                drawn += [cov[0, 1] / np.sqrt(cov[0, 0] * cov[1, 1])] * (of_sets[s] * of_sets[t])
        return np.median(drawn) if drawn else np.nan

    assert found.loc[("simclr", "supervised"), "reason"] == ""
    for a, b in combinations(("simclr", "supervised", "untrained"), 2):
        if b == "untrained":
            row = found.loc[(a, b)]
            assert row[["difference_low", "difference_high"]].isna().all()
            assert row["reason"].startswith("untrained: no interval: most samples of its networks have")
            assert not np.isnan(row["p_value"])
            continue
        differences = [median_of(a, n, s) - median_of(b, n, s) for n, s in zip(networks, sets, strict=True)]
        low, high = np.nanquantile(differences, [0.1, 0.9])
        row = found.loc[(a, b)]
        assert (row["difference_low"], row["difference_high"]) == pytest.approx((low, high), abs=1e-10)


def test_dependent_set_pairs_make_stars_out_of_nothing_and_the_interval_holds():
    """Both values alike by construction: the rank-sum test rejects far too often, the interval does not."""
    n_trials, starred, excluded = 60, 0, 0
    for seed in range(n_trials):
        rng = np.random.default_rng(100 + seed)
        shared = rng.normal(size=(N, N))
        drawn = {name: shared + rng.normal(size=(N, N)) for name in SETS}
        similarities = _tabulate({name: (x + x.T) / 2 for name, x in drawn.items()})
        row = compare_anchors(
            similarities, CARDS, _params(categories=["architecture"], n_bootstrap=200, n_permutations=0)
        ).iloc[0]
        starred += row["p_value"] < 0.05
        excluded += (row["difference_low"] > 0) or (row["difference_high"] < 0)
    assert starred > 0.25 * n_trials
    assert excluded < 0.12 * n_trials


def test_a_value_with_too_few_networks_has_no_test_and_says_why():
    found = compare_anchors(_tabulate(_draw()), CARDS, _params(anchors=["net_l"])).set_index("value_b")
    row = found.loc["untrained"].iloc[0]
    assert row["reason"] == "untrained: fewer than 3 model pairs"
    assert row["n_b"] == 0
    assert np.isnan(
        row[["statistic", "p_value", "p_adjusted", "median_b", "difference_low"]].astype(float)
    ).all()
    assert not np.isnan(row["median_a"])
    assert found.loc["supervised", "reason"] == ""
    assert found["p_adjusted"].notna().sum() == 1
    assert found.loc["supervised", "p_adjusted"] == found.loc["supervised", "p_value"]
    summary = summarise_consistency(_tabulate(_draw()), CARDS, _params(anchors=["net_l"]))
    small = summary[(summary["anchor"] == "net_l") & (summary["value_b"] == "untrained")].iloc[0]
    assert (small["n_pairs"], small["reason"]) == (2, "fewer than 3 model pairs")


def test_similarities_that_do_not_vary_have_their_reason():
    matrices = {name: np.full((N, N), 0.5) for name in SETS[:2]}
    found = compare_anchors(_tabulate(matrices), CARDS, _params())
    assert found["p_value"].isna().all()
    reason = "similarities vary on neither stimulus set"
    assert found["reason"].iloc[0] == f"simclr: {reason}; supervised: {reason}"


def test_without_anchors_or_with_one_stimulus_set_there_are_no_comparisons():
    for table in (
        compare_anchors(_tabulate(_draw()), CARDS, _params(anchors=[])),
        compare_anchors(_tabulate(_draw(n_sets=1)), CARDS, _params()),
    ):
        assert table.empty
        assert tuple(table.columns) == ANCHOR_COMPARISONS.names


def test_without_a_bootstrap_there_is_no_interval_and_still_a_test():
    found = compare_anchors(_tabulate(_draw()), CARDS, _params(n_bootstrap=0))
    assert found[["difference_low", "difference_high"]].isna().all(axis=None)
    assert found["p_value"].notna().all()


@pytest.mark.parametrize("make", [compute_consistency, summarise_consistency, compare_anchors])
def test_an_anchor_that_is_missing_changes_nothing_else(make, caplog):
    found = make(_tabulate(_draw()), CARDS, _params(anchors=["net_bb"]))
    pd.testing.assert_frame_equal(found, make(_tabulate(_draw()), CARDS, _params(anchors=[])))
    assert "anchor net_bb is left out" in caplog.text


def test_an_anchor_that_is_not_compared_is_left_out_with_a_word(caplog):
    cards = pd.concat([CARDS, CARDS.iloc[:1].assign(model="net_z")])
    found = compute_consistency(_tabulate(_draw()), cards, _params(anchors=["net_z"]))
    assert not found["category"].str.startswith("anchor").any()
    assert "anchor net_z is left out" in caplog.text


def test_with_three_stimulus_sets_no_comparison_can_pass_and_the_log_says_so(caplog):
    drawn = {name: matrix for name, matrix in _draw().items() if name in SETS[:3]}
    found = compare_anchors(_tabulate(drawn), CARDS, _params(n_bootstrap=0, n_permutations=0))
    tested = found.dropna(subset=["p_value"])
    least = rank_sum([1, 2, 3], [4, 5, 6])[1] * len(tested)
    np.testing.assert_allclose(tested["p_smallest"], least)
    assert (tested["p_smallest"] > 0.05).all()
    assert f"none of {len(tested)} comparisons can reach p ≤ 0.05" in caplog.text
    assert "anchor net_b" in caplog.text


def test_values_that_hold_what_once_joined_them_come_through_whole():
    names = {"simclr": "image / text", "supervised": "a + b", "untrained": 'say "no"\n/ never'}
    cards = CARDS.replace({"objective": names})
    params = _params(anchors=["net_b", "net_g"])
    table = compute_consistency(_tabulate(_draw()), cards, params)
    own = table[(table["anchor"] != "") & (table["category"] == "objective")]
    assert set(own["value_b"]) == set(names.values())
    assert set(own["value_a"]) == set(own["anchor"]) == {"net_b", "net_g"}
    kinds = table[(table["anchor"] == "") & (table["category"] == "objective")]
    assert set(kinds["value_a"]) | set(kinds["value_b"]) == set(names.values())
    found = compare_anchors(_tabulate(_draw()), cards, params)
    assert set(found["value_a"]) | set(found["value_b"]) == set(names.values())
    plain = compare_anchors(_tabulate(_draw()), CARDS, params)
    assert sorted(found["median_a"].dropna()) + sorted(found["median_b"].dropna()) != []
    assert len(found) == len(plain)
