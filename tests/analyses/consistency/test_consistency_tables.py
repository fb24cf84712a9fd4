"""Consistency by sets of networks, its p-values and its summary, on matrices made by hand."""

from itertools import combinations, permutations

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from rep_kedro.analyses.consistency.consistency import (
    compute_consistency,
    summarise_consistency,
)
from rep_kedro.analyses.consistency.groups import list_groups, size_class_of
from rep_kedro.analyses.similarity.params import ConsistencyParams
from rep_kedro.kernels.statistics.bootstrap import NO_INTERVAL
from rep_kedro.kernels.statistics.mantel import NO_TEST
from rep_kedro.schemas.consistency import CONSISTENCY, CONSISTENCY_SUMMARY

MODELS = [f"net_{letter}" for letter in "abcdef"]
SETS = ("clouds", "letters", "shapes")
CARDS = pd.DataFrame(
    {
        "model": MODELS,
        "source": ["trained"] * 4 + ["timm"] * 2,
        "objective": ["supervised", "supervised", "supervised", "simclr", "simclr", "untrained"],
        "architecture": ["cnn", "resnet", "cnn", "resnet", "cnn", "cnn"],
        "trained_on": ["letters", "letters", "clouds", "letters", "letters", None],
        "n_parameters": [5e7, 1e8, 2e8, 3.5e8, 4e8, 9e8],
    }
)


def _tabulate(matrices, measure="cka_linear_debiased"):
    return pd.DataFrame(
        [
            {
                "stimulus_set": name,
                "measure": measure,
                "model_a": MODELS[i],
                "model_b": MODELS[j],
                "similarity": matrix[i, j],
            }
            for name, matrix in matrices.items()
            for i, j in combinations(range(len(MODELS)), 2)
        ]
    )


@pytest.fixture
def matrices():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(6, 6))
    drawn = {name: shared + 0.5 * rng.normal(size=(6, 6)) for name in SETS}
    return {name: (x + x.T) / 2 for name, x in drawn.items()}


def _params(**params):
    return ConsistencyParams(
        **{"categories": ["objective"], "n_bootstrap": 40, "n_permutations": 49, **params}
    )


def _members(steps, **params):
    made = _params(model_sets={"chosen": steps}, set_pairs=[("chosen", "chosen")], **params)
    group = list_groups(MODELS, CARDS, made)[-1]
    assert (group.category, group.value_a, group.value_b) == ("model_sets", "chosen", "chosen")
    assert group.members_a.tolist() == group.members_b.tolist()
    return "".join(model[-1] for model, inside in zip(MODELS, group.members_a, strict=True) if inside)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([{"include": "all"}], "abcdef"),
        ([{"include": {"objective": "simclr"}}], "de"),
        ([{"include": {"objective": ["simclr", "untrained"]}}], "def"),
        ([{"include": {"objective": "supervised", "architecture": "cnn"}}], "ac"),
        ([{"include": "all"}, {"exclude": {"objective": "untrained"}}], "abcde"),
        ([{"include": {"objective": "supervised"}}, {"include": {"model": "net_f"}}], "abcf"),
        ([{"include": {"objective": "supervised"}}, {"exclude": {"architecture": "cnn"}}], "b"),
        ([{"exclude": {"architecture": "cnn"}}, {"include": {"objective": "supervised"}}], "abc"),
        ([{"include": {"trained_on": "none"}}], "f"),
        ([{"include": {"source": "timm"}}], "ef"),
        ([{"include": {"size": ["small", "medium"]}}], "abc"),
        ([{"anchor": "net_d"}], "d"),
        ([{"include": {"objective": "simclr"}}, {"anchor": "net_a"}], "ade"),
    ],
)
def test_a_set_of_networks_is_what_its_steps_make_of_it(steps, expected):
    assert _members(steps) == expected


@pytest.mark.parametrize(
    ("n_parameters", "expected"),
    [(0, "small"), (1e8 - 1, "small"), (1e8, "medium"), (3e8, "large"), (4e8, "xlarge"), (1e12, "xlarge")],
)
def test_size_classes_begin_at_their_limits(n_parameters, expected):
    assert size_class_of(n_parameters, ConsistencyParams().size_limits) == expected


