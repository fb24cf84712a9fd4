"""What the report says of chance, noise ceilings and numbers of stimuli is what the tables hold."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from rep_kedro.reporting.certainty import figures as certainty
from rep_kedro.reporting.certainty import text as section
from rep_kedro.reporting.certainty.chance import chance_in_words
from rep_kedro.reporting.consistency import text as consistency_section
from rep_kedro.reporting.content import make_content
from rep_kedro.reporting.style import OBJECTIVE_COLOURS
from rep_kedro.reporting.tables import require_table


def text_of(figure):
    return "\n".join(text.get_text() for text in figure.findobj(mpl.text.Text))


def draw_ceilings(study, measure, **changed):
    tables = {
        "noise_ceilings": study.noise_ceilings,
        "similarity_inference": study.similarity_inference,
        "model_cards": study.model_cards,
    } | changed
    return certainty.plot_noise_ceiling(**tables, measure=measure)


def test_bars_reach_from_the_lower_to_the_upper_ceiling_of_each_kind(study, figures, measure):
    axes = next(a for a in figures["noise_ceiling"].axes if a.get_title(loc="left") == "digits")
    rows = study.noise_ceilings.query("measure == @measure and stimulus_set == 'digits'")
    drawn = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in axes.patches)
    np.testing.assert_allclose(drawn, sorted(zip(rows["ceiling_low"], rows["ceiling_high"], strict=True)))
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        f"{objective}, {architecture}"
        for objective in ("SimCLR", "supervised", "VICReg", "untrained")
        for architecture in ("CNN", "ResNet")
    ]
    supervised = [line for line in axes.lines if line.get_color() == OBJECTIVE_COLOURS["supervised"]]
    marks = sorted(line.get_xdata()[0] for line in supervised if line.get_marker() == "o")
    means = rows[rows["objective"] == "supervised"]["others_mean"]
    np.testing.assert_allclose(marks, sorted(means))
    assert measure in axes.get_xlabel()


def test_the_line_of_chance_is_the_largest_threshold_and_is_left_out_without_a_null(study, figures, measure):
    threshold = study.similarity_inference.query("measure == @measure")["threshold"].max()
    [axes, *_] = figures["noise_ceiling"].axes
    assert any(np.allclose(line.get_xdata(), threshold) for line in axes.lines if line.get_linestyle() == ":")
    without = draw_ceilings(study, measure, similarity_inference=require_table("similarity_inference", None))
    assert not any(line.get_linestyle() == ":" for axes in without.axes for line in axes.lines)
    assert "chance" not in text_of(without)


def test_kinds_that_differ_in_their_training_set_are_distinguished(study, measure):
    other = study.noise_ceilings.query("objective == 'supervised'").assign(trained_on="shapes")
    figure = draw_ceilings(study, measure, noise_ceilings=pd.concat([study.noise_ceilings, other]))
    assert {"supervised, CNN, digits", "supervised, CNN, shapes"} <= set(text_of(figure).split("\n"))


def test_curves_are_the_tables_means_at_every_number_of_stimuli(study, figures, measure):
    figure = figures["sample_sizes"]
    n_sets = study.sample_sizes["stimulus_set"].nunique()
    names = [axes.get_title(loc="left") for axes in figure.axes[:n_sets]]
    rows = study.sample_sizes.query("measure == @measure and stimulus_set == 'shapes'")
    column = names.index("shapes")
    for axes, name in (
        (figure.axes[column], "mean_similarity"),
        (figure.axes[n_sets + column], "mean_change"),
    ):
        assert any(np.allclose(line.get_ydata(), rows[name]) for line in axes.lines), name
        assert all(line.get_xdata().tolist() == rows["n_stimuli"].tolist() for line in axes.lines)
    assert [label.get_text() for label in figure.axes[-1].get_xticklabels()] == [
        "10", "20", "50", "100", "200", "500",
    ]  # fmt: skip


def test_every_measure_has_its_own_line(study):
    many = pd.concat([study.sample_sizes.assign(measure=f"measure_{k}") for k in range(9)])
    axes = certainty.plot_sample_sizes(many).axes[0]
    looks = {(line.get_color(), line.get_linestyle()) for line in axes.lines}
    assert len(looks) == len(axes.lines) == 9


def test_empty_tables_give_figures_that_say_so(study, measure):
    empty = require_table("noise_ceilings", None)
    assert "Nothing to draw" in text_of(draw_ceilings(study, measure, noise_ceilings=empty))
    assert "Nothing to draw" in text_of(certainty.plot_sample_sizes(require_table("sample_sizes", None)))


@pytest.fixture
def content(study, measure):
    return make_content(study.tables, {}, parameters={}, measure=measure, delta=0.99)


def test_similarities_above_chance_are_counted_by_their_corrected_p_value(study, content, measure):
    rows = study.similarity_inference.query("measure == @measure")
    answers = section.describe(content)[0].answers
    n_above = (rows["similarity"] > 0.05).sum()
    expected = f"{n_above} of {len(rows)} similarities are larger than for stimuli matched at random"
    assert answers[0].startswith(expected)
    assert "has a median of 0.020 and is at most 0.020" in answers[1]
    assert section.errors_in_words(rows.assign(standard_error=np.nan)) == []
    [none] = chance_in_words(rows.assign(p_adjusted=1.0), "similarities", "chance")
    assert none.startswith(f"0 of {len(rows)}")


def test_where_no_p_value_could_be_small_enough_no_count_is_given():
    """Of 28 correlations none can be small enough: saying "0 of 28" would be a finding that is none."""
    rows = pd.DataFrame({"p_adjusted": [0.252] * 28, "p_smallest": [0.2856] * 28})
    [shown] = chance_in_words(rows, "correlations", "chance")
    assert "0 of 28" not in shown
    assert shown.startswith("Whether 28 of 28 correlations exceed chance could not be tested")
    assert "smallest possible: 0.286" in shown
    mixed = pd.concat([rows, rows.assign(p_adjusted=0.01, p_smallest=0.01)], ignore_index=True)
    first, second = chance_in_words(mixed, "correlations", "chance")
    assert first.startswith("28 of 28 correlations are larger than chance")
    assert second.startswith("Whether 28 of 56 correlations")
    assert chance_in_words(rows.assign(p_adjusted=np.nan), "correlations", "chance") == []


def test_intervals_of_a_biased_measure_say_what_they_are_for(study):
    biased = study.similarity_inference.query("measure == 'cka_linear_biased'")
    covers = "the mean over samples of 500 stimuli, not the value in their population"
    shown = " ".join(section.intervals_in_words(biased.assign(interval_covers=covers)))
    assert covers in shown
    assert "none of these intervals covers the value in the population" in shown
    assert "exclude 0" not in shown  # they would, whatever the networks
    fair = study.similarity_inference.query("measure == 'cka_linear_debiased'")
    shown = " ".join(section.intervals_in_words(fair))
    assert "biased" not in shown
    assert f"of {len(fair)} intervals exclude 0" in shown


def test_the_ceiling_is_set_beside_other_networks_on_every_stimulus_set(study, measure):
    rows = study.noise_ceilings.query("measure == @measure")
    [shown] = section.ceiling_in_words(rows)
    for name, part in rows.groupby("stimulus_set"):
        low, others = part["ceiling_low"].mean(), part["others_mean"].mean()
        assert f"{low:.2f} on {name} (other networks {others:.2f})" in shown


def test_the_last_change_is_from_the_last_subset_to_all(study, measure):
    rows = study.sample_sizes.query("measure == @measure")
    [shown] = section.sizes_in_words(rows)
    assert "0.003 from 200 to 500 stimuli of digits" in shown
    assert section.sizes_in_words(rows[rows["n_stimuli"] == 500]) == []


def test_the_median_consistency_has_its_interval_and_its_test(study, measure):
    rows = study.consistency.query("measure == @measure")
    summary = study.consistency_summary.query("measure == @measure")
    overall = summary[(summary["category"] == "all") & (summary["anchor"] == "")].iloc[0]
    interval, test = consistency_section.certainty_in_words(rows, summary)
    assert f"between {overall['median_low']:.2f} and {overall['median_high']:.2f}" in interval
    own = rows[(rows["category"] == "all") & (rows["anchor"] == "")]
    assert test.startswith(f"{(own['pearson'] > 0.3).sum()} of 3 correlations are larger")
    assert consistency_section.certainty_in_words(rows.assign(p_adjusted=np.nan), summary.iloc[:0]) == []
