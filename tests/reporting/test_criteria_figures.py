"""Choice without labels: what the figures show, and that words go no further than the intervals."""

import numpy as np
import pandas as pd
import pytest

from rep_kedro.reporting.selection.criteria_correlations import own_criteria, plot_criteria_correlations
from rep_kedro.reporting.selection.criteria_figures import (
    FEWEST,
    own_ranks,
    plot_rank_choice,
    plot_rank_transfer,
    plot_selection_regret,
)
from rep_kedro.reporting.selection.criteria_text import criteria_in_words, few_in_words, pooled_in_words

SETS = ("digits", "shapes")


def _made(n_models):
    names = [f"net_{index}" for index in range(n_models)]
    cards = pd.DataFrame(
        {"model": names, "objective": "simclr", "architecture": "cnn", "trained_on": "digits"}
    )
    ranks = 2.0 ** np.arange(1, n_models + 1)
    rows = [
        {
            "stimulus_set": name,
            "model": model,
            "space": "representation",
            "measure": "rankme",
            "value": rank * factor,
        }
        for name, factor in zip(SETS, (1, 2), strict=True)
        for model, rank in zip(names, ranks, strict=True)
    ]
    probes = [
        {"stimulus_set": name, "model": model, "is_final": True, "test_accuracy": 0.3 + 0.1 * place}
        for name in SETS
        for place, model in enumerate(names)
    ]
    return pd.DataFrame(rows), pd.DataFrame(probes), cards


def _lines(panel):
    return [line for line in panel.lines if line.get_linestyle() == "-"]