def test_every_category_has_every_unordered_pair_of_its_values(matrices):
    params = _params(categories=["objective", "architecture", "source", "trained_on", "size"])
    table = compute_consistency(_tabulate(matrices), CARDS, params)
    assert tuple(table.columns) == CONSISTENCY.names
    summary = summarise_consistency(_tabulate(matrices), CARDS, params)
    values = zip(summary["category"], summary["value_a"], summary["value_b"], strict=True)
    pairs = {}
    for category, *kind in values:
        pairs.setdefault(category, []).append(tuple(kind))
    assert list(pairs) == ["all", "objective", "architecture", "source", "trained_on", "size"]
    assert pairs["architecture"] == [("cnn", "cnn"), ("cnn", "resnet"), ("resnet", "resnet")]
    assert len(pairs["objective"]) == 6
    assert ("letters", "none") in pairs["trained_on"]
    assert len(pairs["size"]) == 10
    for category in list(pairs)[1:]:
        assert summary[summary["category"] == category]["n_pairs"].sum() == 15
    shown = table.groupby(["category", "value_a", "value_b"]).size()
    assert set(shown) == {3}
    enough = summary[summary["n_pairs"] >= 3]
    assert set(shown.index) == set(zip(enough["category"], enough["value_a"], enough["value_b"], strict=True))


def test_training_data_are_grouped_by_their_class_and_others_keep_their_name(matrices):
    params = _params(
        categories=["training_data"],
        training_data_classes={"Large": ["letters", "LAION"], "Web": ["WebLI"]},
        model_sets={"large": [{"include": {"training_data": "Large"}}]},
        set_pairs=[("large", "large")],
    )
    summary = summarise_consistency(_tabulate(matrices), CARDS, params)
    counts = summary[summary["category"] == "training_data"].set_index(["value_a", "value_b"])["n_pairs"]
    assert counts.to_dict() == {
        ("Large", "Large"): 6,
        ("Large", "clouds"): 4,
        ("Large", "none"): 4,
        ("clouds", "clouds"): 0,
        ("clouds", "none"): 1,
        ("none", "none"): 0,
    }
    assert summary.loc[summary["category"] == "model_sets", "n_pairs"].tolist() == [6]


def test_groups_with_too_few_pairs_are_one_row_of_the_summary_and_no_row_of_the_table(matrices):
    for least, n_small in ((3, 3), (7, 6), (16, 7)):
        params = _params(min_pairs=least)
        table = compute_consistency(_tabulate(matrices), CARDS, params)
        summary = summarise_consistency(_tabulate(matrices), CARDS, params)
        small = summary[summary["n_pairs"] < least]
        assert len(small) == n_small
        assert len(summary) == 7
        assert set(small["reason"]) == {f"fewer than {least} model pairs"}
        assert (small["n_defined"] == 0).all()
        assert small[["median_pearson", "median_low", "smallest"]].isna().all(axis=None)
        kinds = ["value_a", "value_b"]
        assert small.merge(table, on=["category", *kinds]).empty
        assert tuple(table.columns) == CONSISTENCY.names
    assert table.empty


def test_an_anchor_is_compared_with_every_network_of_a_set(matrices):
    params = _params(
        categories=[],
        model_sets={"anchor": [{"anchor": "net_b"}], "everyone": [{"include": "all"}]},
        set_pairs=[("anchor", "everyone")],
    )
    table = compute_consistency(_tabulate(matrices), CARDS, params)
    row = table[(table["category"] == "model_sets") & (table["stimulus_set_b"] == "letters")].iloc[0]
    others = [0, 2, 3, 4, 5]
    expected = np.corrcoef(matrices["clouds"][1, others], matrices["letters"][1, others])[0, 1]
    assert (row["value_a"], row["value_b"]) == ("anchor", "everyone")
    assert row["n_pairs"] == 5
    assert row["pearson"] == pytest.approx(expected)
    same = compute_consistency(
        _tabulate({**matrices, "letters": matrices["clouds"]}),
        CARDS,
        params.model_copy(update={"n_permutations": 400}),
    )
    is_own = (same["category"] == "model_sets") & (same["stimulus_set_b"] == "letters")
    [p_value] = same[is_own]["p_value"]
    assert 2 / 401 < p_value < 0.03  # one order of the five others in 120 is the identity


