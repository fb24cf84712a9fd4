"""Attentive probes and signs of a collapse in the report: marks, words, and few or many networks."""

import numpy as np
import pandas as pd
import pytest

from rep_kedro.reporting.layers.projections import plot_projections
from rep_kedro.reporting.networks.collapse import first_alarms, plot_collapse
from rep_kedro.reporting.networks.figures import plot_training
from rep_kedro.reporting.networks.text import alarms_in_words
from rep_kedro.reporting.readout.map_probes import MOST_NETWORKS, plot_map_probes, readouts_in_order
from rep_kedro.reporting.readout.text import attentive_in_words
from rep_kedro.reporting.style import SCREEN_IN

READOUTS = {"1x1": 0.3, "4x4": 0.4, "attentive": 0.6}


def _maps(n_networks=1, n_layers=3, **accuracies):
    rows = [
        {
            **{"stimulus_set": "digits", "model": f"net_{m}", "layer": f"layer{9 - d}", "depth": 2 * d},
            **{"readout": readout, "row": None, "n_classes": 10, "n_features": 4, "test_accuracy": value},
            **{"test_low": value - 0.05, "test_high": value + 0.05},
        }
        for m in range(n_networks)
        for d in range(n_layers)
        for readout, value in (READOUTS | accuracies).items()
    ]
    return pd.DataFrame(rows)


