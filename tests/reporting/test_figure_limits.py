"""Nothing that a figure shows is cut off: points lie within their axes, words within the page."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from rep_kedro.reporting.certainty import figures as certainty
from rep_kedro.reporting.certainty.subset_sizes import plot_subset_sizes
from rep_kedro.reporting.model_maps import figures as maps
from rep_kedro.reporting.performance import figures as performance
from rep_kedro.reporting.similarity import figures as similarity
from rep_kedro.reporting.tables import final_layers, matrices_of

SOME_ROOM_PT = 2


def drawn_axes(figure):
    return [axes for axes in figure.axes if axes.axison and axes.get_label() != "<colorbar>"]


def words_outside(figure):
    """What reaches over the edge: panels with their labels and titles, legends, words beside the panels."""
    renderer, page = figure._get_renderer(), figure.bbox
    parts = [*figure.axes, *figure.legends, *(text for text in figure.texts if text.get_text())]
    boxes = [(part, part.get_tightbbox(renderer)) for part in parts]
    return [
        str(part)
        for part, box in boxes
        if box.x0 < page.x0 or box.x1 > page.x1 or box.y0 < page.y0 or box.y1 > page.y1
    ]


def with_gaps(study, measure, largest):
    """Accuracies of final layers, on each stimulus set over another range; the last set's range is widest."""
    probes = final_layers(study.probe_results).copy()
    for name, top in largest.items():
        hit = (probes["stimulus_set"] == name).to_numpy()
        probes.loc[hit, "test_accuracy"] = 0.1 + top * np.linspace(0, 1, hit.sum())
    return performance.plot_performance_gap(study.similarities, probes, measure=measure)


@pytest.mark.parametrize("tops", [(0.05, 0.2, 0.8), (0.8, 0.2, 0.05), (0.01, 0.01, 0.012)])
def test_every_point_of_the_performance_gap_lies_within_its_panel(study, measure, tops):
    sets = ("digits", "photograph_patches", "shapes")
    figure = with_gaps(study, measure, dict(zip(sets, tops, strict=True)))
    drawn = 0
    for axes in drawn_axes(figure):
        (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
        for x, y in np.asarray(axes.collections[0].get_offsets()):
            assert left < x < right
            assert low < y < high
            drawn += 1
    assert drawn == 3 * 120
    assert drawn_axes(figure)[0].get_ylim()[1] < 1.2 * max(tops)


def test_points_without_any_difference_are_drawn_whole(study, measure):
    probes = final_layers(study.probe_results).assign(test_accuracy=0.5)
    figure = performance.plot_performance_gap(study.similarities, probes, measure=measure)
    for axes in drawn_axes(figure):
        radius = np.sqrt(axes.collections[0].get_sizes().max()) / 2
        assert axes.transData.transform((0, 0))[1] - axes.bbox.y0 > radius


@pytest.mark.parametrize("tops", [(0.05, 0.2, 0.8), (0.3, 0.1, 0.1), (0.07, 0.05, 0.05), (0.02, 0.02, 0.02)])
def test_a_percentage_on_an_axis_is_the_value_of_its_tick(study, measure, tops):
    sets = ("digits", "photograph_patches", "shapes")
    figure = with_gaps(study, measure, dict(zip(sets, tops, strict=True)))
    for axes in figure.axes:
        labels = [label.get_text().replace("−", "-") for label in axes.get_yticklabels()]
        if any(labels):
            assert [float(label) for label in labels] == pytest.approx(list(100 * axes.get_yticks()))


def test_no_word_of_any_figure_of_the_study_is_cut_off_at_the_edge(figures):
    assert {name: words for name, figure in figures.items() if (words := words_outside(figure))} == {}


@pytest.fixture
def five_sets(study, measure):
    """Matrices, positions and clusters of the study on five stimulus sets."""
    matrices = list(matrices_of(study.matrices, measure).values())
    tables = {}
    for name in ("model_positions", "model_clusters"):
        rows = study.tables[name].query("measure == @measure")
        further = [
            rows.query("stimulus_set == 'digits'").assign(stimulus_set=f"z{index}") for index in range(2)
        ]
        tables[name] = pd.concat([rows, *further])
    return {f"set_{index}": matrices[index % 3] for index in range(5)}, tables


def test_six_heat_maps_keep_their_labels_on_the_page(study, measure, five_sets):
    matrices, _ = five_sets
    for prefix in ("", "a_source:of_networks_"):
        names = [f"{prefix}{model}" for model in study.model_cards["model"]]
        renamed = dict(zip(study.model_cards["model"], names, strict=True))
        frames = {name: frame.rename(index=renamed, columns=renamed) for name, frame in matrices.items()}
        figure = similarity.plot_similarity_maps(
            frames, study.model_cards.assign(model=names), measure=measure
        )
        assert len(drawn_axes(figure)) == 6
        assert words_outside(figure) == []


def test_maps_say_how_many_stimulus_sets_they_show_and_keep_their_legend_on_the_page(
    study, measure, five_sets
):
    matrices, tables = five_sets
    names = [f"architecture_number_{index}" for index in range(8)]
    cards = study.model_cards.assign(architecture=(names * 2)[: len(study.model_cards)])
    figures = [
        maps.plot_model_maps(**tables, model_cards=cards, measure=measure),
        similarity.plot_similarity_positions(tables["model_positions"], cards, measure=measure),
    ]
    for figure in figures:
        assert figure.get_suptitle().endswith("(mean and 3 of 5 stimulus sets)")
        assert words_outside(figure) == []
    few = similarity.plot_similarity_maps(matrices, cards, measure=measure, n_panels=2)
    assert few.get_suptitle().endswith("(mean and 2 of 5 stimulus sets)")
    every = similarity.plot_similarity_maps(matrices, cards, measure=measure)
    assert "of 5" not in every.get_suptitle()


@pytest.mark.parametrize(
    "sizes", [[10, 20, 50, 100, 200, 240], [100, 110, 121, 133, 146], [10, 100, 1000, 20000, 50000]]
)
def test_labels_of_numbers_of_stimuli_never_touch_and_the_last_is_there(study, measure, sizes):
    row = study.sample_sizes.query("measure == @measure").iloc[0]
    sets = [f"set_{index}" for index in range(4)]
    table = pd.DataFrame([{**row, "stimulus_set": name, "n_stimuli": n} for name in sets for n in sizes])
    figure = certainty.plot_sample_sizes(table)
    renderer = figure._get_renderer()
    for axes in drawn_axes(figure)[4:]:
        labels = [label for label in axes.get_xticklabels() if label.get_text()]
        assert labels[-1].get_text() == str(sizes[-1])
        boxes = [label.get_window_extent(renderer) for label in labels]
        for box, following in pairwise(boxes):
            assert following.x0 - box.x1 >= SOME_ROOM_PT


def test_boxes_of_every_panel_lie_within_it(load_scales):
    curves = load_scales().make_curves(("a", "b"), n_pairs=20)
    curves |= {key: replace(curve, values=5 * curve.values) for key, curve in curves.items() if key[0] == "b"}
    for axes in drawn_axes(plot_subset_sizes(curves)):
        low, high = axes.get_ylim()
        assert low == 0
        assert all(patch.get_y() + patch.get_height() < high for patch in axes.patches)
        assert all(line.get_ydata().max() < high for line in axes.lines)
