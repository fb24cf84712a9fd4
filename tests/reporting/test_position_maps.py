"""Maps of probes of positions: order and values, few and many layers and networks."""

import pandas as pd
import pytest

from rep_kedro.reporting.layers.position_maps import MOST_NETWORKS, N_COLUMNS, plot_position_maps
from rep_kedro.reporting.style import SCREEN_IN


def _rows(networks, n_layers, side=2):
    return pd.DataFrame(
        {
            "stimulus_set": "digits",
            "model": network,
            "layer": f"layer{n_layers - depth}",  # names that sort the other way round
            "depth": 3 * depth,
            "row": float(i),
            "column": float(j),
            "height": side,
            "width": side,
            "test_accuracy": depth / n_layers + 0.01 * i + 0.001 * j,
        }
        for network in networks
        for depth in range(n_layers)
        for i in range(side)
        for j in range(side)
    )


def _maps(figure):
    return [axes for axes in figure.axes if axes.images]


def test_each_layer_has_a_map_in_order_on_one_scale():
    rows = _rows(["net"], 3).sample(frac=1, random_state=0)
    pooled = rows.head(1).assign(row=None, column=None, test_accuracy=1.0)
    maps = _maps(plot_position_maps(pd.concat([rows, pooled]), stimulus_set=None))
    assert [axes.get_title(loc="left").splitlines()[0] for axes in maps] == ["layer3", "layer2", "layer1"]
    assert maps[1].get_title(loc="left").endswith("2 × 2, mean 34 %")
    values = [axes.images[0].get_array() for axes in maps]
    assert values[1].ravel().tolist() == pytest.approx([1 / 3 + step for step in (0, 0.001, 0.01, 0.011)])
    shown = [value for of_layer in values for value in of_layer.ravel().tolist()]
    assert {axes.images[0].get_clim() for axes in maps} == {(min(shown), max(shown))}


def test_many_networks_and_layers_fit_a_screen_and_the_title_says_what_is_left_out():
    figure = plot_position_maps(_rows([f"net{k}" for k in range(5)], 40), stimulus_set="other")
    assert figure.get_figheight() <= SCREEN_IN
    assert len(_maps(figure)) == MOST_NETWORKS * 2 * N_COLUMNS
    assert figure.get_suptitle().endswith("(3 of 5 networks, 16 of up to 40 layers)")
    first = [axes.get_title(loc="left").splitlines()[0] for axes in _maps(figure)][: 2 * N_COLUMNS]
    assert (first[0], first[-1]) == ("layer40", "layer1")


def test_without_probes_of_positions_the_figure_says_how_to_get_them():
    figure = plot_position_maps(_rows(["net"], 1).assign(row=None), stimulus_set=None)
    assert "probing.layer_probes.positions" in figure.get_label()
