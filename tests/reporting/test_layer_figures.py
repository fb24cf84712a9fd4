"""Figures and sentences of layers: every layer in its place, and claims only where tests allow them."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from tests.reporting.synthetic_layers import make_layer_values

from rep_kedro.reporting.content import make_content
from rep_kedro.reporting.layer_similarity.figures import plot_layer_similarity
from rep_kedro.reporting.layer_similarity.paths import plot_best_layer_match
from rep_kedro.reporting.layer_similarity.text import shared_in_words, support_in_words
from rep_kedro.reporting.report import describe_all


@pytest.fixture
def best(study, measure):
    table = study.best_layer_match
    return table[table["measure"] == measure]


def test_a_map_has_one_cell_for_each_pair_of_layers_in_network_order(study, measure):
    figure = plot_layer_similarity(study.layer_matrices, study.model_cards, measure=measure, n_heat_maps=2)
    panels = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title(loc="left") for axes in panels] == ["digits", "photograph_patches"]
    handle = study.layer_matrices[f"digits/{measure}"]
    np.testing.assert_array_equal(panels[0].images[0].get_array(), handle.matrix().values)
    names = [label.get_text() for label in panels[0].get_xticklabels()]
    assert names == list(dict.fromkeys(handle.meta["models"]))
    edges = {line.get_xdata()[0] for line in panels[0].lines if np.ptp(line.get_xdata()) == 0}
    assert edges == {4, 8, 12}
    assert "2 of 3 stimulus sets" in figure.get_suptitle()


@pytest.mark.parametrize(("n_networks", "n_names"), [(34, 34), (40, 40), (41, 0)])
def test_the_networks_of_one_map_are_named_as_long_as_names_do_not_collide(n_networks, n_names):
    values, meta = make_layer_values({f"net{i}": ["a", "b"] for i in range(n_networks)})
    matrix = SimpleNamespace(values=values)
    cards = pd.DataFrame({"model": meta["models"][::2], "objective": "simclr", "architecture": "cnn"})
    handle = SimpleNamespace(meta=meta, matrix=lambda: matrix)
    figure = plot_layer_similarity({"digits/cka": handle}, cards, measure="cka", n_heat_maps=1)
    [panel] = [axes for axes in figure.axes if axes.images]
    assert len(panel.get_xticklabels()) == len(panel.get_yticklabels()) == n_names
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in panel.get_yticklabels()]
    assert all(lower.y1 < upper.y0 for upper, lower in pairwise(boxes))


def test_a_path_is_at_the_relative_depth_of_the_best_matches_and_hollow_where_chance_reaches_them(
    study, best, measure
):
    digits = best[best["stimulus_set"] == "digits"]
    figure = plot_best_layer_match(best, study.model_cards, measure=measure, stimulus_set="digits")
    assert sum(bool(axes.get_title(loc="left")) for axes in figure.axes) == 4
    panel, model = figure.axes[0], digits["model"].iloc[0]
    own = digits[digits["model"] == model]
    paths = [line for line in panel.lines if line.get_linestyle() == "-"]
    for path, (_, rows) in zip(paths, own.groupby("other_model", sort=False), strict=True):
        depth = (rows["best_depth"] / rows["deepest"]).to_numpy(dtype=float)
        assert np.ptp(path.get_ydata() - depth) == pytest.approx(
            0, abs=1e-12
        )  # but for the offset of the line
    marks = [line for line in panel.lines if line.get_linestyle() == "None"]
    hollow = sum(len(line.get_xdata()) for line in marks if line.get_markerfacecolor() == "#ffffff")
    assert hollow == int((own["p_adjusted"] > 0.05).sum())


def test_shared_representations_are_claimed_where_the_test_allows_it_alone(study, measure):
    rows = study.shared_representations
    one = rows[rows["stimulus_set"] == "digits"].assign(p_adjusted=[0.01, 0.2, 0.05, 1.0, 0.5, 0.3])
    [sentence] = shared_in_words(one)
    assert sentence.startswith(
        "Pairs of networks that share a representation somewhere: 2 of 6 pairs on digits."
    )
    [hopeless] = shared_in_words(one.assign(p_smallest=0.2))
    assert "could not be tested" in hopeless
    assert shared_in_words(one.assign(p_adjusted=np.nan)) == []


def test_matches_that_change_with_the_stimuli_are_counted_as_unknown(best):
    firm = int((best["support"] >= 0.95).sum())
    [sentence] = support_in_words(best)
    assert sentence.startswith(
        f"For {firm} of {len(best)} layers and other networks the same layer is the best match"
    )
    assert support_in_words(best.assign(support=np.nan)) == []


def test_the_section_says_what_was_not_compared(study, measure):
    def described(**changed):
        content = make_content(study.tables | changed, {}, parameters={}, measure=measure, delta=0.99)
        [section] = [s for s in describe_all(content) if s.anchor == "layer_similarity"]
        return section

    def notes(**changed):
        return described(**changed).notes

    assert notes() == []
    assert described().left_out == [
        "Layers of 4 of 16 networks are compared: cnn_simclr_s0, cnn_supervised_s0, cnn_untrained_s0 and"
        " resnet_supervised_s0 (layer_similarity.models and .max_models choose them)."
    ]
    assert notes(layer_similarities=None) == []
    assert described(layer_similarities=None).left_out == [
        "This run compared no layers (layer_similarity.models)."
    ]
    other = study.layer_similarities.assign(measure="procrustes")
    assert notes(layer_similarities=other) == [
        f"The table layer_similarities has no rows of the measure {measure}; it has procrustes."
    ]
    assert "no rows of the table best_layer_match" in notes(best_layer_match=None)[0]
