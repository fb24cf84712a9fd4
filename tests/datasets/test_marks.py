"""What a figure's marks are travels in its drawing: at the places where they are drawn, each text once."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from rep_kedro.datasets.figure import render_svg
from rep_kedro.datasets.marks import describe_map, describe_points, marks_in

X, Y = [0.1, 0.5, 0.9, 0.3], [3.0, 1.0, 2.0, 1.5]
HOSTILE = "</metadata><script>alert(1)</script> & \"]}'"


@pytest.fixture
def axes():
    figure = Figure(figsize=(4, 3), dpi=160)
    axes = figure.subplots()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 4)
    return axes


def content_of(axes):
    return json.loads(marks_in(render_svg(axes.figure)))


def test_points_are_at_the_places_where_the_drawing_has_them(axes):
    axes.plot(X, Y, linestyle="none", marker="o")
    describe_points(axes, X, Y, {"network": list("abcd")})
    svg = render_svg(axes.figure)
    line = re.search(r"<g clip-path[^>]*>\s*((?:<use [^>]*>\s*){4})</g>", svg)[1]
    drawn = re.findall(r' x="([\d.]+)" y="([\d.]+)"', line)
    [group] = json.loads(marks_in(svg))["groups"]
    assert np.column_stack([group["x"], group["y"]]) == pytest.approx(np.array(drawn, dtype=float), abs=0.51)
    left, top, right, bottom = group["box"]
    assert all(left < x < right for x in group["x"])
    assert all(top < y < bottom for y in group["y"])


def test_values_are_short_texts_are_kept_once_and_the_undefined_is_null(axes):
    columns = {
        "network": ["a", "b", "a", "b"],
        "value": [1 / 3, np.nan, 2, -1e-9],
        "n": np.array([7, 8, 9, 10**6]),
    }
    describe_points(axes, X, Y, columns, along="y", stimulus_set="digits")
    content = content_of(axes)
    [group] = content["groups"]
    assert content["texts"] == ["a", "b"]
    assert group["columns"] == {
        "network": [0, 1, 0, 1],
        "value": [0.3333, None, 2, -1e-9],
        "n": [7, 8, 9, 10**6],
    }
    assert (group["coded"], group["fixed"], group["along"]) == (["network"], {"stimulus set": "digits"}, "y")


def test_a_map_whose_halves_differ_has_all_of_its_cells(axes):
    frame = pd.DataFrame([[1, 2], [3, 4]], index=list("ab"), columns=list("ab"))
    describe_map(axes, frame, "similarity")
    assert content_of(axes)["groups"][0]["values"] == [[1, 2], [3, 4]]


def test_a_map_has_the_half_of_its_cells_from_the_diagonal_on(axes):
    frame = pd.DataFrame([[1, 2, 3], [2, 4, 5], [3, 5, np.nan]], index=list("abc"), columns=list("abc"))
    describe_map(axes, frame, "similarity", start=-0.5, measure="cka")
    axes.set_xlim(-0.5, 2.5)
    axes.set_ylim(2.5, -0.5)
    [group] = content_of(axes)["groups"]
    assert group["values"] == [[1, 2, 3], [4, 5], [None]]
    assert (group["order"], group["names"], group["value"]) == (
        [0, 1, 2],
        ["network", "other network"],
        "similarity",
    )
    box = axes.get_window_extent()
    width, height = (4 * 72, 3 * 72)
    expected = [box.x0, axes.figure.bbox.height - box.y1, box.x1, axes.figure.bbox.height - box.y0]
    assert group["box"] == pytest.approx(np.array(expected) * 72 / 160, abs=0.1)
    assert 0 < group["box"][0] < group["box"][2] < width
    assert 0 < group["box"][1] < group["box"][3] < height


def test_no_text_of_a_mark_leaves_its_element(axes):
    describe_points(axes, X, Y, {"network": [HOSTILE] * 4}, stimulus_set=HOSTILE)
    svg = render_svg(axes.figure)
    assert "<script" not in svg
    content = json.loads(marks_in(svg))
    assert content["texts"] == [HOSTILE]
    assert content["groups"][0]["fixed"] == {"stimulus set": HOSTILE}


def test_equal_figures_give_equal_bytes_and_a_figure_without_marks_none(axes):
    assert marks_in(render_svg(axes.figure)) is None
    describe_points(axes, X, Y, {"value": X})
    assert render_svg(axes.figure) == render_svg(axes.figure)
