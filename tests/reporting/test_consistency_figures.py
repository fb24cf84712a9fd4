"""Figures of anchors, set pairs, categories, measure agreement and performance gaps."""

from itertools import combinations, combinations_with_replacement

import numpy as np
import pandas as pd
import pytest

from rep_kedro.reporting.agreement.figures import plot_measure_agreement
from rep_kedro.reporting.anchors.figures import plot_anchors
from rep_kedro.reporting.consistency.categories import plot_consistency_by_category
from rep_kedro.reporting.consistency.figures import plot_consistency
from rep_kedro.reporting.consistency.set_pairs import plot_set_pairs
from rep_kedro.reporting.performance.gaps import plot_gap_correlations

MEASURE = "cka_linear_debiased"
SETS = [f"set_{index:02d}" for index in range(6)]
CARDS = pd.DataFrame({"stimulus_set": SETS, "title": None, "group": None})


def _texts(figure):
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]


def _draw_all(study, measure):
    return {
        "anchors": plot_anchors(study.consistency, study.anchor_comparisons, measure=measure),
        "set_pairs": plot_set_pairs(study.consistency, study.stimulus_cards, measure=measure),
        "categories": plot_consistency_by_category(
            study.consistency, study.consistency_summary, measure=measure
        ),
        "agreement": plot_measure_agreement(study.measure_agreement, study.consistency, measure=measure),
        "gaps": plot_gap_correlations(study.performance_gaps, study.stimulus_cards, measure=measure),
    }


KEYS = ("anchor", "category", "value_a", "value_b")


