"""The report of the small study, opened as a file: complete, by itself, sortable, readable on a phone."""

import pytest

from rep_kedro.pipelines.reporting.study_figures import STUDY_FIGURES

pytestmark = pytest.mark.browser
SECTIONS = [
    "summary",
    "terms",
    "alike",
    "consistency",
    "performance",
    "selection",
    "readout",
    "layers",
    "stitching",
    "agreement",
    "networks",
    "measures",
    "changes",
    "settings",
    "run",
]


@pytest.fixture
def report(study, open_page):
    def open_report(**options):
        opened = open_page(**options)
        opened.page.goto((study / "data/test/08_reporting/report.html").as_uri())
        opened.page.locator("footer").wait_for()
        assert opened.asked == []
        assert opened.complaints == []
        return opened

    return open_report


def test_every_section_is_there_and_reached_from_the_top(report):
    page = report(reduced_motion="reduce").page
    shown = page.locator("section").evaluate_all("parts => parts.map(part => part.id)")
    assert [section for section in shown if section in SECTIONS] == SECTIONS
    for section in page.locator("section").all():
        assert section.locator("h2").is_visible()
        assert len(section.inner_text().split()) > 5
    for link in page.locator("nav a").all():
        link.click()
        target = page.locator(link.get_attribute("href"))
        page.wait_for_function(
            "part => part.getBoundingClientRect().top < innerHeight", arg=target.element_handle()
        )


@pytest.mark.parametrize("width_px", [390, 1280])
def test_every_figure_is_drawn_large_enough_to_read(report, width_px):
    page = report(viewport={"width": width_px, "height": 800}).page
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    figures = page.locator("figure svg")
    assert len(STUDY_FIGURES) / 2 < figures.count() <= len(STUDY_FIGURES)
    for figure in figures.all():
        box = figure.bounding_box()
        assert box["width"] >= 600
        assert box["height"] >= 100
        assert figure.locator("text").count() > 3


def test_nothing_is_asked_of_any_server_and_nothing_stored(report):
    opened = report()
    requests = []
    opened.page.on("request", lambda request: requests.append(request.url))
    opened.page.reload()
    opened.page.locator("th button").first.click()
    assert [url for url in requests if not url.startswith("file:")] == []
    assert len(requests) == 1
    assert opened.page.context.cookies() == []
    assert opened.asked == opened.complaints == []


def test_every_table_sorts_by_every_column(report):
    page = report().page
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    for table in page.locator("table").all():
        rows = sorted(table.locator("tbody tr").all_inner_texts())
        for header in table.locator("th").all():
            header.locator("button").click()
            assert header.get_attribute("aria-sort") == "ascending"
            assert sorted(table.locator("tbody tr").all_inner_texts()) == rows, "no row is lost"
            if header.get_attribute("data-number") == "yes":
                column = int(header.get_attribute("data-column"))
                keys = table.evaluate(
                    "(table, column) => [...table.tBodies[0].rows].map(row => row.cells[column])"
                    ".map(cell => cell.dataset.key ?? cell.textContent)",
                    column,
                )
                values = [float(key) for key in keys if key]
                assert values == sorted(values)


def test_the_page_is_as_wide_as_a_phone(report):
    page = report(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True).page
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate("document.body.scrollWidth") == 390
    smallest_px = page.evaluate(
        "Math.min(...[...document.querySelectorAll('p, li, dd, td, th, figcaption')]"
        ".map(part => parseFloat(getComputedStyle(part).fontSize)))"
    )
    assert smallest_px >= 12
