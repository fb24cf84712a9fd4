"""Figures of many networks, kinds and sets: a screen holds them, nothing collides, legends are true."""

from itertools import combinations, combinations_with_replacement, pairwise

import numpy as np
import pandas as pd
import pytest

from rep_kedro.reporting.certainty.figures import plot_noise_ceiling
from rep_kedro.reporting.consistency.figures import plot_consistency
from rep_kedro.reporting.consistency.set_pairs import plot_set_pairs
from rep_kedro.reporting.layers.figures import plot_saturation
from rep_kedro.reporting.similarity.figures import plot_similarity_maps, plot_similarity_positions
from rep_kedro.reporting.style import MUTED, OBJECTIVE_COLOURS, SCREEN_IN

CARDS = pd.DataFrame({"stimulus_set": [], "group": []})


def consistency_of(architectures, sets, measure):
    rng = np.random.default_rng(1)
    kinds = [("objective", "simclr", "simclr"), ("objective", "simclr", "supervised"), ("all", "all", "all")]
    kinds += [("architecture", a, b) for a, b in combinations_with_replacement(architectures, 2)]
    rows = [
        {
            "measure": measure, "anchor": "", "category": category, "value_a": a, "value_b": b,
            "stimulus_set_a": one, "stimulus_set_b": other, "n_pairs": 9, "pearson": rng.uniform(-0.3, 0.9),
            "pearson_low": -0.4, "pearson_high": 0.95,
        }
        for category, a, b in kinds
        for one, other in combinations(sets, 2)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def boxes_of(texts, figure):
    renderer = figure._get_renderer()
    return [text.get_window_extent(renderer) for text in texts if text.get_text()]


@pytest.fixture(scope="module")
def many(measure):
    sets = [f"a_long_set_{index}" for index in range(8)]
    return consistency_of([f"kind_{index:02d}" for index in range(9)], sets, measure)


def test_of_many_kinds_of_pairs_the_ends_are_drawn_and_counted(many, study, measure):
    figure = plot_consistency(many, study.model_cards, measure=measure)
    assert figure.get_figheight() <= SCREEN_IN
    assert figure.axes[1].get_title(loc="left").endswith("(highest and lowest 6 of 45)")
    assert len(figure.axes[1].get_yticklabels()) == 12


def test_the_colour_of_an_objective_is_no_architectures(many, study, measure):
    figure = plot_consistency(many, study.model_cards, measure=measure)
    by_objective, by_architecture = (
        {patch.get_facecolor() for patch in panel.patches if patch.get_zorder() == 3} for panel in figure.axes
    )
    from matplotlib.colors import to_rgba

    assert {to_rgba(OBJECTIVE_COLOURS[name]) for name in ("simclr", "supervised")} == by_objective
    assert by_architecture == {to_rgba(MUTED)}


@pytest.mark.parametrize("n_sets", [2, 5, 8, 9, 14])
def test_values_in_cells_never_touch(n_sets, measure):
    table = consistency_of(["x"], [f"set_{index}" for index in range(n_sets)], measure)
    figure = plot_set_pairs(table, CARDS, measure=measure)
    for panel in figure.axes[:-1]:
        boxes = boxes_of(panel.texts, figure)
        assert len(boxes) in (n_sets * (n_sets - 1), 0)
        assert len(boxes) > 0 or n_sets > 8
        assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))


@pytest.mark.parametrize("n_models", [2, 16, 34, 200])
def test_maps_of_any_number_of_networks_fit_a_screen_and_their_names_do_not_touch(n_models, measure):
    rng = np.random.default_rng(2)
    names = [f"a_network_with_a_name_{index}" for index in range(n_models)]
    cards = pd.DataFrame({"model": names, "objective": "supervised", "architecture": "cnn"})
    values = rng.uniform(size=(n_models, n_models))
    frame = pd.DataFrame((values + values.T) / 2, index=names, columns=names)
    figure = plot_similarity_maps({f"set_{index}": frame for index in range(8)}, cards, measure=measure)
    assert figure.get_figheight() <= SCREEN_IN
    labels = figure.axes[0].get_yticklabels()
    assert len(labels) == (n_models if n_models <= 34 else 0)
    boxes = sorted(boxes_of(labels, figure), key=lambda box: box.y0)
    overlaps = [a.y1 - b.y0 for a, b in pairwise(boxes)]
    assert all(overlap < 0.3 * boxes[0].height for overlap in overlaps)  # boxes have room for accents


def test_the_legend_of_positions_names_the_architectures_that_have_a_point(study, measure):
    names = sorted(study.model_cards["model"])
    cards = study.model_cards.assign(architecture=[f"kind {index:02d}" for index in range(len(names))])
    drawn = list(cards["model"][:5])
    placed = study.model_positions[study.model_positions["model"].isin(drawn)]
    figure = plot_similarity_positions(placed, cards, measure=measure)
    words = " ".join(text.get_text() for text in figure.legends[0].get_texts()).replace("\n", " ")
    assert all(f"kind {index:02d}" in words for index in range(5))
    assert words.count("kind") == 5


def test_saturation_has_panels_of_kinds_that_exist_alone(study):
    kept = study.model_cards[
        ~((study.model_cards["architecture"] == "cnn") & (study.model_cards["objective"] == "vicreg"))
    ]
    rows = study.layer_diagnostics[study.layer_diagnostics["model"].isin(kept["model"])]
    figure = plot_saturation(
        rows, study.probe_results, study.receptive_fields, kept, stimulus_set="digits", delta=0.99
    )
    panels = [axes for axes in figure.axes if axes.axison]
    assert len(panels) == 7
    assert all(panel.lines for panel in panels)


def test_noise_ceilings_of_many_kinds_and_sets_fit_a_screen(study, measure):
    first = study.noise_ceilings.query("measure == @measure").iloc[0]
    rows = [
        {**first, "architecture": f"kind {kind:02d}", "stimulus_set": f"set {place}"}
        for kind in range(30)
        for place in range(8)
    ]
    figure = plot_noise_ceiling(
        pd.DataFrame(rows), study.similarity_inference.iloc[:0], study.model_cards, measure=measure
    )
    assert figure.get_figheight() <= SCREEN_IN
    assert figure.get_suptitle().endswith("(24 of 30 kinds) (3 of 8 stimulus sets)")
