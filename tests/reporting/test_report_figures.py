"""Figures show the tables' values, in the stated order, with labels and units."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from rep_kedro.datasets.figure import render_svg
from rep_kedro.reporting.consistency import figures as consistency
from rep_kedro.reporting.layers import figures as layers
from rep_kedro.reporting.layers.profiles import MOST_NETWORKS, plot_layer_profiles
from rep_kedro.reporting.names import drawn_kind
from rep_kedro.reporting.networks import figures as training
from rep_kedro.reporting.performance import figures as performance
from rep_kedro.reporting.similarity import figures as similarity
from rep_kedro.reporting.style import OBJECTIVE_COLOURS, palette_for
from rep_kedro.reporting.svg import inline_svg
from rep_kedro.reporting.tables import (
    cluster_order,
    final_layers,
    matrices_of,
    mean_matrix,
    performance_gaps,
    require_table,
)

NOTE = "Nothing to draw"
LARGEST_BYTES = 250_000


def text_of(figure):
    return "\n".join(text.get_text() for text in figure.findobj(mpl.text.Text))


def drawn_axes(figure):
    return [axes for axes in figure.axes if axes.axison and axes.get_label() != "<colorbar>"]


def test_heat_maps_show_the_matrices_in_clustered_order(study, figures, measure):
    matrices = matrices_of(study.matrices, measure)
    figure = figures["similarity"]
    order = cluster_order(mean_matrix(matrices))
    panels = drawn_axes(figure)
    assert [axes.get_title(loc="left") for axes in panels] == ["mean over stimulus sets", *matrices]
    assert [label.get_text() for label in panels[0].get_yticklabels()] == order
    for axes, frame in zip(panels, [mean_matrix(matrices), *matrices.values()], strict=True):
        [image] = axes.images
        np.testing.assert_array_equal(image.get_array(), frame.loc[order, order].to_numpy())
    assert measure in text_of(figure)


def test_clustered_order_keeps_alike_networks_together():
    values = np.array([[1, 0.1, 0.9, 0.1], [0.1, 1, 0.1, 0.8], [0.9, 0.1, 1, 0.2], [0.1, 0.8, 0.2, 1]])
    order = "".join(cluster_order(pd.DataFrame(values, index=list("abcd"), columns=list("abcd"))))
    assert {order[:2], order[2:]} <= {"ac", "ca", "bd", "db"}


def test_strips_have_the_objectives_colours_in_the_same_order(study, figures, measure):
    matrices = matrices_of(study.matrices, measure)
    figure = figures["similarity"]
    objective = study.model_cards.set_index("model")["objective"]
    order = cluster_order(mean_matrix(matrices))
    strips = [c for c in drawn_axes(figure)[0].collections if isinstance(c, mpl.collections.PatchCollection)]
    for strip in strips:
        colours = [to_hex(colour) for colour in strip.get_facecolors()]
        assert colours == [OBJECTIVE_COLOURS[objective[model]] for model in order]


def test_undefined_similarities_are_hatched_and_named_in_the_legend(study):
    matrices = matrices_of(study.matrices, "rsa_correlation_spearman")
    figure = similarity.plot_similarity_maps(matrices, study.model_cards, measure="rsa_correlation_spearman")
    shapes = drawn_axes(figure)[list(matrices).index("shapes") + 1]
    hatched = [patch for patch in shapes.patches if patch.get_hatch()]
    assert len(hatched) == 31  # one row and one column of sixteen
    assert "undefined" in text_of(figure)


def test_a_mean_over_fewer_stimulus_sets_is_undefined(study):
    mean = mean_matrix(matrices_of(study.matrices, "rsa_correlation_spearman"))
    assert mean.loc["cnn_untrained_s1"].isna().all()
    assert int(mean.isna().sum().sum()) == 31


def test_the_mean_is_over_the_networks_that_all_sets_compare(study, measure):
    matrices = matrices_of(study.matrices, measure)
    whole = mean_matrix(matrices)
    matrices["shapes"] = matrices["shapes"].iloc[1:, 1:]
    found = mean_matrix(matrices)
    assert list(found.index) == list(whole.index)[1:]
    np.testing.assert_array_equal(found, whole.iloc[1:, 1:])


def test_positions_are_those_of_the_table_and_seeds_of_one_kind_are_joined(study, figures, measure):
    rows = study.model_positions.query("measure == @measure and method == 'mds'").dropna(subset=["x"])
    panels = drawn_axes(figures["similarity_map"])
    titles = [panel.get_title(loc="left").splitlines() for panel in panels]
    assert titles[0] == ["mean over stimulus sets", "stress 0.15"]
    assert [title[0] for title in titles[1:]] == ["digits", "photograph_patches", "shapes"]
    for panel, name in zip(panels, ["mean", "digits", "photograph_patches", "shapes"], strict=True):
        own = rows[rows["stimulus_set"] == name]
        marks = [line for line in panel.lines if line.get_linestyle() == "None"]
        drawn = sorted((x, y) for line in marks for x, y in line.get_xydata())
        np.testing.assert_allclose(drawn, sorted(own[["x", "y"]].to_numpy().tolist()))
        assert {len(line.get_xdata()) for line in marks} <= {1, 2}


def test_positions_that_were_not_asked_for_are_said_to_be_missing(study, measure):
    only_tsne = study.model_positions.query("method == 'tsne'")
    figure = similarity.plot_similarity_positions(only_tsne, study.model_cards, measure=measure)
    assert "model_maps.methods has no mds" in text_of(figure)


def test_consistency_rows_stand_by_median_and_show_every_value(study, figures, measure):
    figure = figures["consistency"]
    rows = study.consistency[study.consistency["measure"] == measure]
    rows = rows[rows["anchor"] == ""]
    by_objective = rows[rows["category"] == "objective"]
    medians = by_objective.groupby(["value_a", "value_b"])["pearson"].median().sort_values(ascending=False)
    axes = drawn_axes(figure)[0]
    labels = [label.get_text() for label in axes.get_yticklabels()][::-1]
    assert labels == [drawn_kind(kind) for kind in medians.index]
    marks = [line.get_xdata() for line in axes.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(np.sort(np.concatenate(marks)), np.sort(by_objective["pearson"]))
    overall = rows[rows["category"] == "all"]["pearson"].median()
    assert any(np.allclose(line.get_xdata(), overall) and len(line.get_xdata()) == 2 for line in axes.lines)
    assert "Pearson r" in drawn_axes(figure)[-1].get_xlabel()


def test_many_stimulus_set_pairs_become_boxes_at_their_quartiles(study, measure):
    values = np.linspace(-0.2, 0.9, 23)
    rows = study.consistency[study.consistency["measure"] == measure].head(1)
    many = pd.concat(
        [rows.assign(category="objective", value_a="simclr", value_b="supervised", pearson=v) for v in values]
    )
    figure = consistency.plot_consistency(many, study.model_cards, measure=measure)
    boxes = [
        p for p in drawn_axes(figure)[0].patches if to_hex(p.get_facecolor()) in OBJECTIVE_COLOURS.values()
    ]
    assert {to_hex(box.get_facecolor()) for box in boxes} == {
        OBJECTIVE_COLOURS["simclr"],
        OBJECTIVE_COLOURS["supervised"],
    }
    first, third = np.quantile(values, [0.25, 0.75])
    for box in boxes:
        assert (box.get_x(), box.get_x() + box.get_width()) == pytest.approx((first, third))


def test_undefined_consistency_is_written_into_its_row(study, measure):
    table = study.consistency.copy()
    hit = (table["measure"] == measure) & (table["value_a"] == "simclr") & (table["value_b"] == "simclr")
    table.loc[hit, ["pearson", "pearson_low", "pearson_high"]] = np.nan
    table.loc[table.index[(table["value_a"] == "vicreg") & (table["value_b"] == "vicreg")][:1], "pearson"] = (
        np.nan
    )
    assert "undefined" in text_of(consistency.plot_consistency(table, study.model_cards, measure=measure))


def test_performance_gap_plots_the_accuracy_difference_of_final_layers(study, figures, measure):
    figure = figures["performance_gap"]
    axes = drawn_axes(figure)[0]
    accuracy = final_layers(study.probe_results).set_index(["stimulus_set", "model"])["test_accuracy"]
    rows = study.similarities.query("measure == @measure and stimulus_set == 'digits'")
    wanted = [
        (row.similarity, abs(accuracy["digits", row.model_a] - accuracy["digits", row.model_b]))
        for row in rows.itertuples()
    ]
    np.testing.assert_allclose(np.asarray(axes.collections[0].get_offsets()), wanted)
    r = np.corrcoef(np.array(wanted).T)[0, 1]
    title = axes.get_title(loc="left").replace("\u00a0", " ").replace("−", "-")
    assert title == f"digits\nr = {r:.2f}, n = 120"
    assert "percentage points" in axes.get_ylabel()


def test_pairs_without_an_accuracy_are_left_out_of_the_gap(study, measure):
    probes = study.probe_results.copy()
    probes.loc[probes["model"] == "cnn_simclr_s0", "test_accuracy"] = np.nan
    gaps = performance_gaps(study.similarities, probes, measure)
    assert len(gaps) == 3 * 105
    assert "cnn_simclr_s0" not in set(gaps["model_a"]) | set(gaps["model_b"])


def test_more_stimulus_sets_than_panels_are_counted_in_the_title(study, measure):
    probes = final_layers(study.probe_results)
    names = [f"set{index:02d}" for index in range(14)]
    similarities = study.similarities.query("measure == @measure and stimulus_set == 'digits'")
    similarities = pd.concat([similarities.assign(stimulus_set=name) for name in names])
    probes = pd.concat([probes.query("stimulus_set == 'digits'").assign(stimulus_set=name) for name in names])
    figure = performance.plot_performance_gap(similarities, probes, measure=measure)
    assert figure.get_suptitle().endswith("(12 of 14 stimulus sets)")
    assert len(drawn_axes(figure)) == 12


def test_rankme_is_plotted_against_the_same_layers_accuracy(study, figures):
    figure = figures["rankme"]
    axes = drawn_axes(figure)[0]
    drawn = np.concatenate([np.column_stack(line.get_data()) for line in axes.lines])
    diagnostics = study.layer_diagnostics.query("stimulus_set == 'digits' and delta == 0.99")
    final = final_layers(study.probe_results).query("stimulus_set == 'digits'")
    wanted = diagnostics.merge(final, on=["model", "layer"])[["rankme", "test_accuracy"]].to_numpy()
    assert len(wanted) == 16
    np.testing.assert_allclose(drawn[np.lexsort(drawn.T)], wanted[np.lexsort(wanted.T)])


def test_saturation_follows_depth_and_shades_from_the_border(study, figures):
    figure = figures["saturation"]
    axes = next(a for a in drawn_axes(figure) if a.get_title(loc="left") == "ResNet, supervised")
    assert [label.get_text() for label in axes.get_xticklabels()] == [
        "stem",
        "stage1",
        "stage2",
        "stage3",
        "pool",
    ]
    rows = study.layer_diagnostics.query("stimulus_set == 'digits' and delta == 0.99")
    rows = rows[rows["model"].isin(["resnet_supervised_s0", "resnet_supervised_s1"])]
    mean = rows.groupby("depth")["saturation"].mean().to_numpy()
    thick = [line for line in axes.lines if line.get_linewidth() == 2 and line.get_marker() == "o"]
    np.testing.assert_allclose(thick[0].get_ydata(), mean)
    assert thick[0].get_color() == OBJECTIVE_COLOURS["supervised"]
    assert any(np.allclose(line.get_xdata(), 2 - 0.15) for line in axes.lines)


def all_saturation(study, **changed):
    tables = {
        "layer_diagnostics": study.layer_diagnostics,
        "probe_results": study.probe_results,
        "receptive_fields": study.receptive_fields,
    } | changed
    return layers.plot_saturation(**tables, model_cards=study.model_cards, stimulus_set="digits", delta=0.99)


def test_saturation_without_receptive_fields_marks_no_border(study):
    figure = all_saturation(study, receptive_fields=require_table("receptive_fields", None))
    assert not any(line.get_linestyle() == ":" for axes in drawn_axes(figure) for line in axes.lines)


def test_profiles_join_saturation_and_probes_by_the_names_of_layers(study, figures):
    figure = figures["layer_profiles"]
    panels = {axes.get_title(loc="left").partition(" (")[0]: axes for axes in drawn_axes(figure)}
    assert len(panels) == MOST_NETWORKS
    model = next(name for name in study.model_cards["model"] if name in panels)
    of_network = f"stimulus_set == 'digits' and model == '{model}'"
    shuffled = study.layer_diagnostics.sample(frac=1, random_state=0)
    again = plot_layer_profiles(
        shuffled, study.probe_results, study.receptive_fields, study.layer_tails, study.model_cards,
        stimulus_set="digits", delta=0.99,
    )  # fmt: skip
    again_panels = {axes.get_title(loc="left").partition(" (")[0]: axes for axes in drawn_axes(again)}
    for axes in (panels[model], again_panels[model]):
        lines = {line.get_marker(): line.get_ydata() for line in axes.lines}
        rows = study.layer_diagnostics.query(f"{of_network} and delta == 0.99").sort_values("depth")
        np.testing.assert_allclose(lines["o"], rows["saturation"])
        probes = study.probe_results.query(of_network).sort_values("depth")
        np.testing.assert_allclose(lines["s"], probes["test_accuracy"])


def test_profiles_mark_tail_border_and_the_accuracy_of_the_network(study, figures):
    figure = figures["layer_profiles"]
    axes = next(a for a in drawn_axes(figure) if a.get_title(loc="left").startswith("resnet_supervised_s0 ("))
    tails = study.layer_tails.query("stimulus_set == 'digits'").set_index("model")
    (tail,) = [line for line in axes.lines if line.get_marker() == "^"]
    assert tail.get_xdata() == [tails.loc["resnet_supervised_s0", "tail_depth"]]
    accuracy = study.model_cards.set_index("model").loc["resnet_supervised_s0", "test_accuracy"]
    (dashed,) = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert set(dashed.get_ydata()) == {accuracy}
    assert any(np.allclose(line.get_xdata(), 2 - 0.15) for line in axes.lines)


def test_stitching_shows_the_mean_per_objective_of_the_beginning_network(study, figures):
    figure = figures["stitching"]
    axes = next(a for a in drawn_axes(figure) if a.get_title(loc="left") == "CNN: supervised goes on")
    rows = study.stitching_results.query("end_model == 'cnn_supervised_s0'")
    rows = rows[rows["front_model"].str.contains("untrained")]
    mean = rows.groupby("depth")["relative_accuracy"].mean().to_numpy()
    thick = [line for line in axes.lines if line.get_linewidth() == 2]
    untrained = next(line for line in thick if line.get_color() == OBJECTIVE_COLOURS["untrained"])
    np.testing.assert_allclose(untrained.get_ydata(), mean)
    assert "relative accuracy" in text_of(figure)


def test_training_draws_each_history_in_its_own_panel(study, figures):
    figure = figures["training"]
    titles = [axes.get_title(loc="left") for axes in drawn_axes(figure)]
    assert titles == [
        "SimCLR: loss",
        "supervised: loss",
        "supervised: test accuracy",
        "supervised: train accuracy",
        "VICReg: loss",
    ]
    axes = drawn_axes(figure)[0]
    assert len(axes.lines) == 4
    wanted = study.training_history.query("model == 'cnn_simclr_s0' and metric == 'loss'")["value"]
    assert any(np.array_equal(line.get_ydata(), wanted) for line in axes.lines)


def test_training_draws_only_the_wanted_metrics_in_their_order(study):
    figure = training.plot_training(
        study.training_history, study.model_cards, metrics=("test_accuracy", "loss")
    )
    titles = [axes.get_title(loc="left") for axes in drawn_axes(figure)]
    assert titles == ["SimCLR: loss", "supervised: test accuracy", "supervised: loss", "VICReg: loss"]


@pytest.mark.slow
def test_every_figure_is_small_the_same_twice_and_asks_nothing_of_the_network(study, figures, draw):
    first = {name: render_svg(figure) for name, figure in figures.items()}
    with mpl.rc_context({"font.size": 20, "axes.grid": False, "svg.fonttype": "path"}):
        second = {name: render_svg(figure) for name, figure in draw(study).items()}
    assert first == second
    for name, svg in first.items():
        assert len(svg.encode()) < LARGEST_BYTES, name
        assert "<dc:" not in svg, "no date, no version of matplotlib"
        assert "<text" in svg, f"{name} holds outlines instead of text"
        assert "http" not in inline_svg(svg, "x", "title").replace("http://www.w3.org/", "")


def test_empty_tables_give_a_figure_that_says_so(study, measure):
    empty = {name: require_table(name, None) for name in study.tables}
    cards = study.model_cards
    figures = [
        similarity.plot_similarity_maps({}, cards, measure=measure),
        similarity.plot_similarity_positions(empty["model_positions"], cards, measure=measure),
        consistency.plot_consistency(empty["consistency"], cards, measure=measure),
        performance.plot_performance_gap(empty["similarities"], empty["probe_results"], measure=measure),
        performance.plot_rankme(empty["layer_diagnostics"], empty["probe_results"], cards, delta=0.99),
        all_saturation(study, layer_diagnostics=empty["layer_diagnostics"]),
        layers.plot_stitching(empty["stitching_results"], cards, stimulus_set=None),
        training.plot_training(empty["training_history"], cards),
    ]
    for figure in figures:
        assert NOTE in text_of(figure)


def test_networks_without_a_card_are_drawn_as_unknown(study, measure):
    cards = study.model_cards.iloc[1:]
    figure = similarity.plot_similarity_maps(matrices_of(study.matrices, measure), cards, measure=measure)
    assert "unknown" in text_of(figure)


def test_an_objective_has_one_colour_whatever_else_is_in_the_run():
    few, many = (
        palette_for(["simclr", "rotation"]),
        palette_for(["simclr", "supervised", "rotation", "untrained"]),
    )
    for name in ("simclr", "rotation"):
        assert few.colour(name) == many.colour(name)
        assert few.marker(name) == many.marker(name)
    assert len({many.marker(n) for n in many.colours}) == len(many.colours)


# Machado, Oliveira & Fernandes 2009, doi:10.1109/TVCG.2009.113, severity 1
COLOUR_BLINDNESS = {
    "none": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


@pytest.mark.parametrize("vision", COLOUR_BLINDNESS)
def test_objectives_can_be_distinguished_without_full_colour_vision(vision):
    names = ["supervised", "simclr", "vicreg", "image_text", "untrained"]
    labs = {name: lab_of(OBJECTIVE_COLOURS[name], COLOUR_BLINDNESS[vision]) for name in names}
    for index, name in enumerate(names):
        for other in names[:index]:
            assert np.linalg.norm(labs[name] - labs[other]) > 20, (name, other)


def lab_of(colour, vision):
    encoded = np.array(mpl.colors.to_rgb(colour))
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    xyz = to_xyz @ np.clip(vision @ linear, 0, 1) / np.array([0.95047, 1, 1.08883])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])