def _words(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_a_method_with_enough_networks_has_the_line_of_least_squares_over_log2():
    measures, probes, cards = _made(FEWEST)
    figure = plot_rank_choice(measures, probes, cards)
    for panel in figure.axes:
        (line,) = _lines(panel)
        np.testing.assert_allclose(line.get_xdata(), [2, 2**FEWEST])
        np.testing.assert_allclose(line.get_ydata(), [0.3, 0.3 + 0.1 * (FEWEST - 1)])
    assert _words(figure) == ["SimCLR"]


def test_fewer_networks_have_no_line_and_the_legend_says_so():
    figure = plot_rank_choice(*_made(FEWEST - 1))
    assert not any(_lines(panel) for panel in figure.axes)
    assert f"no line: fewer than {FEWEST} networks of the method" in _words(figure)


def test_ranks_on_other_images_are_set_against_those_on_the_training_images():
    measures, _, cards = _made(FEWEST)
    (panel,) = plot_rank_transfer(measures, cards).axes
    marks = next(line for line in panel.lines if line.get_linestyle() == "None")
    np.testing.assert_allclose(marks.get_ydata(), 2 * np.asarray(marks.get_xdata()))
    assert panel.get_title(loc="left") == f"shapes (n = {FEWEST})"
    assert len(own_ranks(measures, cards.assign(trained_on=[None] * FEWEST))) == 0


@pytest.mark.parametrize("n_models", [1, 2, 40])
def test_any_number_of_networks_can_be_drawn(n_models):
    measures, probes, cards = _made(n_models)
    measures["value"] = measures["value"].clip(upper=4096)
    assert plot_rank_choice(measures, probes, cards).axes
    assert plot_rank_transfer(measures, cards).axes


def test_every_regret_of_rankme_on_the_probed_images_is_a_mark(study):
    rows = study.tables["selection_regret"]
    figure = plot_selection_regret(rows)
    shown = rows[(rows["criterion_set"] == rows["performance"]) & (rows["criterion"] == "rankme")]
    drawn = [x for panel in figure.axes for line in panel.lines for x in line.get_xdata()]
    assert sorted(drawn) == pytest.approx(sorted(100 * shown["regret"]))
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert "SimCLR: all networks" in labels
    assert plot_selection_regret(rows[:0]).axes


def _row(**changed):
    row = {"label": "rankme", "place": "digits", "group": "simclr", "n_runs": 12}
    return row | {"spearman": 0.8, "spearman_p": 0.001, "spearman_low": 0.5, "spearman_high": 0.9} | changed


def test_only_what_interval_and_corrected_p_support_is_stated():
    rising, falling = _row(), _row(group="vicreg", spearman=-0.7, spearman_low=-0.9, spearman_high=-0.2)
    wide, many = _row(group="byol", spearman_low=-0.1), _row(group="dino", spearman_p=0.02)
    sentences = criteria_in_words(pd.DataFrame([rising, falling, wide, many]))
    assert [sentence.split(":")[0] for sentence in sentences[:2]] == [
        "Accuracy rises with the criterion",
        "Accuracy falls with the criterion",
    ]
    assert "SimCLR" in sentences[0]
    assert not any(name in sentences[0] for name in ("BYOL", "DINO", "VICReg"))
    assert "2 of 4 pairs of a criterion and a group" in sentences[2]


def test_nothing_is_stated_about_all_methods_together():
    pooled = pd.DataFrame([_row(group="all"), _row(n_runs=4)])
    assert criteria_in_words(pooled) == []
    assert few_in_words(pooled)[0].startswith("1 of 1 group of networks have fewer than 10")


def test_too_few_networks_are_counted_and_nothing_is_stated_about_them():
    rows = pd.DataFrame([_row(n_runs=4, spearman_low=1.0, spearman_high=1.0)])
    assert criteria_in_words(rows) == []
    assert few_in_words(rows)[0].startswith("1 of 1 group of networks have fewer than 10")


def test_rows_that_pool_methods_are_counted():
    rows = pd.DataFrame({"caution": ["", "pools 2 methods", "pools 2 methods"]})
    assert pooled_in_words(rows) == [
        "Of the rows of the table, 2 pool several methods: ranks cannot be compared between methods."
    ]
    assert pooled_in_words(rows[:1]) == []


def _correlations(n_criteria=3, groups=("simclr", "vicreg"), n_runs=12, **changed):
    rows = [
        {
            **{"source": "study", "criterion": name, "space": space, "criterion_set": "digits"},
            **{"performance": "digits", "group": group, "n_runs": n_runs, "spearman": 0.1 * place},
            **{"spearman_low": 0.1 * place - 0.2, "spearman_high": 0.1 * place + 0.3, "spearman_p": 0.5},
        }
        for place, name in enumerate([f"a_measure_{i}" for i in range(n_criteria - 1)] + ["rankme"])
        for space in ("embedding", "representation")
        for group in (*groups, "all")
    ]
    return pd.DataFrame([row | changed for row in rows])


def _marks(figure):
    return [line for panel in figure.axes for line in panel.lines if line.get_linestyle() == "None"]


def test_every_measure_of_the_probed_images_has_a_mark_per_method_and_an_interval():
    rows = _correlations()
    elsewhere = rows.assign(criterion_set="shapes", spearman=0.9)
    figure = plot_criteria_correlations(pd.concat([rows, elsewhere]))
    (panel,) = figure.axes
    assert [text.get_text() for text in panel.get_yticklabels()] == [
        *("rankme", "rankme (embedding)", "a_measure_0", "a_measure_0 (embedding)"),
        *("a_measure_1", "a_measure_1 (embedding)"),
    ]
    drawn = sorted(float(x) for line in _marks(figure) for x in line.get_xdata())
    assert drawn == pytest.approx(sorted(rows.loc[rows["group"] != "all", "spearman"]))
    ends = [path.vertices[:, 0] for lines in panel.collections for path in lines.get_paths()]
    assert len(ends) == len(drawn)
    np.testing.assert_allclose([high - low for low, high in ends], 0.5)
    assert _words(figure) == ["SimCLR", "VICReg"]


def test_marks_of_few_networks_are_hollow_and_tables_made_elsewhere_have_panels():
    table = _correlations(n_runs=9, source="published", criterion_set="", space="")
    figure = plot_criteria_correlations(pd.concat([_correlations(), table]))
    assert [panel.get_title(loc="left") for panel in figure.axes] == ["digits", "published: digits"]
    faces = {line.get_markerfacecolor() for line in _marks(figure) if len(line.get_xdata())}
    assert "#ffffff" in faces
    assert "hollow: fewer than 10 networks" in _words(figure)
    assert set(own_criteria(table)["label"]) == {"rankme", "a_measure_0", "a_measure_1"}


@pytest.mark.parametrize(("n_criteria", "groups"), [(1, ["byol"]), (18, [f"m{i}" for i in range(9)])])
def test_any_number_of_measures_and_methods_can_be_drawn(n_criteria, groups):
    assert len(plot_criteria_correlations(_correlations(n_criteria, groups)).axes) == 1


def test_without_a_correlation_the_figure_says_why():
    assert "three networks" in plot_criteria_correlations(_correlations(spearman=np.nan)).get_label()