def test_the_p_value_is_the_share_of_permutations_of_names_that_reach_the_observed(matrices):
    first, second = matrices["clouds"][:4, :4], matrices["letters"][:4, :4]
    upper = np.triu_indices(4, 1)
    observed = np.corrcoef(first[upper], second[upper])[0, 1]
    null = [
        np.corrcoef(first[upper], second[np.ix_(order, order)][upper])[0, 1]
        for order in permutations(range(4))
    ]
    exact = np.mean(np.array(null) >= observed - 1e-12)
    models = {"four": [{"include": {"model": MODELS[:4]}}]}
    params = _params(model_sets=models, set_pairs=[("four", "four")], n_permutations=4000)
    table = compute_consistency(_tabulate(matrices), CARDS, params)
    row = table[(table["category"] == "model_sets") & (table["stimulus_set_b"] == "letters")].iloc[0]
    assert row["pearson"] == pytest.approx(observed)
    assert row["p_value"] == pytest.approx(exact, abs=0.03)


def _of_group(table, row):
    keys = ("anchor", "category", "value_a", "value_b")
    return table[np.logical_and.reduce([table[key] == getattr(row, key) for key in keys])]


def test_p_values_are_corrected_within_a_family_whatever_other_families_there_are(matrices):
    """Families: all networks; each category; the model sets; each anchor."""
    both = pd.concat([_tabulate(matrices), _tabulate(matrices, "cka_linear_biased")])
    params = _params(
        correction="bonferroni",
        categories=["objective", "architecture"],
        model_sets={"every": [{"include": "all"}]},
        set_pairs=[("every", "every")],
        anchors=["net_b", "net_c"],
    )
    table = compute_consistency(both, CARDS, params)
    family = table["anchor"].where(table["anchor"] != "", table["category"])
    assert set(family) == {"all", "objective", "architecture", "model_sets", "net_b", "net_c"}
    for _, rows in table.groupby([table["measure"], family]):
        tested = rows.dropna(subset=["p_value"])
        assert len(tested) == len(rows) >= 3
        np.testing.assert_allclose(tested["p_adjusted"], (tested["p_value"] * len(tested)).clip(upper=1))
        assert (tested["n_tests"] == len(tested)).all()
    alone = compute_consistency(both, CARDS, _params(correction="bonferroni", categories=[]))
    own = table[(table["category"] == "all") & (table["anchor"] == "")].reset_index(drop=True)
    unchanged = ["p_value", "p_adjusted", "p_smallest", "n_tests"]
    pd.testing.assert_frame_equal(own[unchanged], alone[unchanged])
    holm = compute_consistency(both, CARDS, params.model_copy(update={"correction": "holm"}))
    assert (holm["p_adjusted"] <= table["p_adjusted"] + 1e-12).all()
    assert (holm["p_adjusted"] >= holm["p_value"]).all()


def _alike(n_networks, n_sets, noise=0.1):
    """Return similarities that go together on all stimulus sets (r about 0.9), and cards."""
    rng = np.random.default_rng(4)
    shared = rng.normal(size=(n_networks, n_networks))
    drawn = {f"set_{s}": shared + noise * rng.normal(size=shared.shape) for s in range(n_sets)}
    models = [f"net_{i:02d}" for i in range(n_networks)]
    rows = [
        {"stimulus_set": name, "measure": "cka_linear_debiased", "model_a": models[i], "model_b": models[j],
         "similarity": x[i, j] + x[j, i], "reason": ""}
        for name, x in drawn.items()
        for i in range(n_networks)
        for j in range(i + 1, n_networks)
    ]  # fmt: skip
    kinds = [f"kind {i % 5} / of five" for i in range(n_networks)]
    return pd.DataFrame(rows), pd.DataFrame({"model": models, "objective": kinds, "architecture": kinds})


