"""Kedro-Viz on a finished run: a graph that is readable, panels that show what was made."""

import json
import re

import pytest
from tests.browser.conftest import fetch

from rep_kedro.pipelines import PIPELINES, SIMILARITY_PARTS

ALL_PIPELINES = [*PIPELINES, *SIMILARITY_PARTS]
LAYERS = ["stimuli", "networks", "features", "results", "report"]
WITHOUT_CONTENT = {"earlier_similarities", "earlier_consistency"}  # no revision was named
EMPTY = {  # the small study has none
    *("missing_members", "dissimilarities", "layer_probes", "layer_probe_results", "stitch_reports"),
    "stitch_paths",
}
WITHOUT_PREVIEW = {"report"}  # a page of its own
HIDE_TOUR = "localStorage.setItem('KedroViz', JSON.stringify({showFeatureHints: false}))"

pytestmark = pytest.mark.browser


def ask(viz, path):
    return json.loads(fetch(f"{viz.url}/api/{path}"))


@pytest.fixture
def graph(viz, open_page):
    opened = open_page()
    opened.page.add_init_script(HIDE_TOUR)
    opened.page.goto(viz.url)
    opened.page.locator(".pipeline-node").first.wait_for()
    yield opened.page
    assert opened.complaints == []
    assert all("fonts.g" in url for url in opened.asked), "only fonts are asked of the network"


def select(page, name, kind="data"):
    """Click a node of the graph; return its panel."""
    page.locator(f'.pipeline-node--{kind}[data-node-fullname="{name}"]').dispatch_event("click")
    panel = page.locator(".pipeline-metadata")
    panel.get_by_role("heading", name=name, exact=True).wait_for()
    return panel


def test_the_server_says_nothing_to_worry_about(viz):
    assert not re.findall(r"(?i)warn.*|error.*|traceback.*|deprecat.*", viz.log.read_text())


def test_the_whole_graph_is_drawn_in_layers_and_is_not_too_large(graph, viz):
    nodes = ask(viz, "main")["nodes"]
    drawn = [node for node in nodes if node["type"] != "parameters"]
    assert graph.locator(".pipeline-node").count() == len(drawn)
    assert 70 < len(drawn) < 100
    assert graph.locator(".pipeline-layer-name").all_inner_texts() == LAYERS
    tops = [label.bounding_box()["y"] for label in graph.locator(".pipeline-layer-name").all()]
    assert tops == sorted(tops)
    assert graph.get_by_text("chonky").count() == 0


def test_every_dataset_has_a_layer(viz):
    layers = {node["name"]: node["layer"] for node in ask(viz, "main")["nodes"] if node["type"] == "data"}
    assert {name for name, layer in layers.items() if layer not in LAYERS} == set()


def test_each_pipeline_can_be_chosen(graph, viz):
    whole = graph.locator(".pipeline-node").count()
    for name in ALL_PIPELINES:
        graph.locator(".pipeline-list .dropdown__label").click()
        offered = graph.locator(".pipeline-list .menu-option__content").all_text_contents()
        assert offered == [*ALL_PIPELINES, "__default__"]
        graph.locator(".pipeline-list .menu-option__content", has_text=re.compile(f"^{name}$")).click()
        of_pipeline = {
            node["id"] for node in ask(viz, f"pipelines/{name}")["nodes"] if node["type"] == "task"
        }
        graph.wait_for_function(
            "ids => JSON.stringify([...document.querySelectorAll('.pipeline-node--task')]"
            ".map(node => node.dataset.id).sort()) === JSON.stringify(ids)",
            arg=sorted(of_pipeline),
        )
        assert 2 < graph.locator(".pipeline-node").count() < whole


def test_every_dataset_is_previewed(viz):
    for node in ask(viz, "main")["nodes"]:
        if node["type"] == "data" and node["name"] not in WITHOUT_CONTENT | WITHOUT_PREVIEW:
            preview = ask(viz, f"nodes/{node['id']}").get("preview")
            assert preview, node["name"]
            is_empty = isinstance(preview, dict) and not preview["data"]
            assert is_empty == (node["name"] in EMPTY), node["name"]


