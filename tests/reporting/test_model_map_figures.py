"""Maps show places and clusters as the tables have them; chosen networks are shown by medians and draws."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from rep_kedro.datasets.figure import render_svg
from rep_kedro.reporting.model_maps.clusters import choose_clusters
from rep_kedro.reporting.model_maps.figures import MARKERS, plot_model_maps
from rep_kedro.reporting.selection.figures import STRATEGIES, plot_model_selection
from rep_kedro.reporting.style import OBJECTIVE_COLOURS


def text_of(figure):
    return "\n".join(text.get_text() for text in figure.findobj(mpl.text.Text))


def panels_of(figure):
    return [axes for axes in figure.axes if axes.axison]


def points_of(axes):
    """Return the drawn positions, sorted; lines without marks are rays."""
    lines = [line for line in axes.lines if line.get_linestyle() == "None"]
    return np.array(sorted((x, y) for line in lines for x, y in line.get_xydata()))


@pytest.fixture
def tables(study, measure):
    return {
        name: study.tables[name][study.tables[name]["measure"] == measure]
        for name in ("model_positions", "model_clusters", "model_selection")
    }


@pytest.fixture
def draw_maps(tables, study, measure):
    def draw(method=None, **changed):
        """Draw with some tables changed, or only one method's row of maps."""
        given = {name: changed.get(name, tables[name]) for name in ("model_positions", "model_clusters")}
        if method is not None:
            given["model_positions"] = given["model_positions"].query("method == @method")
        cards = changed.get("model_cards", study.model_cards)
        return plot_model_maps(**given, model_cards=cards, measure=measure)

    return draw


def test_every_network_stands_where_the_table_says(figures, tables):
    panels = panels_of(figures["model_maps"])
    sets = ["mean", "digits", "photograph_patches", "shapes"]
    places = [(method, name) for method in ("tsne", "mds") for name in sets]
    assert len(panels) == len(places)
    for panel, (method, name) in zip(panels, places, strict=True):
        rows = (
            tables["model_positions"].query("method == @method and stimulus_set == @name").dropna(subset="x")
        )
        np.testing.assert_allclose(points_of(panel), sorted(rows[["x", "y"]].to_numpy().tolist()))
        title = panel.get_title(loc="left")
        assert title.startswith("mean over" if name == "mean" else name)
        assert title.endswith(f"n = {len(rows)}")
        assert ("divergence 0.21 nat" if method == "tsne" else "stress 0.15") in title


def test_colour_is_the_objective_and_marker_the_architecture(figures, study, tables):
    panel = panels_of(figures["model_maps"])[0]
    rows = tables["model_positions"].query("method == 'tsne' and stimulus_set == 'mean'").set_index("model")
    cards = study.model_cards.set_index("model")
    expected = {
        (round(row.x, 6), round(row.y, 6)): (cards.objective[model], cards.architecture[model])
        for model, row in rows.iterrows()
    }
    markers = dict(zip(sorted(set(cards.architecture)), MARKERS, strict=False))
    for line in (line for line in panel.lines if line.get_linestyle() == "None"):
        for x, y in line.get_xydata():
            objective, architecture = expected[round(x, 6), round(y, 6)]
            assert to_hex(line.get_color()) == OBJECTIVE_COLOURS[objective]
            assert line.get_marker() == markers[architecture]


def test_the_networks_of_a_cluster_are_joined_to_its_number_in_their_middle(draw_maps, tables):
    clusters = tables["model_clusters"].assign(silhouette=lambda t: np.where(t["n_clusters"] == 4, 0.9, 0.3))
    panel = panels_of(draw_maps("tsne", model_clusters=clusters))[0]
    rows = tables["model_positions"].query("method == 'tsne' and stimulus_set == 'mean'").set_index("model")
    own = clusters.query("n_clusters == 4 and stimulus_set == 'mean'")
    numbers = {text.get_text(): text.xy for text in panel.texts}
    assert set(numbers) == {"1", "2", "3", "4"}
    for number, middle in numbers.items():
        members = own[own["cluster"] == int(number) - 1]["model"]
        np.testing.assert_allclose(middle, rows.loc[members, ["x", "y"]].to_numpy().mean(0))
    rays = [ray for drawn in panel.collections for ray in drawn.get_segments()]
    assert len(rays) == 16


def test_the_number_of_clusters_with_the_highest_silhouette_is_drawn(draw_maps, tables):
    for best in (2, 3):
        clusters = tables["model_clusters"].assign(
            silhouette=lambda t, best=best: np.where(t["n_clusters"] == best, 0.9, 0.3)
        )
        figure = draw_maps("tsne", model_clusters=clusters)
        assert f"one of {best} clusters" in text_of(figure)
        assert len(panels_of(figure)[0].texts) == best


def test_clusters_of_one_network_do_not_make_a_number_of_clusters_better(tables):
    clusters = tables["model_clusters"].assign(
        silhouette=lambda t: np.where(
            t["n_clusters"] == 2, 0.5, np.where(t["cluster"].fillna(0) == 0, 0.6, np.nan)
        )
    )
    chosen = choose_clusters(clusters)
    assert set(chosen["n_clusters"]) == {2}
    assert set(chosen["stimulus_set"]) == set(clusters["stimulus_set"])
    assert len(choose_clusters(clusters.assign(silhouette=np.nan))) == 0