def _consistency(groups, sets=SETS, seed=0):
    """Rows for groups {(anchor, category, value_a, value_b): mean r} on every two sets."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        [
            {"measure": MEASURE, **dict(zip(KEYS, group, strict=True)), "stimulus_set_a": a,
             "stimulus_set_b": b, "n_pairs": 5, "pearson": mean + 0.05 * rng.normal(), "spearman": mean,
             "reason": "", "pearson_low": mean - 0.2, "pearson_high": mean + 0.1, "p_value": 0.1,
             "p_adjusted": 0.1}
            for group, mean in groups.items()
            for a, b in combinations(sets, 2)
        ]
    )  # fmt: skip


def _comparison(**changed):
    return {"measure": MEASURE, "anchor": "net", "category": "objective", "value_a": "simclr",
            "value_b": "supervised",
            "n_a": 15, "n_b": 15, "median_a": 0.4, "median_b": 0.8, "statistic": -4.0,
            "p_value": 1e-5, "p_adjusted": 1e-4, "p_smallest": 1e-4, "difference_low": -0.6,
            "difference_high": -0.1, "reason": ""} | changed  # fmt: skip


ANCHORED = {
    ("", "all", "all", "all"): 0.6,
    ("net", "all", "net", "all"): 0.6,
    ("net", "objective", "net", "simclr"): 0.4,
    ("net", "objective", "net", "supervised"): 0.8,
}


@pytest.mark.parametrize(
    "name", ["anchors", "set_pairs", "consistency_by_category", "measure_agreement", "gap_correlations"]
)
def test_figures_of_a_study_say_their_measure_and_are_small(drawings, name):
    assert MEASURE in drawings[name]
    assert len(drawings[name]) < 100_000


@pytest.mark.parametrize("measure", ["no_such_measure"])
def test_a_measure_without_rows_gives_a_note(study, measure):
    for name, figure in _draw_all(study, measure).items():
        if name != "agreement":
            assert any(text.startswith("Nothing to draw: ") for text in _texts(figure)), name
    empty = study.measure_agreement[:0]
    assert "one measure has none" in " ".join(
        _texts(plot_measure_agreement(empty, study.consistency, measure=measure))
    )


@pytest.mark.parametrize(
    ("changed", "is_marked"),
    [
        ({}, True),
        ({"p_adjusted": 0.011}, False),
        ({"difference_high": 0.01}, False),
        ({"difference_low": 0.1, "difference_high": 0.5}, True),
        ({"difference_low": np.nan, "difference_high": np.nan}, False),
        ({"p_value": np.nan, "p_adjusted": np.nan}, False),
    ],
)
def test_a_star_needs_a_small_p_and_an_interval_without_zero(changed, is_marked):
    table = pd.DataFrame([_comparison(**changed)])
    figure = plot_anchors(_consistency(ANCHORED), table, measure=MEASURE)
    [panel] = figure.axes
    stars = [line for line in panel.lines if line.get_marker() == "*"]
    assert len(stars) == is_marked
    n_tests = int(table["p_adjusted"].notna().sum())
    none = "too few stimulus sets to find a difference"
    found = f"{int(is_marked)} of 1 differences are marked" if n_tests else none
    assert panel.get_title(loc="left") == f"net:  {found}"


def test_where_no_star_is_possible_none_are_counted():
    table = pd.DataFrame([_comparison(p_value=0.0495, p_adjusted=0.0495, p_smallest=0.0495)])
    [panel] = plot_anchors(_consistency(ANCHORED), table, measure=MEASURE).axes
    assert panel.get_title(loc="left") == "net:  too few stimulus sets to find a difference"


HOSTILE = ("image / text", "a + b", '"quoted" / one', "two\nlines / b")


def test_values_that_hold_the_joint_come_through_whole_in_every_figure():
    cards = pd.DataFrame({"objective": HOSTILE})
    kinds = [("", "objective", a, b) for a, b in combinations_with_replacement(HOSTILE, 2)]
    groups = {("", "all", "all", "all"): 0.5, ("net", "all", "net", "all"): 0.5}
    groups |= dict.fromkeys(kinds, 0.4) | {("net", "objective", "net", value): 0.3 for value in HOSTILE}
    table = _consistency(groups)
    shown = ["image / text", "a + b", '"quoted" / one', "two\ufffdlines / b"]  # no control characters
    [panel] = plot_anchors(table, pd.DataFrame([_comparison()]), measure=MEASURE).axes
    assert [text.get_text() for text in panel.get_yticklabels()] == ["all others", *sorted(shown)]
    summary = pd.DataFrame({"measure": [], "anchor": [], "category": [], "n_defined": []})
    for figure in (
        plot_consistency(table, cards, measure=MEASURE),
        plot_consistency_by_category(table, summary, measure=MEASURE),
    ):
        labels = {text.get_text() for text in figure.axes[0].get_yticklabels()}
        assert len(labels) == len(kinds)
        assert "“image / text” / a + b" in labels
    maps = plot_set_pairs(table, CARDS, measure=MEASURE, set_pair_maps=[("image / text", "a + b")])
    titles = [axes.get_title(loc="left").splitlines()[0] for axes in maps.axes if axes.images]
    assert titles == ["all network pairs", "“image / text” / a + b"]


def test_brackets_join_the_rows_of_their_values_and_do_not_cross():
    values = ["a", "b", "c", "d"]
    groups = {("net", "all", "net", "all"): 0.5} | {
        ("net", "size", "net", value): 0.2 * index for index, value in enumerate(values)
    }
    table = pd.DataFrame(
        [_comparison(category="size", value_a=a, value_b=b) for a, b in combinations(values, 2)]
    )
    [panel] = plot_anchors(_consistency(groups), table, measure=MEASURE).axes
    brackets = [line for line in panel.lines if len(line.get_xdata()) == 4]
    rows = dict(zip((t.get_text() for t in panel.get_yticklabels()), panel.get_yticks(), strict=True))
    ends = {(line.get_xdata()[1], *sorted(set(line.get_ydata()))) for line in brackets}
    assert {(low, high) for _, low, high in ends} == {(rows[a], rows[b]) for a, b in combinations(values, 2)}
    for (x, low, high), (other_x, other_low, other_high) in combinations(ends, 2):
        assert x != other_x or high < other_low or other_high < low


def test_six_anchors_have_a_panel_and_the_title_says_how_many_there_are():
    groups = {
        key: 0.5
        for index in range(8)
        for key in (
            (f"net{index}", "all", f"net{index}", "all"),
            (f"net{index}", "size", f"net{index}", "small"),
        )
    }
    figure = plot_anchors(_consistency(groups), pd.DataFrame([_comparison()]), measure=MEASURE)
    assert len(figure.axes) == 6
    assert figure.get_suptitle().endswith("(6 of 8 anchors)")


def test_size_classes_stand_in_the_order_of_size():
    sizes = ("xlarge", "small", "large", "medium")
    groups = {("net", "all", "net", "all"): 0.5} | {("net", "size", "net", size): 0.5 for size in sizes}
    [panel] = plot_anchors(_consistency(groups), pd.DataFrame([_comparison()]), measure=MEASURE).axes
    labels = [text.get_text() for text in panel.get_yticklabels()]
    assert labels == ["all others", "small", "medium", "large", "xlarge"]


def test_a_kind_that_one_anchor_lacks_says_so():
    groups = ANCHORED | {
        ("other", "all", "other", "all"): 0.5,
        ("other", "objective", "other", "simclr"): 0.5,
    }
    figure = plot_anchors(_consistency(groups), pd.DataFrame([_comparison()]), measure=MEASURE)
    assert [_text.get_text() for _text in figure.axes[1].texts].count("too few networks") == 1
    assert "too few networks" not in [text.get_text() for text in figure.axes[0].texts]


def test_the_maps_hold_the_values_of_the_table():
    groups = {("", "all", "all", "all"): 0.5} | {
        ("", "objective", a, b): mean for a, b, mean in (("a", "a", 0.9), ("a", "b", 0.3), ("b", "b", 0.6))
    }
    table = _consistency(groups)
    figure = plot_set_pairs(table, CARDS, measure=MEASURE)
    panels = [axes for axes in figure.axes if axes.images]
    titles = [axes.get_title(loc="left").splitlines()[0] for axes in panels]
    assert titles == ["all network pairs", "a / a", "a / b"]
    kinds = [("all", "all", "all"), ("objective", "a", "a"), ("objective", "a", "b")]
    for panel, kind in zip(panels, kinds, strict=True):
        values = panel.images[0].get_array().filled(np.nan)
        assert np.isnan(values.diagonal()).all()
        np.testing.assert_array_equal(values, values.T)
        for row in table.set_index(list(KEYS[1:])).loc[[kind]].itertuples():
            assert values[SETS.index(row.stimulus_set_a), SETS.index(row.stimulus_set_b)] == row.pearson
        assert panel.images[0].get_clim() == (-1, 1)
    chosen = plot_set_pairs(table, CARDS, measure=MEASURE, set_pair_maps=[["b", "b"], ["b", "a"], ["z", "z"]])
    assert [a.get_title(loc="left").splitlines()[0] for a in chosen.axes if a.images] == [
        "all network pairs",
        "b / b",
        "a / b",
    ]


def test_stimulus_sets_are_ordered_by_group_then_name():
    table = _consistency({("", "all", "all", "all"): 0.5})
    cards = CARDS.assign(group=["natural" if index % 2 else "drawn" for index in range(len(SETS))])
    panel = plot_set_pairs(table, cards, measure=MEASURE).axes[0]
    assert [text.get_text() for text in panel.get_yticklabels()] == [*SETS[::2], *SETS[1::2]]
    assert len(panel.lines) == 2  # one border, down and across


def test_the_scale_reaches_below_the_studys_where_values_do():
    for mean, low in ((0.5, -0.44), (-0.9, None)):
        figure = plot_set_pairs(_consistency({("", "all", "all", "all"): mean}), CARDS, measure=MEASURE)
        ends = figure.axes[-1].get_ylim()
        assert ends[1] == 1
        assert ends[0] == low if low else ends[0] < -0.85


def test_of_many_kinds_the_highest_and_the_lowest_are_drawn_and_the_title_counts():
    names = [f"net{index:02d}" for index in range(7)]
    pairs = list(combinations_with_replacement(names, 2))
    groups = {("", "all", "all", "all"): 0.5} | {
        ("", "architecture", *p): 0.02 * i for i, p in enumerate(pairs)
    }
    summary = pd.DataFrame(
        {
            "measure": MEASURE,
            "category": "architecture",
            "anchor": "",
            "value_a": ["x", *(a for a, _ in pairs)],
            "value_b": ["y", *(b for _, b in pairs)],
            "n_defined": [0] + [15] * 28,
        }
    )
    figure = plot_consistency_by_category(_consistency(groups), summary, measure=MEASURE)
    panel = figure.axes[0]
    labels = [text.get_text() for text in panel.get_yticklabels()]
    table = _consistency(groups)
    medians = table[table["category"] == "architecture"].groupby(["value_a", "value_b"])["pearson"]
    medians = medians.median().sort_values()
    assert labels == [" / ".join(kind) for kind in (*medians.index[:6], *medians.index[-6:])]
    assert panel.get_title(loc="left") == (
        "by architecture  (highest and lowest 6 of 28; 1 with too few networks not drawn)"
    )


def test_every_category_has_a_panel_and_anchors_have_none():
    kinds = ("objective", "architecture", "trained_on", "size", "model_sets")
    groups = ANCHORED | {("", kind, "a", "b"): 0.4 for kind in kinds}
    summary = pd.DataFrame({"measure": [], "anchor": [], "category": [], "n_defined": []})
    figure = plot_consistency_by_category(_consistency(groups), summary, measure=MEASURE)
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]
    assert titles == [
        "by training objective",
        "by architecture",
        "by training data",
        "by number of parameters",
        "by sets of networks",
    ]
    alone = plot_consistency_by_category(
        _consistency({("", "all", "all", "all"): 0.5}), summary, measure=MEASURE
    )
    assert alone.axes[0].get_title(loc="left") == "all pairs of networks"


def _gaps(**changed):
    rows = [
        ("birds", -0.6, -0.8, -0.3, 0.001),
        ("clouds", 0.1, -0.2, 0.4, 0.7),
        ("letters", -0.2, -0.5, 0.1, np.nan),
    ]
    table = pd.DataFrame(
        [
            {"stimulus_set": name, "measure": MEASURE, "n_pairs": 10, "pearson": r, "spearman": r,
             "pearson_low": low, "pearson_high": high, "p_value": p, "p_adjusted": p, "reason": ""}
            for name, r, low, high, p in rows
        ]
    )  # fmt: skip
    return table.assign(**changed)


def test_gaps_are_sorted_filled_where_beyond_chance_and_have_the_guides():
    axes = plot_gap_correlations(_gaps(), CARDS, measure=MEASURE).axes[0]
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert labels == ["birds (n = 10)", "letters (n = 10)", "clouds (n = 10)"]
    points = [line for line in axes.lines if line.get_marker() == "o"]
    assert [float(line.get_xdata()[0]) for line in points] == [-0.6, -0.2, 0.1]
    assert [line.get_markerfacecolor() == "#ffffff" for line in points] == [False, True, True]
    guides = [line.get_xdata()[0] for line in axes.lines if len(set(line.get_xdata())) == 1 and len(
        line.get_xdata()) == 2]  # fmt: skip
    assert guides == [0, -0.3, -0.5, -0.7]


def test_groups_of_stimulus_sets_have_a_colour_and_an_entry_in_the_legend():
    cards = pd.DataFrame({"stimulus_set": ["birds", "letters"], "group": ["natural", "drawn"]})
    figure = plot_gap_correlations(_gaps(), cards, measure=MEASURE)
    points = [line.get_color() for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert len(set(points)) == 3
    [legend] = figure.legends
    entries = dict(zip((t.get_text() for t in legend.get_texts()), legend.get_lines(), strict=True))
    assert entries["natural"].get_color() == points[0]
    assert entries["drawn"].get_color() == points[1]


def test_a_set_without_a_correlation_comes_last_with_its_reason():
    table = _gaps()
    table.loc[0, ["pearson", "spearman", "pearson_low", "pearson_high", "p_adjusted"]] = np.nan
    table.loc[0, "reason"] = "similarities do not vary"
    axes = plot_gap_correlations(table, CARDS, measure=MEASURE).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()][-1] == "birds (n = 10)"
    assert "similarities do not vary" in [text.get_text() for text in axes.texts]


def test_the_matrix_has_similarities_below_and_consistency_above_the_diagonal(study):
    figure = plot_measure_agreement(study.measure_agreement, study.consistency, measure=MEASURE)
    matrix = figure.axes[0]
    names = [text.get_text() for text in matrix.get_yticklabels()]
    values = matrix.images[0].get_array().filled(np.nan)
    for row in study.measure_agreement.itertuples():
        a, b = names.index(row.measure_a), names.index(row.measure_b)
        assert a < b
        assert values[(a, b) if row.compared == "consistency" else (b, a)] == row.pearson
    scatters = [axes for axes in figure.axes if axes.get_title(loc="left").startswith("consistency: ")]
    assert len(scatters) == 3
    table = study.consistency
    own = table[(table["measure"] == MEASURE) & (table["anchor"] == "")]
    drawn = np.concatenate([line.get_xdata() for line in scatters[0].lines if line.get_marker() == "o"])
    assert sorted(drawn) == pytest.approx(sorted(own["pearson"].dropna()))


def test_a_measure_that_others_are_not_compared_with_leaves_the_matrix_alone(study):
    figure = plot_measure_agreement(study.measure_agreement, study.consistency, measure="zzz")
    assert not [axes for axes in figure.axes if axes.get_title(loc="left").startswith("consistency: ")]
