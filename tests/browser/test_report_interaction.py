"""The report of the small study in readers' hands: they point, search, filter, download and print."""

import csv
import io
import re
from xml.etree import ElementTree as ET

import pytest
from PIL import Image
from tests.browser.conftest import Opened

pytestmark = pytest.mark.browser
SVG = "{http://www.w3.org/2000/svg}"
PLACE_OF_MARK = """([figure, group, index]) => {
  const held = marksOf(figure)[group];
  const row = 0, column = index;
  const [x, y] = held.order
    ? [held.box[0] + (column + 0.5) * held.width, held.box[1] + (row + 0.5) * held.height]
    : [held.x[index], held.y[index]];
  const drawing = figure.querySelector(".drawing svg");
  drawing.scrollIntoView({ block: "center" });
  const { left, top, width } = drawing.getBoundingClientRect();
  const scale = width / drawing.viewBox.baseVal.width;
  return [left + x * scale, top + y * scale];
}"""
N_ROWS = "parts => parts.filter(part => !part.hidden).length"


@pytest.fixture(scope="module")
def opened(study, browser):
    """The report in one page for all tests of this module; each leaves it as it was."""
    opened = Opened(browser, reduced_motion="reduce", viewport={"width": 1280, "height": 1400})
    opened.page.goto((study / "data/test/08_reporting/report.html").as_uri())
    opened.page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    yield opened
    opened.page.context.close()


@pytest.fixture
def page(opened):
    yield opened.page
    opened.page.mouse.move(0, 0)
    opened.page.locator("#search input").fill("")
    assert opened.asked == opened.complaints == []


def figure_of(page, name):
    return page.locator(f"figure[data-name={name}]")


def networks_of(page):
    cells = page.locator("#networks table").last.locator("tbody td:first-child")
    return cells.all_inner_texts()


def point_at(page, figure, group, index):
    """Point at a mark; return what the page says of it, by name."""
    x, y = page.evaluate(PLACE_OF_MARK, [figure.element_handle(), group, index])
    page.mouse.move(x, y)
    hint = page.locator(".hint")
    names, values = hint.locator("dt").all_inner_texts(), hint.locator("dd").all_inner_texts()
    return dict(zip(names, values, strict=True)) if hint.is_visible() else {}


def download(page, name, kind):
    with page.expect_download() as started:
        figure_of(page, name).locator(f"button[data-file={kind}]").click()
    assert started.value.suggested_filename == f"{name}.{kind.lower()}"
    return started.value.path()


def rows_of(page, name):
    with download(page, name, "CSV").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_a_cell_of_a_map_says_its_networks_set_and_value_on_hover(page):
    figure = figure_of(page, "similarity")
    first, second = point_at(page, figure, 0, 0), point_at(page, figure, 0, 1)
    assert first["network"] == first["other network"] == second["network"] != second["other network"]
    assert float(first["similarity"]) == 1
    rows = [row for row in rows_of(page, "similarity") if row["stimulus set"] == second["stimulus set"]]
    found = [row for row in rows if {row["network"], row["other network"]}
             == {second["network"], second["other network"]}]  # fmt: skip
    assert [row["similarity"].replace("-", "−") for row in found] == [second["similarity"]]


def test_every_figure_with_a_drawing_says_what_its_marks_are_and_nothing_between_them(page):
    for figure in page.locator("figure:has(svg)").all():
        said = point_at(page, figure, 0, 0)
        assert len(said) >= 2, figure.get_attribute("data-name")
        corner = figure.locator("svg").bounding_box()
        page.mouse.move(corner["x"] + 2, corner["y"] + 2)
        assert not page.locator(".hint").is_visible()


def test_a_search_marks_a_network_in_figures_and_leaves_its_rows_in_tables(page):
    name = networks_of(page)[0]
    page.locator("#search input").fill(name)
    page.locator("#search li").first.wait_for()
    cards = page.locator("#networks table").last.locator("tbody tr")
    assert cards.evaluate_all(N_ROWS) == 1
    listed = page.locator("#search li").all_inner_texts()
    assert any(text.startswith("Figure 1.") for text in listed)
    assert any(text.startswith("Model cards (1 of") for text in listed)
    ring = figure_of(page, "rankme").locator("path.found").get_attribute("d")
    shown = [row for row in rows_of(page, "rankme") if row["network"] == name]
    assert ring.count("M") == len(shown) > 0
    page.locator("#search input").fill("")
    page.locator("#search li").first.wait_for(state="detached")
    assert cards.evaluate_all(N_ROWS) == cards.count()
    assert figure_of(page, "rankme").locator("path.found").get_attribute("d") == ""