def test_a_network_alone_in_its_cluster_stays_visible(draw_maps, tables):
    clusters = (
        tables["model_clusters"]
        .query("n_clusters == 2")
        .assign(cluster=lambda t: (t["model"] == "cnn_simclr_s0").astype("Int64"))
    )
    panel = panels_of(draw_maps("tsne", model_clusters=clusters))[0]
    rows = tables["model_positions"].query("method == 'tsne' and stimulus_set == 'mean'").set_index("model")
    [number] = [text for text in panel.texts if text.get_text() == "2"]
    assert np.linalg.norm(np.array(number.xy) - rows.loc["cnn_simclr_s0", ["x", "y"]].to_numpy(float)) > 0.5
    low, high = panel.get_xlim()
    assert low < number.xy[0] < high


def test_scaling_has_one_scale_in_all_panels_and_t_sne_none(figures):
    panels = panels_of(figures["model_maps"])
    assert all(not len(panel.get_xticks()) for panel in panels[:4])
    widths = [np.ptp(panel.get_xlim()) for panel in panels[4:]]
    np.testing.assert_allclose(widths, widths[0])


def test_one_stimulus_set_is_drawn_once(draw_maps, tables):
    one = tables["model_positions"].query("stimulus_set in ('mean', 'digits')")
    titles = [panel.get_title(loc="left") for panel in panels_of(draw_maps(model_positions=one))]
    assert [title.splitlines()[0] for title in titles] == ["digits", "digits"]


def test_one_method_fills_one_row_and_no_clusters_leave_no_lines(draw_maps, tables):
    figure = draw_maps(
        model_positions=tables["model_positions"].query("method == 'mds'"),
        model_clusters=tables["model_clusters"].iloc[:0],
    )
    assert len(panels_of(figure)) == 4
    assert "clusters" not in text_of(figure)


def test_rare_architectures_share_a_marker(draw_maps, study):
    many = study.model_cards.assign(architecture=[f"kind_{index:02d}" for index in range(16)])
    text = text_of(draw_maps("mds", model_cards=many))
    assert ", ".join(f"kind_{index:02d}" for index in range(len(MARKERS), 16)) in text
    assert text.count("kind_") == 16


def test_without_places_the_figure_says_why(draw_maps, tables):
    few = tables["model_positions"].assign(x=np.nan, y=np.nan, reason="2 networks; a map needs 3")
    assert "2 networks; a map needs 3" in text_of(draw_maps(model_positions=few))
    assert "Nothing to draw" in text_of(draw_maps(model_positions=few.iloc[:0]))


def test_identical_positions_are_drawn(draw_maps, tables):
    same = tables["model_positions"].assign(x=0.5, y=0.5)
    assert len(panels_of(draw_maps(model_positions=same))) == 8


def test_marks_are_medians_and_lines_reach_from_the_worst_to_the_best_draw(tables, measure):
    rows = tables["model_selection"]
    panel = panels_of(plot_model_selection(rows, measure=measure))[0]
    own = rows.query("stimulus_set == 'digits' and strategy == 'random'").groupby("n_models")
    for column, filled in (("ensemble_accuracy", True), ("best_accuracy", False)):
        colour = STRATEGIES["random"][1]
        [line] = [
            line
            for line in panel.lines
            if line.get_marker() == "X" and (to_hex(line.get_markerfacecolor()) == colour) == filled
        ]
        np.testing.assert_allclose(line.get_ydata(), own[column].median())
        ends = [
            sorted(segment[:, 1])
            for drawn in panel.collections
            for segment in drawn.get_segments()
            if abs(segment[0, 0] - line.get_xdata()[0]) < 1e-9
        ]
        np.testing.assert_allclose(ends, [[own[column].min()[3], own[column].max()[3]]])


def test_gains_are_over_the_similarity_within_a_set(tables, measure):
    rows = tables["model_selection"].query("stimulus_set == 'digits'")
    figure = plot_model_selection(rows, measure=measure)
    panel = panels_of(figure)[1]
    drawn = rows.dropna(subset="ensemble_accuracy")
    gains = 100 * (drawn["ensemble_accuracy"] - drawn["best_accuracy"])
    expected = sorted(zip(drawn["mean_similarity"], gains, strict=True))
    np.testing.assert_allclose(points_of(panel), expected)
    assert measure in text_of(figure)


def test_strategies_that_found_no_set_are_left_out_of_the_legend(tables, measure):
    rows = tables["model_selection"].query("n_models == 4")
    text = text_of(plot_model_selection(rows, measure=measure))
    assert "within one cluster" not in text
    assert "best of each cluster" in text


def test_without_judged_sets_the_figure_says_why(tables, measure):
    empty = tables["model_selection"].assign(ensemble_accuracy=np.nan, reason="no probabilities are stored")
    assert "no probabilities are stored" in text_of(plot_model_selection(empty, measure=measure))
    assert "Nothing to draw" in text_of(plot_model_selection(empty.iloc[:0], measure=measure))


@pytest.mark.slow
def test_figures_of_many_sets_and_networks_stay_small(study, measure):
    rng = np.random.default_rng(0)
    cards = pd.concat([study.model_cards.assign(model=lambda t, i=i: f"n{i}_" + t.model) for i in range(4)])
    positions = pd.DataFrame(
        [
            {"stimulus_set": s, "measure": measure, "method": method, "model": model, "x": x, "y": y,
             "stress": 0.2, "divergence": 0.3, "reason": ""}
            for s in ("mean", *(f"set_{i:02d}" for i in range(23)))
            for method in ("tsne", "mds")
            for model, (x, y) in zip(cards["model"], rng.normal(size=(64, 2)), strict=True)
        ]
    )  # fmt: skip
    clusters = positions.query("method == 'mds'").assign(
        n_clusters=4, cluster=lambda t: np.arange(len(t)) % 4, silhouette=0.1
    )
    figure = plot_model_maps(positions, clusters, cards, measure=measure)
    assert len(panels_of(figure)) == 8
    assert len(render_svg(figure)) < 400_000