def test_eight_stimulus_sets_and_thirty_networks_are_found_consistent_by_default():
    """51 groups of 28 set pairs each are 1,428 tests: corrected together, none could pass."""
    similarities, cards = _alike(30, 8)
    params = ConsistencyParams(categories=["objective", "architecture"], n_bootstrap=0)
    table = compute_consistency(similarities, cards, params)
    overall = table[table["category"] == "all"]
    assert len(overall) == 28
    assert (overall["pearson"] > 0.7).all()
    assert (overall["n_tests"] == 28).all()
    np.testing.assert_allclose(overall["p_smallest"], 28 / 5000)
    assert (overall["p_adjusted"] <= 0.05).all()


def test_a_family_in_which_no_p_value_can_pass_is_named_in_the_log_and_by_its_rows(caplog):
    similarities, cards = _alike(12, 4)
    params = ConsistencyParams(categories=["objective"], n_bootstrap=0, n_permutations=99)
    table = compute_consistency(similarities, cards, params)
    overall = table[table["category"] == "all"]
    np.testing.assert_allclose(overall["p_smallest"], 6 / 100)
    assert (overall["p_adjusted"] >= 6 / 100 - 1e-12).all()
    assert "category all: none of 6 correlations can reach p ≤ 0.05" in caplog.text
    assert "raise consistency.n_permutations" in caplog.text
    caplog.clear()
    enough = params.model_copy(update={"categories": [], "n_permutations": 119})
    compute_consistency(similarities, cards, enough)  # 6 / 120 is 0.05
    assert not caplog.text


@pytest.mark.parametrize(("n_networks", "is_hopeless"), [(3, True), (4, True), (6, False)])
def test_few_networks_have_few_permutations_and_more_of_them_do_not_help(n_networks, is_hopeless, caplog):
    similarities, cards = _alike(n_networks, 3, noise=0.01)
    params = ConsistencyParams(categories=[], n_bootstrap=0)
    table = compute_consistency(similarities, cards, params)
    n_orders = {3: 6, 4: 24, 6: 720}[n_networks]
    np.testing.assert_allclose(table["p_smallest"], 3 * (1 / n_orders + 1 / 5000), rtol=0.5)
    assert (table["p_adjusted"] >= table["p_smallest"] - 1e-12).all()
    assert ("none of 3 correlations can reach" in caplog.text) == is_hopeless
    advice = f"{n_networks} networks have {n_orders} orders, so p is at least {3 / n_orders:.2g}"
    assert (advice in caplog.text) == is_hopeless
    assert "raise" not in caplog.text


def test_benjamini_hochberg_can_pass_where_holm_cannot(caplog):
    similarities, cards = _alike(12, 4)
    params = ConsistencyParams(
        categories=[], n_bootstrap=0, n_permutations=99, correction="benjamini-hochberg"
    )
    table = compute_consistency(similarities, cards, params)
    assert (table["p_adjusted"] <= 0.05).any()
    assert not caplog.text


def test_without_permutations_or_bootstrap_there_are_no_p_values_or_intervals(matrices):
    table = compute_consistency(_tabulate(matrices), CARDS, _params(n_permutations=0, n_bootstrap=0))
    assert table[["p_value", "p_adjusted", "pearson_low", "pearson_high"]].isna().all(axis=None)
    summary = summarise_consistency(_tabulate(matrices), CARDS, _params(n_bootstrap=0))
    assert summary[["median_low", "median_high"]].isna().all(axis=None)
    assert summary["median_pearson"].notna().any()


