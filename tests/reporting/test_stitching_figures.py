"""Figures of maps, CKA against function, and grids of layers."""

import matplotlib as mpl
import numpy as np
import pytest
from tests.reporting.conftest import load_synthetic_study

from rep_kedro.reporting.stitching import figures
from rep_kedro.reporting.stitching.text import maps_in_words, several_in_words
from rep_kedro.schemas.stitching import STITCHING_SUMMARY


def text_of(figure):
    return "\n".join(text.get_text() for text in figure.findobj(mpl.text.Text))


@pytest.fixture(scope="module")
def several(study):
    rng = np.random.default_rng(0)
    few = study.stitching_results[study.stitching_results["front_model"].str.endswith("_s0")]
    return load_synthetic_study().make_stitching_of_maps(few, rng, n_maps=3)


def test_each_map_has_a_line_of_means(study, several):
    figure = figures.plot_stitching_maps(several, study.model_cards, stimulus_set="digits")
    panel = next(axes for axes in figure.axes if axes.get_title(loc="left") == "CNN")
    rows = several[
        (several["front_layer"] == several["end_layer"]) & several["end_model"].str.startswith("cnn")
    ]
    drawn = [line.get_ydata() for line in panel.lines if len(line.get_ydata()) == 3]
    for name in ("ps_inv", "map_1", "map_2"):
        mean = rows[rows["map"] == name].groupby("depth")["relative_accuracy"].mean().to_numpy()
        assert any(np.allclose(line, mean) for line in drawn), name
    assert "map_2" in text_of(figure)


def test_every_stitch_has_a_mark_of_its_cka_and_cross_entropy(study, several):
    figure = figures.plot_stitching_cka(several, study.model_cards, stimulus_set=None)
    drawn = np.concatenate([marks.get_offsets() for axes in figure.axes for marks in axes.collections])
    wanted = several[["cka", "cross_entropy"]].to_numpy()
    assert sorted(map(tuple, np.asarray(drawn))) == sorted(map(tuple, wanted))


def test_cells_of_the_grid_are_means_over_pairs(study, several):
    figure = figures.plot_stitching_grid(several, study.model_cards, stimulus_set=None)
    panel = next(axes for axes in figure.axes if axes.get_title(loc="left") == "CNN → CNN: ps_inv")
    shown = np.asarray(panel.images[0].get_array())
    rows = several[several["end_model"].str.startswith("cnn") & (several["map"] == "ps_inv")]
    cell = rows[(rows["front_layer"] == "conv1") & (rows["end_layer"] == "conv2")]
    assert shown.shape == (3, 3)
    assert shown[0, 1] == pytest.approx(cell["relative_accuracy"].mean())


def test_what_was_not_done_is_said(study):
    results, cards = study.stitching_results, study.model_cards
    for draw, words in (
        (figures.plot_stitching_maps, "one map was used; stitching.maps names more"),
        (figures.plot_stitching_cka, "add cka to stitching.measures"),
        (figures.plot_stitching_grid, "see stitching.joints"),
    ):
        figure = draw(results, cards, stimulus_set="digits")
        assert words in text_of(figure).replace("\n", " ")
        assert figure.get_label()


def test_differences_from_least_squares_are_in_words():
    row = {
        "stimulus_set": "digits", "control": "none", "map": "frank", "front_layer": "a", "end_layer": "a",
        "flatten": False, "measure": "relative_accuracy", "mean": 0.9, "n": 2, "n_seeds": 1,
        "difference": 0.05, "n_differences": 2,
    }  # fmt: skip
    summary = STITCHING_SUMMARY.frame([row, {**row, "end_layer": "b", "difference": 0.03}])
    [said] = maps_in_words(summary, "digits")
    assert said.endswith("is 0.040 (frank).")
    assert not maps_in_words(summary, "shapes")


def test_networks_of_several_labels_have_a_median_of_their_own(study):
    rows = study.stitching_results.head(3).assign(relative_mean_average_precision=[0.5, 0.9, 0.8])
    words = several_in_words(rows)
    assert words.startswith("3 stitched networks predict several labels of an image: accuracies count")
    assert words.endswith("relative to the second network alone, is 0.80.")


def test_maps_of_layers_of_one_name_have_no_grid(study, several):
    is_plain = (several["map"] != "ps_inv") & (several["front_layer"] != several["end_layer"])
    figure = figures.plot_stitching_grid(several[~is_plain], study.model_cards, stimulus_set=None)
    titles = {axes.get_title(loc="left") for axes in figure.axes} - {""}
    assert titles
    assert all(title.endswith(": ps_inv") for title in titles)


def test_long_names_of_layers_and_maps_stay_apart(study, several):
    long = several.assign(map="a_map_of_some_length", **{
        name: "features." + several[name] + ".convolution" for name in ("front_layer", "end_layer")
    })  # fmt: skip
    figure = figures.plot_stitching_grid(long, study.model_cards, stimulus_set=None)
    panel = figure.axes[0]
    named = [text.get_text() for text in (*panel.get_xticklabels(), *panel.get_yticklabels())]
    assert len(set(named)) == len(named) / 2
    assert panel.get_title(loc="left").splitlines() == ["CNN → CNN:", "a_map_of_some_length"]