def test_a_table_shows_its_first_rows(graph):
    table = select(graph, "similarities").locator(".preview-table")
    table.locator("td", has_text="cka_linear_debiased").first.wait_for()
    assert table.locator("th").all_inner_texts()[:4] == ["stimulus_set", "measure", "model_a", "model_b"]
    assert 5 < table.locator("tr").count() <= 21


def test_a_collection_shows_its_members(graph):
    table = select(graph, "networks").locator(".preview-table")
    table.locator("td", has_text="cnn_supervised_s0").first.wait_for()
    assert table.locator("th").all_inner_texts()[:4] == ["member", "architecture", "objective", "seed"]


def test_similarity_matrices_are_heat_maps_to_choose_among(graph, viz):
    panel = select(graph, "similarity_matrices")
    panel.get_by_text("Expand preview").click()
    plot = graph.locator(".pipeline-metadata-modal .js-plotly-plot")
    plot.locator(".heatmaplayer image").wait_for()
    before = plot.locator(".heatmaplayer image").get_attribute("href")
    assert before.startswith("data:image/png")
    names = ["cnn_simclr_s0", "cnn_supervised_s0", "cnn_supervised_s1", "cnn_untrained_s0"]
    assert sorted(plot.locator(".ytick text").all_text_contents()) == names
    assert (
        plot.locator(".updatemenu-header .updatemenu-item-text").text_content()
        == "digits/cka_linear_debiased"
    )
    plot.locator(".updatemenu-header").click()
    plot.locator(".updatemenu-dropdown-button", has_text="shapes/cka_linear_debiased").click()
    graph.wait_for_function(
        "before => document.querySelector('.pipeline-metadata-modal .heatmaplayer image')"
        ".getAttribute('href') !== before",
        arg=before,
    )


def test_a_figure_shows(graph):
    panel = select(graph, "figures")
    image = panel.locator(".html-renderer img").first
    image.wait_for()
    assert image.evaluate("image => image.complete && image.naturalWidth") > 100
    panel.get_by_text("Expand preview").click()
    large = graph.locator(".pipeline-metadata-modal img").first
    large.wait_for()
    box = large.bounding_box()
    assert box["width"] > 600
    assert box["height"] > 200


def test_parameters_can_be_read(graph, viz):
    node = next(node for node in ask(viz, "main")["nodes"] if node["name"] == "params:training")
    graph.goto(f"{viz.url}/?pid=__default__&sid={node['id']}")
    panel = graph.locator(".pipeline-metadata")
    panel.locator(".object-key-val", has_text="training").last.locator(".icon-container").first.click()
    assert '"grids"' in panel.inner_text()
    assert '"device":"cpu"' in panel.inner_text().replace("\n", "")


def test_nodes_are_coloured_by_where_they_run(graph):
    fills = {
        graph.locator(f'.pipeline-node--task[data-node-fullname="{name}"] rect.pipeline-node__bg').evaluate(
            "rect => getComputedStyle(rect).fill"
        )
        for name in ("networks", "features", "spectra", "similarity_matrices", "stitches")
    }
    other = graph.locator(
        '.pipeline-node--task[data-node-fullname="report"] rect.pipeline-node__bg'
    ).evaluate("rect => getComputedStyle(rect).fill")
    assert len(fills) == 1
    assert other not in fills


def test_the_last_run_is_shown_as_a_success(graph, viz):
    graph.goto(f"{viz.url}/workflow")
    graph.get_by_text("Run execution completed successfully").wait_for()
    graph.locator(".pipeline-node--status-success").first.wait_for()
    statuses = graph.locator(".pipeline-node--task.pipeline-node--status-success").count()
    assert statuses == graph.locator(".pipeline-node--task").count() > 20