def test_the_summary_describes_the_rows_of_the_detailed_table(matrices):
    table = compute_consistency(_tabulate(matrices), CARDS, _params())
    summary = summarise_consistency(_tabulate(matrices), CARDS, _params())
    assert tuple(summary.columns) == CONSISTENCY_SUMMARY.names
    assert not summary.duplicated(["measure", "category", "value_a", "value_b"]).any()
    for row in summary.itertuples():
        values = _of_group(table, row)["pearson"]
        assert row.n_set_pairs == 3
        assert len(values) == (3 if row.n_pairs >= 3 else 0)
        assert row.n_defined == values.notna().sum()
        assert row.median_pearson == pytest.approx(values.median(), nan_ok=True)
        assert row.smallest == pytest.approx(values.min(), nan_ok=True)
        assert row.third_quartile == pytest.approx(values.quantile(0.75), nan_ok=True)
        is_whole = len(values) and values.notna().all() and row.median_low == row.median_low
        assert (row.reason == "") == is_whole
    overall = summary[summary["category"] == "all"].iloc[0]
    assert overall["median_low"] <= overall["median_pearson"] <= overall["median_high"]
    assert overall["n_pairs"] == 15


def test_the_summarys_interval_is_over_stimulus_sets_too(matrices):
    noise = np.random.default_rng(3).normal(size=(6, 6))
    one_odd = {**matrices, "letters": matrices["clouds"] + 0.01 * noise, "shapes": (noise + noise.T) / 2}
    one_odd["letters"] = (one_odd["letters"] + one_odd["letters"].T) / 2
    summary = summarise_consistency(_tabulate(one_odd), CARDS, _params(n_bootstrap=300)).iloc[0]
    assert summary["median_high"] > 0.99  # replicates without the odd set


def test_the_same_seed_gives_the_same_tables_and_another_one_others(matrices):
    for make in (compute_consistency, summarise_consistency):
        one, same, other = (make(_tabulate(matrices), CARDS, _params(seed=seed)) for seed in (0, 0, 1))
        pd.testing.assert_frame_equal(one, same)
        assert not one.equals(other)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([{"anchor": "net_z"}], r"model set 'chosen': no network has model 'net_z'; did you mean 'net_"),
        (
            [{"include": {"objective": "simcrl"}}],
            r"no network has objective 'simcrl'; did you mean 'simclr'\?$",
        ),
        ([{"include": {"source": "zzz"}}], r"has source 'zzz'; known: timm, trained$"),
        ([{"include": "all"}, {"exclude": {"objective": "simcrl"}}], r"did you mean 'simclr'\?$"),
    ],
)
def test_sets_that_name_what_no_network_has_are_refused(steps, message):
    with pytest.raises(ValueError, match=message):
        _members(steps)