def _words(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_each_readout_of_whole_maps_is_a_line_over_the_layers():
    maps = _maps()
    position = maps.head(1).assign(row=1.0, readout="1,1", test_accuracy=1.0)
    shuffled = pd.concat([maps.sample(frac=1, random_state=0), position])
    figure = plot_map_probes(shuffled, stimulus_set=None)
    (panel,) = figure.axes
    lines = [line for line in panel.lines if line.get_marker() == "o"]
    assert [list(line.get_ydata()) for line in lines] == [[0.6] * 3, [0.3] * 3, [0.4] * 3]
    assert [text.get_text() for text in panel.get_xticklabels()] == ["layer9", "layer8", "layer7"]
    assert _words(figure) == ["attentive", "averaged to 1 × 1", "averaged to 4 × 4", "chance"]
    assert readouts_in_order(pd.DataFrame({"readout": ["10x10", "attentive", "2x2"]})) == [
        *("attentive", "2x2", "10x10")
    ]
    assert "probing.layer_probes" in plot_map_probes(position, stimulus_set=None).get_label()


@pytest.mark.parametrize(("n_networks", "n_layers"), [(1, 1), (40, 20)])
def test_any_number_of_networks_and_layers_of_map_probes_can_be_drawn(n_networks, n_layers):
    figure = plot_map_probes(_maps(n_networks, n_layers), stimulus_set="digits")
    assert len([axes for axes in figure.axes if axes.lines]) == min(n_networks, MOST_NETWORKS)
    assert figure.get_figheight() <= SCREEN_IN + 0.1


def test_words_count_where_attention_and_averages_are_apart():
    (sentence,) = attentive_in_words(_maps(2, 2))
    assert sentence.startswith("4 layers were read by attention. Of 4 that were also averaged")
    assert "reads more in 4 and less in 0" in sentence
    (near,) = attentive_in_words(_maps(attentive=0.42))
    assert "in 3 the 95 % intervals overlap" in near
    (alone,) = attentive_in_words(_maps(1, 1)[lambda rows: rows["readout"] == "attentive"])
    assert alone.startswith("1 layer was read by attention; none of them")
    assert attentive_in_words(_maps()[lambda rows: rows["readout"] != "attentive"]) == []


def _history(n_networks, collapsed=(), *, is_watched=True):
    rows = []
    for m in range(n_networks):
        for epoch in range(1, 5):
            alarm = float(m in collapsed and epoch >= 3)
            values = {"loss": 1 / epoch}
            if is_watched:
                values |= {"queue_representation_rankme": 20 - 18 * alarm, "queue_representation_std": 0.5}
                values |= {"queue_representation_dead": 0.8 * alarm, "collapse_alarm": alarm}
            about = {"model": f"net_{m}", "architecture": "cnn", "objective": "dino", "epoch": epoch}
            rows += [{**about, "metric": name, "value": value} for name, value in values.items()]
    cards = pd.DataFrame({"model": [f"net_{m}" for m in range(n_networks)], "objective": "dino"})
    return pd.DataFrame(rows), cards.assign(architecture="cnn")


def test_alarms_are_crosses_on_every_sign_and_a_sentence():
    history, cards = _history(3, collapsed=[1])
    figure = plot_collapse(history, cards)
    assert [panel.get_title(loc="left") for panel in figure.axes if panel.lines] == [
        *("representation: RankMe", "representation: std", "representation: dead (%)")
    ]
    for panel, value in zip(figure.axes, (2, 0.5, 0.8), strict=False):
        (crosses,) = (line for line in panel.lines if line.get_marker() == "x")
        assert list(crosses.get_xdata()) == [3, 4]
        np.testing.assert_allclose(crosses.get_ydata(), value)
        assert len(panel.lines) == 3 + 1
    assert _words(figure) == ["DINO", "alarm (1 of 3 networks)"]
    assert first_alarms(history) == {"net_1": 3}
    assert alarms_in_words(history) == [
        "The monitor raised an alarm in 1 of 3 trainings watched for a collapse: net_1 (epoch 3)."
    ]
    assert alarms_in_words(_history(2)[0]) == [
        "The monitor raised no alarm in any of 2 trainings watched for a collapse."
    ]


def test_without_the_monitor_nothing_is_said_and_the_figure_says_how_to_watch():
    history, cards = _history(2, is_watched=False)
    assert "monitors: {collapse: {}}" in plot_collapse(history, cards).get_label()
    assert alarms_in_words(history) == []


def test_signs_of_a_collapse_do_not_crowd_the_curves_of_training_unless_they_are_asked_for():
    history, cards = _history(60, collapsed=[0])
    assert plot_collapse(history, cards).axes
    assert len([panel for panel in plot_training(history, cards).axes if panel.lines]) == 1
    asked = plot_training(history, cards, metrics=["queue_representation_std", "loss"])
    assert len([panel for panel in asked.axes if panel.lines]) == 2


def _projections(n_networks, n_layers=3):
    rows = [
        {
            **{"stimulus_set": "digits", "model": f"network_{k:02}", "layer": layer, "directions": kind},
            **{"delta": delta, "rule": "reach", "dimension": kept, "n_channels": 16},
            **{"relative_accuracy": value, "relative_low": value - 0.02, "relative_high": value + 0.01},
        }
        for k in range(n_networks)
        for kind in ("random", "leading")
        for place, layer in enumerate(["*", *(f"conv{i}" for i in range(n_layers))])
        for delta, kept in ((0.9, 4 + place), (0.99, 9 + place))
        for value in [(0.2 if kind == "random" else 0.7 + 0.02 * place) * delta]
    ]
    return pd.DataFrame(rows)


def test_projections_are_drawn_by_the_share_that_is_kept_with_whiskers():
    rows = _projections(1)
    figure = plot_projections(rows.sample(frac=1, random_state=0), stimulus_set=None)
    panel = figure.axes[0]
    joined = [line for line in panel.lines if line.get_marker() == "D"]
    assert [line.get_xdata().tolist() for line in joined] == [[4 / 16, 9 / 16]] * 2  # in order, by kind
    assert joined[0].get_ydata().tolist() == pytest.approx([0.63, 0.693])
    whiskers = {tuple(ends) for lines in panel.collections for ends in _ends(lines)}
    assert len(whiskers) == len(set(zip(rows.dimension, rows.relative_low, strict=True)))
    assert {(x, low) for x, low, _ in whiskers} == {
        (row.dimension / 16, round(row.relative_low, 9)) for row in rows.itertuples()
    }


def _ends(lines):
    return [(one[0][0], round(one[0][1], 9), round(one[1][1], 9)) for one in lines.get_segments()]


@pytest.mark.parametrize("n_networks", [1, 40])
def test_any_number_of_networks_with_projections_fits_a_screen(n_networks):
    figure = plot_projections(_projections(n_networks), stimulus_set="digits")
    assert figure.get_figheight() <= SCREEN_IN
    assert figure.get_suptitle().endswith("12 of 40 networks)" if n_networks == 40 else "need?")


def test_without_projections_the_figure_says_how_to_get_them():
    empty = _projections(1).assign(relative_accuracy=None)
    assert "diagnostics.projections" in plot_projections(empty, stimulus_set=None).get_label()