def test_a_tables_field_leaves_the_rows_that_hold_what_is_typed(page):
    table = page.locator(".table:has(.filter)").first
    rows, field = table.locator("tbody tr"), table.locator(".filter input")
    wanted = rows.first.locator("td").first.inner_text()
    field.fill(wanted.upper())
    shown = [row for row in rows.all() if row.is_visible()]
    assert 0 < len(shown) < rows.count()
    assert all(wanted in row.inner_text() for row in shown)
    assert table.locator(".filter output").inner_text() == f"{len(shown)} of {rows.count()} rows"
    field.fill("")
    assert rows.evaluate_all(N_ROWS) == rows.count()


def test_a_heading_says_on_hover_what_its_values_are(page):
    heading = page.locator("#readout th", has_text="test accuracy").first
    assert len(heading.get_attribute("title").split()) >= 3


def test_svg_and_png_are_the_figure_without_what_pointing_added(page):
    figure = figure_of(page, "mean_and_spread")
    point_at(page, figure, 0, 0)
    drawing = ET.parse(download(page, "mean_and_spread", "SVG")).getroot()  # noqa: S314 - our own page's
    assert drawing.tag == f"{SVG}svg"
    assert not [part for part in drawing.iter() if part.get("class") in ("pointed", "found")]
    title = figure.locator("svg").get_attribute("aria-label")
    assert title in [part.text for part in drawing.iter(f"{SVG}text")]
    path = download(page, "mean_and_spread", "PNG")
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    picture = Image.open(path)
    assert (picture.format, picture.width > 2000) == ("PNG", True)
    assert len(picture.convert("RGB").getcolors(2**24)) > 20


def test_csv_has_one_row_for_each_mark(page):
    n_pairs = len(networks_of(page)) * (len(networks_of(page)) - 1) // 2
    rows = rows_of(page, "mean_and_spread")
    assert len(rows) == n_pairs
    assert len({(row["network"], row["other network"]) for row in rows}) == n_pairs


def pages_of(pdf):
    """Return the number of pages of a PDF of Chromium that is whole: each object is where its table says."""
    assert pdf.startswith(b"%PDF-1.")
    table = pdf[int(re.search(rb"startxref\s+(\d+)\s+%%EOF\s*$", pdf)[1]) :]
    assert table.startswith(b"xref")
    places = {int(place) for place in re.findall(rb"(\d{10}) \d{5} n", table)}
    objects = {found.start(): found[0] for found in re.finditer(rb"\d+ 0 obj\s", pdf)}
    assert places <= objects.keys()
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


def test_pdf_prints_one_figure_alone_and_then_the_page_is_whole_again(page):
    page.evaluate("() => { window.printed = 0; window.print = () => { printed += 1; }; }")
    figure = figure_of(page, "consistency")
    figure.locator("button[data-file=PDF]").click()
    assert page.evaluate("printed") == 1
    page.emulate_media(media="print")
    assert figure.locator("svg").is_visible()
    assert not figure_of(page, "similarity").is_visible()
    assert not page.locator("h1").is_visible()
    pdf = page.pdf()
    assert pages_of(pdf) == 1
    assert b"/Font" in pdf  # text stays text
    assert not any(int(size) > 64 for size in re.findall(rb"/Subtype\s*/Image\s+/Width (\d+)", pdf))
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("h1").is_visible()
    assert figure_of(page, "similarity").locator("svg").is_visible()
    assert not page.locator("#search").is_visible()
    assert not page.locator(".files").first.is_visible()
    page.emulate_media(media="screen")


def test_measures_link_to_their_papers_and_have_bibtex(page):
    links = page.locator("#measures td a").evaluate_all("links => links.map(link => link.href)")
    assert links
    assert all(link.startswith(("https://arxiv.org/abs/", "https://doi.org/")) for link in links)
    assert "@misc{" in io.StringIO(page.locator(".bibtex pre").inner_text()).readline()