def test_a_set_may_exclude_what_the_study_lacks_and_may_end_empty(caplog):
    assert _members([{"include": "all"}, {"exclude": {"source": "zzz"}}]) == _members([{"include": "all"}])
    assert not _members([{"exclude": {"objective": "simclr"}}])
    assert "model set chosen is empty" in caplog.text


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"set_pairs": [("traind", "trained")]}, "unknown model set 'traind'; did you mean 'trained'"),
        ({"set_pairs": [("zzz", "trained")]}, r"unknown model set 'zzz'; known: trained"),
        ({"model_sets": {"trained": [{}]}}, "one of include, exclude and anchor"),
        ({"model_sets": {"trained": [{"anchor": "a", "include": "all"}]}}, "one of include, exclude and"),
        ({"model_sets": {"trained": [{"include": {"colour": "red"}}]}}, "colour"),
        ({"model_sets": {"trained": []}}, "at least 1 item"),
        ({"categories": ["colour"]}, "objective"),
        ({"correction": "none"}, "holm"),
        ({"anchors": ["net_a", "net_b", "net_a"]}, r"anchors are listed twice: \['net_a'\]"),
        (
            {"training_data_classes": {"small": ["a"], "big": ["b", "a"]}},
            r"in two of training_data_classes: \['a'\]",
        ),
        ({"min_pairs": 2}, "greater than or equal to 3"),
        (
            {"n_bootstrap": 3},
            r"3 resamples have no interval of 0\.95; set n_bootstrap to at least 40, or to 0",
        ),
        ({"n_bootstrap": 199, "confidence": 0.99}, "to at least 200"),
        ({"size_limits": {"small": 10.0}}, "the last must be null"),
        ({"size_limits": {"small": 10.0, "large": 5.0, "huge": None}}, "size limits must increase"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(params, message):
    made = {"model_sets": {"trained": [{"include": "all"}]}, **params}
    with pytest.raises(ValidationError, match=message):
        ConsistencyParams(**made)


def test_a_measure_undefined_on_one_set_keeps_its_rows_and_says_why(matrices):
    broken = {**matrices, "shapes": np.full((6, 6), np.nan)}
    table = compute_consistency(_tabulate(broken), CARDS, _params(anchors=["net_b"]))
    assert len(table) == len(compute_consistency(_tabulate(matrices), CARDS, _params(anchors=["net_b"])))
    with_shapes = table["stimulus_set_b"] == "shapes"
    assert table.loc[with_shapes, "pearson"].isna().all()
    assert set(table.loc[with_shapes, "reason"]) == {"fewer than 3 model pairs"}
    assert table.loc[~with_shapes, "pearson"].notna().all()
    summary = summarise_consistency(_tabulate(broken), CARDS, _params(n_bootstrap=500))
    assert summary.loc[0, ["n_set_pairs", "n_defined"]].tolist() == [3, 1]
    assert summary.loc[0, "reason"] == f"fewer than 3 model pairs; {NO_INTERVAL}"
    assert np.isnan(summary.loc[0, "median_low"])


def test_a_network_that_is_undefined_leaves_all_others_their_p_values(matrices):
    broken = {name: matrix.copy() for name, matrix in matrices.items()}
    for matrix in broken.values():
        matrix[2] = matrix[:, 2] = np.nan
    wide = _params(n_permutations=99, anchors=["net_b", "net_c"])
    table = compute_consistency(_tabulate(broken), CARDS, wide)
    key = ["anchor", "category", "value_a", "value_b", "stimulus_set_a", "stimulus_set_b"]
    own = table["anchor"] == "net_c"
    assert (table.loc[own, "reason"] == "fewer than 3 model pairs").all()
    overall = table[(table["category"] == "all") & ~own]
    assert len(overall) == 6
    assert overall[["pearson", "p_value", "p_adjusted"]].notna().all(axis=None)
    left = _tabulate(matrices)
    left = left[(left["model_a"] != "net_c") & (left["model_b"] != "net_c")]
    narrow = compute_consistency(left, CARDS, _params(n_permutations=99, anchors=["net_b"]))
    both = overall.merge(narrow, on=key, suffixes=("", "_without"))
    assert len(both) == 6
    np.testing.assert_array_equal(both["p_value"], both["p_value_without"])
    for column in ("pearson", "pearson_low", "p_value", "p_adjusted"):
        assert (table.loc[table[column].isna(), "reason"] != "").all()


def test_a_hole_among_defined_networks_leaves_no_p_value_on_that_stimulus_set_and_says_so(matrices):
    matrices["letters"][0, 3] = matrices["letters"][3, 0] = np.nan
    table = compute_consistency(_tabulate(matrices), CARDS, _params())
    row = table[table["category"] == "all"].set_index(["stimulus_set_a", "stimulus_set_b"])
    assert row["pearson"].notna().all()
    assert row["p_value"].isna().tolist() == [True, False, True]
    assert row["reason"].tolist() == [NO_TEST, "", NO_TEST]


def test_directions_of_a_measure_enter_with_their_mean(matrices):
    table = _tabulate(matrices)
    other = table.rename(columns={"model_a": "model_b", "model_b": "model_a"})
    rng = np.random.default_rng(5)
    change = rng.normal(size=len(table))
    both = pd.concat(
        [
            table.assign(similarity=table["similarity"] + change),
            other.assign(similarity=table["similarity"] - change),
        ]
    )
    pd.testing.assert_frame_equal(
        compute_consistency(both.sample(frac=1, random_state=0), CARDS, _params()),
        compute_consistency(table, CARDS, _params()),
    )
