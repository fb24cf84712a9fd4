"""Drawings become small and stay the same picture."""

import io
import re
import shutil

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from rep_kedro.datasets.compaction import compact_svg
from rep_kedro.datasets.figure import render_svg
from rep_kedro.datasets.paths import shorten_number, shorten_path
from rep_kedro.reporting.svg import inline_svg

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MOST_OF_ORIGINAL = 0.6
WIDTH_PX = 1046
TOLERATED = 96  # of 255: what moving an edge by a tenth of a point does
TOLERATED_SHARE = 1e-3  # a word may stand on the next pixel
TOLERATED_MEAN = 1.0


def original_svg(figure):
    """Return what matplotlib writes."""
    stream = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "rep_kedro", "text.parse_math": False}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


@pytest.fixture(scope="module")
def taken():
    """Return a function that draws SVG text as the report does and gives its pixels."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    image = pytest.importorskip("PIL.Image")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as engine:
        chromium = engine.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": WIDTH_PX + 20, "height": 1000})

        def take(svg):
            style = f"<style>body{{margin:0}}svg{{width:{WIDTH_PX}px;height:auto;display:block}}</style>"
            page.set_content(style + svg[svg.index("<svg") :])
            picture = image.open(io.BytesIO(page.locator("svg").screenshot()))
            return np.asarray(picture.convert("RGB")).astype(np.int64)

        yield take
        chromium.close()


@pytest.mark.browser
def test_a_compact_drawing_is_the_same_picture(figures, taken):
    for name, figure in figures.items():
        before, after = taken(original_svg(figure)), taken(render_svg(figure))
        assert before.shape == after.shape, name
        difference = np.abs(before - after)
        assert (difference.max(axis=-1) > TOLERATED).mean() < TOLERATED_SHARE, name
        assert difference.mean() < TOLERATED_MEAN, name


def test_drawings_take_less_than_six_tenths_of_the_bytes(figures):
    n_before = sum(len(original_svg(figure).encode()) for figure in figures.values())
    n_after = sum(len(render_svg(figure).encode()) for figure in figures.values())
    assert n_after < MOST_OF_ORIGINAL * n_before


def test_nothing_is_named_that_nobody_refers_to(figures):
    for name, figure in figures.items():
        svg = render_svg(figure)
        ids = re.findall(r'\bid="([^"]+)"', svg)
        assert len(set(ids)) == len(ids)
        assert set(ids) == set(re.findall(r'(?:url\(#|href="#)([^")]+)', svg)), name
        assert set(re.findall(r'class="([^"]+)"', svg)) == set(re.findall(r"\.([a-z]+)\{", svg)), name
        assert "<g>" not in svg
        assert "</g></g></g></g></g>" not in svg


def test_every_mark_and_every_word_is_kept():
    figure = Figure()
    axes = figure.subplots()
    axes.scatter(range(7), range(7), c=np.linspace(0, 1, 7), alpha=0.5)
    axes.plot([1, 2, 3], [3, 1, 2], marker="s", label='"größe" <b> & x="1"')
    axes.legend()
    svg = render_svg(figure)
    marks = re.findall(r'<use [^>]*href="#([a-z]+)"', svg)
    counts = sorted(marks.count(name) for name in set(marks))
    assert 7 in counts
    assert 4 in counts  # three points and the legend
    assert "&quot;größe&quot; &lt;b&gt; &amp; x=&quot;1&quot;" in svg


def test_see_through_lines_are_not_joined():
    figure = Figure()
    axes = figure.subplots()
    for alpha in (None, 0.5):
        for height in (1, 2):
            axes.plot([0, 1], [height, height], color="#123456", alpha=alpha)
    axes.set_axis_off()
    svg = render_svg(figure)
    opaque, *_ = re.findall(r'd="([^"]+)"', svg[svg.index("#123456") :])
    assert len(re.findall(r'd="M[^"]*m[^"]*"', svg)) == 1, "opaque ones are one path"
    assert opaque


def test_names_in_a_page_are_those_of_their_figure_alone():
    figure = Figure()
    axes = figure.subplots()
    axes.plot([1, 2, 3], [3, 1, 2], marker="s")
    drawing = inline_svg(render_svg(figure), "f7", "title")
    classes = re.findall(r'class="([^"]+)"', drawing)
    assert classes
    assert all(name.startswith("f7") for name in classes)
    assert set(re.findall(r"\.(\w+)\{", drawing)) == set(classes)
    ids = re.findall(r'\bid="([^"]+)"', drawing)
    assert all(name.startswith("f7") for name in ids)
    assert set(ids) == set(re.findall(r'(?:url\(#|href="#)([^")]+)', drawing))


@pytest.mark.filterwarnings("ignore:Glyph")
def test_control_characters_are_shown_as_unknown():
    figure = Figure()
    figure.text(0.5, 0.5, "bell \x07 here")
    assert "bell � here" in render_svg(figure)


@pytest.mark.parametrize(
    ("data", "short"),
    [
        ("M 10 20.04 L 30.26 20.04 L 30.26 5 z", "M10 20h20.3v-15z"),
        ("M 0 0 L 1 1 L 2 0", "M0 0l1 1 1-1"),
        ("M 0 0 L 0.04 0.04 L 3 0.04", "M0 0h0 3"),
        ("M 1 1 L 2 2 z M 5 5 L 6 5", "M1 1l1 1zm4 4h1"),
        ("M 0 0 C 1 1 2 2 3 3 Q 4 4 5 3", "M0 0c1 1 2 2 3 3q1 1 2 0"),
        ("M -0.5 -0.25 L -1.5 -0.25", "M-.5-.2h-1"),
        ("M 1e2 2 H 5 V 1.5", "M100 2h-95v-.5"),
    ],
)
def test_paths_become_relative(data, short):
    assert shorten_path(data) == short


def test_rounding_does_not_add_up_along_a_path():
    steps = np.cumsum(np.full(200, 0.3337))
    short = shorten_path("M 0 0 " + " ".join(f"L {x:.6f} {x * x:.6f}" for x in steps), digits=1)
    offsets = re.findall(r"-?\d*\.?\d+", short.partition("l")[2])
    across = sum(float(number) for number in offsets[::2])
    assert across == pytest.approx(steps[-1], abs=0.051)


def test_foreign_path_commands_are_refused():
    with pytest.raises(ValueError, match="path data may hold the commands M, L, H, V, C, Q and z, got 'a"):
        shorten_path("M 0 0 a 1 1 0 0 0 2 2")


def test_numbers_are_written_shortly():
    assert [shorten_number(text, 2) for text in ("0.500", "-0.001", "10", "-3.14159", "1e-7")] == [
        ".5", "0", "10", "-3.14", "0",
    ]  # fmt: skip


def test_equal_definitions_are_one():
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="9pt" '
        'height="9pt" viewBox="0 0 9 9"><defs><path id="m1" d="M 0 0 L 1 1" style="stroke: #000000"/>'
        '<path id="m2" d="M 0 0 L 1 1" style="stroke: #000000"/><path id="m3" d="M 0 0"/></defs>'
        '<use xlink:href="#m1" x="1" y="1" style="stroke: #000000"/><use xlink:href="#m2" x="2" y="2"/></svg>'
    )
    compact = compact_svg(svg, "serif")
    assert compact.count("<path") == 1
    assert compact.count('href="#a"') == 2
    assert 'stroke="#000"' in compact
